"""Message passing over a neighbourhood of the knowledge graph: an entity as its neighbours and relations describe it.

Reads and writes nothing; PyTorch Geometric's own operations only, none of its compiled extras.
"""

import warnings

import torch
from torch import nn
from torch.nn import functional as F

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # what its modules call as they are imported
    from torch_geometric.nn import MessagePassing


class RelationalConvolution(MessagePassing):
    """x_i' = W x_i + U mean over edges (j, r, i) of (x_j + e_r), the first term only where ``keeps_self``.

    Relations are described by features, not numbered (as in CompGCN, Vashishth et al. 2020, with addition), so that any
    number of them has the same parameters, and the text tower learns from them.
    """

    def __init__(self, width: int, keeps_self: bool):
        super().__init__(aggr="mean")
        self.own = nn.Linear(width, width) if keeps_self else None
        self.neighbour = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, relation: torch.Tensor) -> torch.Tensor:
        """Features after one layer, shape (n, width).

        Parameters
        ----------
        x : Tensor of shape (n, width)
        edge_index : Tensor of int, shape (2, n_edges)
            From the first row's nodes to the second row's.
        relation : Tensor of shape (n_edges, width)
            Features of each edge's relation.
        """
        received = self.neighbour(self.propagate(edge_index, x=x, relation=relation))
        return received if self.own is None else received + self.own(x)

    def message(self, x_j: torch.Tensor, relation: torch.Tensor) -> torch.Tensor:
        """What an edge carries, shape (n_edges, width)."""
        return x_j + relation


class GraphEncoder(nn.Module):
    """One to three relational convolutions with GELU between them.

    The last layer leaves out a node's own features: what it says of an entity comes from its neighbours, else matching
    it with the same entity's features would ask for nothing but a copy.

    Parameters
    ----------
    width : int
        Of node and relation features, in and out.
    n_layers : int
    """

    def __init__(self, width: int, n_layers: int):
        super().__init__()
        self.layers = nn.ModuleList(RelationalConvolution(width, i < n_layers - 1) for i in range(n_layers))

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, relation: torch.Tensor) -> torch.Tensor:
        """Features of all nodes, shape (n, width); arguments as those of `RelationalConvolution`."""
        for i, layer in enumerate(self.layers):
            x = layer(x if i == 0 else F.gelu(x), edge_index, relation)
        return x
