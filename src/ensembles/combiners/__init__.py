"""Ways to join the members' predictions, one a file.

To add one: a function `name(p_MNC, y_N, weight_M, *, ...)` in `name.py` that returns a `Mixture` (joint.py), and
`conf/combiner/name.yaml`. It is given what the members predicted on the validation rows (probabilities [M, N, C], or
values [M, N] of a regression), the truth, and each member's own say (sum 1); its keyword arguments come from the YAML.
"""
