"""Of drivers on several machines one writes a study: another is refused until the first is gone, however it goes."""

from contextlib import ExitStack

import pytest

from src.study import writer
from src.study.writer import only_writer
from src.system.errors import UserError
from tests.support.postgres import Server

pytestmark = pytest.mark.usefixtures("no_connection_stays")


@pytest.fixture(autouse=True)
def _no_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MOMENT", 0.2)


def test_one_driver_writes_the_studies_of_a_name(postgres: Server) -> None:
    url = postgres.fresh()
    with only_writer(url, "digits-mlp-1-", "the sweep of digits-mlp"):
        with only_writer(url, "digits-cnn-1-", "the sweep of digits-cnn") as other:
            assert other
        with (
            pytest.raises(UserError, match="the sweep of digits-mlp is running already, on another machine"),
            only_writer(url, "digits-mlp-1-", "the sweep of digits-mlp"),
        ):
            pass
    with only_writer(url, "digits-mlp-1-", "the sweep of digits-mlp") as again:
        assert again


def test_who_lost_the_server_writes_on_unless_another_does(postgres: Server) -> None:
    url = postgres.fresh()
    with ExitStack() as stack:
        first = stack.enter_context(only_writer(url, "a-", "the sweep of a"))
        assert first
        postgres.stop(crash=True)
        postgres.start()
        first.renew()
        postgres.stop(crash=True)
        postgres.start()
        assert stack.enter_context(only_writer(url, "a-", "the sweep of a")), "the second takes the place of the first"
        with pytest.raises(UserError, match="the sweep of a is running already"):
            first.renew()


def test_no_lock_where_there_is_no_server_and_a_sentence_where_it_is_away(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("src.study.storage.OPENING", 1.0)
    for url in (None, f"sqlite:///{tmp_path}/optuna.db"):
        with only_writer(url, "a-", "the sweep of a") as none:
            assert none is None
    with (
        pytest.raises(UserError, match=r"storage: postgresql\+psycopg://\*\*\*@127\.0\.0\.1:1/x cannot be opened"),
        only_writer("postgresql+psycopg://me:secret@127.0.0.1:1/x", "a-", "the sweep of a"),
    ):
        pass
    assert capsys.readouterr().out.startswith("waiting for the database postgresql+psycopg://***@127.0.0.1:1/x: ")
