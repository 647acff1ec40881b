"""The live log: all rows arrive, a store that is slow or down delays nothing and loses no row that it has room for."""

import time
from types import SimpleNamespace

import pytest

from evenclip.track import live, store
from evenclip.track.live import live_log


class FakeStore:
    """An MLflow client that can be down, or slow."""

    def __init__(self):
        self.rows, self.down, self.delay_s, self.ended, self.n_runs = [], False, 0.0, [], 0

    def _answer(self) -> None:
        time.sleep(self.delay_s)
        if self.down:
            raise ConnectionError("refused\nat length")

    def get_experiment_by_name(self, name: str) -> None:
        self._answer()

    def create_experiment(self, name: str) -> str:
        return "1"

    def create_run(self, experiment_id: str, run_name: str) -> SimpleNamespace:
        self.n_runs += 1
        self.name = run_name
        return SimpleNamespace(info=SimpleNamespace(run_id="r"))

    def log_batch(self, run_id: str, metrics: list) -> None:
        self._answer()
        self.rows += [(metric.key, metric.value, metric.step) for metric in metrics]

    def set_terminated(self, run_id: str) -> None:
        self.ended.append(run_id)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    made = FakeStore()
    monkeypatch.setattr(store, "connect", lambda uri: made)
    monkeypatch.setattr(live, "SEND_EVERY_S", 0.01)
    monkeypatch.setattr(live, "RETRY_EVERY_S", 0.01)
    return made


def row(step: int) -> dict:
    return {"step": step, "loss": step / 2}


def test_all_rows_arrive_in_one_run(fake: FakeStore):
    with live_log("http://store", "plain/seed0") as watch:
        for step in range(1, 4):
            watch(row(step))
            time.sleep(0.03)
    assert [sent for sent in fake.rows if sent[0] == "train/loss"] == [("train/loss", s / 2, s) for s in (1, 2, 3)]
    assert (fake.n_runs, fake.name, fake.ended) == (1, "plain/seed0", ["r"])


def test_rows_wait_while_the_store_is_down(fake: FakeStore, capsys: pytest.CaptureFixture):
    with live_log("http://store", "run") as watch:
        watch(row(1))
        time.sleep(0.1)
        fake.down = True
        watch(row(2))
        time.sleep(0.1)
        watch(row(3))
        fake.down = False
    assert [step for key, _, step in fake.rows if key == "train/loss"] == [1, 2, 3]
    said = capsys.readouterr().err
    assert said.count("does not answer (ConnectionError: refused); retrying") == 1 and "answers again" in said


def test_a_store_that_never_answers_delays_no_training(
    fake: FakeStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(live, "MAX_CLOSING_S", 0.2)
    monkeypatch.setattr(live, "MAX_WAITING_ROWS", 50)
    fake.delay_s, fake.down = 0.05, True
    started = time.monotonic()
    with live_log("http://store", "run") as watch:
        for step in range(1000):
            watch(row(step))
        assert time.monotonic() - started < 0.5
    assert time.monotonic() - started < 5
    assert "50 rows were not sent" in capsys.readouterr().err
    fake.down = False  # so that its thread ends


def test_an_error_of_the_training_is_not_hidden(fake: FakeStore):
    with pytest.raises(ValueError, match="of the training"), live_log("http://store", "run") as watch:
        watch(row(1))
        raise ValueError("of the training")
    assert len(fake.rows) == 2


def test_without_a_store_there_is_no_live_log():
    with live_log(None, "run") as watch:
        assert watch is None
