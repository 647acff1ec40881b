"""Which runs of a study a claim is about: found by what a run has switched on, never by its name."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from evenclip.summarize.claims import Claim

# the other balance options (tolerances, retention, cap) belong to a strategy and may differ with it
COMPARED_OF_BALANCE = ("balance.strategy", "balance.proxies")


@dataclass(frozen=True, eq=False)
class RunFacts:
    """A run and all its options, flat: `balance.strategy`, `train.lr`, `train.simclip.share`, ...

    A method that is off has one key, `train.simclip`: None.
    """

    name: str
    options: dict[str, Any]

    @classmethod
    def of(cls, name: str, **stages: dict[str, Any]) -> "RunFacts":
        """From the options of each stage, as they stand in the manifests; weights by the name of their strategy."""
        return cls(name, {key: _strategy_of(value) for key, value in _flat(stages)})

    def has(self, key: str, setting: Any) -> bool:
        """Does the run have this setting? True and False stand for on and off, also of a method's whole block."""
        if isinstance(setting, bool):
            block = any(name.startswith(f"{key}.") for name in self.options)
            return (block or bool(self.options.get(key))) == setting
        return key in self.options and self.options[key] == setting

    def fits(self, role: dict[str, Any]) -> bool:
        """Does the run have all settings of a role?"""
        return all(self.has(key, setting) for key, setting in role.items())

    def differs(self, other: "RunFacts") -> set[str]:
        """Options in which two runs differ, but for those that belong to a balancing strategy."""
        keys = self.options.keys() | other.options.keys()
        return {
            key
            for key in keys
            if self.options.get(key) != other.options.get(key)
            and (not key.startswith("balance.") or key in COMPARED_OF_BALANCE)
        }


def find_run(role: dict[str, Any], runs: list[RunFacts]) -> RunFacts | str:
    """The run that fits a role and is otherwise nearest to the study's first; or, why there is none."""
    fitting = [run for run in runs if run.fits(role)]
    return min(fitting, key=lambda run: len(run.differs(runs[0]))) if fitting else f"no run has {_text(role)}"


def find_pair(claim: Claim, runs: list[RunFacts]) -> tuple[RunFacts, RunFacts] | str:
    """Run and reference of a claim, equal in all that it does not name; or, why there are none.

    Of several such pairs it is the one nearest to the study's first run, the baseline; of several of these, the one
    with the fewest differences between its two runs, and then the first in the order of the runs.
    """
    named = claim.run.keys() | claim.reference.keys()
    fitting = [[run for run in runs if run.fits(role)] for role in (claim.run, claim.reference)]
    for role, candidates in zip((claim.run, claim.reference), fitting, strict=True):
        if not candidates:
            return f"no run has {_text(role)}"
    pairs = [(a, b) for a, b in itertools.product(*fitting) if a is not b]
    if not pairs:
        return "run and reference are the same run"
    stray = {pair: sorted(_unnamed(*pair, named)) for pair in pairs}
    controlled = [pair for pair in pairs if not stray[pair]]
    if not controlled:
        near = min(pairs, key=lambda pair: len(stray[pair]))
        return f"{near[0].name} and {near[1].name} differ also in {', '.join(stray[near][:3])}"
    return min(
        controlled, key=lambda pair: (sum(len(run.differs(runs[0])) for run in pair), len(pair[0].differs(pair[1])))
    )


def _unnamed(run: RunFacts, reference: RunFacts, named: Iterable[str]) -> set[str]:
    """Options in which two runs differ that a claim does not name.

    A whole block is named only where it is on in one run and off in the other: then it cannot be equal. Where both have
    it, naming it, or one of its options, says nothing of the others.
    """
    paths = {key[:end] for key in named for end in [*_dots(key), len(key)]}
    switched = [path for path in paths if run.has(path, True) != reference.has(path, True)]
    return {
        key
        for key in run.differs(reference)
        if key not in named and not any(f"{key}.".startswith(f"{path}.") for path in switched)
    }


def _dots(key: str) -> list[int]:
    return [i for i, letter in enumerate(key) if letter == "."]


def _flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _strategy_of(value: Any) -> Any:
    """The strategy whose weights a path names; any other value as it is."""
    parts = PurePath(value).parts if isinstance(value, str) else ()
    return parts[-2] if parts[-3::2] == ("balance", "weights.parquet") else value


def _text(role: dict[str, Any]) -> str:
    words = {True: "on", False: "off"}
    return " and ".join(
        f"{key} {words[setting] if isinstance(setting, bool) else setting}" for key, setting in role.items()
    )
