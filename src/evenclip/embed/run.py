"""Embed every evaluation set of a study once: one `.npz` per set, all written together."""

from pathlib import Path

from evenclip.data.shards import read_manifest
from evenclip.embed.encoder import Encoder, embed_data, embed_prompts
from evenclip.embed.npz import write_embeddings
from evenclip.embed.options import EmbedOptions, EmbedSet
from evenclip.errors import InputError
from evenclip.model.clip import load_clip
from evenclip.model.identity import model_files, model_identity
from evenclip.progress import track
from evenclip.prompts import read_prompts
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
        Folder for `<name>.npz` and `manifest.json`; replaced as a whole. A file holds the arrays of `embed_data` and,
        for each prompt file of the set, those of `embed_prompts`.
    options : EmbedOptions

    Raises
    ------
    InputError
        A model, set or prompt file that cannot be read.
    """
    names = [item.name for item in sets]
    if len(set(names)) < len(names) or not names:
        raise InputError(f"sets: {', '.join(names) or 'none'}", "--set", "give at least one set, and each name once")
    prompt_files = sorted({path for item in sets for path in item.prompts})
    prompts = {path: read_prompts(path) for path in prompt_files}
    for item in sets:
        read_manifest(item.data)  # refuses what is no data folder
    inputs = {f"set {item.name}": item.data for item in sets} | {f"prompts {path}": path for path in prompt_files}
    inputs |= model_files(model)
    manifest = Manifest("embed", {"model": model, **options.model_dump(mode="json")}, inputs)
    encoder = Encoder(load_clip(model), options)
    prompt_arrays = {path: embed_prompts(encoder, path, prompts[path]) for path in prompt_files}
    with atomic_folder(out) as folder:
        for item in track(sets, "embed sets"):
            arrays = embed_data(encoder, item.data)
            for path in item.prompts:
                arrays |= prompt_arrays[path]
            write_embeddings(folder / f"{item.name}.npz", arrays)
        details = {"device": encoder.device.type, "dtype": options.precision, "model_identity": model_identity(model)}
        manifest.write(folder / "manifest.json", **details)
