"""Options of the balance stage: one block per strategy of a study file."""

from typing import Annotated, Literal

from pydantic import Field

from evenclip.options import Options
from evenclip.plugins import summaries_of

STRATEGIES = summaries_of("evenclip.balance.strategies")
"""What each strategy does, in one line, by its name."""

_DESCRIPTION = "How rows are weighted. " + " ".join(f"`{name}`: {summary}" for name, summary in STRATEGIES.items())

OpenShare = Annotated[float, Field(gt=0, lt=1)]
Tolerance = Annotated[float, Field(ge=0, le=1)]


class BalanceOptions(Options):
    """How examples are weighted; the symbols are those of docs/balance.md."""

    strategy: Annotated[Literal[tuple(STRATEGIES)], Field(description=_DESCRIPTION)] = "m4"
    proxies: bool = False
    """Also match the moments of the `proxy.*` columns (M4 with proxies)."""
    target: dict[str, OpenShare] = {}
    """Target share of a group, e.g. {gender.woman: 0.5}; groups without one share what their attribute covers."""
    attribute_coding: Literal["auto", "one_hot", "signed"] = "auto"
    """`signed` balances a pair of groups among the rows that show exactly one of them; `one_hot` balances each group
    against all other rows; `auto`: signed for attributes with two groups, one_hot otherwise."""
    retention: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = "auto"
    """Mean weight (eta); `auto` takes the largest one that can satisfy the constraints, less a thousandth of it."""
    cap: Annotated[float, Field(ge=1, le=100)] = 1.0
    """Largest weight (Q); 1 = subsampling, above 1 examples may repeat."""
    eps_rep: Tolerance = 0.005
    """Tolerance on a group's share (representation bias)."""
    eps_rel: Tolerance = 0.05
    """Tolerance on an association, relative to the label's own frequency (association bias)."""
    eps_abs: Tolerance | None = None
    """Tolerance on an association as an absolute moment, instead of `eps_rel`."""
    enforcement: Annotated[float, Field(gt=0)] | None = None
    """Price of a violated constraint (V); None = constraints are hard."""
    allow_infeasible: bool = False
    """When the constraints cannot hold, return the least violation (at enforcement 100 if none is given)."""
    utility_bits: Annotated[int, Field(ge=1, le=24)] = 8
    """Utilities are read in 2^bits bins; the weights move by at most retention/2^(bits+1) in root mean square."""
