"""Options of the data stage: the embedded world's knobs, and how files are imported."""

from typing import Annotated, Literal

from pydantic import Field

from evenclip.options import Options
from evenclip.plugins import names_of

Layout = Literal[*names_of("evenclip.data.layouts")]
Share = Annotated[float, Field(ge=0, le=1)]


class WorldOptions(Options):
    """The embedded world's truth: every bias in it is one of these numbers."""

    image_px: Annotated[int, Field(ge=32, le=512)] = 56
    """Side of the drawn square image in pixels."""
    bias: Share = 1.0
    """Scale of the world's bias: 1 = `group_share` and `association` as they are; 0 = the null world, with equal groups
    and no association, in which a model's bias is measurement noise."""
    person_share: Share = 0.75
    """Share of scenes that show a figure, in `train` and `mixed`."""
    group_share: Share = 0.6
    """P(group = the first group) among the training scenes with a figure."""
    association: Share = 0.7
    """Strength of P(occupation | group) in `train`: 0 = independent, 1 = each occupation has one group only."""
    setting_share: Share = 0.4
    """P(setting = the occupation's own) in `train`; the rest is drawn uniformly. The setting is the proxy."""
    marked_share: Share = 0.7
    """Share of figures, in `train` and `mixed`, whose group can be seen."""
    tool_share: Share = 0.75
    """Share of figures, in `train` and `mixed`, whose tool is clear: the evidence of the occupation. Of the others half
    are blurred and half are hidden behind a crate."""
    twin_share: Share = 0.4
    """Share of the training pictures that come as twins: a scene, and the scene with the object and its companion
    exchanged, each with a caption of its own."""
    caption_dropout: Share = 0.05
    """Probability that a training caption leaves out each optional part, as web captions do."""
    noise: Annotated[float, Field(ge=0, le=64)] = 6.0
    """Standard deviation of the pixel noise, in grey levels."""
    low_quality_share: Share = 0.02
    """Share of training pairs whose caption belongs to another scene."""


class ImportOptions(Options):
    """How files become image-text pairs."""

    layout: Layout = "folder"
    """How the files lie. `folder`: images with or without a captions file; `webdataset`: tars of pairs; the others are
    the official formats of data sets, listed in docs/data.md."""
    captions: str | None = None
    """Path, below the source or absolute, of the captions file: CSV, TSV, JSON lines or Parquet; None = images without
    captions. For an official layout: of its annotation file or folder, if there are several."""
    image_column: str = "image"
    """Column of the captions file with the image's file name; of Parquet files, with the images."""
    caption_column: str = "caption"
    """Column of the captions file, or of Parquet files, with the caption."""
    caption_template: str | None = None
    """Caption of images that have none, with columns in braces, e.g. `a photo of a {class}`; None = none."""
    name_pattern: str | None = None
    """Regular expression with named groups for the file's path. Each group becomes a column; other names are
    quarantined as `stray_name`."""
    values: dict[str, dict[str, str]] = {}
    """Names for the values of a column, e.g. {gender: {"0": man, "1": woman}}."""
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the pairs that is the split `test`, chosen by the bytes of their images; the others are `train`. None =
    the splits of the layout."""
    max_px: Annotated[int, Field(ge=16)] | None = None
    """Shrink images whose shorter side is longer than this; None = keep them as they are."""
    max_quarantined_share: Share = 0.05
    """Largest allowed share of quarantined records; a larger share is an error."""
    shard_size: Annotated[int, Field(ge=1)] = 10_000
    """Pairs per tar."""
