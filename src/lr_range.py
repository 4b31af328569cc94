"""Learning-rate range test: how fast a model can learn, before any search (Smith 2015; fastai's exponential form).

python -m src.lr_range [model=mlp]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from src.stage import prepared, stage

if TYPE_CHECKING:
    from src.config import Config


@stage
def main(config: Config) -> None:
    """Write `outputs/lr_range/<model>/lr_range.json` and its picture."""
    from dataclasses import asdict

    from src.files import write_json
    from src.plots import lr_range_png
    from src.population.member import one_thread
    from src.population.ramp import ramp
    from src.population.worker import Bench
    from src.range_test import read, smooth

    folder, _ = prepared(config)
    one_thread()
    bench = Bench(folder, config["device"], tuple(config["trusted"]))
    rate_S, loss_KS, accuracy_KS = ramp(config.trial, bench, config["seed"], **config["lr_range"])
    suggestion = asdict(read(rate_S, loss_KS))
    curve = [
        {"lr": rate, "loss": loss, "accuracy": None if accuracy_KS is None else float(accuracy_KS[:, s].mean())}
        for s, (rate, loss) in enumerate(zip(rate_S.tolist(), smooth(loss_KS.mean(0)).tolist(), strict=True))
    ]
    out = Path(config["outputs"]) / "lr_range" / config["model"]["name"]
    write_json(out / "lr_range.json", {"optimizer": config["optimizer"]["name"], **suggestion, "curve": curve})
    lr_range_png(curve, suggestion, out / "lr_range.png")
    print(f"{config['model']['name']}: suggested rate {suggestion['suggested_lr']:.2g}")


if __name__ == "__main__":
    main()
