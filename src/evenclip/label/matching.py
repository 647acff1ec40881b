"""Match the phrases of a lexicon in captions: at each word, the longest phrase that begins there.

Many captions are matched at once, as the lines of one text.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from evenclip.label.lexicon import Lexicon, Negation, Words, normalised_lines, readable, with_plurals
from evenclip.label.phrases import Parts, PhraseFinder, ranges

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
        self._whole_words = lexicon.match == "words"
        self._negation = _NegationScope(lexicon.negation, self._whole_words)

    def match(self, captions: Sequence[str]) -> Matches:
        """Label captions, each by itself."""
        text = normalised_lines(captions)
        parts = Parts.of(text, self._whole_words)
        negated = np.isin(parts.starts, self._negation.positions(text, parts))
        by_block = [block.match(text, len(captions), parts, negated) for block in self._blocks]
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
        words = Parts.of("\n".join(negation.words), whole_words)
        self._first_words = {words.distinct[number] for number in words.number[words.line_starts()].tolist()}
        self._negator = re.compile(negator + self._gap)
        self._between = re.compile(between + self._gap)
        self._list = re.compile(rf"{_WORD.pattern}(?: *, *{_WORD.pattern})* *,? +{alternative} +")

    def positions(self, text: str, parts: Parts) -> np.ndarray:
        """Sorted positions in ``text``, int64."""
        positions: set[int] = set()
        free = 0
        may_negate = np.array([part in self._first_words for part in parts.distinct], dtype=bool)[parts.number]
        for start in parts.starts[may_negate].tolist():
            if start >= free and (match := self._negator.match(text, start)):
                free = match.end()
                end = self._add_between(text, free, positions)
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
        names: dict[str, frozenset[int]] = {}  # phrase -> columns that it names
        excluded: dict[str, frozenset[int]] = {}  # phrase -> columns that it does not name, whatever is in it
        self._refuted_by: dict[int, re.Pattern] = {}  # column -> what must not follow its phrases
        for c, words in enumerate(labels.values()):
            column = frozenset([c])  # one for all its phrases, which may be very many
            for phrases, columns in ((words.words, names), (words.exclude, excluded)):
                for phrase in chain.from_iterable(map(forms, phrases)):
                    columns[phrase] = columns[phrase] | column if phrase in columns else column
            gap = " +" if self._whole_words else " *"
            followers = {"": words.not_before, "'s?": words.not_owner_of}
            patterns = [
                f"{ending}{gap}{phrase_pattern(set().union(*map(forms, phrases)), self._whole_words).pattern}"
                for ending, phrases in followers.items()
                if phrases
            ]
            if patterns:
                self._refuted_by[c] = re.compile("|".join(patterns))
        self._phrases = sorted({*names, *excluded})
        self._finder = PhraseFinder(self._phrases, self._whole_words)
        named = self._named(names, excluded)
        self._n_named = np.fromiter(map(len, named), np.int64, len(named))
        self._first = np.cumsum(self._n_named) - self._n_named
        self._columns_of = np.fromiter(chain.from_iterable(named), np.int64)

    def match(self, text: str, n_captions: int, parts: Parts, negated: np.ndarray) -> Matches:
        """Label captions, the lines of ``text``; ``negated`` are the parts at which nothing that is named begins."""
        first, last, phrase = self._finder.find(parts).T
        first, last, phrase = (values[~negated[first]] for values in (first, last, phrase))
        n_named = self._n_named[phrase]
        match = np.repeat(np.arange(len(phrase)), n_named)  # a match for each column that it names
        column = self._columns_of[ranges(self._first[phrase], n_named)]
        stands = np.ones(len(match), dtype=bool)
        for c, pattern in self._refuted_by.items():
            for i in np.flatnonzero(column == c):
                stands[i] = not pattern.match(text, parts.ends[last[match[i]]])
        match, column = match[stands], column[stands]
        labels = np.zeros((n_captions, len(self.columns)), dtype=bool)
        labels[parts.line[first[match]], column] = True
        phrases = {name: Counter() for name in self.columns}
        named, count = np.unique(column * len(self._phrases) + phrase[match], return_counts=True)
        for code, n in zip(named.tolist(), count.tolist(), strict=True):
            c, number = divmod(code, len(self._phrases))
            phrases[self.columns[c]][readable(self._phrases[number])] = n
        return Matches(labels, phrases)

    def _named(self, names: dict[str, frozenset[int]], excluded: dict[str, frozenset[int]]) -> list[frozenset[int]]:
        """Columns that each phrase names; for one that is only an exception, those named by the phrases in it."""
        none = frozenset()
        named = [names.get(phrase, none) for phrase in self._phrases]
        exceptions = [number for number, phrase in enumerate(self._phrases) if phrase not in names]
        exceptions.sort(key=lambda number: len(self._phrases[number]))  # what is in a phrase is shorter
        parts = Parts.of("\n".join(self._phrases[number] for number in exceptions), self._whole_words)
        first, _, within = self._finder.find(parts, ignored=np.array(exceptions)).T
        for line, number in zip(parts.line[first].tolist(), within.tolist(), strict=True):
            named[exceptions[line]] |= named[number] - excluded.get(self._phrases[number], none)
        return [
            columns - excluded[phrase] if phrase in excluded else columns
            for phrase, columns in zip(self._phrases, named, strict=True)
        ]


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
