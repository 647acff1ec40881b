"""Perceived groups and labels of candidates, on the training's device, and the bias of what is mined."""

from dataclasses import dataclass

import numpy as np
import torch

from evenclip.train.perceived import Perceived


@dataclass(frozen=True)
class CandidateGroups:
    """Groups of c candidates.

    ``member``, shape (K, 2, c), bool: inside and outside each contrast; ``labels``, shape (c, 1 + R), float: 1, then
    the labels; ``target``, shape (K,): the share that the inside should have.
    """

    member: torch.Tensor
    labels: torch.Tensor
    target: torch.Tensor

    @classmethod
    def of(cls, perceived: Perceived, device: torch.device) -> "CandidateGroups":
        """The groups of all pairs."""
        member = np.stack([perceived.inside.T, perceived.outside.T], axis=1)
        labels = np.column_stack([np.ones(len(perceived.labels)), perceived.labels])
        arrays = member, labels.astype(np.float32), perceived.target.astype(np.float32)
        return cls(*(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays))

    def at(self, rows: torch.Tensor) -> "CandidateGroups":
        """Those of the pairs ``rows``."""
        return CandidateGroups(self.member[..., rows], self.labels[rows], self.target)

    def bias(self, mass: torch.Tensor) -> dict[str, torch.Tensor]:
        """``negatives_rb`` and ``negatives_ab``: bias of the candidates with a ``mass`` each, shape (c,).

        As `Perceived.bias`; what has no mass is left out, 0 if nothing is left.
        """
        masses = self.member.to(mass.dtype) @ (mass[:, None] * self.labels)  # (K, 2, 1 + R)
        total, rate = masses[:, :, 0], masses[:, :, 1:] / masses[:, :, :1]
        deviation = total[:, 0] / total.sum(dim=1) - self.target
        found = {"negatives_rb": deviation, "negatives_ab": rate[:, 0] - rate[:, 1]}
        return {name: values.abs().nan_to_num(0).max() for name, values in found.items()}
