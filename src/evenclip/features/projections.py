"""Projections on cached trunk features, in place of a whole model: the model, its tokenizer and its texts.

Training and embedding work as with whole towers: "pixels" are cached features of the image trunk, and tokens lead to
cached features of the text trunk.
"""

from collections.abc import Callable, Sequence

import torch

from evenclip.features.encoder import TrunkEncoder
from evenclip.features.options import FeatureOptions
from evenclip.features.table import FeatureTable
from evenclip.model.clip import Clip
from evenclip.model.towers import padding_token
from evenclip.model.trunks import KnownTexts, ProjectionClip


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
    """

    def __init__(self, clip: Clip, trunks: str, tables: Sequence[FeatureTable], device: torch.device):
        self._clip, self._trunks = clip, trunks
        self._texts = KnownTexts(padding_token(clip.module), device)
        self._tokenizer = CachingTokenizer(clip, tables, self._texts)

    def clip(self) -> Clip:
        """A model of its own projections, as those of the whole model are now."""
        module = ProjectionClip(self._clip.module, self._texts)
        return Clip(module, self._tokenizer, self._clip.model_cfg, self._clip.preprocess_cfg, self._trunks)


class CachingTokenizer:
    """A tokenizer that makes sure that the trunk features of all texts it has seen are known.

    Features that the tables lack (of prompts, of false captions) are computed when they are first asked for.
    """

    def __init__(self, clip: Clip, tables: Sequence[FeatureTable], texts: KnownTexts):
        self._tokenize: Callable[[list[str]], torch.Tensor] = clip.tokenizer
        self.context_length = clip.tokenizer.context_length
        self._clip, self._tables, self._texts = clip, tables, texts

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Tokens, shape (n, context)."""
        tokens = self._tokenize(texts)
        rows = torch.nonzero(~self._texts.contains(tokens).cpu()).flatten()
        for table in self._tables:
            found = table.text_rows([texts[i] for i in rows.tolist()])
            is_cached = torch.from_numpy(found >= 0)
            self._texts.add(tokens[rows[is_cached]], torch.from_numpy(table.text[found[found >= 0]]))
            rows = rows[~is_cached]
        encoder = TrunkEncoder(self._clip, FeatureOptions(threads=torch.get_num_threads()))
        for some, features in encoder.texts([texts[i] for i in rows.tolist()]):
            dtype = self._tables[0].text.dtype
            self._texts.add(tokens[rows[some]], torch.from_numpy(features.astype(dtype)))
        return tokens
