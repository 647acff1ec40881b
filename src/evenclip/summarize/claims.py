"""Claims of the literature about a method, each stated as a test that any study with suitable runs can make.

Reads `config/claims.yaml`. A claim identifies its runs by role, not by name: `{balance.strategy: m4}` is a run balanced
with that strategy, `{train.simclip: true}` a run with that method switched on. `true` and `false` mean on and off, for
an option or for a method's whole block; any other value must match exactly.
"""

import difflib
import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from evenclip.errors import InputError
from evenclip.options import Options, read_yaml

STAGES = ("balance", "train", "label")


def _check_role(role: dict[str, object]) -> dict[str, object]:
    for key in role:
        if key.partition(".")[0] not in STAGES or "." not in key:
            raise ValueError(f"'{key}' is not an option: write e.g. balance.strategy, train.objective or train.simclip")
    return role


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z_]+/[\w*]+/[\w*]+$")]
Setting = bool | float | str | list[float] | list[str]
Role = Annotated[dict[str, Setting], AfterValidator(_check_role)]


class Claim(Options):
    """One claim; d = mean of the metric over seeds for `run` minus that for `reference`."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    """Identifier, unique in the file."""
    name: Text
    """The claim in a few words."""
    source: Text
    """Publication that makes the claim."""
    statement: Text
    """The claim in one sentence."""
    kind: Literal["lower", "higher", "not_lower", "not_higher", "equivalent", "pareto", "above_floor"]
    """`above_floor`: the run's mean is more than margin above the metric's floor;
    `lower`: d < -margin; `higher`: d > margin; `not_lower`: d > -margin; `not_higher`: d < margin; `equivalent`:
    abs(d) < margin; `pareto`: no other run is better in both `metric` (lower is better) and `against` (higher is)."""
    metric: Pattern
    """Metric, with `*` for any evaluation set, e.g. bias/*/rb; each matching metric is tested separately."""
    against: Pattern | None = None
    """Metric that should be high, for kind `pareto`."""
    people: bool | None = None
    """Restrict to metrics about people (true) or not about people (false), as set by the evaluation's task; null = all.
    For `pareto` this applies to `against`."""
    not_tested_because: Text | None = None
    """Why no study of this project can test the claim; it is then listed with this reason."""
    run: Role = {}
    """Run that the claim is about, by its options."""
    reference: Role | None = None
    """Run to compare with. Both runs must agree in every option that the claim does not name."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """Smallest relevant difference, in the metric's unit."""
    equivalence: Annotated[float, Field(gt=0)] | None = None
    """For `lower` and `higher`: differences smaller than this do not matter. If d is shown to be (two one-sided tests),
    the verdict is `equivalent`."""
    gate: Annotated[float, Field(ge=0)] = 0.05
    """Least distance of the reference's mean from the metric's floor (null study, else chance) and from its ceiling."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind in ("not_lower", "not_higher", "equivalent") and self.margin == 0:
            raise ValueError(f"{self.kind} needs a `margin` above 0: no data can show a difference of exactly 0")
        if self.not_tested_because:
            return self
        if not self.run:
            raise ValueError("give a `run`, or say `not_tested_because`")
        if (self.kind == "pareto") != (self.against is not None):
            raise ValueError("kind pareto needs `against`; other kinds do not take it")
        if (self.kind in ("pareto", "above_floor")) != (self.reference is None):
            raise ValueError("give a `reference`, except for pareto, which compares with all runs, and above_floor")
        if self.kind == "pareto" and self.margin:
            raise ValueError("pareto takes no margin")
        if self.equivalence and (self.kind not in ("lower", "higher") or self.margin):
            raise ValueError("`equivalence` is for kinds lower and higher without a margin")
        return self


class ClaimFile(Options):
    """File of claims."""

    claims: list[Claim]
    """Claims, in the order in which they are shown."""


def read_claims(path: Path) -> list[Claim]:
    """Read and check a file of claims; an `InputError` names the wrong claim and key."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError("a file of claims is a mapping", str(path), "claims: [{id: ..., name: ...}, ...]")
    claims = ClaimFile.parse(values, str(path)).claims
    ids = [claim.id for claim in claims]
    duplicates = [name for name in ids if ids.count(name) > 1]
    if duplicates:
        raise InputError(f"two claims have the id '{duplicates[0]}'", str(path), "give each claim its own id")
    return claims


def narrowed(claims: list[Claim], primary: Mapping[str, str]) -> list[Claim]:
    """The claims, those that are ``primary`` about the one metric that they are judged on.

    Parameters
    ----------
    claims : list of Claim
    primary : mapping of str to str
        Metric, or pattern of metrics, by the claim's id.

    Raises
    ------
    InputError
        There is no such claim, or it is not about this metric.
    """
    by_id = {claim.id: claim for claim in claims}
    for name, metric in primary.items():
        if name not in by_id:
            near = difflib.get_close_matches(name, by_id, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "name one of the file's claims"
            raise InputError(f"no claim has the id '{name[:100]}'", "summarize.primary", hint)
        if not fnmatch.fnmatchcase(metric, by_id[name].metric):
            what = f"the claim '{name}' is about {by_id[name].metric}, not {metric[:100]}"
            raise InputError(what, "summarize.primary", "name one of its metrics, with the evaluation set")
    return [
        claim.model_copy(update={"metric": primary[claim.id]}) if claim.id in primary else claim for claim in claims
    ]
