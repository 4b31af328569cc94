"""Servers that ask for passwords: these come from the environment, and stand in nothing that is written or said."""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support import mlflow_server, postgres
from tests.support.mlflow_server import server_with_passwords
from tests.support.postgres import Server
from tests.support.running import Place

PASSWORDS = (postgres.PASSWORD, mlflow_server.PASSWORD, "secret-of-the-test")  # the last is the store's


def written(folder: Path) -> bytes:
    """All that stands below a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("flask_wtf"), reason="MLflow's server has no passwords without Flask-WTF (.[server])")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_passwords_stand_nowhere(
    tmp_path: Path, prepared: Path, postgres: Server, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep and its members with PostgreSQL, MLflow and a store, all by the environment; and each password wrong once."""
    studies, runs = (postgres.fresh().replace(f":{PASSWORDS[0]}@", "@") for _ in range(2))
    monkeypatch.setenv("PGPASSWORD", PASSWORDS[0])
    place, said = Place(tmp_path / "clone", prepared), ""
    words = ("n_trials=2", "epochs=1", "objective.candidates=1", "workers=1")
    with server_with_passwords(tmp_path / "server", runs, f"{s3}/mlflow") as url:
        places = {"LOCKSTEP_STORAGE": studies, "LOCKSTEP_STORE": s3, "MLFLOW_TRACKING_URI": url}
        for name, value in places.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORDS[1])
        for verb in ("sweep", "train"):
            done = place.run(*words, verb=verb)
            said += done.stdout + done.stderr
        for name, key in ("PGPASSWORD", "storage: "), ("MLFLOW_TRACKING_PASSWORD", "tracking.uri="):
            with monkeypatch.context() as wrong:
                wrong.setenv(name, os.environ[name] + "-not")
                done = place.run(*words, "seed=1", ok=False)
                assert key in done.stderr
                assert "Traceback" not in done.stderr
                said += done.stdout + done.stderr
    dump = [str(postgres.programs / "pg_dump"), "--data-only", "-d", ""]
    said += "".join(
        subprocess.run([*dump[:-1], uri.replace("+psycopg", "")], capture_output=True, text=True, check=True).stdout
        for uri in (studies, runs)
    )
    assert "digits-mlp" in said
    everything = written(tmp_path) + said.encode()
    assert not [password for password in PASSWORDS if password.encode() in everything]
