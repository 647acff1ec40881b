"""Is a caption a description at all? Alt texts may be file names, tags, boilerplate or another language.

The checks are those by which web-scale sets were cleaned, as far as they need words only: caption length as in
DataComp's basic filter [1]_, function words, repetition and boilerplate as in Conceptual Captions [2]_ (which asks a
tagger for determiners and prepositions; here the lexicon's `function_words` stand for them), and the share of words
with letters as in Gopher's quality rules [3]_.

References
----------
.. [1] Gadre et al., "DataComp: In search of the next generation of multimodal datasets", NeurIPS 2023, appendix J.
.. [2] Sharma et al., "Conceptual Captions", ACL 2018, section 3.2.
.. [3] Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", 2021, appendix A.1.1.
"""

import re
from collections.abc import Collection, Sequence

import numpy as np

from evenclip.label.lexicon import normalise

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
        Words without which the language's sentences hardly do (`Lexicon.function_words`); none = any language passes.

    Returns
    -------
    ndarray of bool, shape (n_captions, 5)
        A caption without any word passes no check.
    """
    known = frozenset(function_words)
    return np.array([_passed(normalise(caption), known) for caption in captions], dtype=bool).reshape(-1, len(CHECKS))


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
