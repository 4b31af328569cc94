"""Ways to join the members' predictions, one a file.

To add one: a function `name(val_MNC, y_N, *, ...)` in `name.py` that returns the members' weights [M] (sum 1), and
`conf/combiner/name.yaml`. Predictions are class probabilities [M, N, C] or values [M, N].
"""
