"""Methods that make the final members from the best config of a sweep, one a file.

To add one: a function `name(best, seed, context, *, ...)` in `name.py`, and `conf/members/name.yaml`; its keyword arguments
come from the YAML. It returns `Member`s, which are trained all at once, or `FinalMember`s that are there already. Or it is a
generator that yields one generation of members after another, receives each trained (as `FinalMember`s), and returns those
that shall stay. The types are in `src/ensembles/protocol.py`.
"""
