"""Optimizers, one a file.

To add one: a frozen dataclass that fulfils `Optimizer` of `src/optim/optimizer.py`, in `<name>.py` here and with the file's
name in any case, and `conf/optimizer/<name>.yaml`. Its fields are the keys of the section `optimizer`; the tests hold every
option against what `torch.optim` computes.
"""
