"""Selection of the runs that a claim is about, by their options rather than their names."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from evenclip.summarize.claims import Claim

# the other balance options (tolerances, retention, cap) belong to a strategy and may differ with it
COMPARED_OF_BALANCE = ("balance.strategy", "balance.proxies", "balance.preserve")


@dataclass(frozen=True, eq=False)
class RunFacts:
    """A run with all its options as flat keys: `balance.strategy`, `train.lr`, `train.simclip.share`, ...

    A method that is off has a single key with the value None, such as `train.simclip`.
    """

    name: str
    options: dict[str, Any]

    @classmethod
    def of(cls, name: str, **stages: dict[str, Any]) -> "RunFacts":
        """Create from each stage's options in the manifests.

        Paths of weights are replaced by the name of their strategy, those of trained models by the name of their run.
        """
        return cls(name, {key: _named(value) for key, value in _flat(stages)})

    def has(self, key: str, setting: Any) -> bool:
        """Whether the run has this setting. True and False mean on and off, also for a method's whole block."""
        if isinstance(setting, bool):
            block = any(name.startswith(f"{key}.") for name in self.options)
            return (block or bool(self.options.get(key))) == setting
        return key in self.options and self.options[key] == setting

    def fits(self, role: dict[str, Any]) -> bool:
        """Whether the run has all settings of a role."""
        return all(self.has(key, setting) for key, setting in role.items())

    def differs(self, other: "RunFacts") -> set[str]:
        """Options in which two runs differ, except those that belong to a balancing strategy."""
        keys = self.options.keys() | other.options.keys()
        return {
            key
            for key in keys
            if self.options.get(key) != other.options.get(key)
            and (not key.startswith("balance.") or key in COMPARED_OF_BALANCE)
        }


def find_run(role: dict[str, Any], runs: list[RunFacts]) -> RunFacts | str:
    """Run that fits a role and differs least from the study's first run, or the reason why there is none."""
    fitting = [run for run in runs if run.fits(role)]
    return min(fitting, key=lambda run: len(run.differs(runs[0]))) if fitting else f"no run has {_text(role)}"


def find_pair(claim: Claim, runs: list[RunFacts]) -> tuple[RunFacts, RunFacts] | str:
    """Run and reference of a claim, equal in all options that it does not name, or the reason why there are none.

    If several pairs qualify, the one that differs least from the study's first run (the baseline) is chosen. Ties go
    to the pair with the fewest differences between its two runs, and then to the first in the order of the runs.
    """
    named = claim.run.keys() | claim.reference.keys()
    fitting = [[run for run in runs if run.fits(role)] for role in (claim.run, claim.reference)]
    for role, candidates in zip((claim.run, claim.reference), fitting, strict=True):
        if not candidates:
            return f"no run has {_text(role)}"
    pairs = [(a, b) for a, b in itertools.product(*fitting) if a is not b]
    if not pairs:
        return "run and reference are the same run"
    unnamed = {pair: sorted(_unnamed(*pair, named)) for pair in pairs}
    controlled = [pair for pair in pairs if not unnamed[pair]]
    if not controlled:
        nearest = min(pairs, key=lambda pair: len(unnamed[pair]))
        return f"{nearest[0].name} and {nearest[1].name} differ also in {', '.join(unnamed[nearest][:3])}"
    return min(
        controlled, key=lambda pair: (sum(len(run.differs(runs[0])) for run in pair), len(pair[0].differs(pair[1])))
    )


def _unnamed(run: RunFacts, reference: RunFacts, named: Iterable[str]) -> set[str]:
    """Options that differ between two runs although the claim does not name them.

    A block that is on in one run and off in the other counts as named as a whole, since it cannot be equal. If both
    runs have the block, only the named options may differ.
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


def _named(value: Any) -> Any:
    """Name of the strategy or run whose weights a path holds; any other value is returned unchanged."""
    parts = PurePath(value).parts if isinstance(value, str) else ()
    if parts[-3::2] == ("balance", "weights.parquet"):
        return parts[-2]
    return parts[-3] if parts[-4::3] == ("train", "model.safetensors") else value


def _text(role: dict[str, Any]) -> str:
    words = {True: "on", False: "off"}
    return " and ".join(
        f"{key} {words[setting] if isinstance(setting, bool) else setting}" for key, setting in role.items()
    )
