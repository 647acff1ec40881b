"""Options of two-stage trainings."""

from typing import Annotated

from pydantic import Field

from evenclip.options import Options


class StagesOptions(Options):
    """A training that changes its data: first the pairs of other weights, then those of its own strategy."""

    first: str
    """Weights of the first stage: a strategy of the study, or the path of a weights.parquet."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps that the first stage has."""
