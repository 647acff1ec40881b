"""Suggest proxies: words of the captions that tell of both a perceived attribute and a target.

Reads a labels table, its data folder and its lexicon; writes a YAML block `proxy:` with the best words, each with its
numbers in a comment. A person keeps the lines that make sense and moves them into the lexicon: nothing is accepted by
itself. Command: `evenclip label-proxies LABELS.parquet --data DIR --lexicon FILE --out FILE.yaml`.
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
from evenclip.label.lexicon import Lexicon, normalise, read_lexicon, with_plurals
from evenclip.options import Options
from evenclip.provenance import atomic_file
from evenclip.tables import read_table


class ProxyOptions(Options):
    """Which words are suggested."""

    n: Annotated[int, Field(ge=1)] = 30
    """Number of words suggested."""
    min_pairs: Annotated[int, Field(ge=1)] = 50
    """Pairs whose captions must have the word; rare words tell much by chance."""


@dataclass(frozen=True)
class Suggestion:
    """A word, the pairs that have it, and what it tells in bits: of which attribute, of which target, and how much."""

    word: str
    n_pairs: int
    attribute: str
    attribute_bits: float
    target: str
    target_bits: float

    @property
    def bits(self) -> float:
        """What it tells of the one it tells less of: a proxy is tied to both."""
        return min(self.attribute_bits, self.target_bits)


def suggest_proxies(
    labels: str | os.PathLike,
    data: str | os.PathLike,
    lexicon: str | os.PathLike,
    out: str | os.PathLike,
    options: ProxyOptions,
) -> list[Suggestion]:
    """Write the best words to ``out`` and return them, best first.

    Raises
    ------
    InputError
        If the labels have no sensitive or no target column, or are not those of ``data``.
    """
    table = read_table(labels)
    pairs = read_pairs(data, ["key", "captions"])
    row = {key: number for number, key in enumerate(pairs.column("key").to_pylist())}
    keys = table.column("key").to_pylist()
    if unknown := [key for key in keys if key not in row]:
        raise InputError(f"the key '{unknown[0]}' is not in {data}", str(labels), "give the data that was labelled")
    captions = pairs.column("captions").take(pa.array([row[key] for key in keys])).to_pylist()
    found = rank_words(captions, table, read_lexicon(lexicon), options, str(labels))
    with atomic_file(out) as temporary:
        temporary.write_text(_as_yaml(found, labels), encoding="utf-8")
    return found


def rank_words(
    captions: Sequence[Sequence[str]], table: pa.Table, lexicon: Lexicon, options: ProxyOptions, where: str
) -> list[Suggestion]:
    """The words that tell most, in bits of mutual information.

    For an attribute only the rows with exactly one of its values count. The words that the lexicon has already, and
    words without meaning of their own ("the"), are no candidates.
    """
    attributes, targets = _classes(table, "sensitive."), _classes(table, "target.")
    if not attributes or not targets:
        raise InputError("no sensitive.* or no target.* column", where, "label with a lexicon that has both")
    known = set(ENGLISH_STOP_WORDS) | {word for phrase in _phrases(lexicon) for word in phrase.split()}
    counter = CountVectorizer(
        binary=True, preprocessor=normalise, token_pattern=r"[^\W\d_]{2,}", stop_words=None, dtype=np.int64
    )
    has_word = counter.fit_transform(" ".join(texts) for texts in captions)
    words = counter.get_feature_names_out()
    n_pairs = np.asarray(has_word.sum(axis=0)).ravel()
    chosen = [i for i, word in enumerate(words) if word not in known and n_pairs[i] >= options.min_pairs]
    if not chosen:
        return []
    has_word = has_word[:, chosen].T.tocsr()
    tells = {name: mutual_information(has_word, classes) for name, classes in (attributes | targets).items()}
    found = []
    for k, i in enumerate(chosen):
        attribute = max(attributes, key=lambda name, k=k: tells[name][k])
        target = max(targets, key=lambda name, k=k: tells[name][k])
        bits = float(tells[attribute][k]), float(tells[target][k])
        found.append(Suggestion(str(words[i]), int(n_pairs[i]), attribute, bits[0], target, bits[1]))
    return sorted(found, key=lambda each: (-each.bits, each.word))[: options.n]


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


def _classes(table: pa.Table, prefix: str) -> dict[str, np.ndarray]:
    """For each attribute its values, for each target "yes" and "no", shape (n, k) bool; both sides where there are."""
    groups: dict[str, list[np.ndarray]] = {}
    for name in table.column_names:
        bare = name.removeprefix("image.").removeprefix("text.")
        if bare.startswith(prefix):
            flags = pc.fill_null(table.column(name), False).to_numpy(zero_copy_only=False)
            if prefix == "target.":
                groups[name] = [flags, ~flags]
            else:
                groups.setdefault(name.rpartition(".")[0], []).append(flags)
    return {name: np.column_stack(flags) for name, flags in groups.items()}


def _phrases(lexicon: Lexicon) -> set[str]:
    """Every word and phrase by which the lexicon names something, plurals too."""
    phrases = {phrase for block in lexicon.blocks() for words in block.values() for phrase in words.words}
    return set().union(*(with_plurals(phrase) for phrase in phrases))


def _as_yaml(found: list[Suggestion], labels: str | os.PathLike) -> str:
    width = max((len(each.word) for each in found), default=0)
    lines = [
        f"# Proxies suggested for {os.path.basename(labels)}: words tied to a perceived attribute and to a target.",
        "# Move the lines that make sense into the lexicon's `proxy:` block; bits are of mutual information.",
        "proxy:" if found else "proxy: {}",
    ]
    for each in found:
        entry = f"{each.word}: [{each.word}]".ljust(2 * width + 4)
        tells = f"{each.attribute} {each.attribute_bits:.4f} bits, {each.target} {each.target_bits:.4f} bits"
        lines.append(f"  {entry}  # {each.n_pairs} pairs; {tells}")
    return "\n".join(lines) + "\n"
