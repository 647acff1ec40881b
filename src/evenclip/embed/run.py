"""Embed every set of a study once, for all evaluations: one .npz for each set, written together."""

from pathlib import Path

import numpy as np

from evenclip.data.shards import iterate_images, read_manifest, read_pairs
from evenclip.embed.encoder import Encoder
from evenclip.embed.options import EmbedOptions, EmbedSet
from evenclip.embed.prompts import Prompts, read_prompts
from evenclip.errors import InputError
from evenclip.model.clip import load_clip
from evenclip.progress import track
from evenclip.provenance import Manifest, atomic_folder


def embed_sets(model: str, sets: list[EmbedSet], out: Path, options: EmbedOptions) -> None:
    """Embed ``sets`` with one model.

    Parameters
    ----------
    model : str
        A run folder, an open_clip name:tag, CONFIG.json:CHECKPOINT, or a checkpoint beside its .json.
    sets : list of EmbedSet
        Names must differ.
    out : Path
        Folder for `<name>.npz` and `manifest.json`; replaced as a whole. Arrays of a file: ``key`` (n,) str; ``image``
        (n, d); ``text`` (m, d) with ``text_image`` (m,), the row of its image; ``foil`` (n, d) where the set has that
        column (NaN rows where it is empty); for each prompt file ``prompt/<stem>`` (templates, classes, d) and
        ``prompt/<stem>/classes``; ``logit_scale`` and ``logit_bias``. Embeddings are float32 and unit.
    options : EmbedOptions

    Raises
    ------
    InputError
        A model, set or prompt file that cannot be read.
    """
    names = [each.name for each in sets]
    if len(set(names)) < len(names) or not names:
        raise InputError(f"sets: {', '.join(names) or 'none'}", "--set", "give at least one set, and each name once")
    prompt_files = sorted({path for each in sets for path in each.prompts})
    prompts = {path: read_prompts(path) for path in prompt_files}
    for each in sets:
        read_manifest(each.data)  # says what is wrong with a folder that is none
    inputs = {f"set {each.name}": each.data for each in sets} | {f"prompts {path}": path for path in prompt_files}
    if weights := [path for path in (Path(model), Path(model) / "model.safetensors") if path.is_file()]:
        inputs["model"] = weights[0]
    manifest = Manifest("embed", {"model": model, **options.model_dump(mode="json")}, inputs)
    encoder = Encoder(load_clip(model), options)
    prompt_arrays = {path: _embed_prompts(encoder, path, prompts[path]) for path in prompt_files}
    with atomic_folder(out) as folder:
        for each in track(sets, "embed sets"):
            arrays = _embed_data(encoder, each.data)
            for path in each.prompts:
                arrays |= prompt_arrays[path]
            np.savez(folder / f"{each.name}.npz", **arrays)
        manifest.write(folder / "manifest.json", device=encoder.device.type, dtype=options.precision)


def _embed_data(encoder: Encoder, data: Path) -> dict[str, np.ndarray]:
    table = read_pairs(data)
    captions = table["captions"].to_pylist()
    arrays = {
        "key": np.array(table["key"].to_pylist()),
        "image": encoder.images(iterate_images(data), str(data)),
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


def _embed_prompts(encoder: Encoder, path: Path, prompts: Prompts) -> dict[str, np.ndarray]:
    """The mean of each class's texts by template, made unit again: shape (templates, classes, d)."""
    texts = [prompts.texts(template, name) for template in prompts.templates for name in prompts.classes]
    features = encoder.texts([text for several in texts for text in several])
    ends = np.cumsum([len(several) for several in texts])[:-1]
    means = np.stack([part.mean(axis=0) for part in np.split(features, ends)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    shape = (len(prompts.templates), len(prompts.classes), -1)
    classes = np.array(list(prompts.classes))
    return {f"prompt/{path.stem}": means.reshape(shape), f"prompt/{path.stem}/classes": classes}
