"""Compositional probe: choice between the caption and a foil, a copy of it with one thing swapped.

Reads the truth column `probe` and the embeddings of captions and foils; yields compositional/<set>/<probe>.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap, clustered_row, share_row
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import Definition, EvaluateOptions, Measurement, insufficient
from evenclip.tables import MetricRow


class Compositional(Measurement):
    """Choice between caption and foil, for each kind of swap."""

    metrics: ClassVar = (
        Definition("compositional/{probe}", "share of images, or of pairs of twins, that are more similar to their "
                   "caption than to its foil", "P(cos(x, caption) > cos(x, foil)) + P(equal) / 2; of twins: both are",
                   "[0, 1]", "0.5; of twins 0.25",
                   "Yuksekgonul et al. 2023 (ARO), arXiv 2210.01936; Hsieh et al. 2023 (SugarCrepe), arXiv 2306.14610"),
    )  # fmt: skip

    kind: Literal["compositional"] = "compositional"
    """Compositional probe."""
    twins: str | None = None
    """Column whose value two pictures share whose captions are each other's foil, e.g. `twin` in the embedded world:
    both must be right to count. null = every picture counts by itself."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns with the kind of swap, the digest that identifies copies of a picture, and its twin."""
        return ("probe", "sha256", *([self.twins] if self.twins else []))

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield the share of images that are more similar to their caption than to their foil; ties count half.

        Chance is 0.5. If a picture occurs in several rows of a probe, the bootstrap resamples pictures with all their
        rows. With ``twins`` the share is that of pairs of which both are right; chance is 0.25, and the number of
        examples is that of pairs.
        """
        if data.text is None or data.foil is None:
            raise InputError("the set lacks caption or foil embeddings", data.where, "embed captions and foils")
        probe = data.truth["probe"]
        n_captions = np.bincount(data.text_image, minlength=data.n)
        odd = np.flatnonzero((probe != "") & (n_captions != 1))
        if len(odd):
            what = f"row {odd[0]} has {n_captions[odd[0]]} captions"
            raise InputError(what, data.where, "an image with a foil needs exactly one caption")
        if not (probe != "").any():
            raise InputError("no image has a probe", f"{data.where}, column probe", "name a set with probes")
        absent = np.flatnonzero((probe != "") & np.isnan(data.foil).any(axis=1))
        if len(absent):
            raise InputError(f"row {absent[0]} has a probe but no foil", data.where, "embed a foil for each probe")
        caption = np.zeros_like(data.foil)
        caption[data.text_image] = data.text
        margin = np.einsum("nd,nd->n", data.image, caption) - np.einsum("nd,nd->n", data.image, data.foil)
        right = (np.sign(margin) + 1) / 2
        for name in sorted(set(probe) - {""}):
            metric, rows = f"compositional/{data.name}/{name}", probe == name
            if self.twins:
                yield _twins_row(metric, right[rows], data.truth[self.twins][rows], f"{data.where}, {name}", options)
                continue
            hits, pictures = right[rows], data.truth["sha256"][rows]
            n_pictures = len(np.unique(pictures))
            if len(hits) < options.minimum_group:
                yield insufficient(metric, "all images", len(hits))
            elif n_pictures == len(hits) or np.ptp(hits) == 0:  # a bootstrap of equal values has no width
                yield share_row(metric, hits, random=0.5, independent=n_pictures)
            else:
                yield clustered_row(metric, hits, pictures, bootstrap, random=0.5)


def _twins_row(metric: str, right: np.ndarray, twins: np.ndarray, where: str, options: EvaluateOptions) -> MetricRow:
    """Share of pairs of twins that are both right, from ``right`` in {0, 1/2, 1} of each picture, shape (n,)."""
    _, pair, sizes = np.unique(twins, return_inverse=True, return_counts=True)
    if (twins == "").any() or (sizes != 2).any():
        raise InputError("a picture has no twin, or more than one", where, "name the column that two twins share")
    if len(sizes) < options.minimum_group:
        return insufficient(metric, "all images", len(sizes))
    first, second = right[np.argsort(pair, kind="stable")].reshape(-1, 2).T
    return share_row(metric, first * second, random=0.25)
