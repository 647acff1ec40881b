"""Message passing over a neighbourhood of the knowledge graph: an entity as its neighbours and relations describe it.

Uses PyTorch Geometric's own operations only, none of its compiled extensions.
"""

import warnings

import torch
from torch import nn

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # raised by its modules while they are imported
    from torch_geometric.nn import MessagePassing


class GraphEncoder(MessagePassing):
    """One relational convolution: x_i' = U mean over edges (j, r, i) of (x_j + e_r), plus a bias.

    Relations are described by features instead of numbers (as in CompGCN, Vashishth et al. 2020, with addition), so the
    number of parameters does not depend on the graph, and the text tower learns from relations too. A node's own
    features take no part: matching an entity with its description would otherwise need nothing but a copy.

    Parameters
    ----------
    width : int
        Width of node and relation features, in and out.
    """

    def __init__(self, width: int):
        super().__init__(aggr="mean")
        self.neighbour = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, relation: torch.Tensor) -> torch.Tensor:
        """Descriptions of all nodes, shape (n, width).

        Parameters
        ----------
        x : Tensor of shape (n, width)
        edge_index : Tensor of int, shape (2, n_edges)
            Edges lead from the nodes in the first row to those in the second row.
        relation : Tensor of shape (n_edges, width)
            Features of each edge's relation.
        """
        return self.neighbour(self.propagate(edge_index, x=x, relation=relation))

    def message(self, x_j: torch.Tensor, relation: torch.Tensor) -> torch.Tensor:
        """What each edge carries, shape (n_edges, width)."""
        return x_j + relation
