"""Which captions are true of which pictures, as far as is known: all that they say is said of the picture, too.

Reads nothing; made of tokens. "A jorper" is true of a picture of a jorper and a yellow square, and so is no negative of
it. A model that is being trained cannot be asked which negatives are false: where it decides what is masked, it learns
to take everything for the same.
"""

from dataclasses import dataclass

import numpy as np
import torch

SILENT = ["", "a", "an", "the", "and"]
"""Texts whose tokens say nothing: the tokenizer's own marks, and articles."""
_MANY = 1 << 32  # tokens there can be


@dataclass(frozen=True)
class Truth:
    """b pictures and q captions: ``unknown`` (b, v) and ``said`` (q, v), 0 or 1, of the v words that are said."""

    unknown: torch.Tensor
    said: torch.Tensor

    def of(self, pictures: slice, captions: slice) -> torch.Tensor:
        """Whether each of ``captions`` says nothing that is not known of each of ``pictures``, shape (n, m), bool."""
        return self.unknown[pictures] @ self.said[captions].T == 0


class TrueCaptions:
    """What is known of n pictures, and what m captions say.

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
        self._said, of_facts = (_Words.of_texts(texts.numpy(), ignored) for texts in (captions, facts))
        pictures, number = known
        place, words = of_facts.rows(number)
        self._known = _Words.of(pictures[place], words, n_pictures)
        self._device = device

    def at(self, pictures: np.ndarray, captions: np.ndarray) -> Truth:
        """Of the pictures, shape (b,), and the captions, shape (q,), by their numbers."""
        caption, said = self._said.rows(captions)
        words, column = np.unique(said, return_inverse=True)
        picture, known = self._known.rows(pictures)
        place = np.searchsorted(words, known)
        is_said = np.append(words, -1)[place] == known
        unknown = torch.ones(len(pictures), len(words), device=self._device)
        unknown[self._tensor(picture[is_said]), self._tensor(place[is_said])] = 0
        matrix = torch.zeros(len(captions), len(words), device=self._device)
        matrix[self._tensor(caption), self._tensor(column)] = 1
        return Truth(unknown, matrix)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


@dataclass(frozen=True)
class _Words:
    """The different words of each of n texts: those of text i are ``words[starts[i]:starts[i + 1]]``."""

    words: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, texts: np.ndarray, words: np.ndarray, n: int) -> "_Words":
        """Of the words, each with its text, shape (w,) both, of n texts."""
        texts, words = np.divmod(np.unique(texts * _MANY + words), _MANY)
        return cls(words, np.searchsorted(texts, np.arange(n + 1)))

    @classmethod
    def of_texts(cls, tokens: np.ndarray, ignored: np.ndarray) -> "_Words":
        """Of the rows of ``tokens``, shape (n, context), but for what is ignored."""
        kept = ~np.isin(tokens, ignored)
        return cls.of(np.nonzero(kept)[0], tokens[kept], len(tokens))

    def rows(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The place in ``texts`` and the word, for each word of each of them."""
        first, n_each = self.starts[texts], self.starts[texts + 1] - self.starts[texts]
        within = np.arange(n_each.sum()) - np.repeat(np.cumsum(n_each) - n_each, n_each)
        return np.repeat(np.arange(len(texts)), n_each), self.words[np.repeat(first, n_each) + within]
