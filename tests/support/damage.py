"""Outputs of all kinds, cut at a random byte or with one bit flipped: each is noticed, or what is read is the same."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from evenclip.balance import BalanceOptions, balance
from evenclip.data.shards import iterate_images, read_pairs
from evenclip.embedding_files import read_embeddings, write_embeddings
from evenclip.errors import InputError
from evenclip.label import LabelOptions, label_dataset
from evenclip.model.clip import create_clip, load_clip, save_clip
from evenclip.provenance import Manifest, atomic_folder, input_digest
from evenclip.stage_outputs import read_bytes
from evenclip.tables import read_labels, read_table
from support.example_study import LEXICON, write_pairs
from support.project import ROOT

Reader = Callable[[], Any]


def write_outputs(root: Path) -> dict[Path, Reader]:
    """Write data, labels, weights, embeddings and a model; return each file with the reader of its folder."""
    data, labels, weights, model = root / "data", root / "labels.parquet", root / "weights", root / "model"
    write_pairs(data, 60)
    (root / "lexicon.yaml").write_text(yaml.safe_dump(LEXICON))
    label_dataset(data, root / "lexicon.yaml", labels, LabelOptions())
    balance(labels, weights, BalanceOptions())
    clip = create_clip(str(ROOT / "config/models/world_tiny.json"))
    with atomic_folder(model) as folder:
        save_clip(clip, folder)
        Manifest("train", {}, {}).write(folder / "manifest.json")
    with atomic_folder(root / "embed") as folder:
        write_embeddings(folder / "set.npz", _embeddings())
        Manifest("embed", {}, {}).write(folder / "manifest.json")
    readers = {
        data: lambda: (list(iterate_images(data)), read_pairs(data).to_pylist()),
        weights: lambda: (
            input_digest(weights), read_table(weights / "weights.parquet").to_pylist(),
            read_bytes(weights / "report.json"),
        ),
        root / "embed": lambda: (input_digest(root / "embed"), _values(root / "embed" / "set.npz")),
        model: lambda: (input_digest(model), _weights(model)),
    }  # fmt: skip
    files = {path: reader for folder, reader in readers.items() for path in _files(folder)}
    files |= {path: lambda: (input_digest(labels), read_labels(labels).to_pylist()) for path in (labels,)}
    return files | {labels.with_suffix(".json"): files[labels]}


def damage_at_random(files: dict[Path, Reader], kind: str, n: int, seed: int) -> tuple[Counter, list[str]]:
    """Cut or flip ``n`` times; how often each kind of file was refused or equal, and what was neither."""
    rng = random.Random(seed)
    whole = {path: reader() for path, reader in files.items()}
    outcomes: Counter = Counter()
    wrong: list[str] = []
    kinds: dict[str, list[Path]] = {}
    for path in files:
        kinds.setdefault(path.name if path.suffix == ".json" else path.suffix, []).append(path)
    for _ in range(n):
        name = rng.choice(sorted(kinds))
        path = rng.choice(kinds[name])
        content = path.read_bytes()
        at = rng.randrange(len(content))
        flipped = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        path.write_bytes(content[:at] if kind == "cut" else flipped)
        try:
            outcome = "equal" if files[path]() == whole[path] else "WRONG"
        except InputError:
            outcome = "refused"
        except Exception as error:
            outcome = f"TRACEBACK {type(error).__name__}: {error}"
        path.write_bytes(content)
        outcomes[path.suffix, outcome.split(" ")[0]] += 1
        if outcome not in ("equal", "refused"):
            wrong.append(f"{kind} of {path.name} at byte {at}: {outcome}")
    return outcomes, wrong


def _files(folder: Path) -> list[Path]:
    unread = (".evenclip", "quarantine.parquet", "model.json")  # no number is made of these
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in unread)


def _embeddings() -> dict[str, np.ndarray]:
    vectors = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {"key": np.array([f"k{i}" for i in range(20)]), "image": vectors}


def _values(path: Path) -> list:
    embeddings = read_embeddings(path)
    return [embeddings.key.tolist(), embeddings.image.tolist()]


def _weights(folder: Path) -> dict[str, bytes]:
    clip = load_clip(str(folder))
    state = {name: value.numpy().tobytes() for name, value in clip.module.state_dict().items()}
    return state | {"preprocessing": json.dumps(clip.preprocess_cfg, default=str).encode()}
