"""Schedules of the learning rate, one a file.

To add one: a frozen dataclass that fulfils `Schedule` of `src/optim/schedule.py` (and, where it cycles the momentum, repeats
or watches curves, `Cyclic`, `Repeating`, `Watching`), in `<name>.py` here and with the file's name, without underscores and
in any case; and `conf/schedule/<name>.yaml`. Its fields are the keys of the section `schedule`.
"""
