"""The report page as an artifact of a run that is there already."""

from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from src.system.errors import UserError, masked
from src.tracking.obstacles import obstacle
from src.tracking.uri import absolute


def log_report(uri: str, run: str, page: Path) -> None:
    """Show `page` as the artifact `report/<its name>` of the run with the id `run` in MLflow at `uri`.

    Raises:
        UserError: MLflow does not have the run, or does not take the file.
    """
    try:
        MlflowClient(absolute(uri)).log_artifact(run, str(page), "report")
    except (MlflowException, OSError) as error:
        raise UserError(
            f"tracking.uri={masked(uri)}: the report is not in the run {run} ({obstacle(error)})"
        ) from error
