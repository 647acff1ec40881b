"""Encoding texts that begin alike: with causal attention a position depends on the tokens up to it alone.

So all that works on single positions (projections, perceptrons, normalisation: nearly the whole cost) is computed once
for each distinct beginning of a text, and never for padding. The prompts of a template differ only at their ends.
"""

import torch
from torch import nn
from torch.nn import functional as F


def encode_shared(module: nn.Module, tokens: torch.Tensor, blocks: nn.ModuleList) -> torch.Tensor:
    """Output of the last block at the end of each text, shape (b, width), of open_clip's own text tower.

    Parameters
    ----------
    module : nn.Module
    tokens : Tensor of shape (b, l)
        In lexicographic order, so that texts that begin alike follow each other; trimmed or not.
    blocks : nn.ModuleList
        Blocks of the text tower.
    """
    n_rows, length = tokens.shape
    end = tokens.argmax(dim=1, keepdim=True)  # (b, 1)
    differs = torch.ones_like(tokens, dtype=torch.bool)  # from the row above, up to this position
    differs[1:] = (tokens[1:] != tokens[:-1]).cumsum(dim=1) > 0
    is_new = differs & (torch.arange(length) <= end)
    new = is_new.flatten().nonzero().squeeze(1)  # positions of the n distinct beginnings among all b * l
    numbers = torch.zeros_like(tokens)
    numbers[is_new] = torch.arange(len(new))
    beginning = numbers.cummax(dim=0).values  # (b, l): number of the beginning that ends here
    mask = module.attn_mask[:length, :length]
    x = module.token_embedding(tokens.flatten()[new]) + module.positional_embedding[new % length]  # (n, width)
    for block in blocks[:-1]:
        x = _block(block, x, beginning, new, mask)
    return _block(blocks[-1], x, beginning, torch.arange(n_rows) * length + end[:, 0], mask)


def _block(
    block: nn.Module, x: torch.Tensor, beginning: torch.Tensor, read: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Output of a block at the positions ``read``, shape (m,), of all b * l, for x of the beginnings, (n, width)."""
    attention, width = block.attn, x.shape[1]
    projected = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)[beginning]  # (b, l, 3 width)
    query, key, value = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (b, heads, l, .)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask.to(query.dtype))
    mixed = mixed.transpose(1, 2).reshape(-1, width)[read]
    x = x[beginning.flatten()[read]] + block.ls_1(attention.out_proj(mixed))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
