"""Find many phrases in many texts at once, with arrays in place of a loop over words.

A text is a sequence of numbered parts. The phrases form a trie, whose edges are one sorted array of codes: a step from
word to word is one binary search for all places at which a phrase may begin.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence, Sized
from dataclasses import dataclass
from itertools import chain, count
from typing import Self

import numpy as np

_WORD_OR_CHARACTER = re.compile(r"\w+|\W")
_CHARACTER = re.compile(".", re.DOTALL)
_BATCH = 100_000  # phrases taken apart at once: of all, the parts would take more memory than the trie


@dataclass(frozen=True)
class Parts:
    """The parts of a text, in order: words and single other characters, or all single characters; never spaces.

    Attributes
    ----------
    distinct : list of str
        The parts that the text has, each once.
    number : ndarray of int
        Which of them each part is.
    line : ndarray of int
        The line that each part is in.
    starts, ends : ndarray of int
        Positions of the parts in the text.
    """

    distinct: list[str]
    number: np.ndarray
    line: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, text: str, whole_words: bool) -> Self:
        """The parts of a text; what stands between two spaces is taken apart once, however often it occurs."""
        tokens = text.replace("\n", " ").split(" ")
        n_tokens = [line.count(" ") + 1 for line in text.split("\n")]
        number_of: defaultdict[str, int] = defaultdict(count().__next__)
        token = np.fromiter(map(number_of.__getitem__, tokens), np.int64, len(tokens))
        line = np.repeat(np.arange(len(n_tokens)), n_tokens)
        parts_of = list(map((_WORD_OR_CHARACTER if whole_words else _CHARACTER).findall, number_of))
        parts = list(chain.from_iterable(parts_of))
        distinct: defaultdict[str, int] = defaultdict(count().__next__)
        number = np.fromiter(map(distinct.__getitem__, parts), np.int64, len(parts))
        n_parts, length = _lengths(parts_of), _lengths(parts)
        first = np.cumsum(n_parts) - n_parts
        offset = np.cumsum(length) - length
        offset -= np.repeat(np.append(offset, 0)[first], n_parts)  # from the beginning of what is taken apart
        step = _lengths(number_of)[token] + 1  # one character, a space or the end of a line, stands between two
        n_parts = n_parts[token]
        place = ranges(first[token], n_parts)
        starts = np.repeat(np.cumsum(step) - step, n_parts) + offset[place]
        return cls([*distinct], number[place], np.repeat(line, n_parts), starts, starts + length[place])

    def line_starts(self) -> np.ndarray:
        """Where in the order of the parts the lines begin, without those that have none."""
        return np.flatnonzero(np.diff(self.line, prepend=-1))


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
        self._number: dict[str, int] = {}
        keys, n_parts = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        for start in range(0, len(phrases), _BATCH):
            parts = Parts.of("\n".join(phrases[start : start + _BATCH]), whole_words)
            for part in parts.distinct:
                self._number.setdefault(part, len(self._number))
            number = self._numbers(parts)
            of_batch = _keys(parts, number, np.arange(len(parts.number)))
            of_batch[parts.line_starts()] = 2 * number[parts.number[parts.line_starts()]]
            keys, n_parts = np.append(keys, of_batch), np.append(n_parts, np.bincount(parts.line))
        self._n_keys = 2 * (len(self._number) + 1)
        ends = np.cumsum(n_parts)
        place = ends - n_parts
        state = np.zeros(len(phrases), dtype=np.int64)
        phrase = np.arange(len(phrases))
        codes: list[np.ndarray] = []
        n_states = 1
        while len(phrase):
            edges, edge = np.unique(state[phrase] * self._n_keys + keys[place[phrase]], return_inverse=True)
            state[phrase] = n_states + edge
            codes.append(edges)
            n_states += len(edges)
            place += 1
            phrase = phrase[place[phrase] < ends[phrase]]
        self._codes = np.concatenate([*codes, [np.iinfo(np.int64).max]])  # rising, as the numbers of states do
        self._phrase = np.full(n_states, -1)
        self._phrase[state] = np.arange(len(phrases))
        self._goes_on = np.zeros(n_states, dtype=bool)
        self._goes_on[self._codes[:-1] // self._n_keys] = True
        self._begin = self._children(0, 2 * np.arange(len(self._number) + 1))

    def find(self, parts: Parts, ignored: np.ndarray | None = None) -> np.ndarray:
        """First part, last part and number of the phrases in a text, shape (n, 3), int64.

        Parameters
        ----------
        parts : Parts
            Those of a normalised text.
        ignored : ndarray of int, optional
            For each line, the number of a phrase that does not count there.
        """
        number = self._numbers(parts)
        begin = self._begin[number]
        first = end = np.flatnonzero((begin > 0)[parts.number])
        state = begin[parts.number[first]]
        row = np.arange(len(first))
        found = np.stack([first, first, np.full(len(first), -1)])  # -1: no phrase as yet
        line = np.append(parts.line, -1)
        while len(row):
            phrase = self._phrase[state]
            counts = phrase >= 0 if ignored is None else (phrase >= 0) & (phrase != ignored[line[end]])
            found[1:, row[counts]] = end[counts], phrase[counts]
            goes_on = self._goes_on[state] & (line[end + 1] == line[end])
            row, state, end = row[goes_on], state[goes_on], end[goes_on] + 1
            state = self._children(state, _keys(parts, number, end))
            row, state, end = row[state > 0], state[state > 0], end[state > 0]
        found = found[:, found[2] >= 0]
        return found[:, _without_overlap(*found[:2])].T

    def _numbers(self, parts: Parts) -> np.ndarray:
        """The numbers that the distinct parts have here; those that no phrase has share one."""
        return np.array([self._number.get(part, len(self._number)) for part in parts.distinct], dtype=np.int64)

    def _children(self, state: np.ndarray | int, key: np.ndarray) -> np.ndarray:
        """The state to which a key leads from another; 0 where no phrase goes on so."""
        code = state * self._n_keys + key
        edge = np.searchsorted(self._codes, code)
        return np.where(self._codes[edge] == code, edge + 1, 0)


def _keys(parts: Parts, number: np.ndarray, place: np.ndarray) -> np.ndarray:
    """For places that begin no line, the part there, by its number, and whether spaces stand before it."""
    return 2 * number[parts.number[place]] + (parts.starts[place] > parts.ends[place - 1])


def _without_overlap(first: np.ndarray, last: np.ndarray) -> list[int]:
    """Which of the intervals, in the order of their beginnings, begin after the end of the one kept before."""
    after = np.searchsorted(first, last, side="right").tolist()
    kept, number = [], 0
    while number < len(after):
        kept.append(number)
        number = after[number]
    return kept


def ranges(first: np.ndarray, n: np.ndarray) -> np.ndarray:
    """``n`` numbers that rise by one from ``first`` on, for each pair of them, one after the other."""
    return np.repeat(first - np.cumsum(n) + n, n) + np.arange(n.sum())


def _lengths(items: Collection[Sized]) -> np.ndarray:
    return np.fromiter(map(len, items), np.int64, len(items))
