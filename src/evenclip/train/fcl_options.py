"""Options of the fair contrastive loss."""

from typing import Annotated

from pydantic import Field

from evenclip.options import Options


class FclOptions(Options):
    """A loss on the association of perceived groups with labels, as the model sees them while it is trained."""

    weight: Annotated[float, Field(gt=0)] = 0.02
    """Weight of the loss (lambda)."""
    prompts: str
    """Prompt file of the labels, e.g. config/prompts/occupations.yaml."""
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """What a past batch counts, relative to the one after it; groups are too rare for a batch alone."""
