"""Options of the label stage, and the annotated set from which the image side learns."""

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
    columns: dict[str, str] = {}
    """Attribute -> column of the data that says which group the image shows, e.g. {gender: gender}; an empty value =
    nobody, null = not known. Makes the image side `image.sensitive.*`; captions then make the text side."""
    target_columns: list[str] = []
    """Columns of the data whose values are labels of the image, e.g. [occupation], or that say whether it has the label
    of their name (true and false, yes and no, 1 and 0), e.g. [nurse]; makes `image.target.*`."""
    unseen: bool = False
    """Also label what a caption names and the image does not show, for attributes and targets with an image side from
    columns: `text.sensitive.<attribute>_unseen.*`, `text.target.<label>_unseen`. Such pairs teach a model to guess, and
    labels that are balanced over all pairs need not be balanced among them."""
    min_confidence: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """The image side abstains below this calibrated probability; its labels of the image are then null."""
    utility: list[Literal["similarity", "caption_length", "resolution", "wording"]] = []
    """Factors of the column `utility`, each in [0, 1]; none = no such column. `similarity`: the share of pairs with a
    lower image-text similarity. `wording`: the share of five checks that captions pass (long enough, words rather than
    numbers, the lexicon's language, no repetition, no boilerplate)."""
    full_caption_words: Annotated[int, Field(ge=1)] = 8
    """`caption_length` is the number of words in the longest caption divided by this, at most 1."""
    full_px: Annotated[int, Field(ge=1)] = 224
    """`resolution` is the shorter side in pixels divided by this, at most 1."""
    drop_lowest_similarity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the pairs to leave out, those with the lowest image-text similarity; they are listed in a table."""
    flip_share: Share = 0.0
    """Label noise, for sensitivity studies: share of the rows with exactly one value of an attribute that get another
    value, separately for text and image."""
    shuffle: bool = False
    """Control: every pair gets all labels of another pair, drawn at random. What balance on such labels does to a model
    is not due to the labels."""
    seed: int = 0
    """Seed of the label noise, of the shuffling, and of the split that tests the image classifier."""


@dataclass(frozen=True)
class AttributeSet:
    """An annotated set to learn from: its embeddings, its data folder, and the columns of its attributes."""

    embeddings: Path
    data: Path
    attributes: tuple[str, ...]
