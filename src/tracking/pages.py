"""Addresses of MLflow's pages that open on the runs of an experiment. This file imports no mlflow.

    python -m src.tracking.pages sqlite:///mlflow.db http://127.0.0.1:5000

prints that of every experiment of a SQLite file: by itself MLflow 3.17 opens every experiment for GenAI, whatever its
kind, until the browser is told otherwise.
"""

import sqlite3
import sys
from contextlib import closing, suppress

from src.tracking.uri import sqlite_file

VIEW = "mlflow.sharedViewState.lockstep"  # the tag of an experiment that has its columns


def runs_page(number: str) -> str:
    """Give the address of an experiment's runs in MLflow's pages, after the host."""
    return f"/#/experiments/{number}/runs?workflowType=machine_learning&viewStateShareKey=lockstep"


def experiments(uri: str) -> dict[str, str]:
    """Read the experiments of Lockstep in a SQLite file from its address `uri`: their numbers by name, the newest last."""
    path = sqlite_file(uri)
    if path is None or not path.exists():
        return {}
    query = """select name, cast(e.experiment_id as text) from experiments e
               join experiment_tags t on t.experiment_id = e.experiment_id
               where t.key = ? and lifecycle_stage = 'active' order by e.experiment_id"""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        return dict(database.execute(query, [VIEW]).fetchall())
    return {}


def main() -> None:
    """Print the pages of a database's experiments on the host of a server."""
    uri, host = sys.argv[1:]
    for name, number in experiments(uri).items():
        print(f"{name}: {host}{runs_page(number)}", flush=True)


if __name__ == "__main__":
    main()
