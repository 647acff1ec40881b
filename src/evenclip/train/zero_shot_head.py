"""Zero-shot classifier of the model in training, from a prompt file, built as in the evaluation."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from evenclip.prompts import read_prompts


class ZeroShotHead:
    """Class features from the texts of a prompt file.

    Parameters
    ----------
    path : Path
    tokens : callable
        From t texts to their tokens, shape (t, context).

    Attributes
    ----------
    names : tuple of str
        Names of the C classes.
    tokens : Tensor of shape (t, context)
        Tokens of the texts of all classes in all templates.
    """

    def __init__(self, path: Path, tokens: Callable[[list[str]], torch.Tensor]):
        prompts = read_prompts(path)
        self.names = tuple(prompts.classes)
        class_texts = [prompts.texts(template, name) for template in prompts.templates for name in prompts.classes]
        self.tokens = tokens([text for texts in class_texts for text in texts])
        self._n_texts = [len(texts) for texts in class_texts]

    def classes(self, features: torch.Tensor) -> torch.Tensor:
        """Unit features of the classes, shape (C, d), from unit features of the texts, shape (t, d).

        The normalised mean over a class's texts in each template, then the normalised mean over templates.
        """
        means = torch.stack([part.mean(dim=0) for part in features.split(self._n_texts)])
        in_templates = F.normalize(means, dim=1).view(-1, len(self.names), features.shape[1])
        return F.normalize(in_templates.mean(dim=0), dim=1)
