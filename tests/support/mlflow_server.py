"""Real MLflow servers for the tests, on loopback, without the processes of MLflow's job runner, as `make ui` starts it."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import warm
from tests.support.loopback import free_port

PASSWORD = "secret-of-mlflow-admin"


@contextmanager
def mlflow_server(folder: Path, *options: str, port: int | None = None, **environment: str) -> Iterator[str]:
    """Start `mlflow server` in a folder, at a free port unless one is said, and yield its address; kill it at the end."""
    port = port or free_port()
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *options]
    with (folder / "server.log").open("a") as log:
        process = warm.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=os.environ | quiet | environment,
            stdout=log,
            stderr=log,
        )
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 9)
            process.wait()


@contextmanager
def server_with_passwords(folder: Path, database: str, artifacts: str) -> Iterator[str]:
    """Start a server that asks for `admin` and `PASSWORD`: runs in PostgreSQL, files in a store of S3's protocol."""
    folder.mkdir()
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///auth.db\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment = {
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_ARTIFACTS_DESTINATION": artifacts,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the test",
    }
    with mlflow_server(folder, "--app-name", "basic-auth", **environment) as address:
        yield address


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
