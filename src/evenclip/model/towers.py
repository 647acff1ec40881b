"""Encoding by the two towers at the lowest cost, without changing what they compute.

Captions are cut to their length, the vocabulary to the tokens in use, equal beginnings are computed once where there
are no gradients, and blocks compute only what is read (`evenclip.model.blocks`). All but the last apply to open_clip's
own text tower (causal attention, features read at the end-of-text token); other towers get the tokens as they are. A
tower with hooks inside is computed in full.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models import group_parameters
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from evenclip.errors import InputError
from evenclip.model.blocks import lean_blocks, plain_blocks
from evenclip.model.depthwise import float32_gradients
from evenclip.model.shared_prefixes import encode_shared
from evenclip.model.trunks import ProjectionClip, image_projection, text_projection

GROUP_ROWS = 64
"""Images, or captions of similar length, encoded together on a CPU: what a layer writes is still in the cache when the
next one reads it, and fits into memory that is used again, where larger blocks are cleared page by page each time."""


def has_causal_text(module: nn.Module) -> bool:
    """Whether tokens after the end-of-text token, which has the highest id, cannot change a caption's features."""
    is_plain = isinstance(module, open_clip.CLIP) and module.text_pool_type == "argmax"
    return is_plain and getattr(module, "attn_mask", None) is not None


