"""Labels of pairs from their captions: what each caption names, pooled over the captions of a pair."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from evenclip.label.matching import Matcher

N_EXAMPLES = 3
CHUNK = 10_000  # pairs whose captions are matched at once: more take memory and no less time


def label_captions(
    captions: list[list[str]], matcher: Matcher, pool: Literal["any", "majority"]
) -> tuple[np.ndarray, dict[str, dict[str, Any]]]:
    """Label pairs by all their captions.

    Parameters
    ----------
    captions : list of list of str
        The captions of each pair; a pair may have none.
    matcher : Matcher
    pool : {"any", "majority"}
        ``LabelOptions.pool``.

    Returns
    -------
    labels : ndarray of bool, shape (n_pairs, n_columns)
    summaries : dict
        For each column: ``n`` pairs, their ``share``, the matched ``words`` with counts, ``examples`` of captions.
    """
    labels = np.zeros((len(captions), len(matcher.columns)), dtype=bool)
    phrases = {column: Counter() for column in matcher.columns}
    examples: dict[str, list[str]] = {column: [] for column in matcher.columns}
    for start in range(0, len(captions), CHUNK):
        groups = captions[start : start + CHUNK]
        texts = [text for group in groups for text in group]
        matches = matcher.match(texts)
        labels[start : start + CHUNK] = pooled(matches.labels, [len(group) for group in groups], pool)
        for c, column in enumerate(matcher.columns):
            phrases[column].update(matches.phrases[column])
            n_wanted = N_EXAMPLES - len(examples[column])
            examples[column] += [texts[i] for i in np.flatnonzero(matches.labels[:, c])[:n_wanted]]
    summaries = {
        column: {
            "n": int(labels[:, c].sum()),
            "share": float(labels[:, c].mean()) if len(labels) else 0.0,
            "words": dict(phrases[column]),
            "examples": examples[column],
        }
        for c, column in enumerate(matcher.columns)
    }
    return labels, summaries


def pooled(named: np.ndarray, n_captions: Sequence[int], pool: Literal["any", "majority"]) -> np.ndarray:
    """Labels of pairs, shape (n_pairs, n_columns), from those of their captions, shape (sum(n_captions), n_columns)."""
    before = np.cumsum(np.vstack([np.zeros((1, named.shape[1]), dtype=np.int64), named]), axis=0)
    n = np.asarray(n_captions, dtype=np.int64)
    ends = np.cumsum(n)
    n_naming = before[ends] - before[ends - n]
    return n_naming > 0 if pool == "any" else 2 * n_naming > n[:, None]
