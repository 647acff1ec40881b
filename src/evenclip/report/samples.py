"""Sample grid: training pairs with captions and labels, embedded in the local report only."""

import base64
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from evenclip.data.shards import WHOLE, locate_images
from evenclip.errors import InputError
from evenclip.label_columns import label_columns
from evenclip.report import words
from evenclip.results import StudyResults
from evenclip.tables import read_labels, read_table

N_SAMPLES, SIDE_PX = 12, 192
START, END = "<!-- samples -->", "<!-- /samples -->"
LEFT_OUT = "<p>This copy of the report has no sample images; they stay with the data.</p>"


@dataclass(frozen=True)
class Sample:
    """One training pair as shown: a data URI of the image, its caption, and its labels in words."""

    image: str
    caption: str
    labels: list[str]


def read_samples(study: StudyResults, dataset: str, manifest: dict[str, Any]) -> list[Sample]:
    """Up to `N_SAMPLES` pairs of the first shard of a labelled data set, evenly spaced among its labelled pairs.

    The choice is deterministic and not hand-picked. Empty if the data folder is missing, or if the labels were gathered
    from parts, whose manifest names no data folder.
    """
    data = manifest["inputs"].get("data")
    if data is None or not (folder := Path(data["path"])).joinpath("manifest.json").is_file():
        return []
    shard = WHOLE.shards(folder)[0]["name"]
    captions = read_table(folder / f"{shard}.parquet", ["key", "caption"])
    labels = read_labels(study.label_table(dataset))
    labels = labels.filter(pc.is_in(labels["key"], captions["key"].combine_chunks()))
    columns = label_columns(labels.column_names)
    flags = np.column_stack([pc.fill_null(labels[column.column], False).to_numpy() for column in columns])
    is_not_proxy = [column.role != "proxy" for column in columns]  # a proxy alone shows no bias
    rows = np.flatnonzero(flags[:, is_not_proxy].any(axis=1))
    if len(rows) == 0:
        return []
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, N_SAMPLES).round().astype(int))]
    keys = labels["key"].take(pa.array(rows)).to_pylist()
    images = _read_images(folder, set(keys))
    caption = dict(zip(captions["key"].to_pylist(), captions["caption"].to_pylist(), strict=True))
    return [
        Sample(images[key], caption[key], [words.label(columns[j].column) for j in np.flatnonzero(flags[row])])
        for row, key in zip(rows, keys, strict=True)
    ]


def is_drawn(manifest: dict[str, Any]) -> bool:
    """Whether a labelled data set was drawn by `evenclip data synthesize`, and shows nobody."""
    data = manifest["inputs"].get("data")
    path = Path(data["path"]) / "manifest.json" if data else None
    if path is None or not path.is_file():
        return False
    return "world" in json.loads(path.read_text(encoding="utf-8")).get("options", {})


def without_samples(page: str) -> str:
    """The report without its sample images, for copies outside the results folder."""
    return re.sub(f"{re.escape(START)}.*?{re.escape(END)}", LEFT_OUT, page, flags=re.DOTALL)


def _read_images(folder: Path, keys: set[str]) -> dict[str, str]:
    """Data URIs of the images of ``keys``, shrunk to at most `SIDE_PX`."""
    images: dict[str, str] = {}
    for member in locate_images(folder):
        if member.key in keys:
            with open(member.tar, "rb") as file:
                file.seek(member.offset)
                content = file.read(member.size)
            images[member.key] = _shrunk(content, f"{member.tar}, {member.key}")
        if len(images) == len(keys):
            return images
    raise InputError(f"no image of the pair '{min(keys - images.keys())}'", str(folder), "make the data folder again")


def _shrunk(content: bytes, where: str) -> str:
    try:
        image = Image.open(io.BytesIO(content)).convert("RGB")
    except (OSError, SyntaxError) as error:
        raise InputError(f"not a readable image ({error})", where, "make the data folder again") from None
    image.thumbnail((SIDE_PX, SIDE_PX))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
