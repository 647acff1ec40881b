"""The blocks of open_clip's own transformers at the lowest cost, without changing what they compute.

The last block computes only the position that is read, and attends from there without keys and values: a query q meets
a token x as q . (K x) = (K' q) . x, and the mean of values V x is V times the mean of x. So one product for each query
takes the place of two for each token; the bias of the keys adds the same to all scores of a query, and cancels.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from open_clip.transformer import ResidualAttentionBlock, Transformer
from torch import nn
from torch.nn import functional as F


def plain_blocks(transformer: nn.Module) -> nn.ModuleList | None:
    """Blocks of open_clip's own transformer; None for other transformers."""
    is_own = type(transformer) is Transformer and transformer.batch_first
    return transformer.resblocks if is_own and type(transformer.resblocks[-1]) is ResidualAttentionBlock else None


@contextmanager
def lean_blocks(blocks: nn.ModuleList | None, positions: torch.Tensor) -> Iterator[None]:
    """Let ``blocks`` compute one position per row, ``positions`` of shape (b,); the last one's output is (b, 1, width).

    On a CPU the other blocks attend by `_attend`; on a GPU torch's fused attention is faster.
    """
    with ExitStack() as changes:
        if blocks is not None:
            for block in blocks[:-1] if positions.device.type == "cpu" else ():
                changes.enter_context(_replaced(block, "attention", _attention_of(block.attn)))
            changes.enter_context(_replaced(blocks[-1], "forward", _forward_at(blocks[-1], positions)))
        yield


@contextmanager
def _replaced(block: nn.Module, method: str, own: Callable[..., torch.Tensor]) -> Iterator[None]:
    setattr(block, method, own)
    try:
        yield
    finally:
        delattr(block, method)


def _attention_of(attn: nn.MultiheadAttention) -> Callable[..., torch.Tensor]:
    def attention(q_x: torch.Tensor, k_x: None = None, v_x: None = None, attn_mask: torch.Tensor | None = None):
        return _attend(attn, q_x, attn_mask)

    return attention


def _forward_at(block: ResidualAttentionBlock, positions: torch.Tensor) -> Callable[..., torch.Tensor]:
    rows = torch.arange(len(positions), device=positions.device)

    def forward(q_x: torch.Tensor, k_x: None = None, v_x: None = None, attn_mask: torch.Tensor | None = None):
        normed = block.ln_1(q_x)  # (b, l, width)
        mask = None if attn_mask is None else attn_mask[positions]  # (b, l)
        x = q_x[rows, positions] + block.ls_1(_attend_from(block.attn, normed[rows, positions], normed, mask))
        return (x + block.ls_2(block.mlp(block.ln_2(x)))).unsqueeze(1)

    return forward


def _attend(attn: nn.MultiheadAttention, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Self-attention of ``x``, shape (b, l, width), with ``mask``, (l, l), added to the scores.

    Plain products of matrices, which copy queries, keys and values once: on a CPU torch's own module copies them three
    times and computes in float32 under autocast, and its fused backward pass is far slower for 10-80 tokens.
    """
    n, d, (b, length, _) = attn.num_heads, attn.head_dim, x.shape
    packed = F.linear(x, attn.in_proj_weight, attn.in_proj_bias).view(b, length, 3, n, d)
    query, key, value = packed.permute(2, 0, 3, 1, 4).reshape(3, b * n, length, d).unbind()
    scores = torch.bmm(query, key.transpose(1, 2)).mul_(d**-0.5)  # (b * n, l, l)
    if mask is not None:
        scores += mask
    mixed = torch.bmm(_softmax(scores), value)
    return attn.out_proj(mixed.view(b, n, length, d).transpose(1, 2).flatten(2))


def _attend_from(
    attn: nn.MultiheadAttention, query: torch.Tensor, x: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Attention of one ``query``, shape (b, width), per row to ``x``, (b, l, width), with ``mask``, (b, l)."""
    heads = attn.num_heads, attn.head_dim
    of_query, of_key, of_value = attn.in_proj_weight.unflatten(0, (3, -1))  # (width, width) each
    bias_of_query, _, bias_of_value = attn.in_proj_bias.unflatten(0, (3, -1))
    query = F.linear(query, of_query, bias_of_query).unflatten(1, heads)  # (b, n, d)
    seeker = torch.einsum("bnd,ndw->bnw", query * attn.head_dim**-0.5, of_key.unflatten(0, heads))
    scores = seeker @ x.transpose(1, 2)  # (b, n, l)
    if mask is not None:
        scores = scores + mask.unsqueeze(1)
    mixed = _softmax(scores) @ x  # (b, n, width)
    values = torch.einsum("bnw,ndw->bnd", mixed, of_value.unflatten(0, heads)).flatten(1)  # (b, width)
    return attn.out_proj(values + bias_of_value)


def _softmax(scores: torch.Tensor) -> torch.Tensor:
    """Over the last axis; in float32 at least, as torch's autocast has it on a GPU."""
    return scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)
