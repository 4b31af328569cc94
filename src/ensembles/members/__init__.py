"""Ways to make the final members from what a sweep has found, one a file.

To add one: a function `name(best, seed, given, *, ...)` in `name.py`, and `conf/members/name.yaml`. It returns members to
train, all at once, or items that are there already; or it is a generator that yields one generation of members after
another, is sent each of them back as it was trained, and returns the items (item.py).
"""
