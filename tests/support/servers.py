"""Servers of a test: free ports for them, and waiting until they answer."""

import socket
import time
from collections.abc import Callable

START_S = 60


def free_ports(n: int) -> list[int]:
    """Ports of this machine that nobody listens at."""
    sockets = [socket.socket() for _ in range(n)]
    for listener in sockets:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def wait_for(is_so: Callable[[], bool], what: str, seconds: float = START_S) -> None:
    """Wait until something is so; fail after some time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{seconds:.0f} s and not yet: {what}"
        time.sleep(0.3)


def listens(port: int) -> bool:
    """Whether somebody listens at a port of this machine."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
