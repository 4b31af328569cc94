"""A study as MLflow shall show it: a run for the sweep, and one for each trial below it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from src.config.space import Space
from src.diagnosis.rules import diagnosis_of, least
from src.population.checkpoint import Checkpoint
from src.population.training_statistics import NAMES
from src.serving.bundle import write_bundle
from src.study.history import Trial
from src.study.study import Study
from src.tracking.record import RunRecord

STATES: Mapping[str, Literal["FINISHED", "KILLED", "FAILED"]] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "fail": "FAILED",
}


@dataclass(frozen=True)
class Records:
    """Made from the study alone, so that MLflow can be brought level with it at any time."""

    study: Study
    space: Space
    label: str  # of the sweep, for people
    model: str
    params: Mapping[str, Any]  # of the sweep's own run
    data: Path  # the prepared data's folder
    meta: Mapping[str, Any]

    def all(self, state: Literal["RUNNING", "FINISHED", "FAILED"]) -> list[RunRecord]:
        """The sweep's run in `state`, and those of all trials."""
        best, metric = self.study.history.best, self.study.attributes["metric"]
        figures = {metric: best.values[-1], **best.measures} if best and state == "FINISHED" else {}
        sweep = RunRecord(
            key="sweep",
            fingerprint=self.study.attributes["fingerprint"],
            name=f"sweep {self.label}",
            parent=None,
            state=state,
            params=self.params,
            metrics={f"best/{name}": figure for name, figure in figures.items()},
            tags={"lockstep.stage": "sweep", "lockstep.study": self.study.name, "model": self.model},
            dataset=self.meta,
        )
        known = least(self.study.curves)
        return [sweep, *(self.trial(trial, known) for trial in self.study.history.trials)]

    def trial(self, trial: Trial, known: float | None = None) -> RunRecord:
        """The run of one trial; `known` is the lowest validation loss of the study, for its diagnosis.

        Statistics of the training are figures of the last epoch: as curves they would double what is written.
        """
        curves = self.study.curves[trial.number]
        over = trial.state not in ("running", "paused")
        last = {name: curve[-1] for name, curve in curves.items() if name in NAMES}
        curves = {name: curve for name, curve in curves.items() if name not in NAMES}
        figures = {**last, **{n: figure for n, figure in trial.measures.items() if n not in curves}} if over else {}
        return RunRecord(
            key=f"trial-{trial.number}",
            fingerprint=self.study.attributes["fingerprint"],
            name=f"{self.model} {trial.number}",
            parent="sweep",
            state=STATES.get(trial.state, "RUNNING"),
            params={**trial.params, "epochs": trial.max_epochs},
            curves=curves,
            metrics=figures,
            tags={
                "lockstep.stage": "sweep",
                "lockstep.trial": str(trial.number),
                "lockstep.state": trial.state,
                "lockstep.diagnosis": diagnosis_of(trial.reason, self.study.curves[trial.number], known)
                if over
                else "",
            }
            | ({"lockstep.parent": "@".join(map(str, trial.start_from))} if trial.start_from else {}),
            dataset=self.meta,
            model=self._bundle(trial),
        )

    def _bundle(self, trial: Trial) -> Path | None:
        """The trial's model as MLflow loads it, once it is complete: under cross-validation the mean of its members."""
        if trial.state != "complete":
            return None
        bundle = self.study.folder / "models" / str(trial.number)
        if not bundle.exists():
            states = [Checkpoint.load(path) for path in self.study.checkpoints(trial.number, trial.epochs)]
            config = self.space.config(trial.params)
            write_bundle(bundle, self.meta, [(config, state.model_weights) for state in states], self.data)
        return bundle
