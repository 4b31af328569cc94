"""Optimizers and schedules of the learning rate, in the form that a stack of members trains with."""
