"""A cache of embeddings: a model embeds each data folder and each prompt file once.

Reads a model, data folders and prompt files; writes `<cache>/<fingerprint>.npz`. The fingerprint covers the model's
files, the content of the data or prompts, the options, the code and open_clip's version, so that stale embeddings are
never read. torch is loaded only if something is missing.
"""

import importlib.metadata
from functools import cached_property
from pathlib import Path

from evenclip.code_fingerprint import code_fingerprint
from evenclip.data.shards import read_manifest
from evenclip.digests import fingerprint
from evenclip.embed.options import EmbedOptions
from evenclip.embedding_files import write_embeddings
from evenclip.model.identity import model_identity
from evenclip.prompts import Prompts, read_prompts
from evenclip.provenance import input_digest


class EmbeddingCache:
    """Embeddings of one model.

    Parameters
    ----------
    folder : Path
        Folder of the cache; may be shared by all models and deleted at any time.
    model : str
        As `evenclip.model.clip.load_clip` takes it.
    options : EmbedOptions
    """

    def __init__(self, folder: Path, model: str, options: EmbedOptions):
        self.model, self._folder, self._options = model, Path(folder), options

    def files(self, data: Path, prompts: list[Path]) -> list[Path]:
        """`.npz` files with the arrays of ``data`` (`embed_data`) and of each prompt file (`embed_prompts`).

        Raises
        ------
        InputError
            A model, data folder or prompt file that cannot be read.
        """
        read_manifest(data)  # refuses what is no data folder
        checked = {path: read_prompts(path) for path in prompts}
        paths = [self._path(data), *(self._path(path) for path in prompts)]
        for source, path in zip([data, *prompts], paths, strict=True):
            if not path.exists():
                self._write(path, source, checked.get(source))
        return paths

    def _write(self, path: Path, source: Path, prompts: Prompts | None) -> None:
        from evenclip.embed.run import embed_data, embed_prompts

        encoder = self._encoder
        arrays = embed_data(encoder, source) if prompts is None else embed_prompts(encoder, source, prompts)
        write_embeddings(path, arrays)

    @property
    def options(self) -> EmbedOptions:
        """Options of the embedding."""
        return self._options

    @cached_property
    def model_identity(self) -> dict[str, str]:
        """Identity of the model, independent of its path."""
        return model_identity(self.model)

    @cached_property
    def _encoder(self):
        from evenclip.embed.run import Encoder
        from evenclip.model.clip import load_clip

        return Encoder(load_clip(self.model), self._options)

    @cached_property
    def _identity(self) -> list:
        """All that the embeddings depend on, except what is embedded."""
        options = self._options.model_dump(mode="json", exclude={"threads"})
        version = importlib.metadata.version("open_clip_torch")
        return [self.model_identity, options, version, code_fingerprint("evenclip.embed.run")]

    def _path(self, source: Path) -> Path:
        # the prompt arrays carry the file's stem in their names
        stem = source.stem if source.is_file() else ""
        return self._folder / f"{fingerprint([*self._identity, input_digest(source), stem])}.npz"
