"""One training in memory: its model, its optimiser and where it is; `step` does one batch.

A step depends on (seed, step) and on the weights so far, on nothing else: no generator's state has to be saved.
"""

from typing import Any

import numpy as np
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from torch import nn

from evenclip.errors import InputError
from evenclip.model.clip import Clip
from evenclip.model.images import normalise
from evenclip.model.towers import NarrowVocabulary, encode_image, encode_text, trim
from evenclip.train.batches import WeightedBatches
from evenclip.train.crop import random_crops
from evenclip.train.optimizer import clamp_logit_scale, make_optimizer, make_schedule
from evenclip.train.options import TrainOptions
from evenclip.train.pairs import Pairs

CROPS = 1  # names the stream of random numbers that crops are drawn from


class Engine:
    """A model being trained on ``pairs``.

    Parameters
    ----------
    clip : Clip
        Its module is moved to ``device`` and trained in place; `finish` leaves it whole, on that device.
    pairs : Pairs
    options : TrainOptions
        With ``precision`` resolved to fp32 or bf16.
    seed : int
    device : torch.device
    """

    def __init__(self, clip: Clip, pairs: Pairs, options: TrainOptions, seed: int, device: torch.device):
        self.clip, self.pairs, self.options, self.seed, self.device = clip, pairs, options, seed, device
        self.batches = WeightedBatches(pairs.copies, options.batch_size, seed)
        self.n_steps = -(-options.samples_seen // options.batch_size)
        self.position = 0
        self.module: nn.Module = clip.module.to(device).train()
        self._vocabulary = NarrowVocabulary(self.module, pairs.tokens)
        self._tokens = self._vocabulary.narrow(pairs.tokens)
        self._optimizer = make_optimizer(self.module, options)
        self._rate = make_schedule(options, self.n_steps)
        self._loss = ClipLoss() if options.objective == "clip" else SigLipLoss()

    def step(self) -> dict[str, torch.Tensor | float]:
        """Train on the next batch.

        Returns
        -------
        dict
            ``loss`` and ``grad_norm`` (before clipping) as tensors on the device, ``lr``.
        """
        torch.manual_seed((self.seed << 32) + self.position)  # for a model with dropout
        rate = self._rate(self.position)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self._contrast(*self._inputs())
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.options.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        clamp_logit_scale(self.module)
        self.position += 1
        return {"loss": loss.detach(), "grad_norm": norm.detach(), "lr": rate}

    def check_finite(self, losses: torch.Tensor) -> None:
        """Raise `InputError` with step and keys for the first of the last ``len(losses)`` losses that is no number."""
        bad = torch.nonzero(~torch.isfinite(losses))
        if len(bad):
            step = self.position - len(losses) + int(bad[0])
            keys = ", ".join(self.pairs.keys[self.batches.at(step).rows])
            hint = "lower lr, raise warmup_share, or take precision=fp32"
            raise InputError(
                f"the loss is {losses[bad[0]].item()} at step {step + 1}; its batch: {keys}", "train", hint
            )

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, in types that torch loads safely."""
        return {
            "position": self.position,
            "module": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was saved."""
        self.module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.position = state["position"]

    def finish(self) -> None:
        """Make the model whole again."""
        self._vocabulary.widen()
        self.module.eval()

    def _inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images, float32, shape (b, 3, h, w), and tokens, int64, shape (b, l), of the next batch."""
        batch = self.batches.at(self.position)
        tokens = trim(self.module, self._tokens[self.pairs.captions_of(batch)])
        pixels = self.pairs.pixels[torch.from_numpy(batch.rows)].to(self.device, non_blocking=True)
        images = normalise(pixels, self.clip.preprocess_cfg)
        if self.options.crop_scale_min < 1:
            rng = np.random.default_rng([self.seed, self.position, CROPS])
            images = random_crops(images, self.options.crop_scale_min, rng)
        return images, tokens.to(self.device, non_blocking=True)

    def _contrast(self, images: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bf16"):
            image, text = encode_image(self.module, images), encode_text(self.module, tokens)  # (b, d) each
        bias = {"logit_bias": self.clip.logit_bias} if self.options.objective == "siglip" else {}
        return self._loss(image, text, self.module.logit_scale.exp(), **bias)
