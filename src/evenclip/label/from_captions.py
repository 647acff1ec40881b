"""Find a lexicon's phrases in captions, with one regular expression for each block of labels; count them."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evenclip.label.lexicon import Lexicon, Negation, Words, normalise, with_plurals

_END = ""  # marks in the trie that a phrase may end here
_WORD = re.compile(r"[\w']+")


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
        self._blocks = [_Block(block, lexicon.english_plurals) for block in lexicon.blocks()]
        self._denials = _Denials(lexicon.negation)

    def match(self, captions: Sequence[str]) -> Matches:
        """Which labels each caption names."""
        texts = [normalise(caption) for caption in captions]
        starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
        joined = "\n".join(texts)
        denied = self._denials.positions(joined)
        found = [block.match(joined, starts, denied) for block in self._blocks]
        words = {column: counted for matches in found for column, counted in matches.words.items()}
        return Matches(np.hstack([matches.labels for matches in found]), words)


class _Denials:
    """Where in a text something is denied."""

    def __init__(self, negation: Negation):
        denial, between, alternative = (
            phrase_pattern(phrases).pattern if phrases else "(?!)"
            for phrases in (negation.words, negation.between, negation.alternatives)
        )
        self._denial = re.compile(rf"{denial} +")
        self._between = re.compile(rf"{between} +")
        self._list = re.compile(rf"{_WORD.pattern}(?: *, *{_WORD.pattern})* *,? +{alternative} +")

    def positions(self, text: str) -> np.ndarray:
        """Sorted positions in ``text`` at which a denied phrase may begin."""
        found: set[int] = set()
        for match in self._denial.finditer(text):
            at = self._add_between(text, match.end(), found)
            if listed := self._list.match(text, at):
                found |= {at + word.start() for word in _WORD.finditer(listed[0])}
                self._add_between(text, listed.end(), found)
        return np.array(sorted(found), dtype=np.int64)

    def _add_between(self, text: str, at: int, found: set[int]) -> int:
        """Add ``at``, and each position after a word that may stand between; return the last."""
        found.add(at)
        while step := self._between.match(text, at):
            at = step.end()
            found.add(at)
        return at


class _Block:
    """The labels among which the longest phrase wins."""

    def __init__(self, labels: dict[str, Words], english_plurals: bool):
        forms = with_plurals if english_plurals else lambda phrase: {phrase}
        self.columns = list(labels)
        self._names: dict[str, set[str]] = {}  # phrase -> the columns it names
        self._denies: dict[str, set[str]] = {}  # phrase -> the columns it does not name, whatever is in it
        self._spoilt: dict[str, re.Pattern] = {}  # column -> what must not follow
        for column, words in labels.items():
            for phrases, columns in ((words.words, self._names), (words.exclude, self._denies)):
                for phrase in set().union(*map(forms, phrases)):
                    columns.setdefault(phrase, set()).add(column)
            after = {"": words.not_before, "'s?": words.not_owner_of}
            spoilers = [
                f"{mark} +{phrase_pattern(set().union(*map(forms, phrases))).pattern}"
                for mark, phrases in after.items()
                if phrases
            ]
            if spoilers:
                self._spoilt[column] = re.compile("|".join(spoilers))
        self._phrases = sorted({*self._names, *self._denies})
        self._index = {phrase: number for number, phrase in enumerate(self._phrases)}
        self._pattern = phrase_pattern(self._phrases)
        self._gives = np.zeros((len(self._phrases), len(self.columns)), dtype=bool)
        for number, phrase in enumerate(self._phrases):
            self._gives[number] = [column in self._named_by(phrase) for column in self.columns]

    def match(self, text: str, starts: np.ndarray, denied: np.ndarray) -> Matches:
        """Labels of captions joined into ``text``; caption i fills it from starts[i], the last entry is its end."""
        found = [(m.start(), m.end(), self._index[" ".join(m[0].split())]) for m in self._pattern.finditer(text)]
        start, end, phrase = np.array(found, dtype=np.int64).reshape(-1, 3).T
        named = self._gives[phrase] & ~np.isin(start, denied)[:, None]
        for column, pattern in self._spoilt.items():
            c = self.columns.index(column)
            for i in np.flatnonzero(named[:, c]):
                named[i, c] = not pattern.match(text, end[i])
        caption = np.searchsorted(starts, start, side="right") - 1
        labels = np.zeros((len(starts) - 1, len(self.columns)), dtype=bool)
        words = {}
        for c, column in enumerate(self.columns):
            labels[caption[named[:, c]], c] = True
            times = np.bincount(phrase[named[:, c]], minlength=len(self._phrases))
            words[column] = Counter({self._phrases[p]: int(times[p]) for p in np.flatnonzero(times)})
        return Matches(labels, words)

    def _named_by(self, phrase: str) -> set[str]:
        """The columns that a phrase names; one that is only under `not` names what the rest of the block sees in it."""
        denied = self._denies.get(phrase, set())
        if phrase in self._names:
            return self._names[phrase] - denied
        shorter = phrase_pattern([other for other in self._phrases if other in phrase and other != phrase])
        return set().union(*(self._named_by(match[0]) for match in shorter.finditer(phrase))) - denied


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


N_EXAMPLES = 3
CHUNK = 20_000  # pairs whose captions are scanned at once


def label_captions(
    captions: list[list[str]], matcher: Matcher, pool: Literal["any", "majority"]
) -> tuple[np.ndarray, dict[str, dict[str, Any]]]:
    """Label pairs by all their captions.

    Parameters
    ----------
    captions : list of list of str
        The captions of each pair; a pair may have none.

    Returns
    -------
    labels : ndarray of bool, shape (n_pairs, n_columns)
    found : dict
        For each column: ``n`` pairs, their ``share``, the ``words`` met and how often, ``examples`` of captions.
    """
    labels = np.zeros((len(captions), len(matcher.columns)), dtype=bool)
    words = {column: Counter() for column in matcher.columns}
    examples: dict[str, list[str]] = {column: [] for column in matcher.columns}
    for start in range(0, len(captions), CHUNK):
        groups = captions[start : start + CHUNK]
        texts = [text for group in groups for text in group]
        matches = matcher.match(texts)
        labels[start : start + CHUNK] = pooled(matches.labels, [len(group) for group in groups], pool)
        for c, column in enumerate(matcher.columns):
            words[column] += matches.words[column]
            wanted = N_EXAMPLES - len(examples[column])
            examples[column] += [texts[i] for i in np.flatnonzero(matches.labels[:, c])[:wanted]]
    found = {
        column: {
            "n": int(labels[:, c].sum()),
            "share": float(labels[:, c].mean()) if len(labels) else 0.0,
            "words": dict(words[column]),
            "examples": examples[column],
        }
        for c, column in enumerate(matcher.columns)
    }
    return labels, found


def pooled(named: np.ndarray, n_captions: Sequence[int], pool: Literal["any", "majority"]) -> np.ndarray:
    """Labels of pairs, shape (n_pairs, n_columns), from those of their captions, shape (sum(n_captions), n_columns)."""
    before = np.cumsum(np.vstack([np.zeros((1, named.shape[1]), dtype=np.int64), named]), axis=0)
    n = np.asarray(n_captions, dtype=np.int64)
    ends = np.cumsum(n)
    n_naming = before[ends] - before[ends - n]
    return n_naming > 0 if pool == "any" else 2 * n_naming > n[:, None]
