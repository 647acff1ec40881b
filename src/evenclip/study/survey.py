"""What a source holds, as far as its files and a sample of its pairs show: the basis of `evenclip init`."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from evenclip.data.layouts import load_layouts
from evenclip.data.layouts.base import Candidate, Reject
from evenclip.data.options import ImportOptions
from evenclip.data.recognition import recognise
from evenclip.data.source import Source
from evenclip.errors import InputError
from evenclip.label.from_captions import label_captions
from evenclip.label.lexicon import Lexicon
from evenclip.label.matching import Matcher

SAMPLE = 20_000
"""Records that are looked at."""
SPLITS = {"train": ("train",), "test": ("test", "val", "valid", "validation", "dev")}
"""Names of splits to train on and to measure on, in order of preference."""
LONGEST_LIST = 20
"""A column with more different values than this is not taken for one of groups or labels."""


@dataclass(frozen=True)
class Survey:
    """A sample of the pairs that a source gives.

    Attributes
    ----------
    options : ImportOptions
        How the source is imported.
    train, test : str
        The splits.
    captions : list of list of str
        Captions of each pair of the sample.
    columns : dict of str to list of str
        Values of each column, one per pair of the sample.
    rejects : dict of str to list of str
        Names of the records of the sample that cannot be used, by reason.
    complete : bool
        Whether the sample is the whole training split.
    """

    options: ImportOptions
    train: str
    test: str
    captions: list[list[str]]
    columns: dict[str, list[str]]
    rejects: dict[str, list[str]]
    complete: bool

    @property
    def n(self) -> int:
        """Pairs in the sample."""
        return len(self.captions)

    def values(self, column: str) -> Counter:
        """How often each value of a column occurs, without the empty one."""
        return Counter(value for value in self.columns[column] if value)

    def counts(self, lexicon: Lexicon) -> dict[str, int]:
        """How many pairs of the sample have a caption that names each label of ``lexicon``, by column name."""
        _, summaries = label_captions(self.captions, Matcher(lexicon), "any")
        return {column: summary["n"] for column, summary in summaries.items()}

    def telling_words(self, lexicon: Lexicon, attributes: Collection[str], n: int, fewest: int) -> list[str]:
        """The ``n`` words whose share differs most between the groups of ``attributes`` that captions name.

        Only words of ``fewest`` pairs or more are taken, no stop words, and none of ``lexicon``.
        """
        matcher = Matcher(lexicon)
        labels, _ = label_captions(self.captions, matcher, "any")
        prefixes = tuple(f"sensitive.{attribute}." for attribute in attributes)
        groups = labels[:, [i for i, column in enumerate(matcher.columns) if column.startswith(prefixes)]]
        groups = groups[:, groups.any(axis=0)]
        texts = [" ".join(captions) for captions in self.captions]
        lexicon_words = {word for phrase in lexicon.phrases() for word in phrase.split()} | set(lexicon.function_words)
        stop_words = [*ENGLISH_STOP_WORDS | lexicon_words | {f"{word}s" for word in lexicon_words}]
        counter = CountVectorizer(binary=True, stop_words=stop_words, token_pattern=r"[^\W\d_]{4,}", min_df=fewest)
        try:
            occurrences = counter.fit_transform(texts)
        except ValueError:  # no word is left
            return []
        shares = [np.asarray(occurrences[rows].mean(axis=0)).ravel() for rows in groups.T]
        gap = np.ptp(np.vstack(shares), axis=0) if shares else np.zeros(occurrences.shape[1])
        words = counter.get_feature_names_out()[np.argsort(-gap, kind="stable")]
        return [str(word) for word in words if f"{word}s" not in words][:n]


def survey(root: Path, captions: str | None) -> Survey:
    """Recognise the layout of ``root`` and read a sample of its training pairs.

    Parameters
    ----------
    root : Path
        A folder, an archive or a Parquet file.
    captions : str, optional
        Path of a captions file.

    Raises
    ------
    InputError
        No layout is recognised, or its pairs have no captions to train on.
    """
    with Source(root) as source:
        name, recognition = recognise(source, captions)
        train, test = (_first_split(recognition.splits, wanted) for wanted in (SPLITS["train"], SPLITS["test"]))
        if not (train and test):
            train, test = "train", "test"
            recognition.options["test_share"] = 0.2
        options = ImportOptions.parse({"layout": name} | recognition.options, str(root))
        split = "all" if options.test_share else train
        records = load_layouts()[name].find_pairs(source, split, options)
        sample = list(islice(records, SAMPLE + 1))
    pairs = [record for record in sample[:SAMPLE] if isinstance(record, Candidate)]
    rejects: dict[str, list[str]] = {}
    for record in sample[:SAMPLE]:
        if isinstance(record, Reject):
            rejects.setdefault(record.reason, []).append(record.name)
    if not any(pair.captions for pair in pairs) or any("foil" in pair.columns for pair in pairs):
        what = f"the layout is {name}, whose pairs are no captions to train on" if pairs else "no pair can be read"
        hint = "measure models on it: `evenclip data import`, then `evenclip evaluate` (docs/evaluate.md)"
        raise InputError(what, str(root), hint)
    names = dict.fromkeys(column for pair in pairs for column in pair.columns)
    columns = {column: [pair.columns.get(column, "") for pair in pairs] for column in names}
    return Survey(options, train, test, [p.captions for p in pairs], columns, rejects, len(sample) <= SAMPLE)


def _first_split(splits: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The first of the ``wanted`` splits that is there; names such as train2017 begin with one."""
    exact = [name for name in wanted if name in splits]
    return next(iter([*exact, *(split for name in wanted for split in splits if split.startswith(name))]), None)
