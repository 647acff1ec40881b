"""EfficientCL: the hidden states of one layer are cut and jittered while a batch is encoded.

Source: "Efficient contrastive learning via novel data augmentation and curriculum learning", EMNLP 2021, arXiv
2109.05941. Our changes: hooks at a layer of the model itself instead of a second encoder, in both towers, and never at
class, start and end tokens. In open_clip's own transformers the layer is drawn; of a convolutional tower it is the last
feature map, whose cells are the tokens, and of a text tower of Hugging Face the embeddings.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import nn

from evenclip.errors import InputError
from evenclip.model.tokens import feature_map_layer
from evenclip.model.towers import text_lengths
from evenclip.train.method_options import EfficientClOptions
from evenclip.train.plugin import MethodContext, MethodParts, ramp

N_LEVELS = 10  # the rate grows in equal steps, as in the paper
LengthsOf = Callable[[torch.Tensor], torch.Tensor]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def build(context: MethodContext, options: EfficientClOptions) -> MethodParts:
    """The augmentation of both towers."""
    if context.options.compile:
        raise InputError("EfficientCL does not work in compiled towers", "train.efficientcl", "set compile: false")
    return MethodParts(augmentation=HiddenAugmentation(options, context.clip.module))


def draw_spans(n_free: torch.Tensor, length: int, rate: float) -> torch.Tensor:
    """Draw a contiguous span among the tokens 1 to ``n_free`` of each sequence, about ``rate`` of them.

    Parameters
    ----------
    n_free : Tensor of shape (b,), int
        Number of tokens that may be cut: neither token 0 nor those after ``n_free``.
    length : int
        Tokens in a sequence.
    rate : float
        Share of the free tokens, in [0, 1]; rounded at random, so that it holds on average in short sequences too.

    Returns
    -------
    Tensor of shape (b, length), bool
    """
    n_cut = (rate * n_free + torch.rand(n_free.shape, device=n_free.device)).floor()
    start = 1 + (torch.rand(n_free.shape, device=n_free.device) * (n_free - n_cut + 1)).floor()
    position = torch.arange(length, device=n_free.device)
    return (position >= start[:, None]) & (position < (start + n_cut)[:, None])


def pca_jitter(hidden: torch.Tensor, valid: torch.Tensor, rate: float) -> torch.Tensor:
    r"""Shift the tokens of each sequence by one random vector along its principal directions; norms are restored.

    With covariance :math:`C = P \Lambda P^T` of the sequence's valid tokens, the vector is
    :math:`P (\alpha \circ \lambda), \alpha \sim N(0, rate^2 I)` (Krizhevsky et al. 2012, section 4.1). Its
    distribution :math:`N(0, rate^2 C^2)` is also that of :math:`rate\, C z, z \sim N(0, I)`, which needs no
    decomposition.

    Parameters
    ----------
    hidden : Tensor of shape (b, l, w)
    valid : Tensor of shape (b, l), bool
        Tokens that the covariance is computed from and that are jittered; the others stay.
    rate : float

    Returns
    -------
    Tensor of shape (b, l, w)
        No gradient flows through the vector.
    """
    with torch.no_grad():
        weight = valid.unsqueeze(2).float()
        n_valid = weight.sum(dim=1, keepdim=True)  # (b, 1, 1)
        states = hidden.float() * weight
        centred = (states - states.sum(dim=1, keepdim=True) / n_valid.clamp(min=1)) * weight
        z = torch.randn(len(hidden), hidden.shape[2], 1, device=hidden.device)
        vector = (centred.transpose(1, 2) @ (centred @ z)).transpose(1, 2) / (n_valid - 1).clamp(min=1)  # (b, 1, w)
    moved = hidden + rate * (vector * weight).to(hidden.dtype)
    norms = (states.norm(dim=2, keepdim=True), moved.detach().float().norm(dim=2, keepdim=True).clamp(min=1e-6))
    return torch.where(valid.unsqueeze(2), moved * (norms[0] / norms[1]).to(hidden.dtype), hidden)


class HiddenAugmentation:
    """Cut-off and PCA jitter in one hidden layer of each tower, drawn anew for each batch.

    The cut span is set to zero, and no later layer of a transformer attends to it.

    Parameters
    ----------
    options : EfficientClOptions
    module : nn.Module
        The model; `InputError` if a tower has no layer to augment.
    """

    def __init__(self, options: EfficientClOptions, module: nn.Module):
        self._options = options
        has_image = _is_own_image(module) or (
            feature_map_layer(module) is not None and not hasattr(module.visual, "transformer")
        )
        if not (has_image and (_own_text(module) is not None or _hugging_face_text(module) is not None)):
            what = "efficientcl needs open_clip's vision transformer or a convolutional tower, and a text transformer"
            raise InputError(what, "train.efficientcl", "choose another model, or leave efficientcl out")

    @contextmanager
    def applied(self, module: nn.Module, position: int, progress: float) -> Iterator[None]:
        """Augment what ``module`` encodes in this context."""
        options = self._options
        rates = [ramp(progress, options.start, end, N_LEVELS) for end in (options.image_end, options.text_end)]
        with ExitStack() as stack:
            if _is_own_image(module):
                blocks = module.visual.transformer.resblocks
                stack.enter_context(_augmented(blocks, rates[0], lambda x: x.new_full(x.shape[:1], x.shape[1] - 1)))
            else:
                stack.enter_context(_augmented_map(feature_map_layer(module), rates[0]))
            if (text := _own_text(module)) is not None:
                stack.enter_context(_augmented_text(module, text, rates[1]))
            else:
                stack.enter_context(_augmented_embeddings(_hugging_face_text(module), rates[1]))
            yield


def _is_own_image(module: nn.Module) -> bool:
    return isinstance(getattr(module, "visual", None), VisionTransformer)


def _own_text(module: nn.Module) -> nn.Module | None:
    """A text tower of open_clip; CoCa's, whose class token has an attention mask of its own, is none."""
    text = getattr(module, "text", module)
    is_own = isinstance(text, open_clip.CLIP | TextTransformer) and getattr(text, "cls_emb", None) is None
    return text if is_own else None


