"""A CLIP model's trunks and projections apart: frozen trunks compute each image and text once, projections are trained.

As in LiT (Zhai et al. 2022, "Zero-shot transfer with locked-image text tuning") the trunks are locked; here both are. A
trunk is a tower without its last projection to the common space; where a tower has no projection of its own, it cannot
be split and is refused.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.timm_model import TimmModel
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import nn

from evenclip.errors import InputError

Projection = tuple[nn.Module, str]
"""The module that holds a tower's projection, and the attribute that the projection is: a module or a parameter."""


def image_projection(module: nn.Module) -> Projection:
    """The projection of the image tower; `InputError` if the tower has none of its own."""
    visual = module.visual
    if isinstance(visual, TimmModel) and any(True for _ in visual.head.parameters()):
        if hasattr(visual.head, "pool"):
            raise _inseparable("image", "its projection pools as well")
        return visual, "head"
    if isinstance(visual, TimmModel) and isinstance(getattr(visual.trunk, "head", None), nn.Linear):
        return visual.trunk, "head"  # timm's classifier is the projection
    if isinstance(visual, VisionTransformer) and visual.proj is not None:
        return visual, "proj"
    raise _inseparable("image", f"a tower of kind {type(getattr(visual, 'trunk', visual)).__name__}")


def text_projection(module: nn.Module) -> Projection:
    """The projection of the text tower; `InputError` if the tower has none of its own."""
    text = getattr(module, "text", module)
    if isinstance(text, HFTextEncoder) and any(True for _ in text.proj.parameters()):
        return text, "proj"
    if isinstance(text, open_clip.CLIP | TextTransformer) and text.text_projection is not None:
        return text, "text_projection"
    raise _inseparable("text", f"a tower of kind {type(text).__name__}")


def _inseparable(tower: str, why: str) -> InputError:
    hint = f"write freeze: [{tower}] for the whole tower, or take another model"
    return InputError(f"the {tower} tower has no projection of its own ({why})", "train.freeze", hint)


FACTORS = torch.from_numpy(np.random.default_rng(0).integers(1, 2**62, 4096))
"""Of the digest of a text, by position; no tokenizer makes longer texts."""


@contextmanager
def without_projections(module: nn.Module) -> Iterator[None]:
    """The model with both trunks' features as its features."""
    projections = [(holder, name, getattr(holder, name)) for holder, name in _projections(module)]
    for holder, name, _ in projections:  # open_clip's own towers ask for None, the wrapped ones call what is there
        is_own = isinstance(holder, open_clip.CLIP | TextTransformer | VisionTransformer)
        setattr(holder, name, None if is_own else nn.Identity())
    try:
        yield
    finally:
        for holder, name, projection in projections:
            setattr(holder, name, projection)


