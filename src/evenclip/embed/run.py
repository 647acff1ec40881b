"""Embed every evaluation set of a study once: one `.npz` per set, all written together."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import prod
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file

from evenclip.data.shards import WHOLE, Part, read_manifest, read_pairs
from evenclip.embed.inputs import Inputs
from evenclip.embed.options import EmbedOptions, EmbedSet
from evenclip.embedding_files import write_embeddings
from evenclip.errors import InputError
from evenclip.features.projections import CachedProjections
from evenclip.features.table import FeatureTable
from evenclip.model.clip import Clip, load_clip, resolve_device
from evenclip.model.identity import TRUNKS, checkpoint_in, model_files, model_folder, model_identity, read_trunks
from evenclip.model.images import decode_images, input_size, normalise
from evenclip.model.towers import encode_image, encode_text, text_lengths, trim
from evenclip.progress import track
from evenclip.prompts import Prompts, read_prompts
from evenclip.provenance import Manifest, atomic_folder, check_replaceable
from evenclip.threads import map_in_order

Batch = TypeVar("Batch")
Features = TypeVar("Features")
CACHED_ROWS = 8192
"""Images whose trunk features are embedded at once."""
PIXELS_IN_CACHE, FEWEST_IMAGES, TEXTS_IN_CACHE = 16 * 224**2, 16, 64
"""What a thread of a CPU embeds at once at most: what a model computes of more leaves the cache. Small images are many,
since each operation has a cost of its own."""


class Encoder:
    """A loaded model; its embeddings equal those of plain open_clip with the same weights."""

    def __init__(self, clip: Clip, options: EmbedOptions, inputs: Inputs | None = None):
        torch.set_num_threads(options.threads)
        self.device = resolve_device(options.device)
        self._clip, self._options, self._inputs = clip, options, inputs or Inputs(options.threads)
        self._module = clip.module.to(self.device).eval()

    @property
    def logit_scale(self) -> float:
        """Factor of the similarities."""
        return self._module.logit_scale.exp().item()

    @property
    def logit_bias(self) -> float:
        """Summand of the scaled similarities; 0 for a model trained with softmax."""
        return 0.0 if self._clip.logit_bias is None else self._clip.logit_bias.item()

    def data_images(self, data: Path, keys: Sequence[str] | None = None) -> tuple[list[str], np.ndarray]:
        """Embed images of a data folder (all, or those of ``keys``): keys, and shape (n, d), float32, unit rows."""
        return self._decoded(self._inputs.images(data, keys, self._clip.preprocess_cfg))

    def images(self, images: Iterable[tuple[str, bytes]], where: str) -> tuple[list[str], np.ndarray]:
        """Embed (key, JPEG bytes) in order: the keys, and shape (n, d), float32, unit rows."""
        return self._decoded(decode_images(images, self._clip.preprocess_cfg, where, self._options.threads))

    def _decoded(self, decoded: Iterator[tuple[str, np.ndarray]]) -> tuple[list[str], np.ndarray]:
        cfg = self._clip.preprocess_cfg
        size = self._rows(max(FEWEST_IMAGES, PIXELS_IN_CACHE // prod(input_size(cfg))))

        def encode(
            module: torch.nn.Module, batch: list[tuple[str, np.ndarray]]
        ) -> tuple[tuple[str, ...], torch.Tensor]:
            keys, pixels = zip(*batch, strict=True)
            inputs = torch.from_numpy(np.stack(pixels)).to(self.device)
            return keys, encode_image(module, normalise(inputs, cfg)).cpu()

        batches = iter(lambda: list(islice(decoded, size)), [])
        keys, features = [], []
        for part, embedded in self._in_threads(encode, batches):
            keys += part
            features.append(embedded.clone())  # what stays in a thread's own memory keeps that from being used again
        return keys, torch.cat(features).numpy()

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts in order: shape (n, d), float32, unit rows; equal texts are embedded once."""
        distinct, inverse = np.unique(np.array(texts, dtype=object), return_inverse=True)
        if not len(distinct):
            return np.zeros((0, self._clip.model_cfg["embed_dim"]), np.float32)
        tokens = self._inputs.tokens(self._clip.tokenizer, distinct)
        # texts of one length, in their order: every batch is trimmed well, and has many texts that begin alike
        by_length = torch.argsort(text_lengths(self._module, tokens), stable=True)

        def encode(module: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
            return encode_text(module, trim(module, tokens[rows]).to(self.device)).cpu()

        batches = by_length.split(self._rows(TEXTS_IN_CACHE))
        features = torch.empty(len(distinct), self._clip.model_cfg["embed_dim"])
        for rows, embedded in zip(batches, self._in_threads(encode, batches), strict=True):
            features[rows] = embedded
        return features.numpy()[inverse]

    def _rows(self, in_cache: int) -> int:
        return min(self._options.batch_size, in_cache) if self.device.type == "cpu" else self._options.batch_size

    def _in_threads(
        self, encode: Callable[[torch.nn.Module, Batch], Features], batches: Iterable[Batch]
    ) -> Iterator[Features]:
        """``encode(module, batch)`` of each batch in order; on a CPU each thread works on batches of its own.

        Threads that share the operations of one batch would wait for each other, busily, at the end of each operation.
        """

        def work(module: torch.nn.Module, batch: Batch) -> Features:
            with torch.inference_mode(), self._autocast():
                return encode(module, batch)

        if self.device.type != "cpu":
            yield from (work(self._module, batch) for batch in batches)
            return
        modules: SimpleQueue[torch.nn.Module] = SimpleQueue()  # encoding changes a module for a moment
        shared = {id(tensor): tensor for tensor in self._module.state_dict(keep_vars=True).values()}
        for _ in range(self._options.threads):
            modules.put(copy.deepcopy(self._module, dict(shared)))

        def work_alone(batch: Batch) -> Features:
            module = modules.get()
            try:
                return work(module, batch)
            finally:
                modules.put(module)

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from map_in_order(work_alone, batches, self._options.threads, 2 * self._options.threads)
        finally:
            torch.set_num_threads(before)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._options.precision == "bf16")


