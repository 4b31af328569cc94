"""The one Hydra plugin that `-m` uses."""
