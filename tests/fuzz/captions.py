"""Fuzz the reader of captions files: CSV, TSV, JSON lines and Parquet. `python tests/fuzz/captions.py --seconds 300`.

Valid files, written by csv, pandas and json, must be read as they say. In damaged ones a row on a line that nobody
touched keeps its caption, or the file is refused: no row swallows another, and no caption moves to another image.
"""

import csv
import io
import json
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from evenclip.data.captions_file import read_captions
from evenclip.data.layouts.base import one_line
from evenclip.data.options import ImportOptions
from evenclip.data.source import Source
from evenclip.errors import InputError
from support.fuzzing import damaged, main

N = 6
ODD = [
    '"',
    '""',
    ",",
    "\t",
    "\n",
    "\r\n",
    "\u2028",
    "\x85",
    "a",
    "dog",
    "\u0301",
    "'",
    "\\",
    "{",
    "\x00",
    " ",
    "é",
    "NA",
]
CAPTION = st.lists(st.sampled_from(ODD), min_size=1, max_size=5).map("".join)


def _read(name: str, content: bytes) -> tuple[dict[str, list[str]], list[str]] | None:
    """Captions by image and the rejected places; None for a file that is refused."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(N):
            (Path(folder) / f"p{i}.jpg").touch()
        (Path(folder) / name).write_bytes(content)
        options = ImportOptions(layout="folder", captions=name)
        try:
            with Source(folder) as source:
                captions = read_captions(source, options)
        except InputError:
            return None
    images = {image: row.captions for image, row in captions.images.items()}
    return images, [reject.name for reject in captions.malformed]


def _written(name: str, captions: list[str]) -> bytes:
    rows = [{"image": f"p{i}.jpg", "caption": caption} for i, caption in enumerate(captions)]
    buffer = io.StringIO(newline="")
    if name.endswith(".jsonl"):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if name == "module.csv":
        writer = csv.DictWriter(buffer, ["image", "caption"])
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue().encode()
    return pd.DataFrame(rows).to_csv(sep="\t" if name.endswith(".tsv") else ",", index=False).encode()


def valid_files_are_read_as_written(data: st.DataObject) -> str:
    name = data.draw(st.sampled_from(["module.csv", "pandas.csv", "pandas.tsv", "rows.jsonl"]))
    captions = data.draw(st.lists(CAPTION, min_size=N, max_size=N))
    if name == "module.csv" or name.startswith("pandas"):
        captions = [caption.replace("\x00", "") for caption in captions]
    read = _read(name, _written(name, captions))
    assert read is not None, "a valid file is refused"
    images, rejects = read
    assert not rejects, rejects
    for i, caption in enumerate(captions):
        expected = one_line(caption)
        assert images.get(f"p{i}.jpg", []) == ([expected] if expected else []), (name, i, caption, images)
    return "equal"


def untouched_lines_keep_their_captions(data: st.DataObject) -> str:
    name = data.draw(st.sampled_from(["module.csv", "pandas.tsv", "rows.jsonl"]))
    captions = [f"caption of {i}" for i in range(N)]
    lines = _written(name, captions).split(b"\n")
    header = 0 if name.endswith(".jsonl") else 1
    touched = data.draw(st.integers(0, N - 1))
    lines[header + touched] = damaged(data, lines[header + touched])
    damage = lines[header + touched]
    read = _read(name, b"\n".join(lines))
    if read is None:
        return "refused"
    images, rejects = read
    for i, caption in enumerate(captions):
        if i != touched:
            own = images.get(f"p{i}.jpg", [])
            assert caption in own, (name, touched, damage, images, rejects)
            assert len(own) <= 1 + (b"p%d.jpg" % i in damage), (damage, own)
    return "equal"


def damaged_parquet_is_refused_or_equal(data: st.DataObject) -> str:
    buffer = io.BytesIO()
    frame = pd.DataFrame({"image": [f"p{i}.jpg" for i in range(N)], "caption": [f"caption of {i}" for i in range(N)]})
    frame.to_parquet(buffer, write_page_checksum=True)
    content = damaged(data, buffer.getvalue())
    read = _read("rows.parquet", content)
    if read is None:
        return "refused"
    try:
        other = pq.read_table(io.BytesIO(content)).to_pydict()  # without checksums
    except Exception as error:
        raise AssertionError(f"read, though pyarrow alone says {error}") from error
    expected: dict[str, list[str]] = {}
    for image, caption in zip(other["image"], other["caption"], strict=True):
        expected.setdefault(str(image).strip().replace("\\", "/").removeprefix("./"), []).append(
            one_line(str(caption or ""))
        )
    assert read[0] == {image: [text for text in own if text] for image, own in expected.items()}
    return "equal"


PROPERTIES = [
    valid_files_are_read_as_written, untouched_lines_keep_their_captions, damaged_parquet_is_refused_or_equal,
]  # fmt: skip

if __name__ == "__main__":
    main(PROPERTIES)