class CachedEncoder(Encoder):
    """Projections that embed cached trunk features of known data folders.

    Parameters
    ----------
    clip : Clip
        Projections alone, see `evenclip.features.projections`.
    options : EmbedOptions
    tables : mapping of Path to FeatureTable
        Of each data folder.
    """

    def __init__(self, clip: Clip, options: EmbedOptions, tables: Mapping[Path, FeatureTable]):
        super().__init__(clip, options)
        self._tables = tables

    def data_images(self, data: Path, keys: Sequence[str] | None = None) -> tuple[list[str], np.ndarray]:
        """See `Encoder.data_images`; the images of all keys are embedded, since their features are there."""
        table, embedded = self._tables[data], []
        for start in range(0, len(table.image), CACHED_ROWS):
            features = torch.from_numpy(table.image[start : start + CACHED_ROWS].copy())
            with torch.inference_mode(), self._autocast():
                embedded.append(encode_image(self._module, features.to(self.device)).cpu().numpy())
        return table.keys.tolist(), np.concatenate(embedded)


def embed_data(encoder: Encoder, data: Path, part: Part = WHOLE) -> dict[str, np.ndarray]:
    """Arrays of a data folder, or of a ``part`` of its pairs, as `evenclip.embedding_files` describes them.

    ``key`` (n,) str; ``image`` (n, d); ``text`` (m, d) with ``text_image`` (m,), the row of its image; ``foil`` (n, d)
    where the set has that column (NaN rows where it is empty); ``logit_scale`` and ``logit_bias``. Embeddings are
    float32 and unit.
    """
    table = read_pairs(data)
    if part != WHOLE:
        size = len(table) // part.of
        if not size:
            what = f"{len(table)} pairs cannot be cut into {part.of} parts"
            raise InputError(what, str(data), f"at most {len(table)} parts")
        table = table.slice((part.number - 1) * size, size)
    keys, captions = table["key"].to_pylist(), table["captions"].to_pylist()
    embedded, image = encoder.data_images(data, None if part == WHOLE else keys)
    row_of = {key: row for row, key in enumerate(embedded)}
    arrays = {
        "key": np.array(keys),
        "image": image[[row_of[key] for key in keys]],
        "text": encoder.texts([text for texts in captions for text in texts]),
        "text_image": np.repeat(np.arange(len(captions)), [len(texts) for texts in captions]),
        "logit_scale": np.float64(encoder.logit_scale),
        "logit_bias": np.float64(encoder.logit_bias),
    }
    if "foil" in table.column_names:
        foils = [foil or "" for foil in table["foil"].to_pylist()]
        arrays["foil"] = encoder.texts(foils)
        arrays["foil"][[not foil for foil in foils]] = np.nan
    return arrays


