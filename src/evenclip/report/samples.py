"""The sample grid: training pairs with their captions and labels, embedded in the local report only."""

import base64
import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from evenclip.data.shards import read_manifest
from evenclip.report import words
from evenclip.results import StudyResults
from evenclip.tables import label_columns, read_labels, read_table

N_SAMPLES, SIDE_PX = 12, 192
START, END = "<!-- samples -->", "<!-- /samples -->"
LEFT_OUT = "<p>The images are left out of this copy of the report: they stay beside the data.</p>"


@dataclass(frozen=True)
class Sample:
    """One training pair as shown: a data URI of the image, its caption, and its labels in words."""

    image: str
    caption: str
    labels: list[str]


def read_samples(study: StudyResults, dataset: str, manifest: dict[str, Any]) -> list[Sample]:
    """Up to `N_SAMPLES` pairs of the first shard of a labelled data set, evenly spread over its labelled pairs.

    The choice is the same every time and flatters nobody. Empty where the data folder is not here: results can travel
    without the data.
    """
    folder = Path(manifest["inputs"]["data"]["path"])
    if not (folder / "manifest.json").is_file():
        return []
    shard = read_manifest(folder)["shards"][0]["name"]
    captions = read_table(folder / f"{shard}.parquet", ["key", "caption"])
    labels = read_labels(study.label_table(dataset))
    labels = labels.filter(pc.is_in(labels["key"], captions["key"].combine_chunks()))
    columns = label_columns(labels.column_names)
    flags = np.column_stack([pc.fill_null(labels[column.column], False).to_numpy() for column in columns])
    telling = [column.role != "proxy" for column in columns]  # a proxy alone shows no bias
    rows = np.flatnonzero(flags[:, telling].any(axis=1))
    if len(rows) == 0:
        return []
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, N_SAMPLES).round().astype(int))]
    keys = labels["key"].take(pa.array(rows)).to_pylist()
    images = _read_images(folder / f"{shard}.tar", set(keys))
    caption = dict(zip(captions["key"].to_pylist(), captions["caption"].to_pylist(), strict=True))
    shown = zip(rows, keys, strict=True)
    return [
        Sample(images[key], caption[key], [words.label(columns[j].column) for j in np.flatnonzero(flags[row])])
        for row, key in shown
    ]


def without_samples(page: str) -> str:
    """The report without its images of people and things, for copies that leave this machine's results folder."""
    return re.sub(f"{re.escape(START)}.*?{re.escape(END)}", LEFT_OUT, page, flags=re.DOTALL)


def _read_images(path: Path, keys: set[str]) -> dict[str, str]:
    """Data URIs of the images of ``keys``, shrunk to at most `SIDE_PX`; the tar's other members are skipped over."""
    found = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key = member.name.removesuffix(".jpg")
            if key in keys and member.name != key:
                image = Image.open(tar.extractfile(member)).convert("RGB")
                image.thumbnail((SIDE_PX, SIDE_PX))
                file = io.BytesIO()
                image.save(file, "JPEG", quality=85)
                found[key] = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    return found