def _hugging_face_text(module: nn.Module) -> HFTextEncoder | None:
    """A text tower of Hugging Face with an embedding layer for tokens and positions."""
    text = getattr(module, "text", None)
    return text if isinstance(text, HFTextEncoder) and hasattr(text.transformer, "embeddings") else None


@contextmanager
def _augmented_text(module: nn.Module, text: nn.Module, rate: float) -> Iterator[None]:
    """Augment a hidden layer of a text tower of open_clip; the first and the last token of a text stay."""
    last: list[torch.Tensor] = []  # positions of the last tokens, read where the captions enter the tower

    def read_last(embedding: nn.Module, arguments: tuple[torch.Tensor]) -> None:
        last[:] = [text_lengths(module, arguments[0]) - 1]

    with ExitStack() as stack:
        stack.enter_context(_removed(text.token_embedding.register_forward_pre_hook(read_last)))
        stack.enter_context(_augmented(text.transformer.resblocks, rate, lambda x: (last[0] - 1).clamp(min=0)))
        yield


@contextmanager
def _augmented_map(layer: nn.Module, rate: float) -> Iterator[None]:
    """Augment the output of ``layer``, feature maps of shape (b, w, rows, columns), whose cells are cut row by row."""

    def disturb(layer: nn.Module, arguments: tuple, grid: torch.Tensor) -> torch.Tensor:
        cells = grid.flatten(2).transpose(1, 2)  # (b, l, w)
        n_cells = cells.shape[1]
        free = torch.full((len(cells),), n_cells, device=cells.device)
        cut = draw_spans(free, n_cells + 1, rate)[:, 1:]  # token 0 of a sequence is never cut; a map has none such
        return pca_jitter(cells.masked_fill(cut.unsqueeze(2), 0), ~cut, rate).transpose(1, 2).reshape(grid.shape)

    with _removed(layer.register_forward_hook(disturb)):
        yield


@contextmanager
def _augmented_embeddings(text: HFTextEncoder, rate: float) -> Iterator[None]:
    """Augment the embeddings of a text tower of Hugging Face, in which no layer attends to the cut tokens."""
    drawn: list[tuple[torch.Tensor, torch.Tensor]] = []

    def draw(transformer: nn.Module, arguments: tuple, named: dict[str, Any]) -> Arguments:
        is_real = named["attention_mask"]
        free = (is_real.sum(dim=1) - 2).clamp(min=0)
        cut = draw_spans(free, is_real.shape[1], rate)
        position = torch.arange(is_real.shape[1], device=is_real.device)
        drawn[:] = [(cut, (position >= 1) & (position <= free[:, None]) & ~cut)]
        return arguments, named | {"attention_mask": is_real.masked_fill(cut, 0)}

    def disturb(embeddings: nn.Module, arguments: tuple, hidden: torch.Tensor) -> torch.Tensor:
        cut, valid = drawn[0]
        return pca_jitter(hidden.masked_fill(cut.unsqueeze(2), 0), valid, rate)

    with ExitStack() as stack:
        stack.enter_context(_removed(text.transformer.register_forward_pre_hook(draw, with_kwargs=True)))
        stack.enter_context(_removed(text.transformer.embeddings.register_forward_hook(disturb)))
        yield


@contextmanager
def _augmented(blocks: nn.ModuleList, rate: float, n_free: LengthsOf) -> Iterator[None]:
    """Augment one hidden layer of ``blocks``; ``n_free`` gives the number of free tokens of each sequence."""
    layer = int(torch.randint(1, len(blocks), ())) if len(blocks) > 1 else 0
    masks: list[torch.Tensor] = []

    def enter(block: nn.Module, arguments: tuple, named: dict[str, Any]) -> Arguments:
        hidden, *rest = arguments
        free = n_free(hidden)
        cut = draw_spans(free, hidden.shape[1], rate)
        position = torch.arange(hidden.shape[1], device=hidden.device)
        valid = (position >= 1) & (position <= free[:, None]) & ~cut
        masks[:] = [_attention_mask(cut, named.get("attn_mask"), block.attn.num_heads)]
        hidden = pca_jitter(hidden.masked_fill(cut.unsqueeze(2), 0), valid, rate)
        return (hidden, *rest), named | {"attn_mask": masks[0]}

    def pass_on(block: nn.Module, arguments: tuple, named: dict[str, Any]) -> Arguments:
        return arguments, named | {"attn_mask": masks[0]}

    with ExitStack() as stack:
        for block, hook in zip(blocks[layer:], [enter] + [pass_on] * (len(blocks) - layer - 1), strict=True):
            stack.enter_context(_removed(block.register_forward_pre_hook(hook, with_kwargs=True)))
        yield


def _attention_mask(cut: torch.Tensor, plain: torch.Tensor | None, n_heads: int) -> torch.Tensor:
    """The mask ``plain``, shape (l, l), and no attention to cut tokens: shape (b * n_heads, l, l), added to scores."""
    b, length = cut.shape
    mask = torch.zeros(cut.shape, device=cut.device).masked_fill_(cut, -torch.inf)[:, None, None, :]
    mask = mask if plain is None else mask + plain.float()
    return mask.expand(b, n_heads, length, length).reshape(b * n_heads, length, length)


@contextmanager
def _removed(hook: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        hook.remove()