def embed_prompts(encoder: Encoder, path: Path, prompts: Prompts) -> dict[str, np.ndarray]:
    """Arrays of a prompt file: ``prompt/<stem>`` (templates, classes, d) and ``prompt/<stem>/classes``.

    The embedding of a class in a template is the normalised mean over its texts.
    """
    groups = [prompts.texts(template, name) for template in prompts.templates for name in prompts.classes]
    features = encoder.texts([text for group in groups for text in group])
    ends = np.cumsum([len(group) for group in groups])[:-1]
    means = np.stack([part.mean(axis=0) for part in np.split(features, ends)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    shape = (len(prompts.templates), len(prompts.classes), -1)
    classes = np.array(list(prompts.classes))
    return {f"prompt/{path.stem}": means.reshape(shape), f"prompt/{path.stem}/classes": classes}


def embed_sets(
    models: Mapping[str, Path],
    sets: list[EmbedSet],
    options: EmbedOptions,
    features: Mapping[str, Path] | None = None,
    parts: Mapping[str, Part] | None = None,
) -> None:
    """Embed ``sets`` with each of several models.

    Parameters
    ----------
    models : mapping of str to Path
        For each model (see `evenclip.model.clip.load_clip`) its folder for `<name>.npz` and `manifest.json`, replaced
        as a whole. A file holds the arrays of `embed_data` and, for each prompt file of the set, those of
        `embed_prompts`.
    sets : list of EmbedSet
        Names must differ.
    options : EmbedOptions
    features : mapping of str to Path, optional
        Of each set, by name, the folder of `evenclip features`; all models must be projections for their trunks.
    parts : mapping of str to Part, optional
        The part of the pairs of each set that a model is measured on, by model: of n parts the k-th is the k-th block
        of a set's pairs, all blocks being equally large. Default: all pairs.

    Raises
    ------
    InputError
        A model, set or prompt file that cannot be read; features of other data or trunks.
    """
    names = [item.name for item in sets]
    if len(set(names)) < len(names) or not names:
        raise InputError(f"sets: {', '.join(names) or 'none'}", "--set", "give at least one set, and each name once")
    if features and set(features) != set(names):
        raise InputError(f"features of {', '.join(features)}", "--features", f"give those of {', '.join(names)}")
    prompt_files = sorted({path for item in sets for path in item.prompts})
    prompts = {path: read_prompts(path) for path in prompt_files}
    for item in sets:
        read_manifest(item.data)  # says what is wrong with a folder that is none
    for out in models.values():
        check_replaceable(Path(out), "embed")
    inputs = {f"set {item.name}": item.data for item in sets} | {f"prompts {path}": path for path in prompt_files}
    inputs |= {f"features {name}": path for name, path in (features or {}).items()}
    projections = _CachedEncoders(sets, features, options) if features else None
    is_shared = len(models) > 1 and len({(parts or {}).get(model, WHOLE) for model in models}) == 1
    shared = Inputs(options.threads, for_several=is_shared)
    for model, out in models.items():
        part = (parts or {}).get(model, WHOLE)
        described = {"model": model, **options.model_dump(mode="json")}
        described |= {} if part == WHOLE else {"part": f"{part.number}/{part.of}"}
        manifest = Manifest("embed", described, inputs | model_files(model))
        encoder = projections.load(model) if projections else Encoder(load_clip(model), options, shared)
        prompt_arrays = {path: embed_prompts(encoder, path, prompts[path]) for path in prompt_files}
        with atomic_folder(out) as folder:
            for item in track(sets, "embed sets"):
                arrays = embed_data(encoder, item.data, part)
                for path in item.prompts:
                    arrays |= prompt_arrays[path]
                write_embeddings(folder / f"{item.name}.npz", arrays)
            made = {"device": encoder.device.type, "dtype": options.precision, "model_identity": model_identity(model)}
            manifest.write(folder / "manifest.json", **made)


class _CachedEncoders:
    """Encoders of projections for the same trunks, on cached features; the trunks are loaded once."""

    def __init__(self, sets: list[EmbedSet], features: Mapping[str, Path], options: EmbedOptions):
        self._sets, self._features, self._options = sets, features, options
        self._trunks: str | None = None

    def load(self, model: str) -> CachedEncoder:
        """The encoder of a run folder."""
        folder = model_folder(model)
        if folder is None or not (folder / TRUNKS).is_file():
            raise InputError("not a folder with projections alone", model, "embed it without --features")
        trunks = read_trunks(folder)
        if self._trunks is None:
            self._trunks, whole = trunks, load_clip(model)
            self._tables = {
                item.data: FeatureTable.read(self._features[item.name], item.data, trunks) for item in self._sets
            }
            device = resolve_device(self._options.device)
            self._projections = CachedProjections(whole, trunks, list(self._tables.values()), device)
        if trunks != self._trunks:
            raise InputError(f"its trunks differ from those of {self._trunks}", model, "embed it by itself")
        clip = self._projections.clip()
        clip.module.load_whole_state(load_file(checkpoint_in(folder)))
        return CachedEncoder(clip, self._options, self._tables)
