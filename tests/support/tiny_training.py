"""A data set of coloured squares and a model that trains on it in a second, for the tests of train and embed."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from evenclip.data.shard_writer import write_shards
from evenclip.provenance import Manifest
from evenclip.tables import WEIGHTS_SCHEMA, write_table

COLORS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}
PX = 32
TINY_MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def square_jpeg(color: str, rng: np.random.Generator) -> bytes:
    """A noisy square of one colour."""
    pixels = np.clip(np.array(COLORS[color]) + rng.normal(0, 8, (PX, PX, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_squares(folder: Path, n: int, foils: bool = False) -> Path:
    """``n`` squares of the colours in turn; each third has two captions; with ``foils``, all but the last have one."""
    rng = np.random.default_rng(0)
    names = list(COLORS)
    with write_shards(folder, Manifest("data", {"n": n}, {}, seed=0), shard_size=50) as writer:
        for i in range(n):
            color, other = names[i % len(names)], names[(i + 1) % len(names)]
            captions = [f"a {color} square", f"a picture of something {color}"][: 1 + (i % 3 == 0)]
            columns = {"color": color}
            if foils:
                columns |= {"probe": "color", "foil": f"a {other} square" if i < n - 1 else ""}
            writer.add(f"{i:05d}", square_jpeg(color, rng), captions, columns, width=PX, height=PX, sha256="")
    return folder


def write_weights(path: Path, copies: dict[str, int], strategy: str = "m4") -> Path:
    """A weights table, and the report beside it."""
    columns = [list(copies), [float(c) for c in copies.values()], list(copies.values())]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, WEIGHTS_SCHEMA, strict=True)]
    write_table(pa.Table.from_arrays(arrays, schema=WEIGHTS_SCHEMA), path)
    (path.parent / "report.json").write_text(json.dumps({"strategy": strategy}))
    return path


def write_model(path: Path, **changes: dict) -> Path:
    """The tiny model's JSON configuration."""
    path.write_text(json.dumps(TINY_MODEL | changes))
    return path
