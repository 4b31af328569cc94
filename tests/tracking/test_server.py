"""A first question to MLflow's server: one that starts is waited for, another kind of server is refused, in a sentence."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from src.system.errors import UserError
from src.tracking.uri import check


@contextmanager
def answering(
    status: int, content: bytes, place: str = "", port: int = 0, methods: Sequence[str] = ("GET",)
) -> Iterator[str]:
    """Serve the same answer to every question below `place`, and 404 elsewhere."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status if self.path.startswith(f"{place}/") else 404)
            self.send_header("Location", "http://127.0.0.1:1/login")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    for method in methods:
        setattr(Handler, f"do_{method}", Handler.answer)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{place}"
        server.shutdown()


@contextmanager
def talking(words: bytes) -> Iterator[str]:
    """Take connections, say `words` and close them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.recv(1 << 16)
                    client.sendall(words)

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


EXPERIMENT = json.dumps({"experiment": {"name": "Default"}}).encode()
NONE = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "No experiment"}).encode()


@pytest.mark.parametrize(
    ("status", "content"), [(200, EXPERIMENT), (404, NONE), (401, b"Log in"), (403, b"no"), (302, b"over there")]
)
def test_a_server_that_may_be_of_mlflow_is_believed(status: int, content: bytes) -> None:
    with answering(status, content, "/prefix") as uri:
        check(uri)
        check(uri.replace("//", "//me:secret@") + "/")


@pytest.mark.parametrize(
    ("status", "content"), [(200, b"<html>"), (404, b"not found"), (200, b"[1]"), (404, b'{"detail": "Not Found"}')]
)
def test_another_server_is_refused_at_once(status: int, content: bytes) -> None:
    with answering(status, content) as uri, pytest.raises(UserError) as refusal:
        check(uri)
    assert str(refusal.value) == (
        f"tracking.uri={uri}: what answers there is no server of MLflow's (HTTP {status}), so correct the URI."
    )


@pytest.mark.parametrize("words", [b"", b"220 ready\r\n", b"\x00" * 9], ids=["closes", "mail", "binary"])
@pytest.mark.parametrize("scheme", ["http", "https", "postgresql+psycopg"])
def test_what_is_no_such_server_at_all(scheme: str, words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.tracking.uri.OPENING", 0.0)
    with talking(words) as place, pytest.raises(UserError, match=r"^tracking\.uri=[^\n]*[^\n.]\.$"):
        check(f"{scheme}://{place}")


def test_a_server_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.tracking.uri.OPENING", 0.0)
    monkeypatch.setattr("src.tracking.uri.ATTEMPT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(UserError, match="no answer, so start the server or correct the URI"):
            check(uri)


def test_a_server_that_starts_is_waited_for_and_a_person_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200, EXPERIMENT) as uri:
        pass  # its port is free again
    starts = threading.Event()

    def serve() -> None:
        with answering(200, EXPERIMENT, port=int(uri.rpartition(":")[2])):
            starts.wait(10)

    timer = threading.Timer(0.2, serve)
    timer.start()
    try:
        check(uri)
    finally:
        starts.set()
        timer.join()
    assert capsys.readouterr().out == f"waiting for MLflow at {uri}: nothing answers there\n"


def test_a_busy_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.tracking.uri.OPENING", 0.0)
    with answering(503, b"") as uri, pytest.raises(UserError, match="it answers with HTTP 503, so start the server"):
        check(uri)
