"""Search hyperparameters: one study, its trials trained on all workers, MLflow brought level with it.

python -m src.sweep [model=mlp search=tpe n_trials=64 ...]
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from src.errors import UserError
from src.stage import ROOT, alone, prepared, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from src.config import Config
    from src.history import Direction, Trial
    from src.population.engine import Engine
    from src.population.worker import Outcome, Task
    from src.study import Study
    from src.timetable import Segment
    from src.tracking import RunRecord

ALIKE = 3  # first trials that fail with a traceback: a bug, not a bad point
MOST_SLOTS = 1024


@stage
def main(config: Config) -> None:
    """Run or resume the sweep and write `outputs/sweep/<model>/`."""
    from src.population.engine import Engine
    from src.population.worker import Bench
    from src.progress import Progress
    from src.tracking import Tracker, check

    began = time.monotonic()
    name = f"{config['data']['name']}-{config['model']['name']}"
    folder, meta = prepared(config)
    check(config["tracking"]["uri"])
    with alone(Path(config["study"]["root"]) / "locks" / name, f"the sweep of {name}"):
        engine = Engine(Bench(folder, config["device"], tuple(config["trusted"])), config["workers"])
        with Tracker(config["tracking"]["uri"], config["data"]["name"]) as tracker, engine:
            sweep = Sweep(config, name, folder, meta)
            tracker.level(sweep.records("RUNNING"))
            with Progress(name, config["n_trials"], sweep.history) as progress:
                for record in sweep.run(engine):
                    progress.show()
                    if record:
                        tracker.project(record)
            trained = time.monotonic()
            sweep.export()
            tracker.level(sweep.records("FINISHED"))
            runs = tracker.close()
        sweep.write_timing(began, trained, engine.busy(), runs)


class Sweep:
    """A study with the search that decides and the timetable that orders."""

    def __init__(self, config: Config, name: str, folder: Path, meta: dict[str, Any]) -> None:
        from src.search import Spec
        from src.study import Identity, Study, code_digests, digest
        from src.timetable import Timetable

        self.config, self.name, self.folder, self.meta = config, name, folder, meta
        self.metric = "val/accuracy" if meta["task"] == "classification" else "val/rmse"
        direction: Direction = "maximize" if meta["task"] == "classification" else "minimize"
        spec = Spec(config.space, direction, config["n_trials"], config["epochs"], config["seed"])
        self.search = config.make("search", config["search"], spec)
        inputs = digest(meta["sha256"], config.space.describe(), repr(config["search"]), str(config["seed"]))
        identity = Identity(name, inputs, code_digests(ROOT / "src"))
        choices = {"slots": self._slots(), "kernel": "eager", "device": config["device"], "metric": self.metric}
        keys = config["study"]
        self.study = Study.open(
            Path(keys["root"]), config["storage"], identity, direction, choices, keys["fresh"], keys["accept_code"]
        )
        self.history = self.study.history
        self.timetable = Timetable(self.history, self.study.attributes["slots"])
        self.out = Path(config["outputs"]) / "sweep" / config["model"]["name"]

    def run(self, engine: Engine) -> Iterator[RunRecord | None]:
        """Train until the search is done; yields the record of each trial that has reported, or None while waiting."""
        study, notes = self.study, set()
        if not self.search.done(self.history):
            study.resume()
            with study.together():
                self._fill()
        engine.submit(self._task(s) for s in self.timetable.running.values())
        while segment := self.timetable.next:
            outcome = engine.result(f"{segment.trial}-{segment.stop}", patience=0.5)
            if outcome is None:
                yield None
                continue
            if outcome.note and outcome.note not in notes:
                notes.add(outcome.note)
                print(f"{self.name}: trained one by one, since {outcome.note}")
            before = set(self.timetable.running.values())
            with study.together():
                self._report(segment, outcome)
                self._fill()
            engine.submit(self._task(s) for s in self.timetable.running.values() if s not in before)
            yield self.record(self.history.trials[segment.trial])
            self._stop_on_a_bug(outcome)
        study.finish(len(self.history.trials))

    def _slots(self) -> int:
        """Few in flight for a search that learns from results, as many as fit for one that does not."""
        if self.config["slots"] != "auto":
            return int(self.config["slots"])
        n_trials = int(self.config["n_trials"])
        return max(4, n_trials // 6) if self.search.learns else min(n_trials, MOST_SLOTS)

    def _fill(self) -> None:
        """Give the free slots what the search proposes."""
        from src.population.cost import seconds_per_epoch

        while self.timetable.free and (proposals := self.search.propose(self.history, self.timetable.free)):
            for proposal in proposals:
                if proposal.trial is not None and proposal.epochs <= self.history.trials[proposal.trial].epochs:
                    self.study.report(proposal.trial, [], {}, "pruned")
                    continue
                trial_config = self.config.space.config(proposal.params)
                cost = seconds_per_epoch(trial_config, self.meta)
                distributions = self.config.space.distributions(proposal.params)
                self.study.start(proposal, distributions, trial_config["epochs"], cost)
            self.timetable.sync()

    def _report(self, segment: Segment, outcome: Outcome) -> None:
        trial = self.history.trials[segment.trial]
        new = {name: curve[segment.start :] for name, curve in outcome.curves.items()}
        values = new.get(self.metric, [])
        if outcome.error:
            state, reason = "fail", outcome.error
        else:
            reason = ""
            state = "complete" if segment.stop == trial.full else "paused" if segment.stop == trial.target else "running"
        self.study.report(trial.number, values, new, state, reason, outcome.seconds)
        if segment.start and state != "fail":
            self.study.checkpoint(trial.number, segment.start).unlink(missing_ok=True)
        self.timetable.sync()

    def _task(self, segment: Segment) -> Task:
        from src.population.member import Member, derived_seed
        from src.population.worker import Task

        trial = self.history.trials[segment.trial]
        source = (trial.number, segment.start) if segment.start else trial.start_from
        return Task(
            f"{segment.trial}-{segment.stop}",
            Member(self.config.space.config(trial.params), derived_seed(self.config["seed"], trial.number)),
            segment.stop,
            self.study.checkpoint(*source) if source else None,
            self.study.checkpoint(trial.number, segment.stop),
        )

    def _stop_on_a_bug(self, outcome: Outcome) -> None:
        over = list(self.history.of("complete", "pruned", "fail"))
        if len(over) == ALIKE and all(t.state == "fail" for t in over) and len({t.reason for t in over}) == 1:
            if outcome.detail:
                raise UserError(f"the first {ALIKE} trials failed alike: {over[0].reason}\n{outcome.detail}")

    # --- what is left behind -------------------------------------------------------------------------------------------

    def export(self) -> None:
        """Write the folder of the sweep.

        Raises:
            UserError: no trial is complete.
        """
        from collections import Counter

        import numpy as np
        import yaml
        from safetensors.torch import save

        from src import exports
        from src.files import write_bytes, write_json, write_npz, write_text
        from src.population.member import State

        write_text(self.out / "trials.csv", exports.trials_csv(self.study))
        write_text(self.out / "curves.csv", exports.curves_csv(self.study))
        report = exports.summary(self.study, self.config.space, self.config["search"]["name"], self.metric)
        write_json(self.out / "summary.json", report)
        best = self.history.best
        if best is None:
            reason, count = Counter(t.reason for t in self.history.of("fail")).most_common(1)[0]
            raise UserError(f"all trials of {self.name} failed, {count} of {len(self.history.trials)} with: {reason}")
        write_text(self.out / "best.yaml", yaml.safe_dump(self.config.space.config(best.params)))
        predictions: dict[str, np.ndarray[Any, Any]] = {}
        for trial in self.history.of("complete"):
            state = State.load(self.study.checkpoint(trial.number, trial.epochs))
            predictions[str(trial.number)] = state.predictions.numpy()
            write_bytes(self.out / "weights" / f"{trial.number}.safetensors", save(state.weights))
        write_npz(self.out / "predictions.npz", predictions)

    def write_timing(self, began: float, trained: float, busy: float, runs: dict[str, str]) -> None:
        """Write what differs from run to run, on which no stage depends."""
        from src.files import write_json

        now, seconds = time.monotonic(), self.study.seconds
        trials = {t.number: {"run_id": runs.get(f"trial-{t.number}"), "seconds": seconds[t.number]} for t in self.history.trials}
        timing = {
            "wall_s": now - began,
            "train_s": trained - began,
            "tracking_s": now - trained,
            "trials_per_minute": 60 * len(trials) / (now - began),
            "workers_busy": busy,
            "mlflow_run_id": runs.get("sweep"),
            "trials": trials,
        }
        write_json(self.out / "timing.json", timing)

    def records(self, state: Literal["RUNNING", "FINISHED"]) -> list[RunRecord]:
        """The whole study as MLflow shall show it."""
        from src.tracking import RunRecord

        best, history = self.history.best, self.history
        parent = RunRecord(
            key="sweep",
            fingerprint=self.study.attributes["fingerprint"],
            name=f"sweep {self.name}",
            parent=None,
            state=state,
            params={"search": self.config["search"]["name"], "seed": self.config["seed"], "epochs": self.config["epochs"]},
            metrics={f"best/{self.metric}": best.values[-1]} if best and state == "FINISHED" else {},
            tags={"lockstep.stage": "sweep", "lockstep.study": self.study.name, "model": self.config["model"]["name"]},
            dataset=self.meta,
        )
        return [parent, *(self.record(trial) for trial in history.trials)]

    def record(self, trial: Trial) -> RunRecord:
        """A trial as MLflow shall show it."""
        from src.tracking import RunRecord

        states = {"complete": "FINISHED", "pruned": "KILLED", "fail": "FAILED"}
        return RunRecord(
            key=f"trial-{trial.number}",
            fingerprint=self.study.attributes["fingerprint"],
            name=f"{self.config['model']['name']} {trial.number}",
            parent="sweep",
            state=states.get(trial.state, "RUNNING"),  # type: ignore[arg-type]
            params={**trial.params, "epochs": trial.full},
            curves=self.study.curves[trial.number],
            tags={
                "lockstep.stage": "sweep",
                "lockstep.trial": str(trial.number),
                "lockstep.state": trial.state,
                "lockstep.diagnosis": trial.reason,
            },
            dataset=self.meta,
            model=self._bundle(trial),
        )

    def _bundle(self, trial: Trial) -> Path | None:
        """The trial's model as MLflow loads it, once it is complete."""
        from src.population.member import State
        from src.serving import write_bundle

        if trial.state != "complete":
            return None
        bundle = self.study.folder / "models" / str(trial.number)
        if not bundle.exists():
            state = State.load(self.study.checkpoint(trial.number, trial.epochs))
            member = {"config": self.config.space.config(trial.params), "weights": state.weights, "weight": 1.0}
            write_bundle(bundle, self.meta, [member], self.folder)
        return bundle


if __name__ == "__main__":
    main()
