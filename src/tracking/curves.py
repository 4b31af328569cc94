"""The curves of any run in MLflow, read back."""

from collections.abc import Callable, Iterable

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from src.system.errors import UserError, masked
from src.tracking.obstacles import obstacle
from src.tracking.uri import absolute, sqlite_file


def read(
    uri: str, run: str, needed: Callable[[Iterable[str], str], dict[str, str]]
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, str]]:
    """Read the curves of one run: steps and values by our names, and the name of each in MLflow.

    Args:
        uri: the address of MLflow.
        run: the id of the run.
        needed: takes the names of all metrics, and the words for the run in an error, and maps our names to theirs.

    Raises:
        UserError: there is no such run, or MLflow does not answer.
    """
    if (path := sqlite_file(uri)) and not path.exists():
        raise UserError(f"run {run} cannot be read: {path} is not there; name the database with --uri")
    client = MlflowClient(absolute(uri))
    try:
        names = needed(client.get_run(run).data.metrics, f"run {run}")
        history = {ours: client.get_metric_history(run, theirs) for ours, theirs in names.items()}
    except MlflowException as error:
        raise UserError(f"run {run} cannot be read from {masked(uri)} ({obstacle(error)})") from error
    points = {ours: sorted((m.step, m.timestamp, m.value) for m in metrics) for ours, metrics in history.items()}
    return {ours: [(float(step), value) for step, _, value in curve] for ours, curve in points.items()}, names
