"""Options of EfficientCL's augmentation of hidden states."""

from typing import Annotated

from pydantic import Field

from evenclip.options import Options

Rate = Annotated[float, Field(ge=0, le=1)]


class EfficientClOptions(Options):
    """How strongly hidden states are disturbed: a rate that grows with the training's clock."""

    start: Rate = 0.01
    """Rate at the start, of both towers: the share of a sequence that is cut, and the deviation of the jitter."""
    image_end: Rate = 0.1
    """Rate of the image tower at the end."""
    text_end: Rate = 0.3
    """Rate of the text tower at the end; captions are short."""
    levels: Annotated[int, Field(ge=2)] | None = 10
    """The rate grows in so many equal steps; null = continuously."""
