"""A server that is gone for a moment, at any message of a sweep that opens its study and goes on, ends no sweep."""

import select
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from src.study.left_behind import left_behind
from src.study.writer import only_writer
from tests.support.postgres import Server
from tests.support.stored import Stored, identity, opened, table

pytestmark = pytest.mark.usefixtures("no_connection_stays")

AWAY = 0.3  # seconds
STEPS = 4  # of the sweep


class Gate:
    """Lies between a client and a server. At one message of the client's it drops all and lets nobody in for a moment."""

    def __init__(self, server: int, cut: int, lost: bool) -> None:
        """Stand before the port `server` until message `cut`, which the server still gets where its answer is `lost`."""
        self.server, self.cut, self.lost = server, cut, lost
        self.messages = 0
        self.open: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._listen()

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=[self.listener], daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=[client], daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self.server)) as server:
            self.open += [client, server]
            while True:
                for source in select.select([client, server], [], [])[0]:
                    if not (data := source.recv(1 << 16)):
                        return
                    self.messages += source is client
                    if source is client and self.messages == self.cut:
                        self._drop(server, data)
                        return
                    (server if source is client else client).sendall(data)

    def _drop(self, server: socket.socket, data: bytes) -> None:
        if self.lost:
            server.sendall(data)
            server.recv(1 << 16)
        self.close()
        threading.Timer(AWAY, self._reopen).start()

    def _reopen(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self._listen()

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self.open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.open = []


def swept(folder: Path, url: str) -> list[object]:
    """A sweep of some steps that opens its study, and what it has then."""
    with only_writer(url, identity().stem, "the sweep") as writer:
        left_behind(folder, url, identity())
        study = opened(folder, url)
        study.writer = writer
        live = Stored(study)
        for _ in range(STEPS):
            live.step()
        return table(live.history)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    live = Stored(opened(tmp_path_factory.mktemp("undisturbed")))
    for _ in range(STEPS):
        live.step()
    return table(live.history)


@pytest.mark.slow
@pytest.mark.parametrize(("cut", "lost"), [(2, False), (16, True), (86, True), (121, False), (170, True)])
def test_a_server_that_is_gone_for_a_moment_is_waited_for(
    cut: int, lost: bool, postgres: Server, tmp_path: Path, undisturbed: list[object]
) -> None:
    gate, url = Gate(postgres.port, cut, lost), postgres.fresh()
    try:
        assert swept(tmp_path, url.replace(str(postgres.port), str(gate.port))) == undisturbed
        assert gate.messages > cut
    finally:
        gate.close()
    assert table(opened(tmp_path, url).history) == undisturbed
