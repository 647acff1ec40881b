"""Bias probe: representation bias (RB) and association bias (AB) of a model, measured during its training.

RB follows the data seen last, AB moves slowly (M4, arXiv 2403.04547). Reads two folders of image-text shards and two
prompt files. The rows `step`, `rb`, `ab_max`, `ab_mean`, measured as in `evenclip evaluate` (representation,
association), become `bias_history.parquet` in the run folder.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from evenclip import bias
from evenclip.data.shards import iterate_images, read_pairs
from evenclip.errors import InputError
from evenclip.model.clip import Clip
from evenclip.model.images import decode_images
from evenclip.train.options import BiasProbeOptions
from evenclip.train.zero_shot_head import ZeroShotHead

IMAGES_AT_ONCE = 128


class BiasProbe:
    """Measures RB and AB of a model at steps spread evenly over its training.

    Parameters
    ----------
    options : BiasProbeOptions
    clip : Clip
        Provides tokenizer and preprocessing.
    n_steps : int

    Attributes
    ----------
    rows : list of dict
        The measurements.
    """

    def __init__(self, options: BiasProbeOptions, clip: Clip, n_steps: int):
        self.rows: list[dict[str, float]] = []
        self._moments = np.linspace(0, n_steps, min(options.points, n_steps + 1)).round()
        self._groups, self._labels = (ZeroShotHead(Path(p), clip.tokenizer) for p in (options.groups, options.labels))
        self._images, _ = _read(Path(options.images), None, options.n_images, clip)
        self._people, values = _read(Path(options.people), options.column, options.n_images, clip)
        names, self._group = np.unique(values, return_inverse=True)
        if len(names) < 2:
            what = f"its images show {len(names)} values of '{options.column}'; two are needed"
            raise InputError(what, options.people, "name another column, or raise n_images")

    def wanted(self, step: int) -> bool:
        """Whether the model should be measured before ``step`` (or after the last one)."""
        return step in self._moments and (not self.rows or self.rows[-1]["step"] < step)

    def measure(
        self,
        step: int,
        encode_images: Callable[[torch.Tensor], torch.Tensor],
        encode_texts: Callable[[torch.Tensor], torch.Tensor],
        logit_scale: torch.Tensor,
    ) -> None:
        """Measure the model; ``encode_images`` takes uint8 pixels, ``encode_texts`` tokens of the full vocabulary."""

        def probabilities(pixels: torch.Tensor, head: ZeroShotHead) -> np.ndarray:
            classes = head.classes(encode_texts(head.tokens))
            image = torch.cat([encode_images(part) for part in pixels.split(IMAGES_AT_ONCE)])
            return torch.softmax(logit_scale * image @ classes.T, dim=1).double().cpu().numpy()

        rb = model_rb(probabilities(self._images, self._groups))
        ab = model_ab(probabilities(self._people, self._labels), self._group)
        self.rows.append({"step": step, "rb": rb, "ab_max": float(ab.max()), "ab_mean": float(ab.mean())})

    def table(self) -> pa.Table:
        """The measurements as a table."""
        return pa.Table.from_pylist(self.rows)


def model_rb(probability: np.ndarray) -> float:
    """Largest distance of the mean prediction, of shape (n, values), from equal shares."""
    return float(bias.model_rb(probability.mean(axis=0), 1 / probability.shape[1]))


def model_ab(probability: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Distances of each group from the others in the mean prediction, shape (K, R); of two groups (1, R)."""
    means = np.array([probability[group == k].mean(axis=0) for k in np.unique(group)])
    return np.abs(bias.model_associations(means, np.unique(group, return_counts=True)[1]))


def _read(folder: Path, column: str | None, n: int, clip: Clip) -> tuple[torch.Tensor, np.ndarray]:
    """Pixels, uint8, and values of the column, of ``n`` images spread over those that have a value."""
    table = read_pairs(folder, ["key", *([column] if column else [])])
    keys = np.array(table["key"].to_pylist())
    values = np.array([value or "" for value in table[column].to_pylist()]) if column else np.full(len(keys), "image")
    usable = np.flatnonzero(values != "")
    if not len(usable):
        raise InputError("no image has a value", f"{folder}, column {column}", "name another column")
    chosen = usable[np.unique(np.linspace(0, len(usable) - 1, n).round().astype(int))]
    names = keys[chosen].tolist()
    decoded = dict(decode_images(iterate_images(folder, set(names)), clip.preprocess_cfg, str(folder)))
    return torch.from_numpy(np.stack([decoded[key] for key in names])), values[chosen]
