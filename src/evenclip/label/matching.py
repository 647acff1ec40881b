"""Match the phrases of a lexicon in captions, with one regular expression for each block of labels."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from evenclip.label.lexicon import Lexicon, Negation, Words, normalise, readable, with_plurals

_END = ""  # in the trie: a phrase may end here


_WORD = re.compile(r"[\w']+")


@dataclass(frozen=True)
class Matches:
    """Labels of captions, bool, shape (n_captions, n_columns); and by column how often each phrase was matched."""

    labels: np.ndarray
    phrases: dict[str, Counter]


class Matcher:
    """A compiled lexicon.

    Attributes
    ----------
    columns : list of str
        Column names of the labels, in the lexicon's order.
    """

    def __init__(self, lexicon: Lexicon):
        self.columns = lexicon.columns()
        self._blocks = [_BlockMatcher(block, lexicon) for block in lexicon.blocks()]
        self._negation = _NegationScope(lexicon.negation, lexicon.match == "words")

    def match(self, captions: Sequence[str]) -> Matches:
        """Label captions, each by itself."""
        texts = [normalise(caption) for caption in captions]
        starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
        joined = "\n".join(texts)
        negated = self._negation.positions(joined)
        by_block = [block.match(joined, starts, negated) for block in self._blocks]
        phrases = {column: counts for matches in by_block for column, counts in matches.phrases.items()}
        return Matches(np.hstack([matches.labels for matches in by_block]), phrases)


class _NegationScope:
    """The positions in a text at which a negated phrase may begin."""

    def __init__(self, negation: Negation, whole_words: bool):
        self._gap = " +" if whole_words else " *"
        negator, between, alternative = (
            phrase_pattern(phrases, whole_words).pattern if phrases else "(?!)"
            for phrases in (negation.words, negation.between, negation.alternatives)
        )
        self._negator = re.compile(negator + self._gap)
        self._between = re.compile(between + self._gap)
        self._list = re.compile(rf"{_WORD.pattern}(?: *, *{_WORD.pattern})* *,? +{alternative} +")

    def positions(self, text: str) -> np.ndarray:
        """Sorted positions in ``text``, int64."""
        positions: set[int] = set()
        for match in self._negator.finditer(text):
            end = self._add_between(text, match.end(), positions)
            if listed := self._list.match(text, end):
                positions |= {end + word.start() for word in _WORD.finditer(listed[0])}
                self._add_between(text, listed.end(), positions)
        return np.array(sorted(positions), dtype=np.int64)

    def _add_between(self, text: str, start: int, positions: set[int]) -> int:
        """Add ``start`` and the position after each word that may stand between; return the last position."""
        positions.add(start)
        while step := self._between.match(text, start):
            start = step.end()
            positions.add(start)
        return start


class _BlockMatcher:
    """The labels of one block; where phrases overlap, the longest wins."""

    def __init__(self, labels: dict[str, Words], lexicon: Lexicon):
        self._whole_words = lexicon.match == "words"
        forms = with_plurals if lexicon.english_plurals else lambda phrase: {phrase}
        self.columns = list(labels)
        self._names: dict[str, set[str]] = {}  # phrase -> columns that it names
        self._excluded: dict[str, set[str]] = {}  # phrase -> columns that it does not name, whatever is in it
        self._refuted_by: dict[str, re.Pattern] = {}  # column -> what must not follow its phrases
        for column, words in labels.items():
            for phrases, columns in ((words.words, self._names), (words.exclude, self._excluded)):
                for phrase in set().union(*map(forms, phrases)):
                    columns.setdefault(phrase, set()).add(column)
            gap = " +" if self._whole_words else " *"
            followers = {"": words.not_before, "'s?": words.not_owner_of}
            patterns = [
                f"{ending}{gap}{self._pattern_of(set().union(*map(forms, phrases))).pattern}"
                for ending, phrases in followers.items()
                if phrases
            ]
            if patterns:
                self._refuted_by[column] = re.compile("|".join(patterns))
        self._phrases = sorted({*self._names, *self._excluded})
        self._index = {phrase: number for number, phrase in enumerate(self._phrases)}
        self._pattern = self._pattern_of(self._phrases)
        self._labels_of = np.zeros((len(self._phrases), len(self.columns)), dtype=bool)
        for number, phrase in enumerate(self._phrases):
            self._labels_of[number] = [column in self._named_by(phrase) for column in self.columns]

    def match(self, text: str, starts: np.ndarray, negated: np.ndarray) -> Matches:
        """Label captions joined into ``text``: caption i begins at starts[i], and the last entry is the end."""
        spans = [(m.start(), m.end(), self._index[" ".join(m[0].split())]) for m in self._pattern.finditer(text)]
        start, end, phrase = np.array(spans, dtype=np.int64).reshape(-1, 3).T
        named = self._labels_of[phrase] & ~np.isin(start, negated)[:, None]
        for column, pattern in self._refuted_by.items():
            c = self.columns.index(column)
            for i in np.flatnonzero(named[:, c]):
                named[i, c] = not pattern.match(text, end[i])
        caption = np.searchsorted(starts, start, side="right") - 1
        labels = np.zeros((len(starts) - 1, len(self.columns)), dtype=bool)
        phrases = {}
        for c, column in enumerate(self.columns):
            labels[caption[named[:, c]], c] = True
            counts = np.bincount(phrase[named[:, c]], minlength=len(self._phrases))
            phrases[column] = Counter({readable(self._phrases[p]): int(counts[p]) for p in np.flatnonzero(counts)})
        return Matches(labels, phrases)

    def _pattern_of(self, phrases: Collection[str]) -> re.Pattern:
        return phrase_pattern(phrases, self._whole_words)

    def _named_by(self, phrase: str) -> set[str]:
        """Columns that a phrase names; for a phrase that is only an exception, those named by the phrases in it."""
        excluded = self._excluded.get(phrase, set())
        if phrase in self._names:
            return self._names[phrase] - excluded
        shorter = self._pattern_of([other for other in self._phrases if other in phrase and other != phrase])
        return set().union(*(self._named_by(match[0]) for match in shorter.finditer(phrase))) - excluded


def phrase_pattern(phrases: Collection[str], whole_words: bool = True) -> re.Pattern:
    """One expression for all phrases, the longest first; a space matches any number of spaces.

    The phrases form a trie, so that the time per character hardly depends on their number.
    """
    trie: dict = {}
    for phrase in sorted(phrases):
        node = trie
        for char in phrase:
            node = node.setdefault(char, {})
        node[_END] = {}
    return re.compile(rf"\b{_alternatives(trie)}\b" if whole_words else _alternatives(trie))


def _alternatives(node: dict) -> str:
    branches = [
        (" +" if char == " " else re.escape(char)) + _alternatives(child)
        for char, child in node.items()
        if char != _END
    ]
    if not branches:
        return ""
    if len(branches) == 1 and _END not in node:
        return branches[0]
    return f"(?:{'|'.join(branches)}){'?' if _END in node else ''}"
