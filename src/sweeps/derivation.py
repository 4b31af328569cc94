"""The search of a sweep of supernets: nets are derived from them, compared, and the best is tuned by any strategy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from src.bilevel.architecture import derived_cell
from src.config.derived import OPERATIONS
from src.config.space import Choice, Dimension, Leaf, Space, label, with_value
from src.search.protocol import Search, Spec
from src.study.history import History, Proposal, Trial
from src.system.cell_string import NAMES, SKIP, cell_string
from src.system.errors import UserError
from src.system.trial_config import TrialConfig

MODEL = "model"  # the parameter that says whether a trial is a supernet or a derived net
KIND = "supernet"  # of the reason for which a supernet's trial ends


def ending(config: TrialConfig, curves: Mapping[str, list[float]]) -> str:
    """Say with which cell a trial of a supernet ends, in NAS-Bench-201's form; "" for any other trial.

    Args:
        config: of the trial.
        curves: of the trial.
    """
    darts = config.training.darts
    return f"{KIND}: its cell is {cell_string(derived_cell(curves, darts['most_skips']))}" if darts else ""


@dataclass(frozen=True)
class View:
    """The trials of one derived net as a history of their own: numbered from 0, without the parameters of its cell."""

    history: History
    numbers: list[int]  # in the study, by the number in the view


class Derivation:
    """Several supernets, then a net of each cell that they end with, then trials that tune the best of these nets.

    Supernets and the first nets have the defaults of the config. The protocol is that of Liu et al. 2019, who train a
    supernet under four seeds and keep the best cell by the validation rows.
    """

    depends_on_results = True

    def __init__(self, spec: Spec, supernets: int, make: Callable[[Spec], Search]) -> None:
        """Check that the sweep `spec` can be one of supernets.

        Args:
            spec: the sweep, whose space has a branch for supernets and one for derived nets.
            supernets: how many of its trials are supernets.
            make: makes the strategy that tunes.

        Raises:
            UserError: it cannot.
        """
        root = spec.space.root
        assert isinstance(root, Choice)
        (self.supernet, _), (self.model, self.branch) = root.options.items()
        self.spec, self.supernets, self.make = spec, supernets, make
        if spec.n_trials < 2 * supernets:
            raise UserError(
                f"n_trials: {spec.n_trials} are too few for {supernets} supernets and a net of each: take "
                f"{2 * supernets} at least, or training.darts.supernets={max(1, spec.n_trials // 2)}"
            )
        if spec.first or spec.earlier:
            raise UserError("warm_start: the first trials with training=darts are supernets; take warm_start=null")
        for _, leaf in Space(self.branch).leaves():
            if missing := [edge for edge in NAMES if edge not in _edges(leaf)]:
                raise UserError(f"{OPERATIONS}.{missing[0]}: training=darts chooses it; leave it to the search")
        self._strategies: dict[str, Search] = {}
        self._strategy(dict.fromkeys(NAMES, SKIP), spec.n_trials)  # which refuses what it cannot do

    def propose(self, history: History, n: int) -> list[Proposal]:
        """Supernets; once all have ended a net of each cell; once these have ended what the strategy proposes."""
        begun = [trial for trial in history.trials if trial.params[MODEL] == self.supernet]
        if len(begun) < self.supernets:
            return [self._usual(self.supernet) for _ in range(self.supernets - len(begun))][:n]
        cells = self._cells(history)
        firsts = [next((trial for trial in history.trials if self._has(trial, cell)), None) for cell in cells]
        if any(trial.state == "running" for trial in begun):
            return []
        if wanted := [cell for cell, trial in zip(cells, firsts, strict=True) if trial is None]:
            return [self._usual(self.model, cell) for cell in wanted][:n]
        tuned = self._tuned(history)
        if tuned is None:
            return []
        cell, view, strategy = tuned
        return [self._proposal(proposal, cell, view) for proposal in strategy.propose(view.history, n)]

    def done(self, history: History) -> bool:
        """Tell whether nothing is left to train."""
        if self.propose(history, 1) or any(history.of("running")):
            return False
        tuned = self._tuned(history)
        return tuned is None or tuned[2].done(tuned[1].history)

    # --- the cells -------------------------------------------------------------------------------------------------------

    def _cells(self, history: History) -> list[dict[str, str]]:
        """The different cells of the supernets that have ended, in their order."""
        cells: list[dict[str, str]] = []
        for trial in history.of("pruned"):
            if trial.params[MODEL] == self.supernet:
                darts = self.spec.space.trial(trial.params).training.darts
                assert darts is not None
                cell = derived_cell(trial.curves, darts["most_skips"])
                cells += [cell] if cell not in cells else []
        return cells

    def _has(self, trial: Trial, cell: Mapping[str, str]) -> bool:
        """Tell whether a trial is of a derived net with this cell."""
        return (
            trial.params[MODEL] == self.model and self._parameters(trial.params, cell).items() <= trial.params.items()
        )

    def _parameters(self, params: Mapping[str, Any], cell: Mapping[str, str]) -> dict[str, str]:
        """The parameters of the derived nets' branch that make a cell, at a point with these `params`."""
        return {name: cell[edge] for edge, name in _edges(Space(self.branch).leaf(params)).items()}

    def _usual(self, model: str, cell: Mapping[str, str] | None = None) -> Proposal:
        """A whole training with the defaults of the config, of a supernet or of a net with this `cell`."""
        root = self.spec.space.root
        assert isinstance(root, Choice)
        params, node = {MODEL: model}, root.options[model]
        while isinstance(node, Choice):
            params[node.name], node = next(iter(node.options)), next(iter(node.options.values()))
        params |= {name: _default(dimension, node.config) for name, dimension in node.dimensions.items()}
        params |= self._parameters(params, cell) if cell else {}
        return Proposal(params, self.spec.space.trial(params).epochs)

    # --- tuning ----------------------------------------------------------------------------------------------------------

    def _tuned(self, history: History) -> tuple[dict[str, str], View, Search] | None:
        """The best cell by the first net of each, its trials, and the strategy; None while one trains, or if all failed."""
        cells = self._cells(history)
        firsts = [next(trial for trial in history.trials if self._has(trial, cell)) for cell in cells]
        if any(trial.state == "running" for trial in firsts):
            return None
        pairs = [
            (history.losses(t), t.number, cell) for t, cell in zip(firsts, cells, strict=True) if t in history.feasible
        ]
        if not pairs:
            return None
        *_, cell = min(pairs, key=lambda pair: pair[:2])
        n_trials = self.spec.n_trials - self.supernets - len(cells) + 1
        return cell, self._view(history, cell), self._strategy(cell, n_trials)

    def _strategy(self, cell: Mapping[str, str], n_trials: int) -> Search:
        """The strategy that tunes a net with this cell in so many trials, the first of which is there already."""
        if (key := f"{cell_string(cell)} {n_trials}") not in self._strategies:

            def fixed(leaf: Leaf) -> Leaf:
                free = {n: d for n, d in leaf.dimensions.items() if n not in _edges(leaf).values()}
                config = with_value(leaf.config, OPERATIONS, dict(cell))
                return replace(leaf, config=config, dimensions=free)

            def whole(params: Mapping[str, Any]) -> dict[str, Any]:
                return {MODEL: self.model, **params, **self._parameters(params, cell)}

            spec, proxy = self.spec, self.spec.proxy
            self._strategies[key] = self.make(
                replace(
                    spec,
                    space=Space(self.branch).changed(fixed),
                    n_trials=n_trials,
                    measure=lambda params: spec.measure(whole(params)),
                    proxy=(lambda params: proxy(whole(params))) if proxy else None,
                )
            )
        return self._strategies[key]

    def _view(self, history: History, cell: Mapping[str, str]) -> View:
        numbers = [trial.number for trial in history.trials if self._has(trial, cell)]
        places = {number: place for place, number in enumerate(numbers)}
        trials = []
        for number in numbers:
            trial = history.trials[number]
            params = {
                n: v for n, v in trial.params.items() if n != MODEL and n not in self._parameters(trial.params, cell)
            }
            source = (places[trial.start_from[0]], trial.start_from[1]) if trial.start_from else None
            trials.append(replace(trial, number=places[number], params=params, start_from=source))
        view = History(history.direction, trials, goals=history.goals)
        view.events = [replace(event, trial=places[event.trial]) for event in history.events if event.trial in places]
        return View(view, numbers)

    def _proposal(self, proposal: Proposal, cell: Mapping[str, str], view: View) -> Proposal:
        """A proposal of the strategy in the words of the study."""
        params = {MODEL: self.model, **proposal.params, **self._parameters(proposal.params, cell)}
        trial = None if proposal.trial is None else view.numbers[proposal.trial]
        source = (view.numbers[proposal.start_from[0]], proposal.start_from[1]) if proposal.start_from else None
        return replace(proposal, params=params, trial=trial, start_from=source)


def _edges(leaf: Leaf) -> dict[str, str]:
    """The parameters of a leaf that choose the operation of an edge, by the edge."""
    start = f"{OPERATIONS}."
    return {d.key.removeprefix(start): name for name, d in leaf.dimensions.items() if d.key.startswith(start)}


def _default(dimension: Dimension, config: Mapping[str, Any]) -> Any:
    """The value of a dimension in a trial that is not searched: what is believed best, or else the config's own."""
    value: Any = config
    for part in dimension.key.split("."):
        value = value[part]
    distribution = dimension.distribution
    if dimension.prior:
        return dimension.prior.center
    if dimension.choices:
        return label(value if value in dimension.choices else dimension.choices[0])
    return min(max(value, distribution.low), distribution.high)  # type: ignore[attr-defined]
