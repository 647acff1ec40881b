"""Options of the summarize stage."""

from typing import Annotated

from pydantic import AfterValidator, Field

from evenclip.options import Options
from evenclip.summarize.claims import Pattern

MOST_PRIMARY = 12
OWN_VARIANCE = 8
"""Seeds from which on a variance needs no others beside it; also the fewest for a verdict."""


Seeds = Annotated[int, Field(ge=OWN_VARIANCE)]


def _rising(looks: list[int]) -> list[int]:
    if looks != sorted(set(looks)):
        raise ValueError("looks are numbers of seeds that rise")
    return looks


class SummarizeOptions(Options):
    """Options for summarising a finished study."""

    claims: str | None = "config/claims.yaml"
    """File of claims to test on the study's results; null = none."""
    looks: Annotated[list[Seeds], Field(min_length=1), AfterValidator(_rising)] = [8, 16, 24]
    """Numbers of seeds after which claims are judged. They share the error rate (O'Brien-Fleming type, little at
    first), so that a study can stop at each; the last is the most that verdicts are made of. [8]: one look, for a study
    that is not to grow."""
    primary: Annotated[dict[str, Pattern], Field(max_length=MOST_PRIMARY)] = {}
    """The claims that the study is made for, at most 12, named before it is run: each with the metric that decides it,
    e.g. {m4_lowers_ab: bias/world_ambiguous/ab_max}. They are adjusted among themselves (Holm at 0.05), all other
    claims, which are exploratory, by the method of Benjamini and Hochberg."""
    null_seeds: str | None = None
    """seeds.csv of a null study: the same runs on data without bias. The means of its first run are the floors of the
    bias metrics; null = what a model that guesses scores."""