def trim(module: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Tokens, shape (b, context), without columns after the end of all captions; call it before moving them.

    Left whole where padding has an effect: SigLIP's text towers attend to it.
    """
    is_trimmed = has_causal_text(module) or isinstance(getattr(module, "text", None), HFTextEncoder)
    return tokens[:, : int(text_lengths(module, tokens).max())] if is_trimmed and len(tokens) else tokens


def text_lengths(module: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Number of each text's tokens up to its last one that is no padding, special ones included, shape (n,)."""
    if has_causal_text(module):
        return tokens.argmax(dim=1) + 1
    positions = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    return ((tokens != padding_token(module)) * positions).amax(dim=1).clamp(min=1)


def padding_token(module: nn.Module) -> int:
    """The id of the token behind the end of a text."""
    text = getattr(module, "text", module)
    return getattr(getattr(text, "config", None), "pad_token_id", getattr(text, "pad_id", 0))


def encode_image(module: nn.Module, images: torch.Tensor, unit: bool = True) -> torch.Tensor:
    """Image features, shape (b, d), float32, of length 1 if ``unit``, of normalised images, shape (b, 3, h, w)."""
    with _attention(images.device), float32_gradients(module.visual, images.device):
        blocks = _image_blocks(module)
        is_split = blocks is not None and images.device.type == "cpu"
        groups = images.split(GROUP_ROWS) if is_split else [images]
        return _normalized(torch.cat([_encode_class_token(module, group, blocks) for group in groups]), unit)


def encode_text(module: nn.Module, tokens: torch.Tensor, unit: bool = True) -> torch.Tensor:
    """Text features, shape (b, d), float32, of length 1 if ``unit``, of tokens, shape (b, l), trimmed or not.

    Like ``module.encode_text``, which takes only the full context: with causal attention the features of the first l
    positions depend on these positions alone.
    """
    with _attention(tokens.device):
        if not has_causal_text(module):
            return _normalized(module.encode_text(tokens).float(), unit)
        own = (module.token_embedding, module.transformer, module.ln_final)
        blocks = plain_blocks(module.transformer) if _is_unobserved(*own) else None
        if blocks is None or tokens.device.type != "cpu":  # on a GPU one large batch is faster
            return _normalized(_encode_causal(module, tokens, blocks), unit)
        if not torch.is_grad_enabled():
            distinct, row = torch.unique(tokens, dim=0, return_inverse=True)  # in lexicographic order
            return _normalized(_projected(module, module.ln_final(encode_shared(module, distinct, blocks))), unit)[row]
        order = torch.argsort(tokens.argmax(dim=1), stable=True)
        groups = [trim(module, tokens[rows]) for rows in order.split(GROUP_ROWS)]
        features = torch.cat([_encode_causal(module, group, blocks) for group in groups])[torch.argsort(order)]
        return _normalized(features, unit)


def _encode_class_token(module: nn.Module, images: torch.Tensor, blocks: nn.ModuleList | None) -> torch.Tensor:
    with lean_blocks(blocks, torch.zeros(len(images), dtype=torch.int64, device=images.device)):
        return module.encode_image(images).float()


def _encode_causal(module: nn.Module, tokens: torch.Tensor, blocks: nn.ModuleList | None) -> torch.Tensor:
    n_rows, length = tokens.shape
    end = tokens.argmax(dim=1)  # (b,)
    x = module.token_embedding(tokens) + module.positional_embedding[:length]  # (b, l, width)
    with lean_blocks(blocks, end):
        x = module.transformer(x, attn_mask=module.attn_mask[:length, :length])  # (b, l, width), or l = 1
    x = module.ln_final(x)
    return _projected(module, x[torch.arange(n_rows, device=tokens.device), end] if blocks is None else x[:, 0])


def _projected(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    projection = module.text_projection
    x = projection(x) if isinstance(projection, nn.Module) else x if projection is None else x @ projection
    return x.float()


def _normalized(features: torch.Tensor, unit: bool) -> torch.Tensor:
    return F.normalize(features, dim=-1) if unit else features


def _image_blocks(module: nn.Module) -> nn.ModuleList | None:
    """Blocks of a vision transformer that is read only at its class token; None for other towers."""
    visual = module.visual
    is_own = isinstance(visual, VisionTransformer) and visual.pool_type == "tok" and visual.attn_pool is None
    return plain_blocks(visual.transformer) if is_own and not visual.output_tokens and _is_unobserved(visual) else None


def _is_unobserved(*parts: nn.Module) -> bool:
    """Whether no module inside has a hook or is compiled."""
    modules = (module for part in parts for module in part.modules())
    return not any(m._forward_hooks or m._forward_pre_hooks or m._compiled_call_impl for m in modules)


def freeze_towers(module: nn.Module, parts: Sequence[str], last_blocks: Mapping[str, int] = {}) -> None:
    """Keep parts as they are, without gradients, and computing as in evaluation.

    Parameters
    ----------
    module : nn.Module
    parts : sequence of str
        ``"image"``, ``"text"``: whole towers. ``"image_trunk"``, ``"text_trunk"``: all of a tower but its last
        projection.
    last_blocks : mapping of str to int
        By ``"image"`` and ``"text"``: this many last blocks of a frozen trunk are trained all the same, except for the
        statistics of their batch normalisation: the blocks before them are frozen too, and those of the new images
        would soon replace what the trunk has learnt from many more (docs/photos.md).

    Raises
    ------
    InputError
        A trunk cannot be told from its projection, or has fewer blocks.
    """
    for part in parts:
        tower, _, is_trunk = part.partition("_")
        if is_trunk and isinstance(module, ProjectionClip):
            module.require_projection(tower)
            continue  # its trunks have done their part
        for frozen in _parts(module, tower):
            frozen.requires_grad_(False)
            if isinstance(frozen, nn.Module):
                frozen.eval()
        if is_trunk:
            holder, name = (image_projection if tower == "image" else text_projection)(module)
            projection = getattr(holder, name).requires_grad_()
            if isinstance(projection, nn.Module):
                projection.train()
    for tower, n_blocks in last_blocks.items():
        for trained in _last_blocks(module, tower, n_blocks):
            trained.requires_grad_().train()
            for layer in trained.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.eval()


def _last_blocks(module: nn.Module, tower: str, n: int) -> list[nn.Module]:
    """Modules of the last ``n`` blocks of a trunk, and of the layers between them and the projection."""
    owner = module.visual if tower == "image" else getattr(module, "text", module)
    if isinstance(owner, TimmModel):
        names = group_parameters(owner.trunk, owner.trunk.group_matcher())  # by the number of the block
        blocks = [[owner.trunk.get_submodule(name.rpartition(".")[0]) for name in names[i]] for i in sorted(names)]
    elif isinstance(owner, HFTextEncoder):
        encoder = getattr(owner.transformer, "encoder", owner.transformer)
        layers = next(part for part in encoder.children() if isinstance(part, nn.ModuleList))
        blocks = [[layer] for layer in layers]
        blocks[-1] += [part for name, part in encoder.named_children() if name == "final_layer_norm"]
    else:
        blocks = [[block] for block in owner.transformer.resblocks]
        blocks[-1].append(owner.ln_post if tower == "image" else owner.ln_final)
    if n > len(blocks):
        raise InputError(f"the trunk has {len(blocks)} blocks, not {n}", f"train.last_blocks.{tower}", "lower it")
    return [part for block in blocks[-n:] for part in block]


def trunk_parameters(module: nn.Module, tower: str) -> list[nn.Parameter]:
    """Parameters of the ``"image"`` or ``"text"`` tower but for its last projection, if it has one of its own."""
    if isinstance(module, ProjectionClip):
        return []
    own = [part for part in _parts(module, tower) if isinstance(part, nn.Parameter)]
    own += [p for part in _parts(module, tower) if isinstance(part, nn.Module) for p in part.parameters()]
    try:
        holder, name = (image_projection if tower == "image" else text_projection)(module)
    except InputError:
        return own
    projection = getattr(holder, name)
    projected = {id(p) for p in ([projection] if isinstance(projection, nn.Parameter) else projection.parameters())}
    return [p for p in own if id(p) not in projected]


def compile_towers(module: nn.Module) -> None:
    """Compile both towers in place; parameters keep their names."""
    module.visual.compile()
    text = getattr(module, "text", None) or module.transformer
    text.compile(dynamic=True)  # the length of the captions changes from batch to batch


def _parts(module: nn.Module, tower: str) -> list[nn.Module | nn.Parameter]:
    """Modules and parameters that belong to one tower alone."""
    if tower == "image":
        return [module.visual]
    shared = ("visual", "logit_scale", "logit_bias")
    named = (*module.named_children(), *module.named_parameters(recurse=False))
    return [part for name, part in named if name not in shared]


class NarrowVocabulary:
    """A token embedding that is cut to the tokens of a training set during the training.

    Tokens that do not occur have no gradient, but a dense optimiser would still read and write their rows at every
    step: with 49,408 tokens that is most of a small model's parameters. The order of token ids is kept, so that the
    end-of-text token still has the highest. Rows that are cut stay unchanged, without weight decay.

    Parameters
    ----------
    module : nn.Module
        Changed in place until `widen`; a model without open_clip's own text tower stays unchanged.
    *tokens : Tensor of shape (m, context)
        Tokens of all captions and of all other texts.
    """

    def __init__(self, module: nn.Module, *tokens: torch.Tensor):
        self._module, self._full = module, None
        if has_causal_text(module):
            full = module.token_embedding.weight.detach()
            self._full, self._used = full.cpu().clone(), torch.unique(torch.cat(tokens))
            narrow = self._full[self._used].to(full.device)
            module.token_embedding = nn.Embedding.from_pretrained(narrow, freeze=False)

    def narrow(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens as rows of the narrow embedding."""
        return tokens if self._full is None else torch.searchsorted(self._used, tokens)

    def widen(self) -> None:
        """Restore the full token embedding, with the trained rows in it."""
        if self._full is not None:
            trained = self._module.token_embedding.weight.detach()
            full = self._full.index_copy(0, self._used, trained.cpu()).to(trained.device)
            self._module.token_embedding = nn.Embedding.from_pretrained(full, freeze=False)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """A context with the full token embedding in its current state, for texts that are only evaluated."""
        if self._full is None:
            yield
            return
        narrow = self._module.token_embedding
        self.widen()
        try:
            yield
        finally:
            self._module.token_embedding = narrow


@contextmanager
def _attention(device: torch.device) -> Iterator[None]:
    """Use plain matrix products for attention on a CPU: for 10-80 tokens the fused backward pass is far slower.

    Without gradients the fused one is as good, and the choice, which holds for all threads, stays as it is.
    """
    if device.type == "cpu" and torch.is_grad_enabled():
        with sdpa_kernel(SDPBackend.MATH):
            yield
    else:
        yield
