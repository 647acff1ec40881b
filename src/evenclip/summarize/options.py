"""Options of the summarize stage."""

from evenclip.options import Options


class SummarizeOptions(Options):
    """Options for summarising a finished study."""

    claims: str | None = "config/claims.yaml"
    """File of claims to test on the study's results; null = none."""
