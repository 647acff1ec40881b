"""Zero-shot classes of the model that is being trained, by a prompt file, as the evaluation makes them."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from evenclip.prompts import read_prompts


class ZeroShot:
    """The classes of a prompt file.

    Parameters
    ----------
    path : Path
    tokens : callable
        Tokens, shape (t, context), of t texts.

    Attributes
    ----------
    names : tuple of str
        C classes.
    tokens : Tensor of shape (t, context)
        Of their texts in all templates.
    """

    def __init__(self, path: Path, tokens: Callable[[list[str]], torch.Tensor]):
        prompts = read_prompts(path)
        self.names = tuple(prompts.classes)
        texts = [prompts.texts(template, name) for template in prompts.templates for name in prompts.classes]
        self.tokens = tokens([text for several in texts for text in several])
        self._n_texts = [len(several) for several in texts]

    def classes(self, features: torch.Tensor) -> torch.Tensor:
        """Unit features of the classes, shape (C, d), of unit features of the texts, shape (t, d).

        In each template the mean of the class's texts, made unit; then the same over templates.
        """
        means = torch.stack([part.mean(dim=0) for part in features.split(self._n_texts)])
        in_templates = F.normalize(means, dim=1).view(-1, len(self.names), features.shape[1])
        return F.normalize(in_templates.mean(dim=0), dim=1)
