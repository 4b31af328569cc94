"""Diagnose a run by its curves: any run in MLflow, or a CSV file with a column a curve.

python -m src.diagnose 3f2b... [--uri sqlite:///mlflow.db]
python -m src.diagnose log.csv
python -m src.diagnose outputs/sweep/mlp/curves.csv --trial 12
"""

import argparse
import os
import sys
from pathlib import Path

from src.system.errors import UserError


def main() -> None:
    """Print the diagnosis, the evidence and what to change next."""
    parser = argparse.ArgumentParser("python -m src.diagnose", description=__doc__.partition("\n\n")[0])
    parser.add_argument("run", help="the id of a run in MLflow, or the path of a CSV file")
    parser.add_argument(
        "--uri", default=os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db", help="of MLflow"
    )
    parser.add_argument("--trial", type=int, help="of a sweep's curves.csv")
    parser.add_argument("--reference", type=float, help="the lowest validation loss that another run has reached")
    arguments = parser.parse_args()
    try:
        print(described(arguments.run, arguments.uri, arguments.trial, arguments.reference))
    except UserError as error:
        sys.exit(f"error: {error}")


def described(run: str, uri: str, trial: int | None, reference: float | None) -> str:
    """Diagnose a run and name the curves that were used.

    Args:
        run: the id of a run in MLflow, or the path of a CSV file.
        uri: the address of MLflow.
        trial: the trial of a sweep's curves.csv.
        reference: the lowest validation loss of other runs on the same data.

    Raises:
        UserError: there is no such run or file, or no loss in it.
    """
    from src.diagnosis import curve_names
    from src.diagnosis.rules import diagnose

    if run.endswith(".csv") or Path(run).is_file():
        curves, theirs, note = curve_names.from_csv(Path(run), trial)
    else:
        from src.tracking.uri import check

        check(uri)
        from src.tracking.curves import read

        points, theirs = read(uri, run, curve_names.needed_names)
        curves, note = curve_names.aligned(points), ""
    diagnosis = diagnose(curves, reference)
    epochs = len(curves.get("val/loss") or curves["train/loss"])
    used = ", ".join(ours if name == ours else f"{ours} from {name}" for ours, name in sorted(theirs.items()))
    said = f"{note}\n" if note else ""
    return (
        f"{said}{epochs} epochs of {used}\n\n{diagnosis.kind}\n  why:  {diagnosis.evidence}\n  next: {diagnosis.advice}"
    )


if __name__ == "__main__":
    main()
