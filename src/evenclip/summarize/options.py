"""Options of the summarize stage."""

from evenclip.options import Options


class SummarizeOptions(Options):
    """What is asked of the finished study."""

    claims: str | None = "config/claims.yaml"
    """File of claims that are tested on the study's results; null = none."""
