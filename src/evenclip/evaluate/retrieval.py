"""Retrieval of captions by images and of images by captions.

Reads image and caption embeddings; yields retrieval/<set>/{image_to_text,text_to_image}_recall_at_{1,5,10}.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.hits import hit_probability
from evenclip.evaluate.measurement import EvaluateOptions, Measurement
from evenclip.records import MetricRow

PLACES = (1, 5, 10)
# similarities held at once: 2**22 float32 are 16 MB
_BLOCK = 2**22


class Retrieval(Measurement):
    """Retrieval both ways."""

    kind: Literal["retrieval"] = "retrieval"
    """Retrieval of captions by images and of images by captions."""

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Recall at 1, 5 and 10 over the whole set, with several captions per image.

        image_to_text_recall_at_k: share of the images with a caption for which at least one of their own captions is
        among the k most similar of ALL captions of the set. text_to_image_recall_at_k: share of the captions whose own
        image is among the k most similar of all images of the set, images without a caption included. Equal captions
        of two images count as different captions. The bootstrap resamples images with all their captions, since
        captions of one image are not independent. Ties: see `evenclip.evaluate.hits`.
        """
        if data.text is None:
            raise InputError("the set has no caption embeddings", data.where, "embed the captions (text, text_image)")
        for kind, size in (("images", data.n), ("captions", len(data.text))):
            if size < max(PLACES):
                what = f"the set has {size} {kind}, too few for recall at {max(PLACES)}"
                raise InputError(what, data.where, "use a larger set")
        n_captions = np.bincount(data.text_image, minlength=data.n)
        captioned = n_captions > 0
        caption = np.arange(len(data.text))
        to_text = _standing(data.image, data.text, data.text_image, caption)
        to_image = _standing(data.text, data.image, caption, data.text_image)
        for k in PLACES:
            hits = hit_probability(k, *to_text)[captioned]
            chance = hit_probability(k, 0, n_captions, len(data.text) - n_captions)[captioned].mean()
            name = f"retrieval/{data.name}/image_to_text_recall_at_{k}"
            yield bootstrap.means(hits[:, None]).row(name, lambda m: m[..., 0, 0], len(hits), random=float(chance))
        for k in PLACES:
            hits = np.bincount(data.text_image, hit_probability(k, *to_image), minlength=data.n)
            means = bootstrap.means(np.stack([hits, n_captions], axis=1)[captioned])
            name = f"retrieval/{data.name}/text_to_image_recall_at_{k}"
            yield means.row(name, lambda m: m[..., 0, 0] / m[..., 0, 1], len(data.text), random=k / data.n)


def _standing(
    queries: np.ndarray, candidates: np.ndarray, pair_query: np.ndarray, pair_candidate: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each query, what `hit_probability` takes: wrong candidates ahead, right and wrong ones level with the best.

    Parameters
    ----------
    queries, candidates : ndarray, shapes (n_queries, d) and (n_candidates, d)
    pair_query, pair_candidate : ndarray of int, shape (n_pairs,)
        Candidate ``pair_candidate[i]`` is right for query ``pair_query[i]``.

    Returns
    -------
    tuple of three ndarray of int, shape (n_queries,)
        For a query without a right candidate: 0, 1, 0, to be left out by the caller.
    """
    ahead, own, tied = (np.full(len(queries), value) for value in (0, 1, 0))
    order = np.argsort(pair_query, kind="stable")
    pair_query, pair_candidate = pair_query[order], pair_candidate[order]
    step = max(1, _BLOCK // len(candidates))
    for start in range(0, len(queries), step):
        stop = min(start + step, len(queries))
        pairs = slice(*np.searchsorted(pair_query, [start, stop]))
        row, column = pair_query[pairs] - start, pair_candidate[pairs]
        block = queries[start:stop] @ candidates.T
        # the right scores are read from the same product: computed apart, they could differ in the last bit
        right = block[row, column]
        best = np.full(stop - start, np.inf, dtype=block.dtype)
        best[row] = -np.inf
        np.maximum.at(best, row, right)
        n_own = np.bincount(row[right == best[row]], minlength=stop - start)
        own[start:stop] = np.maximum(n_own, 1)
        for query, (scores, limit) in enumerate(zip(block, best, strict=True), start):  # a row stays in the cache
            ahead[query] = np.count_nonzero(scores > limit)
            tied[query] = np.count_nonzero(scores == limit) - n_own[query - start]
    return ahead, own, tied
