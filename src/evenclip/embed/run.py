"""Embed every evaluation set of a study once: one `.npz` per set, all written together."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file

from evenclip.data.shards import read_manifest
from evenclip.embed.encoder import CachedEncoder, Encoder, embed_data, embed_prompts
from evenclip.embed.options import EmbedOptions, EmbedSet
from evenclip.embedding_files import write_embeddings
from evenclip.errors import InputError
from evenclip.features.projections import CachedProjections
from evenclip.features.table import FeatureTable
from evenclip.model.clip import load_clip, resolve_device
from evenclip.model.identity import TRUNKS, checkpoint_in, model_files, model_folder, model_identity, read_trunks
from evenclip.progress import track
from evenclip.prompts import read_prompts
from evenclip.provenance import Manifest, atomic_folder


def embed_sets(
    models: Mapping[str, Path], sets: list[EmbedSet], options: EmbedOptions, features: Mapping[str, Path] | None = None
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
    inputs = {f"set {item.name}": item.data for item in sets} | {f"prompts {path}": path for path in prompt_files}
    inputs |= {f"features {name}": path for name, path in (features or {}).items()}
    load = (
        _CachedEncoders(sets, features, options).load if features else lambda model: Encoder(load_clip(model), options)
    )
    for model, out in models.items():
        manifest = Manifest("embed", {"model": model, **options.model_dump(mode="json")}, inputs | model_files(model))
        encoder = load(model)
        prompt_arrays = {path: embed_prompts(encoder, path, prompts[path]) for path in prompt_files}
        with atomic_folder(out) as folder:
            for item in track(sets, "embed sets"):
                arrays = embed_data(encoder, item.data)
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
            raise InputError(f"other trunks than those of {self._trunks}", model, "embed it by itself")
        clip = self._projections.clip()
        clip.module.load_whole_state(load_file(checkpoint_in(folder)))
        return CachedEncoder(clip, self._options, self._tables)
