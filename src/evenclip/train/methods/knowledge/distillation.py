"""Knowledge distillation (KD) of Knowledge-CLIP: keep the image-text distribution of the initial model."""

import copy

import numpy as np
import torch
from torch import nn

from evenclip.errors import InputError
from evenclip.model.images import normalise
from evenclip.model.towers import encode_image, encode_text, trim
from evenclip.progress import track
from evenclip.train.data import Pairs
from evenclip.train.method_options import KnowledgeOptions
from evenclip.train.methods.knowledge.masked_contrast import distillation
from evenclip.train.plugin import MethodContext, Step, Term

ROWS = 256  # images or captions that the teacher embeds at a time


class Distillation(Term):
    """KL divergence from the initial model's image-text distribution of a batch to the trained model's, both ways.

    Parameters
    ----------
    context : MethodContext
        Its module must still be in its initial state.
    weight : float
    options : KnowledgeOptions

    Raises
    ------
    InputError
        The training starts from random weights.
    """

    def __init__(self, context: MethodContext, weight: float, options: KnowledgeOptions):
        super().__init__()
        if context.options.init == "random":
            what = "a model with random initial weights has nothing to distil"
            raise InputError(what, "train.knowledge.kd", "set it to 0, or name a trained model as train.init")
        self.weight, self.lr = weight, options.lr
        self._pairs = context.pairs
        self._scale = context.clip.module.logit_scale.detach().exp().clone()
        teacher = copy.deepcopy(context.clip.module).eval().requires_grad_(False)
        if options.teacher == "cached":
            self._cached = _embed(teacher, context)
        else:
            self._cached, self._teacher = None, [teacher]  # in a list it is no sub-module: neither trained nor saved

    def forward(self, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        """The divergence, also as ``kd_loss``."""
        image, text = self._features(step)
        student = step.logit_scale * step.image[step.local_rows] @ step.text[step.local_rows].T
        loss = distillation(student, self._scale * image @ text.T)
        return loss, {"kd_loss": loss.detach()}

    def _features(self, step: Step) -> tuple[torch.Tensor, torch.Tensor]:
        """The teacher's unit features of the images and captions of the local rows, shape (n_local, d) each."""
        rows = torch.from_numpy(step.batch.rows[step.local_rows])
        captions = torch.from_numpy(self._pairs.captions_of(step.batch)[step.local_rows])
        if self._cached is not None:
            image, text = self._cached
            return image[rows].to(step.image.device), text[captions].to(step.image.device)
        teacher, device = self._teacher[0], step.image.device
        with torch.no_grad(), step.autocast():
            text = encode_text(teacher, trim(teacher, self._pairs.tokens[captions]).to(device))
            return encode_image(teacher, step.images), text


def _embed(teacher: nn.Module, context: MethodContext) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's unit features of all images and captions, float32, shapes (n, d) and (m, d), in main memory."""
    pairs: Pairs = context.pairs
    image, text = [], []
    with torch.no_grad():
        rows = np.arange(len(pairs.keys))
        for part in track(np.array_split(rows, -(-len(rows) // ROWS)), "embed images with the initial model"):
            images = normalise(pairs.pixels.at(part).to(context.device), context.clip.preprocess_cfg)
            image.append(encode_image(teacher, images).cpu())
        for tokens in pairs.tokens.split(ROWS):
            text.append(encode_text(teacher, trim(teacher, tokens).to(context.device)).cpu())
    return torch.cat(image), torch.cat(text)
