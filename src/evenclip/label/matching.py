"""Find a lexicon's phrases in captions: a regular expression for each block of labels, scanned over many captions.

Within a block (an attribute, the targets, the proxies) the leftmost longest phrase wins; blocks do not disturb each
other, so that "little girl" is a child by one block and a girl by the next.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from evenclip.label.lexicon import Lexicon, Words, normalise, with_plurals

_END = ""  # marks in the trie that a phrase may end here


@dataclass(frozen=True)
class Matches:
    """``labels`` bool, shape (n_captions, n_columns); ``words``: how often each phrase was met, by column."""

    labels: np.ndarray
    words: dict[str, Counter]


class Matcher:
    """A compiled lexicon.

    Attributes
    ----------
    columns : list of str
        Column names of the labels, in the lexicon's order.
    """

    def __init__(self, lexicon: Lexicon):
        self.columns = lexicon.columns()
        self._blocks = [_Block(block) for block in lexicon.blocks()]

    def match(self, captions: Sequence[str]) -> Matches:
        """Which labels each caption names."""
        texts = [normalise(caption) for caption in captions]
        starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
        joined = "\n".join(texts)
        found = [block.match(joined, starts) for block in self._blocks]
        words = {column: counted for matches in found for column, counted in matches.words.items()}
        return Matches(np.hstack([matches.labels for matches in found]), words)


class _Block:
    """The labels among which the longest phrase wins."""

    def __init__(self, labels: dict[str, Words]):
        self.columns = list(labels)
        self._names: dict[str, set[str]] = {}  # phrase -> the columns it names
        self._denies: dict[str, set[str]] = {}  # phrase -> the columns it does not name, whatever is in it
        for column, words in labels.items():
            for phrases, columns in ((words.words, self._names), (words.exclude, self._denies)):
                for phrase in set().union(*map(with_plurals, phrases)):
                    columns.setdefault(phrase, set()).add(column)
        self._phrases = sorted({*self._names, *self._denies})
        self._index = {phrase: number for number, phrase in enumerate(self._phrases)}
        self._pattern = phrase_pattern(self._phrases)
        self._gives = np.zeros((len(self._phrases), len(self.columns)), dtype=bool)
        for number, phrase in enumerate(self._phrases):
            self._gives[number] = [column in self._named_by(phrase) for column in self.columns]

    def match(self, text: str, starts: np.ndarray) -> Matches:
        """Labels of captions joined into ``text``; caption i fills it from starts[i], the last entry is its end."""
        positions, phrases = [], []
        for match in self._pattern.finditer(text):
            positions.append(match.start())
            phrases.append(self._index[" ".join(match[0].split())])
        caption = np.searchsorted(starts, np.array(positions, dtype=np.int64), side="right") - 1
        phrase = np.array(phrases, dtype=np.int64)
        labels = np.zeros((len(starts) - 1, len(self.columns)), dtype=bool)
        for column in range(len(self.columns)):
            labels[caption[self._gives[phrase, column]], column] = True
        return Matches(labels, self._words_met(np.bincount(phrase, minlength=len(self._phrases))))

    def _named_by(self, phrase: str) -> set[str]:
        """The columns that a phrase names; one that is only under `not` names what the rest of the block sees in it."""
        denied = self._denies.get(phrase, set())
        if phrase in self._names:
            return self._names[phrase] - denied
        shorter = phrase_pattern([other for other in self._phrases if other in phrase and other != phrase])
        return set().union(*(self._named_by(match[0]) for match in shorter.finditer(phrase))) - denied

    def _words_met(self, times: np.ndarray) -> dict[str, Counter]:
        return {
            column: Counter({self._phrases[p]: int(times[p]) for p in np.flatnonzero(self._gives[:, c] & (times > 0))})
            for c, column in enumerate(self.columns)
        }


def phrase_pattern(phrases: Collection[str]) -> re.Pattern:
    """One expression for all phrases as whole words, the longest first; a space matches any number of spaces.

    The phrases are laid out as a trie, so that the time per character hardly depends on how many there are.
    """
    trie: dict = {}
    for phrase in sorted(phrases):
        node = trie
        for char in phrase:
            node = node.setdefault(char, {})
        node[_END] = {}
    return re.compile(rf"\b{_alternatives(trie)}\b")


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
