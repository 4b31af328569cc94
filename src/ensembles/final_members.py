"""Final members of a model: trained by every method that is asked for, refitted on the validation rows too, and written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config.checking import check_components
from src.config.command_line import ROOT
from src.config.renamed import with_names_of_today
from src.system.errors import UserError
from src.system.locks import exclusive
from src.system.read_back import intact, read_yaml
from src.system.trial_config import TrialConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from src.config.loading import Config
    from src.engine.engine import Engine
    from src.engine.task import WorkerSetup
    from src.ensembles.final_member import FinalMember
    from src.ensembles.member_training import MemberTraining
    from src.ensembles.protocol import TrainingContext


@dataclass(frozen=True)
class BestTrial:
    """The config of the best trial; `earlier` are those that it was trained by before, each until an epoch."""

    config: TrialConfig
    earlier: Sequence[tuple[int, TrialConfig]] = ()

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> BestTrial:
        """Read the content of a `best.yaml` of any version."""
        config = with_names_of_today({key: value for key, value in written.items() if key != "earlier"})
        parts = [(part["until"], with_names_of_today(part["config"])) for part in written.get("earlier", [])]
        return cls(TrialConfig.from_json(config), [(until, TrialConfig.from_json(part)) for until, part in parts])

    def to_json(self) -> dict[str, Any]:
        """Write the content of a `best.yaml`."""
        parts = [{"until": until, "config": config.to_json()} for until, config in self.earlier]
        return self.config.to_json() | ({"earlier": parts} if parts else {})


def best_trial(sweep: Path, model: str) -> BestTrial:
    """Read the best trial that a sweep left in the folder `sweep`.

    Raises:
        UserError: there is none; the sweep of `model` has not been run.
    """
    if not (sweep / "best.yaml").exists():
        raise UserError(f"model: {sweep}/best.yaml is not there; run python -m src.sweep model={model} first")
    again = f"run python -m src.sweep model={model} again"
    with intact(sweep / "best.yaml", again):
        best = BestTrial.from_json(read_yaml(sweep / "best.yaml", again))
        check_components({group: getattr(best.config, group) for group in ("model", "optimizer", "schedule")})
        return best


def train(
    config: Config, best: BestTrial, setup: WorkerSetup, sweep: Path, replaced: Sequence[FinalMember] = ()
) -> Iterator[tuple[MemberTraining, list[FinalMember]]]:
    """Train the members of every method of `config`, and yield those of a method when they are there.

    Args:
        config: of the command.
        best: the best trial.
        setup: the data and device; with `with_validation`, the validation rows are trained on too.
        sweep: the folder of the sweep.
        replaced: members that those trained shall replace, by method and name, which they must not be worse than.
    """
    import numpy as np

    from src.cluster.opening import engine_of
    from src.data.dataset import train_targets, val_targets
    from src.engine.fusing import rows
    from src.ensembles.protocol import TrainingContext
    from src.population.early_stopping import stops

    y_train, y_val = train_targets(setup.data), val_targets(setup.data)
    y_train = np.concatenate([y_train, y_val]) if setup.with_validation else y_train
    context = TrainingContext(rows(replace(setup, device="cpu", trusted=())), y_train, y_val, sweep)
    with engine_of(config.root, setup) as engine:
        for section in config.several["members"]:
            training = _training(config, section, best, context, engine)
            judged = [member for member in replaced if member.method == training.method]
            training.replaced = {member.name: member.val_predictions for member in judged}
            training.epochs = {member.name: _best_epoch(member) for member in judged if stops(member.member.config)}
            with exclusive(training.mirror.folder / "lock", f"the training of {config['model']['name']}"):
                requested = config.make("members", section, training.best, config["seed"], context)
                yield training, _trained(training, requested)


def _best_epoch(member: FinalMember) -> int:
    """The epoch whose weights a member predicts with."""
    from src.population.early_stopping import prediction_epochs

    epochs = prediction_epochs(member.member.config, member.checkpoint.curves)
    return epochs[-1] if epochs else member.member.config.epochs


def _trained(training: MemberTraining, requested: Any) -> list[FinalMember]:
    """The members of a method; where they would replace others, these stay if the method fails."""
    try:
        return training.final_members(requested)
    except UserError as error:
        if not training.replaced:
            raise
        training.note(f"{training.method}: the members that were judged stay: {error}")
        return []


def _training(
    config: Config, section: dict[str, Any], best: BestTrial, context: TrainingContext, engine: Engine
) -> MemberTraining:
    """The training of one method, in the folder that its inputs name."""
    import json

    from src.ensembles.member_training import MemberTraining
    from src.system.fingerprint import FINAL_MEMBER, code_digests, digest, target_modules
    from src.system.mirror import Mirror

    written = best.to_json()
    code = code_digests(ROOT / "src", FINAL_MEMBER, target_modules([written, section]))
    inputs = [written, section, config["seed"], config["device"], code, engine.setup.with_validation]
    fingerprint = digest(context.rows.meta.sha256, json.dumps(inputs, sort_keys=True))[:16]
    folder = Path(config["study"]["root"]) / "members" / fingerprint
    mirror = Mirror.of(folder, config["store"]["url"], f"members/{fingerprint}")
    return MemberTraining(section["name"], engine, context, mirror, best.config, best.earlier)


def with_refits(
    config: Config, best: BestTrial, setup: WorkerSetup, sweep: Path, members: Sequence[FinalMember]
) -> tuple[list[FinalMember], list[str]]:
    """Train all methods again on the validation rows too, and attach to each of `members` its refit.

    Members that the sweep trained have none, and none is made where the schedule watches the validation rows or with
    `refit=false`. Where members stop early, their refits have the epochs that the members had at their best. A refit that
    is worse than its member on the validation rows, which it knows, is no improvement: it is left out.

    Args:
        config: the stage's.
        best: the best trial.
        setup: where workers find the data, and the device.
        sweep: the folder that the sweep left.
        members: those to attach the refits to.

    Returns:
        The members, and notes on what was trained again or left out.
    """
    if not config["refit"] or _watches_validation(config, best):
        return list(members), []
    refits: dict[str, FinalMember] = {}
    notes: list[str] = []
    for training, again in train(config, best, replace(setup, with_validation=True), sweep, members):
        if training.outcomes:
            judged = [member for member in members if member.method == training.method]
            if fault := _fault_of_boosting(judged, again, training.context.y_val):
                training.note(f"{training.method}: the members that were judged stay: {fault}")
            else:
                refits |= {member.name: member for member in again}
        notes += training.notes
    return [replace(member, refit=refits.get(member.name)) for member in members], notes


def _fault_of_boosting(judged: Sequence[FinalMember], refits: Sequence[FinalMember], y_val: Any) -> str:
    """Explain why the refits of boosting, whose members depend on each other, cannot replace its members, if so.

    Members of other methods have no weights of their own, and are compared one by one.
    """
    import numpy as np

    from src.ensembles.member_checks import complaint

    if not refits or all(member.weight == 1.0 for member in (*judged, *refits)):
        return ""
    if len(refits) != len(judged):
        return f"refitted, {len(refits)} come in the place of {len(judged)}"
    means = [
        np.average(np.stack([one.val_predictions for one in members]), 0, [one.weight for one in members])
        for members in (refits, judged)
    ]
    return complaint(means[0], means[1], y_val, replaces=True)


def _watches_validation(config: Config, best: BestTrial) -> bool:
    """Tell whether the schedule of `best` follows the validation rows, on which it then cannot train."""
    from src.optim.schedule import watched

    return any(name.startswith("val/") for name in watched(config.make("schedule", best.config.schedule)))


def write(
    out: Path,
    best: BestTrial,
    members: Sequence[FinalMember],
    y_val: Any,
    out_of_fold: dict[str, dict[str, float]],
    notes: Sequence[str] = (),
) -> None:
    """Make `out` the folder of these members: one below it for each, `members.json` and `config.yaml`.

    Args:
        out: the folder of the model's members; what it had before goes.
        best: the best trial.
        members: of all methods.
        y_val: targets of the validation rows [N].
        out_of_fold: scores of each method's out-of-fold predictions, by method.
        notes: on members that were trained again or left out.
    """
    import yaml

    from src.metrics.scoring import score
    from src.system.checksums import write_checksums
    from src.system.files import atomic_folder, write_json, write_text

    meta, methods = members[0].meta, list(dict.fromkeys(member.method for member in members))
    head: dict[str, Any] = {"model": members[0].model, "members": methods, "task": meta.task}
    head |= {"sha256": meta.sha256, "class_names": meta.class_names, "held": out_of_fold, "notes": notes}
    with atomic_folder(out) as new:
        scores = [score(meta.task, member.val_predictions, y_val) for member in members]
        lines = [{**member.to_json(new), "val": each} for member, each in zip(members, scores, strict=True)]
        write_text(new / "config.yaml", yaml.safe_dump(best.config.to_json()))
        write_json(new / "members.json", {**head, "items": lines})
        write_checksums(new)


def out_of_fold_scores(context: TrainingContext, members: Sequence[FinalMember]) -> dict[str, float]:
    """Score the mean out-of-fold prediction of `members` on the training rows that have one; `rows` is their share."""
    import numpy as np

    from src.ensembles.final_member import out_of_fold_mean
    from src.metrics.scoring import score

    predictions = [one.out_of_fold_predictions for one in members if one.out_of_fold_predictions is not None]
    if not predictions:
        return {}
    mean = out_of_fold_mean(predictions)
    there = np.isfinite(mean.reshape(len(mean), -1)).all(1)
    return score(context.rows.meta.task, mean[there], context.y_train[there]) | {"rows": float(there.mean())}
