"""Suggestions of proxies: words of captions with mutual information with both a sensitive attribute and a target.

Reads a labels table, its data folder and its lexicon; writes a YAML block `proxy:` with the best words and, as
comments, their figures. Nothing is added to a lexicon automatically: a person moves the lines that make sense.
Command: `evenclip label-proxies LABELS.parquet --data DIR --lexicon FILE --out FILE.yaml`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from evenclip.data.shards import read_pairs
from evenclip.errors import InputError
from evenclip.label.lexicon import Lexicon, normalise, read_lexicon, readable, with_plurals
from evenclip.label_columns import label_columns
from evenclip.options import Options
from evenclip.provenance import atomic_file
from evenclip.tables import read_labels


class ProxyOptions(Options):
    """Which words are suggested."""

    n: Annotated[int, Field(ge=1)] = 30
    """Number of words suggested."""
    min_pairs: Annotated[int, Field(ge=1)] = 50
    """Least number of pairs with the word; rare words are informative by chance."""


@dataclass(frozen=True)
class Suggestion:
    """A word, its number of pairs, and its mutual information with the attribute and target it is most tied to."""

    word: str
    n_pairs: int
    attribute: str
    attribute_bits: float
    target: str
    target_bits: float

    @property
    def bits(self) -> float:
        """The smaller of both figures, because a proxy is tied to both."""
        return min(self.attribute_bits, self.target_bits)


def suggest_proxies(
    labels: str | os.PathLike,
    data: str | os.PathLike,
    lexicon: str | os.PathLike,
    out: str | os.PathLike,
    options: ProxyOptions,
) -> list[Suggestion]:
    """Write the best words to ``out``, and return them, best first.

    Raises
    ------
    InputError
        If the labels have no sensitive or no target column, or are not those of ``data``.
    """
    table = read_labels(labels)
    pairs = read_pairs(data, ["key", "captions"])
    row = {key: number for number, key in enumerate(pairs.column("key").to_pylist())}
    keys = table.column("key").to_pylist()
    if unknown := [key for key in keys if key not in row]:
        raise InputError(f"the key '{unknown[0]}' is not in {data}", str(labels), "give the data that was labelled")
    captions = pairs.column("captions").take(pa.array([row[key] for key in keys])).to_pylist()
    suggestions = rank_words(captions, table, read_lexicon(lexicon), options, str(labels))
    with atomic_file(out) as temporary:
        temporary.write_text(_as_yaml(suggestions, labels), encoding="utf-8")
    return suggestions


def rank_words(
    captions: Sequence[Sequence[str]], table: pa.Table, lexicon: Lexicon, options: ProxyOptions, where: str
) -> list[Suggestion]:
    """The words with the highest mutual information, best first.

    For an attribute, only rows with exactly one of its values count. Words of the lexicon and English stop words are
    left out.
    """
    attributes, targets = _classes(table, "sensitive"), _classes(table, "target")
    if not attributes or not targets:
        raise InputError("no sensitive.* or no target.* column", where, "label with a lexicon that has both")
    phrases = set().union(*map(with_plurals, lexicon.phrases()))
    left_out = set(ENGLISH_STOP_WORDS) | {word for phrase in phrases for word in phrase.split()}
    counter = CountVectorizer(
        binary=True, preprocessor=normalise, token_pattern=r"[^\W\d_]{2,}", stop_words=None, dtype=np.int64
    )
    has_word = counter.fit_transform(" ".join(texts) for texts in captions)
    words = counter.get_feature_names_out()
    n_pairs = np.asarray(has_word.sum(axis=0)).ravel()
    chosen = [i for i, word in enumerate(words) if word not in left_out and n_pairs[i] >= options.min_pairs]
    if not chosen:
        return []
    has_word = has_word[:, chosen].T.tocsr()
    bits = {name: mutual_information(has_word, classes) for name, classes in (attributes | targets).items()}
    suggestions = []
    for k, i in enumerate(chosen):
        attribute = max(attributes, key=lambda name, k=k: bits[name][k])
        target = max(targets, key=lambda name, k=k: bits[name][k])
        figures = attribute, float(bits[attribute][k]), target, float(bits[target][k])
        suggestions.append(Suggestion(readable(str(words[i])), int(n_pairs[i]), *figures))
    return sorted(suggestions, key=lambda suggestion: (-suggestion.bits, suggestion.word))[: options.n]


def mutual_information(has_word, classes: np.ndarray) -> np.ndarray:
    """Mutual information of each word's presence with a class, in bits.

    Parameters
    ----------
    has_word : sparse matrix of {0, 1}, shape (n_words, n)
    classes : ndarray of bool, shape (n, k)
        Rows with none, or several, of the k classes are left out.

    Returns
    -------
    ndarray, shape (n_words,)
        In [0, 1] for two classes.
    """
    classes = classes[:, classes.any(axis=0)]
    single = classes.sum(axis=1) == 1
    one_hot = (classes & single[:, None]).astype(np.int64)
    present = np.asarray(has_word @ one_hot)  # (n_words, k)
    n_class = one_hot.sum(axis=0)
    n = n_class.sum()
    if n == 0:
        return np.zeros(has_word.shape[0])
    joint = np.stack([present, n_class - present], axis=1) / n  # (n_words, 2, k)
    independent = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    ratio = np.divide(joint, independent, out=np.ones_like(joint), where=joint > 0)
    return (joint * np.log2(ratio)).sum(axis=(1, 2)).clip(0)


def _classes(table: pa.Table, role: str) -> dict[str, np.ndarray]:
    """Labels of each attribute by value, and of each target with its complement, shape (n, k) bool; of both sides."""
    groups: dict[str, list[np.ndarray]] = {}
    for label in label_columns(table.column_names, role):
        flags = pc.fill_null(table.column(label.column), False).to_numpy(zero_copy_only=False)
        if role == "target":
            groups[label.column] = [flags, ~flags]
        else:
            groups.setdefault(label.column.rpartition(".")[0], []).append(flags)
    return {name: np.column_stack(flags) for name, flags in groups.items()}


def _as_yaml(suggestions: list[Suggestion], labels: str | os.PathLike) -> str:
    width = max((len(suggestion.word) for suggestion in suggestions), default=0)
    lines = [
        f"# Proxies suggested for {os.path.basename(labels)}: words tied to a perceived attribute and to a target.",
        "# Move the lines that make sense into the lexicon's `proxy:` block; bits are of mutual information.",
        "proxy:" if suggestions else "proxy: {}",
    ]
    for best in suggestions:
        entry = f"{best.word}: [{best.word}]".ljust(2 * width + 4)
        figures = f"{best.attribute} {best.attribute_bits:.4f} bits, {best.target} {best.target_bits:.4f} bits"
        lines.append(f"  {entry}  # {best.n_pairs} pairs; {figures}")
    return "\n".join(lines) + "\n"
