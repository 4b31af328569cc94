"""Derived seeds: those that results followed from before purposes had names, and none for two purposes."""

from itertools import product

import numpy as np

from src.population.seeds import ESTABLISHED, derived_seed

COUNTS = {"parallel rates": 0, "fold of a trial": 2}  # how many numbers a purpose has; the others have one


def test_established_purposes_have_the_keys_that_results_followed_from() -> None:
    keys = {("trial", 7): (7,), ("seeds", 2): (3, 2), ("bagging", 0): (3, 0, 1), ("snapshot", 0): (3, 0, 4)}
    keys |= {("rate ramp", 1): (4, 1), ("initial weights",): (0,), ("cut into folds", 0): (5, 0)}
    for (purpose, *numbers), key in keys.items():
        state = np.random.SeedSequence(11, spawn_key=key).generate_state(1, np.uint64)[0]
        assert derived_seed(11, purpose, *numbers) == int(state >> np.uint64(1))


def test_no_two_uses_under_one_seed_share_a_stream() -> None:
    purposes = [*(ESTABLISHED.keys() - {"initial weights"}), *COUNTS, "one of a user's own"]
    uses = [(p, *numbers) for p in purposes for numbers in product(range(12), repeat=COUNTS.get(p, 1))]
    seeds = {derived_seed(2**62 + 3, purpose, *numbers) for purpose, *numbers in uses}
    assert len(seeds) == len(uses) > 200
    assert all(0 <= seed < 2**63 for seed in seeds)
