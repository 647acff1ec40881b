"""Fuzzing of readers for a given time: inputs drawn by hypothesis, damaged or odd, and what must hold of them.

A property returns what became of one input: "refused" (an `InputError`) or "equal" (it was read, and an independent
reader says the same). Everything else, a traceback or another value, is a failure, which hypothesis makes small.
"""

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

Property = Callable[[st.DataObject], str]
EXAMPLES = 50  # drawn between two looks at the clock


def fuzz(properties: list[Property], seconds: float, first_seed: int = 0) -> tuple[dict[str, Counter], list[str]]:
    """Try the properties in turn for so many seconds of CPU time.

    Returns
    -------
    outcomes : dict
        For each property by name, how often each outcome was seen.
    failures : list of str
        The traceback of each failed round, made small.
    """
    outcomes: dict[str, Counter] = {check.__name__: Counter() for check in properties}
    failures: list[str] = []
    started, number = time.process_time(), first_seed
    while number == first_seed or time.process_time() - started < seconds:
        for checked in properties:
            try:
                _round(checked, outcomes[checked.__name__], number, EXAMPLES if seconds > 5 else 10)
            except KeyboardInterrupt:  # Ctrl-C: report what there is
                return outcomes, failures
            except BaseException as error:
                failures.append(
                    f"{checked.__name__}, seed {number}\n" + "".join(traceback.format_exception(error)[-12:])
                )
        number += 1
    return outcomes, failures


def _round(checked: Property, outcomes: Counter, number: int, n: int) -> None:
    @seed(number)
    @settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(HealthCheck),
              phases=[Phase.generate, Phase.shrink])  # fmt: skip
    @given(st.data())
    def run(data: st.DataObject) -> None:
        outcomes[checked(data)] += 1

    run()


def main(properties: list[Property]) -> None:
    """Command line of a fuzzer: ``--seconds`` of CPU time, ``--seed`` to begin with; exit status 1 on a failure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes, failures = fuzz(properties, arguments.seconds, arguments.seed)
    for name, counted in outcomes.items():
        print(f"{name}: {sum(counted.values())} inputs, {dict(counted)}")
    print(f"{len(failures)} failures in {time.process_time():.0f} s of CPU time")
    for failure in failures[:10]:
        print(failure, file=sys.stderr)
    sys.exit(bool(failures))


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """Content with one to three bytes or spans changed, cut, doubled, inserted or left out."""
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 2**40)) % max(1, len(content))  # evenly, where hypothesis alone likes small ones
        end = min(len(content), at + data.draw(st.sampled_from([1, 1, 2, 4, 8, 64, 1024])))
        kind = data.draw(st.sampled_from(["flip", "flip", "set", "cut", "drop", "double", "insert", "zero"]))
        if kind == "flip" and content:
            flipped = content[at] ^ (1 << data.draw(st.integers(0, 7)))
            content = content[:at] + bytes([flipped]) + content[at + 1 :]
        elif kind == "set":
            content = content[:at] + data.draw(st.binary(min_size=1, max_size=8)) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "drop":
            content = content[:at] + content[end:]
        elif kind == "double":
            content = content[:end] + content[at:end] + content[end:]
        elif kind == "insert":
            content = content[:at] + data.draw(st.binary(min_size=1, max_size=16)) + content[at:]
        else:
            content = content[:at] + bytes(end - at) + content[end:]
    return content
