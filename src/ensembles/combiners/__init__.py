"""Combiners of the members' predictions, one a file.

To add one: a function `name(p_MNC, y_N, weight_M, *, ...)` in `name.py` that returns a `Mixture` (src/ensembles/mixture.py),
and `conf/combiner/name.yaml`; its keyword arguments come from the YAML. `p_MNC` are predictions for rows that no member was
trained on: probabilities [M, N, C], or values [M, N] of a regression. `y_N` are the targets of these rows, `weight_M` the
members' own weights (sum 1).
"""
