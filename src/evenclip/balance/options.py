"""Options of the balance stage: one block per strategy of a study file."""

from typing import Annotated, Literal

from pydantic import Field

from evenclip.options import Count, Options
from evenclip.plugins import summaries_of

STRATEGIES = summaries_of("evenclip.balance.strategies")
"""What each strategy does, in one line, by its name."""

_DESCRIPTION = "How rows are weighted. " + " ".join(f"`{name}`: {summary}" for name, summary in STRATEGIES.items())

OpenShare = Annotated[float, Field(gt=0, lt=1)]
Tolerance = Annotated[float, Field(ge=0, le=1)]
Cap = Annotated[float, Field(ge=1, le=100)]

PRESERVING_CAP = 10.0


class BalanceOptions(Options):
    """How examples are weighted; the symbols are those of docs/balance.md."""

    strategy: Annotated[Literal[tuple(STRATEGIES)], Field(description=_DESCRIPTION)] = "m4"
    proxies: bool = False
    """Also match the moments of the `proxy.*` columns (M4 with proxies)."""
    preserve: Literal["none", "labels"] = "none"
    """`labels`: every label (and proxy, with `proxies`) keeps its share of the examples, and so do the rows that show a
    group of a signed pair. Without it M4 may balance a label by removing most of its rows."""
    preserve_tolerance: Tolerance = 0.1
    """How much of its share a preserved label may lose or gain (delta), e.g. 0.1 = it keeps 90 % to 110 %."""
    target: dict[str, OpenShare] = {}
    """Target share of a group, e.g. {gender.woman: 0.5}; groups without one share what their attribute covers."""
    attribute_coding: Literal["auto", "one_hot", "signed"] = "auto"
    """`signed` balances a pair of groups among the rows that show exactly one of them; `one_hot` balances each group
    against all other rows; `auto`: signed for attributes with two groups, one_hot otherwise."""
    retention: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = "auto"
    """Mean weight (eta); `auto` takes the largest one that can satisfy the constraints, less a thousandth of it."""
    cap: Cap | None = None
    """Largest weight (Q); 1 = subsampling, above 1 examples may repeat. null: 1, or 10 with `preserve: labels`, which
    must repeat rows that are rare."""
    max_copies: Annotated[float, Field(ge=1, le=255)] | None = None
    """Most copies of a row per epoch, that is the largest weight relative to the mean weight; null = no limit."""
    label_limit: Count | None = None
    """Rows that metaclip keeps of a frequent label (t); null = as many as keep the share `retention` of all rows, or as
    many rows as m4 keeps where that is `auto`."""
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
    min_rows: Count = 1
    """Groups and labels with fewer rows are left out with a warning; with `preserve: labels` also labels that fewer
    rows have on either side of a contrast."""
    strict: bool = False
    """Refuse a table where a group or label would be left out: constant groups, labels that are never true."""
    utility_bits: Annotated[int, Field(ge=1, le=24)] = 8
    """Utilities are read in 2^bits bins; the weights move by at most retention/2^(bits+1) in root mean square."""

    @property
    def largest_weight(self) -> float:
        """Q: the cap that is given, or its default."""
        if self.cap is not None:
            return self.cap
        return PRESERVING_CAP if self.preserve == "labels" else 1.0
