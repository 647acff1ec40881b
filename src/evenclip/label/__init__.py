"""Labels from captions: which perceived attributes, targets and proxies a pair's text names.

Reads a data folder and a lexicon; writes labels.parquet and, beside it, the manifest with counts and examples.
Command: `evenclip label --data DIR --lexicon FILE --out FILE`.
"""

from evenclip.label.from_captions import LabelOptions, label_dataset
from evenclip.label.lexicon import Lexicon, read_lexicon

__all__ = ["LabelOptions", "Lexicon", "label_dataset", "read_lexicon"]
