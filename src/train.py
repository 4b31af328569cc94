"""Train the final members from the best config of a sweep, as one population where they can be: for the combiners to
judge on the validation rows, and then again on these rows too, for use.

python -m src.train [model=mlp members=[seeds,bagging]]
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config.command_line import stage
from src.engine import PRELOAD
from src.engine.compatibility import prepared
from src.system.errors import UserError, os_errors_as_user_errors

if TYPE_CHECKING:
    from src.config.loading import Config
from src.ensembles.final_members import held_score, made, reads_validation, write, write_refit
from src.ensembles.run_records import records


@partial(stage, preload=PRELOAD, several=("members",))
def main(config: Config) -> None:
    """Write `outputs/train/<model>/`: a folder a member, and `members.json`."""
    import shutil

    import yaml

    from src.engine.task import WorkerSetup
    from src.population.member import one_thread
    from src.system.files import write_json, write_text
    from src.tracking.tracker import Tracker
    from src.tracking.uri import check

    model = config["model"]["name"]
    folder, meta = prepared(config)
    check(config["tracking"]["uri"])
    sweep, out = (Path(config["outputs"]) / verb / model for verb in ("sweep", "train"))
    if not (sweep / "best.yaml").exists():
        raise UserError(f"model: {sweep}/best.yaml is not there; run python -m src.sweep model={model} first")
    best = yaml.safe_load((sweep / "best.yaml").read_text())
    one_thread()
    setup = WorkerSetup(folder, config["device"], tuple(config["trusted"]))
    refit = config["refit"] and not reads_validation(config, best)
    lines: list[dict[str, Any]] = []
    held: dict[str, Any] = {}
    with (
        os_errors_as_user_errors("the same command goes on from here"),
        Tracker(config["tracking"]["uri"], config["data"]["name"]) as tracker,
    ):
        for training, items in made(config, best, setup, sweep):
            found = held_score(training.context, items)
            held |= {training.how: found} if found else {}
            tracker.level(records(model, training, items, found))
            lines += [write(out, training, item) for item in items]
        if refit:
            for training, items in made(config, best, replace(setup, with_validation=True), sweep):
                write_refit(out, training, items, [line for line in lines if line["members"] == training.how])
        for old in {path.name for path in out.iterdir() if path.is_dir()} - {line["name"] for line in lines}:
            shutil.rmtree(out / old)
        for torn in out.rglob(".*.tmp"):  # by a kill
            torn.unlink()
        write_text(out / "config.yaml", yaml.safe_dump({k: v for k, v in best.items() if k != "earlier"}))
        head = {"model": model, "members": [s["name"] for s in config.several["members"]], "task": meta["task"]}
        head |= {"sha256": meta["sha256"], "class_names": meta["class_names"]}
        write_json(out / "members.json", {**head, "held": held, "items": lines})
        tracker.close()
    for how, found in held.items():
        print(f"{how}, on training rows not seen: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
