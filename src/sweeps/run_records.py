"""The runs of a sweep in MLflow: one for the study, and below it one for each trial."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from src.config.loading import Config
from src.config.space import Space
from src.diagnosis.rules import diagnosis_of, least
from src.metrics.listing import metrics
from src.population.checkpoint import Checkpoint
from src.population.training_statistics import NAMES
from src.serving.bundle import write_bundle
from src.study.history import Trial
from src.study.study import Study
from src.system.data_meta import DataMeta
from src.tracking.record import RunRecord

STATES: Mapping[str, Literal["FINISHED", "KILLED", "FAILED"]] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "fail": "FAILED",
}


@dataclass(frozen=True)
class Records:
    """Records of runs, made from the study alone, so that MLflow can be brought level with it at any time."""

    study: Study
    space: Space
    label: str  # of the sweep, for people
    model: str
    params: Mapping[str, Any]  # of the sweep's own run
    data: Path  # the prepared data's folder
    meta: DataMeta

    @classmethod
    def of(cls, study: Study, config: Config, label: str, data: Path, meta: DataMeta) -> "Records":
        """Make the records of a study.

        Args:
            study: the open study.
            config: of the sweep.
            label: of the sweep, for people.
            data: the folder of the prepared data.
            meta: its `meta.json`.
        """
        params = {"search": config["search"]["name"], "seed": config["seed"], "epochs": config["epochs"]}
        return cls(study, config.space, label, config["model"]["name"], params, data, meta)

    def all(self, state: Literal["RUNNING", "FINISHED", "FAILED"]) -> list[RunRecord]:
        """The run of the sweep, in `state`, then those of all trials."""
        best, metric = self.study.history.best, self.study.attributes["metric"]
        figures = {metric: best.values[-1], **best.measures} if best and state == "FINISHED" else {}
        times = [each for each in self.study.times if each]
        sweep = RunRecord(
            key="sweep",
            fingerprint=self.study.attributes["fingerprint"],
            name=f"sweep {self.label}",
            parent=None,
            state=state,
            params=self.params,
            metrics={f"best/{name}": figure for name, figure in figures.items()},
            tags={"lockstep.stage": "sweep", "lockstep.study": self.study.name, "model": self.model},
            dataset=self.meta.reference,
            started=min((began for began, _ in times), default=None),
            ended=max((ended for _, ended in times), default=None) if state != "RUNNING" else None,
        )
        reference = least(self.study.curves)
        return [sweep, *(self.trial(trial, reference) for trial in self.study.history.trials)]

    def trial(self, trial: Trial, reference: float | None = None) -> RunRecord:
        """The run of one trial; `reference` is the lowest validation loss of the study, for its diagnosis.

        Statistics of the training and further metrics are figures of the end: as curves they would double what is written.
        """
        curves = self.study.curves[trial.number]
        over = trial.state not in ("running", "paused")
        last = {name: curve[-1] for name, curve in curves.items() if not self._as_curve(name)} | trial.metrics
        curves = {name: curve for name, curve in curves.items() if self._as_curve(name)}
        figures = {n: figure for n, figure in (last | trial.measures).items() if over and n not in curves}
        figures = {n: figure for n, figure in figures.items() if not math.isnan(figure)}
        costs = {"seconds": self.study.seconds[trial.number], "epochs": float(trial.epochs)} if over else {}
        began, ended = self.study.times[trial.number] or (None, None)
        return RunRecord(
            key=f"trial-{trial.number}",
            fingerprint=self.study.attributes["fingerprint"],
            name=f"{self.model} {trial.number}",
            parent="sweep",
            state=STATES.get(trial.state, "RUNNING"),
            params={**trial.params, "epochs": trial.max_epochs},
            curves=curves,
            metrics={**costs, **figures},
            tags={
                "lockstep.stage": "sweep",
                "lockstep.trial": str(trial.number),
                "lockstep.state": trial.state,
                "lockstep.device": str(self.study.attributes.get("device", "")),
                "lockstep.diagnosis": diagnosis_of(trial.reason, self.study.curves[trial.number], reference)
                if over
                else "",
            }
            | ({"lockstep.parent": "@".join(map(str, trial.start_from))} if trial.start_from else {}),
            dataset=self.meta.reference,
            model=self._bundle(trial),
            started=began,
            ended=ended if over else None,
        )

    def _as_curve(self, name: str) -> bool:
        """Tell whether a curve is written epoch by epoch: losses, rate, the metric of the sweep and that of the task."""
        curve = name.removesuffix("_std")
        further = curve.startswith("val/") and curve.removeprefix("val/") in metrics()
        plain = curve in ("val/accuracy", "val/rmse", self.study.attributes["metric"])
        return name not in NAMES and (plain or not further)

    def _bundle(self, trial: Trial) -> Path | None:
        """The trial's model as MLflow loads it, once it is complete: under cross-validation the mean of its members."""
        if trial.state != "complete":
            return None
        bundle = self.study.folder / "models" / str(trial.number)
        if not bundle.exists():
            states = [Checkpoint.load(path) for path in self.study.checkpoints(trial.number, trial.epochs)]
            config = self.space.trial(trial.params)
            write_bundle(
                bundle, self.meta, [(config, state.model_weights) for state in states], self.data, with_code=True
            )
        return bundle
