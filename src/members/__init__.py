"""Ways to make the final members from the best config of a sweep, one a file.

To add one: a function `name(best, seed, *, ...)` in `name.py` that returns members, and `conf/members/name.yaml`.
"""
