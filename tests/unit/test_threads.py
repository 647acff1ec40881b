"""The ordered map in threads: order, bound, exceptions, and that its threads end."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenclip.threads import map_in_order


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3), max_size=20), st.integers(1, 4), st.integers(1, 6))
def test_results_come_in_the_order_of_the_items(naps_ms, workers, ahead):
    def nap(item):
        number, ms = item
        time.sleep(ms / 1000)
        return number

    assert list(map_in_order(nap, enumerate(naps_ms), workers, ahead)) == list(range(len(naps_ms)))


@pytest.mark.parametrize("ahead", [1, 5])
def test_no_more_items_are_taken_than_allowed(ahead):
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    for number in map_in_order(lambda item: item, items(), 2, ahead):
        assert len(taken) - number <= ahead


def test_exceptions_reach_the_consumer_in_order():
    def fail_at_three(item):
        if item == 3:
            raise ValueError("three")
        return item

    results = map_in_order(fail_at_three, range(10), 4, 8)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_threads_end_when_the_consumer_stops():
    before = threading.active_count()
    stop = threading.Event()
    calls = []

    def wait(item):
        calls.append(item)
        if item:
            stop.wait(20)
        return item

    results = map_in_order(wait, range(1000), 2, 50, on_abort=stop.set)
    assert next(results) == 0
    start = time.monotonic()
    results.close()
    assert threading.active_count() == before
    assert len(calls) < 10 and time.monotonic() - start < 5


def test_a_failing_source_of_items_ends_the_threads():
    before = threading.active_count()

    def items():
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(map_in_order(lambda item: item, items(), 2, 4))
    assert threading.active_count() == before
