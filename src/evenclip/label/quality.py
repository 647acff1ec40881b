"""The quality of pairs: checks of captions, the column `utility` for balancing, the least similar pairs."""

import re
from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.embedding_files import Embeddings, unit_rows
from evenclip.label.lexicon import normalise
from evenclip.label.options import LabelOptions

MIN_WORDS, MIN_CHARACTERS = 3, 6  # DataComp: more than two words and more than five characters
MIN_SHARE_WITH_LETTERS = 0.8
MIN_SHARE_DISTINCT = 0.5

CHECKS = ("long_enough", "letters", "language", "no_repetition", "no_boilerplate")

_WORD = re.compile(r"\d[\d.,]*|[^\W_]+(?:'[^\W_]+)?")  # "19.95" is one
_LETTER = re.compile(r"[^\W\d_]")
_BOILERPLATE = re.compile(
    r"https?://|www\.|\w\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg|html?|php)\b"  # addresses and file names
    r"|\b(?:img|dsc[fn]?|pict|dcim|screenshot)[ _]?\d{3,}"  # what cameras and phones call files
    r"|\bclick (?:here|to (?:enlarge|zoom|view))|\bstock (?:photo|image|vector|illustration)|\bprofile photo\b"
    r"|\bembedded image permalink\b|\bimage may contain\b|\bno (?:description|caption|alt)\b|&(?:amp|quot|nbsp|#\d+);"
)


def wording(captions: Sequence[str], function_words: Collection[str]) -> np.ndarray:
    """Which of `CHECKS` each caption passes.

    Parameters
    ----------
    captions : sequence of str
    function_words : collection of str
        Words that nearly every sentence of the language has (`Lexicon.function_words`); none = any language passes.

    Returns
    -------
    ndarray of bool, shape (n_captions, 5)
        A caption without any word passes no check.
    """
    expected = frozenset(function_words)
    return np.array([_passed(normalise(caption), expected) for caption in captions], dtype=bool).reshape(
        -1, len(CHECKS)
    )


def _passed(text: str, function_words: frozenset[str]) -> tuple[bool, ...]:
    words = _WORD.findall(text)
    if not words:
        return (False,) * len(CHECKS)
    n_spaced = sum(_WORD.search(token) is not None for token in text.split())
    with_letters = sum(_LETTER.search(word) is not None for word in words)
    return (
        n_spaced >= MIN_WORDS and len(text.strip()) >= MIN_CHARACTERS,
        with_letters >= MIN_SHARE_WITH_LETTERS * len(words),
        not function_words or not function_words.isdisjoint(words),
        len(set(words)) >= MIN_SHARE_DISTINCT * len(words),
        _BOILERPLATE.search(text) is None,
    )


def utility(
    pairs: pa.Table, similarity: np.ndarray | None, function_words: Collection[str], options: LabelOptions
) -> np.ndarray:
    """The product of the parts named in ``options.utility``; the mappings are ours, as no paper gives any.

    Parameters
    ----------
    pairs : Table
        Columns captions, width, height; n rows.
    similarity : ndarray, shape (n,), optional
        Image-text similarity; NaN where it is unknown, which counts as utility 1.
    function_words : collection of str
        As for `wording`.
    options : LabelOptions

    Returns
    -------
    ndarray of float32, shape (n,), in [0, 1]
    """
    product = np.ones(len(pairs), dtype=np.float64)
    for part in options.utility:
        if part == "similarity":
            product *= rank_share(similarity)
        elif part == "caption_length":
            n_words = np.array([max((len(text.split()) for text in texts), default=0) for texts in captions_of(pairs)])
            product *= np.minimum(1, n_words / options.full_caption_words)
        elif part == "wording":
            product *= wording_share(captions_of(pairs), function_words)
        else:
            shorter = pc.min_element_wise(pairs.column("width"), pairs.column("height")).to_numpy()
            product *= np.minimum(1, shorter / options.full_px)
    return product.astype(np.float32)


def captions_of(pairs: pa.Table) -> list[list[str]]:
    """The captions of each pair."""
    return pairs.column("captions").to_pylist()


def wording_share(captions: list[list[str]], function_words: Collection[str]) -> np.ndarray:
    """The mean share of checks that a pair's captions pass, as any may be drawn; 0 for a pair without captions."""
    passed = wording([text for texts in captions for text in texts], function_words).mean(axis=1)
    n = np.array([len(texts) for texts in captions], dtype=np.int64)
    total = np.bincount(np.repeat(np.arange(len(n)), n), passed, minlength=len(n))
    return np.divide(total, n, out=np.zeros(len(n)), where=n > 0)


def image_text_similarity(embedded: Embeddings) -> np.ndarray:
    """Mean cosine of each image and its captions, shape (n,), in [-1, 1]; NaN where it has none."""
    image, text = unit_rows(embedded.image.copy()), unit_rows(embedded.text.copy())
    cosine = np.einsum("md,md->m", image[embedded.text_image], text)
    n_captions = np.bincount(embedded.text_image, minlength=len(image))
    total = np.bincount(embedded.text_image, cosine, minlength=len(image))
    return np.divide(total, n_captions, out=np.full(len(image), np.nan), where=n_captions > 0)


def rank_share(similarity: np.ndarray) -> np.ndarray:
    """The share of the other pairs that are less similar, ties counting half, in [0, 1]; 1 where it is unknown.

    Ranks are used because cosines of different models are not comparable: CLIP's hardly leave 0.1 to 0.4.
    """
    is_known = ~np.isnan(similarity)
    share = np.ones(len(similarity))
    if is_known.sum() > 1:
        _, inverse, n_equal = np.unique(similarity[is_known], return_inverse=True, return_counts=True)
        n_below = np.cumsum(n_equal) - n_equal
        share[is_known] = (n_below + (n_equal - 1) / 2)[inverse] / (is_known.sum() - 1)
    return share


def lowest(similarity: np.ndarray, share: float) -> np.ndarray:
    """The ``share`` of all rows with the lowest similarity, shape (n,) bool; never rows of unknown similarity."""
    is_lowest = np.zeros(len(similarity), dtype=bool)
    order = np.argsort(similarity, kind="stable")  # NaN last
    n = min(round(share * len(similarity)), int((~np.isnan(similarity)).sum()))
    is_lowest[order[:n]] = True
    return is_lowest
