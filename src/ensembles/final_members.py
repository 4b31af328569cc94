"""The final members of a model: trained or taken, judged on rows not seen, and written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config.command_line import ROOT
from src.system.locks import alone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from src.config.loading import Config
    from src.engine.engine import Engine
    from src.engine.task import WorkerSetup
    from src.ensembles.final_member import FinalMember, TrainingContext
    from src.ensembles.member_training import MemberTraining


def reads_validation(config: Config, best: dict[str, Any]) -> bool:
    """Whether training by this config looks at the validation rows, which it then cannot learn from."""
    from src.optim.schedule import watched
    from src.population.early_stopping import stops

    return stops(best) or any(name.startswith("val/") for name in watched(config.make("schedule", best["schedule"])))


def made(
    config: Config, best: dict[str, Any], setup: WorkerSetup, sweep: Path
) -> Iterator[tuple[MemberTraining, list[FinalMember]]]:
    """Every way with its items, from the training rows of `setup`."""
    import numpy as np

    from src.data.dataset import train_targets, val_targets
    from src.engine.engine import Engine
    from src.engine.fusing import rows
    from src.ensembles.final_member import TrainingContext

    y_train, y_val = train_targets(setup.data), val_targets(setup.data)
    y_train = np.concatenate([y_train, y_val]) if setup.with_validation else y_train
    context = TrainingContext(rows(replace(setup, device="cpu", trusted=())), y_train, y_val, sweep)
    with Engine(setup, config["workers"]) as engine:
        for section in config.several["members"]:
            training = _making(config, section, best, context, engine)
            with alone(training.folder / "lock", f"the training of {config['model']['name']}"):
                yield training, training.items(config.make("members", section, training.best, config["seed"], context))


def _making(
    config: Config, section: dict[str, Any], best: dict[str, Any], context: TrainingContext, engine: Engine
) -> MemberTraining:
    """One way to make members, in the folder that its inputs name."""
    import json

    from src.ensembles.member_training import MemberTraining
    from src.system.fingerprint import FINAL_MEMBER, code_digests, digest, target_modules

    code = code_digests(ROOT / "src", FINAL_MEMBER, target_modules([best, section]))
    inputs = [best, section, config["seed"], config["device"], code, engine.setup.with_validation]
    fingerprint = digest(context.rows.meta["sha256"], json.dumps(inputs, sort_keys=True))[:16]
    last = {k: v for k, v in best.items() if k != "earlier"}
    earlier = [(part["until"], part["config"]) for part in best.get("earlier", [])]
    kept = Path(config["study"]["root"]) / "members" / fingerprint
    return MemberTraining(section["name"], engine, context, kept, last, earlier)


def write(out: Path, training: MemberTraining, item: FinalMember) -> dict[str, Any]:
    """A folder with the member's files; returns its line of members.json."""
    from safetensors.torch import save

    from src.ensembles.metrics import score
    from src.system.files import write_bytes, write_npy

    name, state = item.trained.key, item.trained.state
    predictions = state.predictions.numpy()
    write_bytes(out / name / "weights.safetensors", save(state.model_weights))
    write_npy(out / name / "val.npy", predictions)
    line = {
        "name": name,
        "members": training.how,
        "seed": item.trained.member.seed,
        "val": score(training.context.rows.meta["task"], predictions, training.context.y_val),
        "weights": f"{name}/weights.safetensors",
        "predictions": f"{name}/val.npy",
        "weight": item.weight,
    }
    if item.held is not None:
        write_npy(out / name / "held.npy", item.held)
        line["held"] = f"{name}/held.npy"
    if item.trained.member.config != training.best:
        line["config"] = item.trained.member.config
    return line


def write_refit(out: Path, training: MemberTraining, items: list[FinalMember], lines: list[dict[str, Any]]) -> None:
    """The weights from all rows in the place of those that are judged, if the way has made the same members of them."""
    from safetensors.torch import save

    from src.system.files import write_bytes

    if not training.outcomes:  # they come from the sweep as they are
        return
    if [item.trained.key for item in items] != [line["name"] for line in lines]:
        print(f"{training.how}: of all rows {len(items)} members come, {len(lines)} of the training rows: those stay")
        return
    for item, line in zip(items, lines, strict=True):
        write_bytes(out / line["weights"], save(item.trained.state.model_weights))
        line["refit"] = True
        if item.trained.member.config != training.best:
            line["config"] = item.trained.member.config


def held_score(context: TrainingContext, items: list[FinalMember]) -> dict[str, float]:
    """What the members together are worth on the training rows that some of them have not seen, each asked of those."""
    import numpy as np

    from src.ensembles.final_member import held_mean
    from src.ensembles.metrics import score

    held = [item.held for item in items if item.held is not None]
    if not held:
        return {}
    mean = held_mean(held)
    there = np.isfinite(mean.reshape(len(mean), -1)).all(1)
    return score(context.rows.meta["task"], mean[there], context.y_train[there]) | {"rows": float(there.mean())}
