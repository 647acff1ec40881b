"""Options of the features stage."""

from typing import Literal

from evenclip.options import Count, Options


class FeatureOptions(Options):
    """How trunk features are computed and kept."""

    dtype: Literal["float16", "float32"] = "float16"
    """Numbers on disk and in memory. `float32` trains as the uncached towers do to 6 digits, `float16` to 3."""
    batch_size: Count = 64
    """Images or texts computed at once."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA device where there is one."""
    threads: Count = 1
    """CPU threads."""
