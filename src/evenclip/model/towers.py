"""The two towers at their cheapest: captions cut to what they hold, and only the vocabulary that is in use.

Neither changes what a model computes. Both apply to open_clip's own text tower (causal attention, features read at
the end-of-text token); other towers get the tokens as the tokenizer made them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import open_clip
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def has_causal_text(module: nn.Module) -> bool:
    """Whether tokens behind the end-of-text token, which has the highest id, cannot change a caption's features."""
    is_plain = isinstance(module, open_clip.CLIP) and module.text_pool_type == "argmax"
    return is_plain and getattr(module, "attn_mask", None) is not None


def trim(module: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Tokens, shape (b, context), without the columns in which every caption has ended; call it before moving them."""
    return tokens[:, : int(tokens.argmax(dim=1).max()) + 1] if has_causal_text(module) else tokens


def encode_image(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Unit image features, shape (b, d), float32, of normalised images, shape (b, 3, h, w)."""
    with _attention(images.device):
        return F.normalize(module.encode_image(images).float(), dim=-1)


def encode_text(module: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Unit text features, shape (b, d), float32, of tokens, shape (b, l), trimmed or not.

    As ``module.encode_text``, which takes the full context only: with causal attention the features of the first l
    positions depend on these alone.
    """
    with _attention(tokens.device):
        if not has_causal_text(module):
            return F.normalize(module.encode_text(tokens).float(), dim=-1)
        n_rows, length = tokens.shape
        x = module.token_embedding(tokens) + module.positional_embedding[:length]  # (b, l, width)
        x = module.transformer(x, attn_mask=module.attn_mask[:length, :length])
        x = module.ln_final(x)[torch.arange(n_rows, device=tokens.device), tokens.argmax(dim=1)]  # (b, width)
        projection = module.text_projection
        x = projection(x) if isinstance(projection, nn.Module) else x if projection is None else x @ projection
        return F.normalize(x.float(), dim=-1)


def freeze_towers(module: nn.Module, towers: Sequence[str]) -> None:
    """Keep ``"image"`` or ``"text"`` towers as they are: no gradients, and computing as in evaluation."""
    for tower in towers:
        for part in _parts(module, tower):
            part.requires_grad_(False)
            if isinstance(part, nn.Module):
                part.eval()


def compile_towers(module: nn.Module) -> None:
    """Compile both towers in place; parameters keep their names."""
    module.visual.compile()
    text = getattr(module, "text", None) or module.transformer
    text.compile(dynamic=True)  # captions are cut to a length that changes from batch to batch


def _parts(module: nn.Module, tower: str) -> list[nn.Module | nn.Parameter]:
    """All that belongs to one tower and to it alone."""
    if tower == "image":
        return [module.visual]
    shared = ("visual", "logit_scale", "logit_bias")
    named = (*module.named_children(), *module.named_parameters(recurse=False))
    return [part for name, part in named if name not in shared]


class NarrowVocabulary:
    """A model's token embedding cut to the tokens of a training set, for the time of the training.

    A token that no caption holds has no gradient, yet a dense optimiser reads and writes its row at every step: with
    49,408 tokens that is most of a small model's parameters. Sorted ids keep their order, so that the end-of-text
    token still has the highest. Rows that are cut stay as they were: no weight decay reaches them.

    Parameters
    ----------
    module : nn.Module
        Changed in place until `widen`; a model without open_clip's own text tower is left alone.
    *tokens : Tensor of shape (m, context)
        Tokens of all captions, and of all other texts.
    """

    def __init__(self, module: nn.Module, *tokens: torch.Tensor):
        self._module, self._full = module, None
        if has_causal_text(module):
            full = module.token_embedding.weight.detach()
            self._full, self._used = full.cpu().clone(), torch.unique(torch.cat(tokens))
            narrow = self._full[self._used].to(full.device)
            module.token_embedding = nn.Embedding.from_pretrained(narrow, freeze=False)

    def narrow(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens as positions in the narrow embedding."""
        return tokens if self._full is None else torch.searchsorted(self._used, tokens)

    def widen(self) -> None:
        """Give the model its full token embedding back, with the trained rows in it."""
        if self._full is not None:
            trained = self._module.token_embedding.weight.detach()
            full = self._full.index_copy(0, self._used, trained.cpu()).to(trained.device)
            self._module.token_embedding = nn.Embedding.from_pretrained(full, freeze=False)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The model with its full token embedding, as it is now, for texts that are looked at and not trained on."""
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
    """Attention as plain matrix products on a CPU: for 10-80 tokens the fused kernel's backward pass is far slower."""
    if device.type == "cpu":
        with sdpa_kernel(SDPBackend.MATH):
            yield
    else:
        yield
