"""Live log of a training in MLflow: a background thread sends rows of its history without delaying the training.

If the store is slow or down, points of the live curve are delayed, and at worst the oldest are lost. The history in
results/ is always complete, and `evenclip track sync` writes it. Live runs are in a separate experiment, which the sync
does not touch. Command: `evenclip train --tracking-uri`.
"""

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

EXPERIMENT = "evenclip_live"
MAX_WAITING_ROWS = 1000  # while the store does not answer; the oldest are dropped
SEND_EVERY_S = 1.0  # MLflow takes about 30 ms a call, whatever it holds
RETRY_EVERY_S = 5.0
MAX_CLOSING_S = 10.0  # time to send remaining rows at the end of a training

Watch = Callable[[Mapping[str, Any]], None]


@contextmanager
def live_log(tracking_uri: str | None, name: str) -> Iterator[Watch | None]:
    """Context with a function that queues a row of the history and returns at once; None without a store.

    Parameters
    ----------
    tracking_uri : str or None
        An MLflow store.
    name : str
        Name of the run.
    """
    if tracking_uri is None:
        yield None
        return
    sender = _Sender(tracking_uri, name)
    try:
        yield sender.add
    finally:
        sender.close()


class _Sender(threading.Thread):
    """Thread that sends waiting rows until it is closed and none is left."""

    def __init__(self, tracking_uri: str, name: str):
        super().__init__(name="live log", daemon=True)
        self._tracking_uri, self._run_name = tracking_uri, name
        self._rows: deque[tuple[int, Mapping[str, Any]]] = deque(maxlen=MAX_WAITING_ROWS)  # time in ms, row
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._client, self._run_id = None, None
        # with MLflow's default retries one call can block for many minutes
        os.environ |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
        self.start()

    def add(self, row: Mapping[str, Any]) -> None:
        """Queue a row."""
        with self._lock:
            self._rows.append((int(time.time() * 1000), dict(row)))

    def close(self) -> None:
        """Wait up to `MAX_CLOSING_S` for the remaining rows."""
        self._closed.set()
        self.join(MAX_CLOSING_S)
        if self._rows:
            print(
                f"live log: {len(self._rows)} rows were not sent; `evenclip track sync` writes all of them",
                file=sys.stderr,
            )

    def run(self) -> None:
        """Send rows until closed."""
        is_down = False
        while True:
            closed = self._closed.wait(SEND_EVERY_S)
            with self._lock:
                rows = list(self._rows)
            if not rows and closed:
                break
            if not rows:
                continue
            try:
                self._send(rows)
            except Exception as error:  # a client of a store that is down may raise anything
                if not is_down:
                    reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                    print(f"live log: {self._tracking_uri} does not answer ({reason}); retrying", file=sys.stderr)
                is_down = True
                self._closed.wait(RETRY_EVERY_S)
                time.sleep(SEND_EVERY_S)
                continue
            if is_down:
                print(f"live log: {self._tracking_uri} answers again", file=sys.stderr)
            is_down = False
            with self._lock:
                sent = set(map(id, rows))
                while self._rows and id(self._rows[0]) in sent:
                    self._rows.popleft()
        if self._run_id and not is_down:
            self._client.set_terminated(self._run_id)

    def _send(self, rows: list[tuple[int, Mapping[str, Any]]]) -> None:
        from evenclip.track.store import connect, log_rows  # MLflow takes seconds to import: in this thread

        if self._client is None:
            logging.getLogger("urllib3").setLevel(logging.ERROR)  # it reports every attempt
            self._client = connect(self._tracking_uri)
        if self._run_id is None:
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
            self._run_id = self._client.create_run(experiment_id, run_name=self._run_name).info.run_id
        log_rows(self._client, self._run_id, rows)
