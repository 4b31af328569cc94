"""Zero-cost proxies: scores of an untrained model from one batch of rows, higher for models that promise more.

To add one, write a function `name(model, x, y, loss)` in `name.py`; `search.proxy=name` chooses it.
"""
