"""The strategies of `search=…`, one a file: what to train next, and for how long.

To add one, write a function `name(spec, *, ...)` in `name.py` that returns a `Search`, and `conf/search/name.yaml`; its
keyword arguments are the schema of the `search` section. A strategy that only draws points is one function, a
`PointSource`, handed to `HistorySampler` with a fidelity rule; one whose points stand beforehand is a `PointList`.
"""
