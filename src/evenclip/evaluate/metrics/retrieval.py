"""Image-text retrieval: recall of captions by images and of images by captions.

Reads image and caption embeddings; yields retrieval/<set>/{image_to_text,text_to_image}_recall_at_{1,5,10}.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import Definition, EvaluateOptions, Measurement
from evenclip.evaluate.ranking import hit_probability
from evenclip.tables import MetricRow

PLACES = (1, 5, 10)
# similarities held at once: 2**22 float32 are 16 MB. At least `_ROWS` queries, since with fewer the product spends its
# time on reading the candidates from memory (with 500,000 candidates these are 512 MB)
_BLOCK, _ROWS = 2**22, 256


class Retrieval(Measurement):
    """Retrieval in both directions."""

    metrics: ClassVar = (
        Definition("retrieval/image_to_text_recall_at_{k}", "share of images with one of their captions among the k "
                   "most similar of all captions; k = 1, 5, 10", "P_images(any own caption in top k)", "[0, 1]",
                   "mean of 1 - C(m - own, k) / C(m, k), m captions",
                   "Karpathy and Fei-Fei 2015, arXiv 1412.2306"),
        Definition("retrieval/text_to_image_recall_at_{k}", "share of captions whose image is among the k most similar "
                   "of all images; k = 1, 5, 10", "P_captions(own image in top k)", "[0, 1]", "k / number of images",
                   "Karpathy and Fei-Fei 2015, arXiv 1412.2306"),
    )  # fmt: skip

    kind: Literal["retrieval"] = "retrieval"
    """Image-text retrieval in both directions."""

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield recall at 1, 5 and 10 over the whole set; an image may have several captions.

        image_to_text_recall_at_k is the share of captioned images for which at least one of their own captions is among
        the k most similar of ALL captions of the set. text_to_image_recall_at_k is the share of captions whose own
        image is among the k most similar of all images, including images without a caption. Equal captions of two
        images count as different captions. The bootstrap resamples images with all their captions, since captions of
        one image are not independent. Ties: see `evenclip.evaluate.ranking`.
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
        to_text = _rank_counts(data.image, data.text, data.text_image, caption)
        to_image = _rank_counts(data.text, data.image, caption, data.text_image)
        images = [hit_probability(k, *to_text) for k in PLACES]
        captions = [np.bincount(data.text_image, hit_probability(k, *to_image), minlength=data.n) for k in PLACES]
        means = bootstrap.means(np.stack([*images, *captions, n_captions], axis=1)[captioned])
        for index, k in enumerate(PLACES):
            chance = hit_probability(k, 0, n_captions, len(data.text) - n_captions)[captioned].mean()
            name = f"retrieval/{data.name}/image_to_text_recall_at_{k}"
            yield means.row(name, lambda m, i=index: m[..., 0, i], captioned.sum(), random=float(chance))
        for index, k in enumerate(PLACES, start=len(PLACES)):
            name = f"retrieval/{data.name}/text_to_image_recall_at_{k}"
            yield means.row(name, lambda m, i=index: m[..., 0, i] / m[..., 0, -1], len(data.text), random=k / data.n)


def _rank_counts(
    queries: np.ndarray, candidates: np.ndarray, pair_query: np.ndarray, pair_candidate: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts of each query for `hit_probability`: wrong candidates ahead, and correct and wrong ones tied for best.

    Parameters
    ----------
    queries, candidates : ndarray, shapes (n_queries, d) and (n_candidates, d)
    pair_query, pair_candidate : ndarray of int, shape (n_pairs,)
        Candidate ``pair_candidate[i]`` is correct for query ``pair_query[i]``.

    Returns
    -------
    tuple of three ndarray of int, shape (n_queries,)
        0, 1, 0 for a query without a correct candidate, which the caller leaves out.
    """
    ahead, own, tied = (np.full(len(queries), value) for value in (0, 1, 0))
    order = np.argsort(pair_query, kind="stable")
    pair_query, pair_candidate = pair_query[order], pair_candidate[order]
    step = max(_ROWS, _BLOCK // len(candidates))
    for start in range(0, len(queries), step):
        stop = min(start + step, len(queries))
        pairs = slice(*np.searchsorted(pair_query, [start, stop]))
        row, column = pair_query[pairs] - start, pair_candidate[pairs]
        block = queries[start:stop] @ candidates.T
        # scores of correct candidates come from the same product: computed apart, they could differ in the last bit
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
