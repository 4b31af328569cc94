"""Learning-rate range test: how fast a model can learn, before any search (Smith 2015; fastai's exponential form).

python -m src.lr_range [model=mlp]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config.command_line import stage
from src.engine import PRELOAD
from src.engine.compatibility import prepared, refuse_impossible_trial, unsuitable, with_fitting_batches

if TYPE_CHECKING:
    from src.config.loading import Config


@partial(stage, preload=PRELOAD, output="lr_range/{model}")
def main(config: Config) -> None:
    """Write `outputs/lr_range/<model>/lr_range.json` and its picture."""
    from dataclasses import asdict, replace

    from src.diagnosis.rate_range import best, bounds, over, read, smooth
    from src.engine import rate_ramp as ramp
    from src.engine.task import WorkerSetup
    from src.engine.worker_calls import WorkerCalls
    from src.reporting.range_panels import write_png
    from src.system.checksums import write_checksums
    from src.system.files import write_json

    folder, meta = prepared(config)
    out = Path(config["outputs"]) / "lr_range" / config["model"]["name"]
    if unsuitable(config, meta, out, ["lr_range.json"]):
        return
    config = with_fitting_batches(config, meta)
    refuse_impossible_trial(config, meta)
    trusted, timeout = tuple(config["trusted"]), config["trial"]["timeout"]
    setup = WorkerSetup(folder, config["device"], trusted, max_rows=config["lr_range"]["rows"], timeout=timeout)
    name, keys, trial, seed = config["model"]["name"], config["lr_range"], config.trial, config["seed"]

    with WorkerCalls(setup, out) as call:

        def up(**ramped: Any) -> ramp.RampCurves:
            return call(ramp.ramp, trial, seed, seeds=keys["seeds"], **ramped)

        rise = up(low=keys["low"], high=keys["high"], steps=keys["steps"], over=over)
        rules = read(rise.rate_S, rise.loss_KS)
        steps = keys["linear"]["epochs"] * call(ramp.steps_per_epoch, trial)
        watch = max(1, steps // keys["linear"]["points"])
        line = up(low=rules.top / steps, high=rules.top, steps=steps, linear=True, watch=watch)
        base_lr, max_lr = bounds(line.rate_S, line.score_KS)
        rates = rules.rates(keys["low"], keys["parallel"]["members"])
        beside = call(ramp.side_by_side, trial, seed, rates, keys["parallel"]["epochs"])

    suggestions = asdict(rules) | {"parallel_lr": best(beside.rate_S, beside.loss_KS[0])}
    suggested = {"suggested_lr": suggestions[f"{keys['rule']}_lr"], "base_lr": base_lr, "max_lr": max_lr, **suggestions}
    calm = replace(rise, loss_KS=smooth(rise.loss_KS.mean(0))[None])
    curves = {"curve": calm.points(), "linear": line.points(), "parallel": beside.points()}
    header = {"sha256": meta.sha256, "optimizer": config["optimizer"]["name"], "rule": keys["rule"]}
    write_json(out / "lr_range.json", {**header, **suggested, **curves})
    write_png({**suggested, **curves}, out / "lr_range.png")
    write_checksums(out)
    print(f"{name}: suggested rate {suggested['suggested_lr']:.2g}, cycles between {base_lr:.2g} and {max_lr:.2g}")


if __name__ == "__main__":
    main()
