"""Claims: what the literature says of a method, each as a test that any study with the right runs can make.

Reads `config/claims.yaml`. A claim names its runs by role, not by name: `{balance.strategy: m4}` is whichever run was
balanced so, `{train.simclip: true}` whichever has that method switched on. `true` and `false` stand for on and off, of
an option or of a method's whole block; any other value for itself.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from evenclip.errors import InputError
from evenclip.options import Options, read_yaml

STAGES = ("balance", "train", "label")


def _check_role(role: dict[str, object]) -> dict[str, object]:
    for key in role:
        if key.partition(".")[0] not in STAGES or "." not in key:
            raise ValueError(f"'{key}' is no option: write e.g. balance.strategy, train.objective or train.simclip")
    return role


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z_]+/[\w*]+/[\w*]+$")]
Setting = bool | float | str | list[float] | list[str]
Role = Annotated[dict[str, Setting], AfterValidator(_check_role)]


class Claim(Options):
    """One claim; d = the metric's mean over seeds of `run` less that of `reference`."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    """Unique in the file."""
    name: Text
    """The claim in a few words."""
    source: Text
    """Where it is made."""
    statement: Text
    """What is said, in a sentence."""
    kind: Literal["lower", "higher", "not_lower", "not_higher", "equivalent", "pareto"]
    """`lower`: d < -margin; `higher`: d > margin; `not_lower`: d > -margin; `not_higher`: d < margin; `equivalent`:
    abs(d) < margin; `pareto`: no other run is better in both `metric` (less is better) and `against` (more is)."""
    metric: Pattern
    """Metric, with `*` for any evaluation set, e.g. bias/*/rb; every metric that fits is a test of its own."""
    against: Pattern | None = None
    """`pareto`: the metric that should be high."""
    people: bool | None = None
    """Only metrics that are (true) or are not (false) about people, as the evaluation's task says; null = all. Of
    `pareto` it is `against` that is chosen so."""
    run: Role
    """The run that the claim is about, by what it has switched on."""
    reference: Role | None = None
    """The run that it is compared with; both must agree in everything that the claim does not name."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """Smallest difference that counts, in the metric's unit."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.kind == "pareto") != (self.against is not None):
            raise ValueError("`against` belongs to kind pareto, and to no other")
        if (self.kind == "pareto") != (self.reference is None):
            raise ValueError("give a `reference`; pareto has none, since it compares with all runs")
        if self.kind in ("not_lower", "not_higher", "equivalent") and self.margin == 0:
            raise ValueError(f"{self.kind} needs a `margin` above 0: no data can show that nothing changed at all")
        if self.kind == "pareto" and self.margin:
            raise ValueError("pareto has no margin")
        return self


class ClaimFile(Options):
    """A file of claims."""

    claims: list[Claim]
    """The claims, in the order in which they are shown."""


def read_claims(path: Path) -> list[Claim]:
    """Read and check a file of claims; `InputError` names the claim and key that is wrong."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError("a file of claims is a mapping", str(path), "claims: [{id: ..., name: ...}, ...]")
    claims = ClaimFile.parse(values, str(path)).claims
    ids = [claim.id for claim in claims]
    twice = [name for name in ids if ids.count(name) > 1]
    if twice:
        raise InputError(f"two claims have the id '{twice[0]}'", str(path), "give each claim its own id")
    return claims
