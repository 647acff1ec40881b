"""Which captions are true of which pictures, as far as is known: all that they say is said of the picture, too.

Reads nothing; made of tokens. "A jorper" is true of a picture of a jorper and a yellow square, and so is no negative of
it. What a caption says are its words and which of them follow each other, so that "a blue square left of a red circle"
is not true of a red circle left of a blue square. A model that is being trained cannot be asked which negatives are
false: where it decides what is masked, it learns to take everything for the same.
"""

from dataclasses import dataclass

import numpy as np
import torch

SILENT = ["", "a", "an", "the", "and"]
"""Texts whose tokens say nothing: the tokenizer's own marks, and articles."""


@dataclass(frozen=True)
class Truth:
    """b pictures and q captions: ``unknown`` (b, v) and ``said`` (q, v), 0 or 1, of the v things that are said."""

    unknown: torch.Tensor
    said: torch.Tensor

    def of(self, pictures: slice, captions: slice) -> torch.Tensor:
        """Whether each of ``captions`` says nothing that is not known of each of ``pictures``, shape (n, m), bool."""
        return self.unknown[pictures] @ self.said[captions].T == 0


class TrueCaptions:
    """What is known of n pictures, and what m captions say: tokens, and pairs of tokens that follow each other.

    Parameters
    ----------
    captions : Tensor of shape (m, context), int
        Tokens of each caption.
    facts : Tensor of shape (f, context), int
        Tokens of each different thing that is known of any picture.
    known : tuple of two ndarray of shape (k,), int
        A picture and the number of a fact that is known of it.
    n_pictures : int
    silent : Tensor of int
        Tokens that say nothing, those of `SILENT`.
    device : torch.device
        Of what `at` returns.
    """

    def __init__(self, captions: torch.Tensor, facts: torch.Tensor, known: tuple[np.ndarray, np.ndarray],
                 n_pictures: int, silent: torch.Tensor, device: torch.device):  # fmt: skip
        ignored = silent.unique().numpy()
        (caption, said), (fact, told) = (_said(texts.numpy(), ignored) for texts in (captions, facts))
        things = np.unique(said)  # what no caption says need not be known
        self._said = _Lists.of(caption, np.searchsorted(things, said), len(captions))
        is_said = np.isin(told, things)
        of_facts = _Lists.of(fact[is_said], np.searchsorted(things, told[is_said]), len(facts))
        pictures, number = known
        place, told = of_facts.rows(number)
        self._known = _Lists.of(pictures[place], told, n_pictures)
        self._device = device

    def at(self, pictures: np.ndarray, captions: np.ndarray) -> Truth:
        """Of the pictures, shape (b,), and the captions, shape (q,), by their numbers."""
        caption, said = self._said.rows(captions)
        things, column = np.unique(said, return_inverse=True)
        picture, known = self._known.rows(pictures)
        place = np.searchsorted(things, known)
        is_said = np.append(things, -1)[place] == known
        unknown = torch.ones(len(pictures), len(things), device=self._device)
        unknown[self._tensor(picture[is_said]), self._tensor(place[is_said])] = 0
        matrix = torch.zeros(len(captions), len(things), device=self._device)
        matrix[self._tensor(caption), self._tensor(column)] = 1
        return Truth(unknown, matrix)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


def _said(tokens: np.ndarray, ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A text, and a token or a pair of neighbours in it, but for what is ignored; shape (w,) both."""
    kept = ~np.isin(tokens, ignored)
    text, token = np.nonzero(kept)[0], tokens[kept].astype(np.int64)
    follows = text[1:] == text[:-1]
    pairs = (token[:-1] + 1 << 32 | token[1:])[follows]
    return np.concatenate([text, text[1:][follows]]), np.concatenate([token, pairs])


@dataclass(frozen=True)
class _Lists:
    """The different things of each of n texts: those of text i are ``things[starts[i]:starts[i + 1]]``."""

    things: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, texts: np.ndarray, things: np.ndarray, n: int) -> "_Lists":
        """Of the things, each with its text, shape (w,) both, of n texts."""
        many = int(things.max(initial=0)) + 1
        texts, things = np.divmod(np.unique(texts.astype(np.int64) * many + things), many)
        return cls(things, np.searchsorted(texts, np.arange(n + 1)))

    def rows(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The place in ``texts`` and the thing, for each thing of each of them."""
        first, n_each = self.starts[texts], self.starts[texts + 1] - self.starts[texts]
        within = np.arange(n_each.sum()) - np.repeat(np.cumsum(n_each) - n_each, n_each)
        return np.repeat(np.arange(len(texts)), n_each), self.things[np.repeat(first, n_each) + within]
