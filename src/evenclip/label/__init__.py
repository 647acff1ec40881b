"""Labels of pairs: the perceived attributes, targets and proxies that captions name and images show.

Reads a data folder, a lexicon and, for the image side, embeddings; writes labels.parquet and, beside it, a manifest
with counts and examples. Command: `evenclip label --data DIR --lexicon FILE --out FILE`.
"""

from evenclip.label.lexicon import Lexicon, read_lexicon
from evenclip.label.options import AttributeSet, LabelOptions
from evenclip.label.run import label_dataset

__all__ = ["AttributeSet", "LabelOptions", "Lexicon", "label_dataset", "read_lexicon"]
