"""Figures of merit of predictions, each in one file of `measures/`: its name, direction, formula and how people write it."""