def draw_projections(module: nn.Module, seed: int) -> None:
    """Draw both projections anew, as torch's layers and open_clip draw them, by ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for holder, name in _projections(module):
            projection = getattr(holder, name)
            if isinstance(projection, nn.Parameter):  # (width, d); open_clip's scale
                nn.init.normal_(projection, std=projection.shape[0] ** -0.5)
            else:
                for layer in projection.modules():
                    if hasattr(layer, "reset_parameters"):
                        layer.reset_parameters()


def _projections(module: nn.Module) -> list[Projection]:
    try:
        image = image_projection(module)
    except InputError:
        if not isinstance(module.visual, TimmModel) or len(module.visual.head):
            raise
        # a pooled tower such as SigLIP's, frozen whole: its features are its embeddings, and only texts are projected
        image = module.visual, "head"
    return [image, text_projection(module)]


class ProjectionClip(nn.Module):
    """The projections of a CLIP model alone: what it computes of an image starts at the image trunk's features.

    `encode_image` and `encode_text` are those of the whole model, with trunk features for images, and with tokens of
    known texts (see `KnownTexts`) for texts. Projections and temperature are copies of the whole model's.

    Parameters
    ----------
    module : nn.Module
        The whole model.
    texts : KnownTexts

    Attributes
    ----------
    whole_names : dict
        For each weight's name here its name in the whole model.
    """

    def __init__(self, module: nn.Module, texts: "KnownTexts"):
        super().__init__()
        self.texts = texts
        self.visual, self.text = (
            _Projection(copy.deepcopy(getattr(holder, name))) for holder, name in _projections(module)
        )
        self.logit_scale = copy.deepcopy(module.logit_scale)
        self.logit_bias = copy.deepcopy(getattr(module, "logit_bias", None))
        self.whole_names = self._names(module)

    def encode_image(self, features: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Embeddings, shape (b, d), of trunk features, shape (b, p)."""
        return _maybe_unit(self.visual(features.float()), normalize)

    def encode_text(self, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Embeddings, shape (b, d), of tokens, shape (b, l), of known texts."""
        return _maybe_unit(self.text(self.texts.features(tokens).float()), normalize)

    def require_projection(self, tower: str) -> None:
        """Refuse to train the projection of a ``tower``, ``"image"`` or ``"text"``, that has none."""
        if not any(True for _ in {"image": self.visual, "text": self.text}[tower].parameters()):
            raise _inseparable(tower, "its projection pools as well")

    def whole_state(self) -> dict[str, torch.Tensor]:
        """The weights by their names in the whole model."""
        return {self.whole_names[name]: value for name, value in self.state_dict().items()}

    def load_whole_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take the weights of `whole_state`."""
        self.load_state_dict({name: state[whole] for name, whole in self.whole_names.items()})

    def _names(self, module: nn.Module) -> dict[str, str]:
        names = {name: name for name in self.state_dict() if name.startswith("logit_")}
        for own, (holder, attribute) in zip(("visual", "text"), _projections(module), strict=True):
            prefix = next(f"{name}." if name else "" for name, part in module.named_modules() if part is holder)
            start = f"{own}.projection"
            names |= {
                name: f"{prefix}{attribute}{name.removeprefix(start)}"
                for name in self.state_dict()
                if name.startswith(start)
            }
        return names


class _Projection(nn.Module):
    """A projection that is a module, or a matrix, shape (width, d)."""

    def __init__(self, projection: nn.Module | nn.Parameter):
        super().__init__()
        self.projection = projection

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if isinstance(self.projection, nn.Module):
            return self.projection(features)
        return features @ self.projection


class KnownTexts:
    """Trunk features of texts, found by their tokens.

    Parameters
    ----------
    pad_id : int
        Token that stands behind a text; how many of them there are does not matter.
    device : torch.device
    """

    def __init__(self, pad_id: int, device: torch.device | str = "cpu"):
        self._pad_id, self._device = pad_id, device
        self._digests = torch.empty(0, dtype=torch.int64, device=device)  # sorted
        self._rows = torch.empty(0, dtype=torch.int64, device=device)
        self._features = torch.empty(0, 0, device=device)

    def add(self, tokens: torch.Tensor, features: torch.Tensor) -> None:
        """Add texts: their tokens, shape (m, l), and trunk features, shape (m, q)."""
        digests = self._digest(tokens.to(self._device))
        new = torch.isin(digests, self._digests, invert=True).nonzero().flatten()
        if not len(new):
            return
        digests = digests[new]
        kinds = len(torch.unique(tokens[new.cpu()], dim=0))
        features = features[new.cpu()].to(self._device)
        rows = torch.arange(len(new), device=self._device) + len(self._features)
        self._features = torch.cat([self._features.to(features.dtype).view(-1, features.shape[1]), features])
        self._digests, order = torch.cat([self._digests, digests]).sort(stable=True)
        self._rows = torch.cat([self._rows, rows])[order]
        if len(torch.unique(digests)) < kinds:  # once in 10^9 vocabularies
            raise RuntimeError("two texts have one digest")

    def contains(self, tokens: torch.Tensor) -> torch.Tensor:
        """Whether each of the texts, as tokens, shape (b, l), was added: bool, shape (b,)."""
        return torch.isin(self._digest(tokens.to(self._device)), self._digests)

    def features(self, tokens: torch.Tensor) -> torch.Tensor:
        """Trunk features, shape (b, q), of tokens, shape (b, l); `InputError` for a text that was not added."""
        digests = self._digest(tokens)
        nearest = torch.searchsorted(self._digests, digests).clamp(max=max(0, len(self._digests) - 1))
        if not len(self._digests) or not torch.equal(self._digests[nearest], digests):
            raise InputError("a text has no cached features", "features", "this is a bug: please report it")
        return self._features[self._rows[nearest]]

    def _digest(self, tokens: torch.Tensor) -> torch.Tensor:
        """A 64-bit digest of each row, shape (b,): a multilinear hash, which padding leaves as it is."""
        factors = FACTORS[: tokens.shape[1]].to(tokens.device)
        return ((tokens + 1) * (tokens != self._pad_id) * factors).sum(dim=1)


def _maybe_unit(features: torch.Tensor, normalize: bool) -> torch.Tensor:
    return nn.functional.normalize(features, dim=-1) if normalize else features
