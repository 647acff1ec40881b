"""Fuzz the reader of embedding files (`.npz`). `python tests/fuzz/embeddings.py --seconds 300`.

A damaged file is refused, or every array is the one that was saved. Arrays of any shape and type are refused, or read
as numpy reads them.
"""

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from evenclip.embedding_files import Embeddings, read_embeddings
from evenclip.errors import InputError
from support.fuzzing import damaged, main

N, D = 6, 4


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "key": np.array([f"k{i}" for i in range(N)]),
        "image": rng.normal(size=(N, D)).astype(np.float32),
        "text": rng.normal(size=(N, D)).astype(np.float32),
        "text_image": np.arange(N),
        "logit_scale": np.float64(100),
        "prompt/o": rng.normal(size=(1, 2, D)).astype(np.float32),
        "prompt/o/classes": np.array(["a", "b"]),
    }


def _saved(arrays: dict[str, np.ndarray], compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def _read(content: bytes) -> Embeddings | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.npz"
        path.write_bytes(content)
        try:
            return read_embeddings(path)
        except InputError:
            return None


def damaged_files_are_refused_or_equal(data: st.DataObject) -> str:
    arrays = _arrays()
    embeddings = _read(damaged(data, _saved(arrays, data.draw(st.booleans()))))
    if embeddings is None:
        return "refused"
    assert embeddings.key.tolist() == arrays["key"].tolist()
    for name in ("image", "text", "text_image"):
        assert np.array_equal(getattr(embeddings, name), arrays[name]), name
    assert embeddings.logit_scale == 100
    assert np.array_equal(embeddings.prompts["o"].templates, arrays["prompt/o"])
    assert embeddings.prompts["o"].classes == ("a", "b")
    return "equal"


def _odd(data: st.DataObject, array: np.ndarray) -> np.ndarray:
    kind = data.draw(st.sampled_from(["dtype", "shape", "value", "order", "object", "empty", "bytes"]))
    with np.errstate(all="ignore"):
        if kind == "dtype" and array.dtype.kind in "fiu":
            return array.astype(
                data.draw(st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u2", ">f4", ">i8", "c8", "?", "f16"]))
            )
        if kind == "shape":
            return array.reshape(-1) if data.draw(st.booleans()) else np.asarray(array)[..., None]
        if kind == "value" and array.dtype.kind == "f" and array.ndim:
            array = np.array(array)
            value = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e30, 1e-30, 1e300]))
            array[..., data.draw(st.integers(0, array.shape[-1] - 1))] = value
            return array
        if kind == "order" and array.ndim > 1:
            return np.asfortranarray(array)
        if kind == "object":
            return np.array(array, dtype=object)
        if kind == "bytes" and array.dtype.kind == "U":
            return array.astype("S")
        return array[:0] if array.ndim else array


def odd_arrays_are_refused_or_read_as_numpy_does(data: st.DataObject) -> str:
    arrays = _arrays()
    name = data.draw(st.sampled_from(sorted(arrays)))
    with np.errstate(all="ignore"):
        arrays[name] = _odd(data, arrays[name])
    if data.draw(st.integers(0, 9)) == 0:
        del arrays[data.draw(st.sampled_from(sorted(arrays)))]
    content = _saved(arrays)
    embeddings = _read(content)
    if embeddings is None:
        return "refused"
    with np.load(io.BytesIO(content), allow_pickle=False) as saved, np.errstate(all="ignore"):
        for field in ("image", "text"):
            if field in saved and saved[field].size:
                assert np.array_equal(getattr(embeddings, field), saved[field].astype(np.float32)), field
        assert embeddings.key.tolist() == saved["key"].tolist()
        assert np.isfinite(embeddings.image).all() and np.isfinite(np.linalg.norm(embeddings.image, axis=1)).all()
    return "equal"


PROPERTIES = [damaged_files_are_refused_or_equal, odd_arrays_are_refused_or_read_as_numpy_does]

if __name__ == "__main__":
    main(PROPERTIES)
