"""Options of the label stage, and what names an attribute set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from evenclip.options import Options

Share = Annotated[float, Field(ge=0, le=1)]


class LabelOptions(Options):
    """How pairs are labelled."""

    pool: Literal["any", "majority"] = "any"
    """A pair has a label if one of its captions names it (`any`), or if more than half of them do (`majority`)."""
    min_confidence: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Calibrated probability below which the image side abstains: its labels of that image are null."""
    utility: list[Literal["similarity", "caption_length", "resolution", "wording"]] = []
    """What the column `utility` is the product of, each in [0, 1]; `similarity`: the share of pairs with a lower
    image-text similarity; `wording`: the share of five checks that captions pass: long enough, words rather than
    numbers, the lexicon's language, no repetition, no boilerplate; none = no such column."""
    full_caption_words: Annotated[int, Field(ge=1)] = 8
    """Words of a pair's longest caption from which `caption_length` is 1; below it is their share of these."""
    full_px: Annotated[int, Field(ge=1)] = 224
    """Shorter side in pixels from which `resolution` is 1; below it is its share of these."""
    drop_lowest_similarity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """This share of the pairs, those of the lowest image-text similarity, is left out and written to a table."""
    flip_share: Share = 0.0
    """Label noise, for studies of sensitivity: this share of the rows with exactly one value of an attribute, on one
    side, gets another value of it."""
    seed: int = 0
    """Seed of the label noise, and of the split that tests the image side's classifier."""


@dataclass(frozen=True)
class AttributeSet:
    """Where the image side learns: the embeddings and the data folder of an annotated set, and the attributes."""

    embeddings: Path
    data: Path
    attributes: tuple[str, ...]
