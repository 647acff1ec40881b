"""Small embedded sets for the tests of evaluate: in memory, or on disk as `evenclip embed` leaves them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from evenclip.data.shard_writer import write_shards
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet, PromptClasses
from evenclip.evaluate.measurement import EvaluateOptions, Measurement
from evenclip.provenance import Manifest
from evenclip.tables import MetricRow


def unit(array: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32."""
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def make_set(image: np.ndarray, *, truth: dict[str, list[str]] | None = None, prompts: dict | None = None,
             text: np.ndarray | None = None, text_image: np.ndarray | None = None, foil: np.ndarray | None = None,
             logit_scale: float = 10.0) -> EmbeddedSet:  # fmt: skip
    """A set named `s`; ``prompts`` maps a stem to {class name: vector}."""
    vectors = {stem: unit(np.array(list(c.values()), float)) for stem, c in (prompts or {}).items()}
    classes = {stem: PromptClasses(tuple(prompts[stem]), v, v[None]) for stem, v in vectors.items()}
    files = {"sha256": [f"file {i}" for i in range(len(image))]}
    columns = {name: np.array(values, dtype=str) for name, values in (files | (truth or {})).items()}
    text, foil = (None if array is None else unit(array) for array in (text, foil))
    return EmbeddedSet("s", "s.npz", unit(image), text, text_image, foil, classes, logit_scale, columns, 0)


def measure(task: Measurement, data: EmbeddedSet, minimum_group: int = 2, resamples: int = 200) -> dict:
    """What a task yields on the set `s`: (metric without family and set, group) -> row."""
    rows: list[MetricRow] = list(
        task.measure(data, Bootstrap(resamples, 0), EvaluateOptions(minimum_group=minimum_group))
    )
    rows_of = {(row.metric.partition("/s/")[2], row.group): row for row in rows}
    assert len(rows_of) == len(rows)
    return rows_of


def vectors(data: EmbeddedSet) -> dict:
    """The set's prompts as `make_set` takes them."""
    return {stem: dict(zip(c.names, c.embedding, strict=True)) for stem, c in data.prompts.items()}


def biased_people() -> EmbeddedSet:
    """200 images of two groups, unequal in number; group and label directions overlap, so there is bias to find."""
    rng = np.random.default_rng(0)
    groups = ["ravi"] * 140 + ["tolo"] * 60
    directions = {"ravi": rng.normal(size=8), "tolo": rng.normal(size=8)}
    labels = {
        "baker": directions["ravi"] + rng.normal(size=8),
        "smith": rng.normal(size=8),
        "guard": rng.normal(size=8),
    }
    image = np.array([directions[group] for group in groups]) + rng.normal(size=(200, 8))
    return make_set(image, truth={"group": groups}, prompts={"groups": directions, "labels": labels})


def write_data(folder: Path, rows: list[dict]) -> Path:
    """A data folder with one grey image per row; a row is {key, caption, ...truth columns}."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "#888").save(file, "JPEG")
    with write_shards(folder, Manifest("data", {}, {}, seed=0)) as writer:
        for row in rows:
            columns = {name: value for name, value in row.items() if name not in ("key", "caption")}
            writer.add(row["key"], file.getvalue(), [row["caption"]], columns, width=8, height=8, sha256=row["key"])
    return folder


def arrays(n: int = 60, d: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
    """Random embeddings of n images with one caption and one foil each, and prompts of 6 objects and 2 groups."""
    rng = np.random.default_rng(seed)
    return {
        "key": np.array([f"{i:05d}" for i in range(n)]),
        "image": unit(rng.normal(size=(n, d))),
        "text": unit(rng.normal(size=(n, d))),
        "text_image": np.arange(n),
        "foil": unit(rng.normal(size=(n, d))),
        "prompt/objects": unit(rng.normal(size=(3, 6, d))),
        "prompt/objects/classes": np.array([f"object{c}" for c in range(6)]),
        "prompt/groups": unit(rng.normal(size=(2, 2, d))),
        "prompt/groups/classes": np.array(["ravi", "tolo"]),
        "logit_scale": np.float32(14.0),
        "logit_bias": np.float32(0.0),
    }


def truth_rows(n: int = 60) -> list[dict]:
    """Truth rows that fit `arrays`."""
    return [
        {"key": f"{i:05d}", "caption": f"a thing {i}", "object": f"object{i % 6}", "group": ("ravi", "tolo")[i % 2],
         "probe": ("color", "size", "")[i % 3]}
        for i in range(n)
    ]  # fmt: skip
