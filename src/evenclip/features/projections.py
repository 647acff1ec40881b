"""Projections on cached trunk features, in place of a whole model: the model, its tokenizer and its texts.

Training and embedding work as with whole towers: "pixels" are cached features of the image trunk, and tokens lead to
cached features of the text trunk.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from evenclip.code_fingerprint import code_fingerprint
from evenclip.features.encoder import TrunkEncoder
from evenclip.features.options import FeatureOptions
from evenclip.features.table import FeatureTable
from evenclip.model.clip import Clip
from evenclip.model.identity import model_identity
from evenclip.model.towers import padding_token
from evenclip.model.trunks import KnownTexts, ProjectionClip
from evenclip.progress import track
from evenclip.provenance import atomic_file, fingerprint


class CachedProjections:
    """Projections for the trunks of one model, on cached features; its texts are shared by the trainings of all seeds.

    Parameters
    ----------
    clip : Clip
        The whole model.
    trunks : str
        The same, as `evenclip.model.clip.load_clip` takes it.
    tables : sequence of FeatureTable
        Cached features of its trunks, of one type of number.
    device : torch.device
    cache : Path, optional
        Folder where features of texts that the tables lack are kept; it may be deleted at any time.
    """

    def __init__(
        self, clip: Clip, trunks: str, tables: Sequence[FeatureTable], device: torch.device, cache: Path | None = None
    ):
        self._clip, self._trunks = clip, trunks
        self._texts = KnownTexts(padding_token(clip.module), device)
        self._tokenizer = CachingTokenizer(
            clip, tables, self._texts, TextCache(clip, trunks, tables[0].text.dtype, cache)
        )

    def clip(self) -> Clip:
        """A model of its own projections, as those of the whole model are now."""
        module = ProjectionClip(self._clip.module, self._texts)
        return Clip(module, self._tokenizer, self._clip.model_cfg, self._clip.preprocess_cfg, self._trunks)


class CachingTokenizer:
    """A tokenizer that makes sure that the trunk features of all texts it has seen are known.

    Features that the tables lack (of prompts, of false captions) are computed when they are first asked for. Lists of
    texts are remembered: the training of each seed asks for the same ones.
    """

    def __init__(self, clip: Clip, tables: Sequence[FeatureTable], texts: KnownTexts, cache: "TextCache"):
        self._tokenize: Callable[[list[str]], torch.Tensor] = clip.tokenizer
        self.context_length = clip.tokenizer.context_length
        self._tables, self._texts, self._cache = tables, texts, cache
        self._tokens: dict[tuple[str, ...], torch.Tensor] = {}

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Tokens, shape (n, context), not to be changed in place."""
        asked = tuple(texts)
        if asked not in self._tokens:
            self._tokens[asked] = self._tokens_of_known(texts)
        return self._tokens[asked]

    def _tokens_of_known(self, texts: list[str]) -> torch.Tensor:
        tokens = self._tokenize(texts)
        rows = torch.nonzero(~self._texts.contains(tokens).cpu()).flatten()
        for table in self._tables:
            cached = table.text_rows([texts[i] for i in rows.tolist()])
            is_cached = torch.from_numpy(cached >= 0)
            self._texts.add(tokens[rows[is_cached]], torch.from_numpy(table.text[cached[cached >= 0]]))
            rows = rows[~is_cached]
        if len(rows):
            self._texts.add(tokens[rows], torch.from_numpy(self._cache.features([texts[i] for i in rows.tolist()])))
        return tokens


class TextCache:
    """Features of lists of texts by a model's text trunk; each list is computed once.

    Parameters
    ----------
    clip : Clip
        The whole model.
    trunks : str
        The same, as `evenclip.model.clip.load_clip` takes it.
    dtype : numpy type
        Of the features.
    folder : Path, optional
        Where they are kept; by default they are not.
    """

    def __init__(self, clip: Clip, trunks: str, dtype: np.dtype, folder: Path | None):
        self._clip, self._trunks, self._dtype, self._folder = clip, trunks, dtype, folder

    def features(self, texts: list[str]) -> np.ndarray:
        """Features of the texts, shape (n, q), n > 0."""
        if self._folder is None:
            return self._compute(texts)
        identity = [model_identity(self._trunks), str(self._dtype), code_fingerprint("evenclip.features.encoder")]
        path = self._folder / f"{fingerprint([identity, texts])}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # runs that are trained at the same time ask for the same texts
            if not path.is_file():
                with atomic_file(path) as temporary, open(temporary, "wb") as file:
                    np.save(file, self._compute(texts))
        return np.load(path)

    def _compute(self, texts: list[str]) -> np.ndarray:
        encoder = TrunkEncoder(self._clip, FeatureOptions(threads=torch.get_num_threads()))
        batches = track(encoder.texts(texts), f"trunk features of {len(texts)} texts, batches")
        rows, features = zip(*batches, strict=True)
        return np.concatenate(features)[np.argsort(np.concatenate(rows))].astype(self._dtype)
