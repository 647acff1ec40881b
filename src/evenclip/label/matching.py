"""Match the phrases of a lexicon in captions: at each word, the longest phrase that begins there.

The phrases of a block of labels and all their beginnings are in one dictionary, so that the time per word does not
depend on the number of phrases.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Self

import numpy as np

from evenclip.label.lexicon import Lexicon, Negation, Words, normalise, readable, with_plurals

_END = ""  # in the trie: a phrase may end here


_WORD = re.compile(r"[\w']+")
_LETTERS = re.compile(r"(\w+)")
_CHARACTER = re.compile(".", re.DOTALL)
_SPACES = re.compile("  +")
_BEGINNING = -1  # in a dictionary of phrases: the beginning of a phrase, and none itself


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
        self._whole_words = lexicon.match == "words"
        self._negation = _NegationScope(lexicon.negation, self._whole_words)

    def match(self, captions: Sequence[str]) -> Matches:
        """Label captions, each by itself."""
        joined = _SPACES.sub(" ", "\n".join(normalise(caption) for caption in captions))
        starts = np.cumsum([0, *(len(text) + 1 for text in joined.split("\n"))] if captions else [0])
        negated = self._negation.positions(joined)
        words = TextWords.of(joined, self._whole_words)
        by_block = [block.match(joined, words, starts, negated) for block in self._blocks]
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


@dataclass(frozen=True)
class TextWords:
    """The places of a text at which phrases may begin and end, in order: its words, or all its characters.

    Attributes
    ----------
    words : list of str
    starts, ends : list of int
        Positions of the words in the text.
    """

    words: list[str]
    starts: list[int]
    ends: list[int]

    @classmethod
    def of(cls, text: str, whole_words: bool) -> Self:
        """The words (runs of letters and digits) of a text, or its characters."""
        if not whole_words:
            return cls(list(text), list(range(len(text))), list(range(1, len(text) + 1)))
        parts = _LETTERS.split(text)  # what is between words, and words, in turn
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
        return cls(parts[1::2], ends[:-1:2].tolist(), ends[1::2].tolist())


class PhraseFinder:
    """Finder of phrases in texts; where they overlap, the first wins, and of those that begin there the longest.

    Parameters
    ----------
    phrases : sequence of str
        Normalised (`normalise`), each once, with single spaces.
    whole_words : bool
        Whether they match whole words alone.
    """

    def __init__(self, phrases: Sequence[str], whole_words: bool = True):
        self._whole_words = whole_words
        self._number = {phrase: number for number, phrase in enumerate(phrases)}
        self._first_words: set[str] = set()
        edges = _LETTERS if whole_words else _CHARACTER
        for phrase in phrases:
            ends = [match.end() for match in edges.finditer(phrase)]
            self._first_words.add(phrase[: ends[0]])
            for end in ends:
                self._number.setdefault(phrase[:end], _BEGINNING)

    def find(self, text: str, words: TextWords | None = None, ignored: int | None = None) -> np.ndarray:
        """Start, end and number of the phrases in a text, shape (n, 3), int64.

        Parameters
        ----------
        text : str
            Normalised, with single spaces.
        words : TextWords, optional
            Those of the text, if they are at hand.
        ignored : int, optional
            Number of a phrase that does not count.
        """
        words = words or TextWords.of(text, self._whole_words)
        number_of, starts, ends = self._number.get, words.starts, words.ends
        n, free = len(ends), 0
        phrases: list[tuple[int, int, int]] = []
        for last in compress(range(n), map(self._first_words.__contains__, words.words)):
            start, longest = starts[last], None
            if start < free:
                continue
            number = number_of(words.words[last])
            while number is not None:
                if number >= 0 and number != ignored:
                    longest = (start, ends[last], number)
                last += 1
                number = number_of(text[start : ends[last]]) if last < n else None
            if longest is not None:
                phrases.append(longest)
                free = longest[1]
        return np.array(phrases, dtype=np.int64).reshape(-1, 3)


class _BlockMatcher:
    """The labels of one block; where phrases overlap, the longest wins."""

    def __init__(self, labels: dict[str, Words], lexicon: Lexicon):
        self._whole_words = lexicon.match == "words"
        forms = with_plurals if lexicon.english_plurals else lambda phrase: {phrase}
        self.columns = list(labels)
        self._names: dict[str, set[str]] = {}  # phrase -> columns that it names
        self._excluded: dict[str, set[str]] = {}  # phrase -> columns that it does not name, whatever is in it
        self._refuted_by: dict[int, re.Pattern] = {}  # index of a column -> what must not follow its phrases
        for c, (column, words) in enumerate(labels.items()):
            for phrases, columns in ((words.words, self._names), (words.exclude, self._excluded)):
                for phrase in set().union(*map(forms, phrases)):
                    columns.setdefault(phrase, set()).add(column)
            gap = " +" if self._whole_words else " *"
            followers = {"": words.not_before, "'s?": words.not_owner_of}
            patterns = [
                f"{ending}{gap}{phrase_pattern(set().union(*map(forms, phrases)), self._whole_words).pattern}"
                for ending, phrases in followers.items()
                if phrases
            ]
            if patterns:
                self._refuted_by[c] = re.compile("|".join(patterns))
        self._phrases = sorted({*self._names, *self._excluded})
        self._finder = PhraseFinder(self._phrases, self._whole_words)
        index = {column: c for c, column in enumerate(self.columns)}
        named = [sorted(index[column] for column in self._named_by(number)) for number in range(len(self._phrases))]
        self._n_named = np.array([len(columns) for columns in named], dtype=np.int64)
        self._first = np.cumsum(self._n_named) - self._n_named
        self._columns_of = np.array([c for columns in named for c in columns], dtype=np.int64)

    def match(self, text: str, words: TextWords, starts: np.ndarray, negated: np.ndarray) -> Matches:
        """Label captions joined into ``text``: caption i begins at starts[i], and the last entry is the end."""
        matches = self._finder.find(text, words)
        matches = matches[~np.isin(matches[:, 0], negated)]
        n_named = self._n_named[matches[:, 2]]
        position = np.arange(n_named.sum()) - np.repeat(np.cumsum(n_named) - n_named, n_named)
        match = np.repeat(np.arange(len(matches)), n_named)  # a match for each column that it names
        column = self._columns_of[self._first[matches[match, 2]] + position]
        stands = np.ones(len(match), dtype=bool)
        for c, pattern in self._refuted_by.items():
            for i in np.flatnonzero(column == c):
                stands[i] = not pattern.match(text, matches[match[i], 1])
        match, column = match[stands], column[stands]
        labels = np.zeros((len(starts) - 1, len(self.columns)), dtype=bool)
        labels[np.searchsorted(starts, matches[match, 0], side="right") - 1, column] = True
        phrases = {name: Counter() for name in self.columns}
        named, count = np.unique(column * len(self._phrases) + matches[match, 2], return_counts=True)
        for code, n in zip(named.tolist(), count.tolist(), strict=True):
            c, phrase = divmod(code, len(self._phrases))
            phrases[self.columns[c]][readable(self._phrases[phrase])] = n
        return Matches(labels, phrases)

    def _named_by(self, number: int) -> set[str]:
        """Columns that a phrase names; for a phrase that is only an exception, those named by the phrases in it."""
        phrase = self._phrases[number]
        excluded = self._excluded.get(phrase, set())
        if phrase in self._names:
            return self._names[phrase] - excluded
        shorter = self._finder.find(phrase, ignored=number)[:, 2]
        return set().union(*(self._named_by(other) for other in shorter.tolist())) - excluded


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
