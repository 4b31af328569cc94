"""Models that are passed over because they cannot take the data at hand: the reason stands in the folder of their stage."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from src.system.checksums import write_checksums
from src.system.errors import UserError
from src.system.files import write_json
from src.system.read_back import read_json

FILE = "passed_over.json"


def pass_over(out: Path, reason: str, placeholders: Iterable[str]) -> None:
    """Write why a model is passed over into `out`, the folder of its stage, and say it in one line.

    Args:
        out: bears the name of the model.
        reason: one line.
        placeholders: the files on which the next stage depends, in DVC's eyes.
    """
    reason = reason.removesuffix(".")
    files = [out / name for name in (*placeholders, FILE)]
    for file in files:
        write_json(file, {"passed_over": reason})
    for folder in {file.parent for file in files}:
        write_checksums(folder)
    print(f"{out.name}: passed over, since {reason}")


def passed_over(folder: Path, models: Sequence[str]) -> dict[str, str]:
    """Read which of the models are passed over by a stage, whose `folder` has one below it for each, and why.

    Raises:
        UserError: all are.
    """
    files = {model: folder / model / FILE for model in models}
    reasons = {
        model: str(read_json(file, "run the stage again").get("passed_over", ""))
        for model, file in files.items()
        if file.exists()
    }
    if models and len(reasons) == len(models):
        lines = "; ".join(f"{model}: {reason}" for model, reason in reasons.items())
        raise UserError(f"models: none can take these data ({lines}); name another in params.yaml")
    return reasons
