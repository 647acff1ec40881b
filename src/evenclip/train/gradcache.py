"""Features of a share of a batch, in micro batches if it is too large to be encoded with all activations in memory.

Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup" (GradCache): encode without
a graph, take the loss's gradient at the features, then encode each micro batch again with a graph and carry its part
of that gradient on. Costs one more forward pass; the gradients are those of the whole batch.
"""

from collections.abc import Callable

import torch


class CachedFeatures:
    """Image and text features of some rows, and how a loss of them goes back to the parameters.

    Parameters
    ----------
    encode : callable
        Image and text features, shape (n_rows, d), of a slice of rows; equal calls draw equal random numbers.
    n_rows, n_at_once : int
        All rows, and how many are encoded together.
    """

    def __init__(self, encode: Callable[[slice], tuple[torch.Tensor, torch.Tensor]], n_rows: int, n_at_once: int):
        self._encode = encode
        self._parts = [slice(start, min(start + n_at_once, n_rows)) for start in range(0, n_rows, n_at_once)]
        if len(self._parts) == 1:
            self.image, self.text = encode(self._parts[0])
            return
        with torch.no_grad():
            several = [encode(part) for part in self._parts]
        self.image, self.text = (torch.cat(features).requires_grad_() for features in zip(*several, strict=True))

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of ``loss`` to the parameters."""
        loss.backward()
        if len(self._parts) == 1:
            return
        for part in self._parts:
            features = zip(self._encode(part), (self.image.grad[part], self.text.grad[part]), strict=True)
            with_graph = [(feature, gradient) for feature, gradient in features if feature.requires_grad]
            torch.autograd.backward(*zip(*with_graph, strict=True))  # a frozen tower has no graph
