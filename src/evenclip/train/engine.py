"""One training in memory: its model, its parts, its optimiser and where it is; `step` does one batch.

A step depends on (seed, step), on the weights so far and on what the parts remember, on nothing else: no generator's
state has to be saved. How a method plugs in: `evenclip.train.step`.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from evenclip.errors import InputError
from evenclip.model.images import normalise
from evenclip.model.towers import NarrowVocabulary, encode_image, encode_text, trim
from evenclip.train.batches import Batch
from evenclip.train.crop import random_crops
from evenclip.train.methods import Setting, make_parts
from evenclip.train.objectives import contrastive_loss
from evenclip.train.optimizer import clamp_logit_scale, make_optimizer, make_schedule
from evenclip.train.step import Step

CROPS = 1  # names the stream of random numbers that crops are drawn from
EMBED_ROWS = 256  # pairs embedded at a time


@dataclass(frozen=True)
class Outcome:
    """What one step did."""

    batch: Batch
    loss: torch.Tensor
    """All that was minimised, on the device."""
    grad_norm: torch.Tensor
    """Before clipping, on the device."""
    lr: float
    scalars: dict[str, torch.Tensor | float]
    """What the parts log."""


class Engine:
    """A model being trained.

    Parameters
    ----------
    setting : Setting
        Its ``options`` have ``precision`` resolved to fp32 or bf16. The model is moved to the device and trained in
        place; `finish` leaves it whole, on that device.
    """

    def __init__(self, setting: Setting):
        self.setting, self.options = setting, setting.options
        self.clip, self.pairs, self.seed, self.device = setting.clip, setting.pairs, setting.seed, setting.device
        self.n_steps, self.position = setting.clock.n_steps, 0
        self.module: nn.Module = self.clip.module.to(self.device).train()
        self.parts = make_parts(setting)
        self.terms = nn.ModuleList(self.parts.terms).to(self.device).train()
        self._vocabulary = NarrowVocabulary(self.module, *(self.pairs.tokens, *setting.further))
        self._tokens = self._vocabulary.narrow(self.pairs.tokens)
        self._optimizer = make_optimizer(self.module, self.options, self.terms)
        self._rate = make_schedule(self.options, self.n_steps)

    def step(self) -> Outcome:
        """Train on the next batch."""
        batches = self.parts.batches
        if self.position % batches.steps_per_epoch == 0:
            batches.refresh(batches.epoch(self.position), self.embed)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(self.position, group["peak"])
        step = self._encode(batches.at(self.position))
        loss, scalars = self._losses(step)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters(), self.options.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        clamp_logit_scale(self.module)
        self.position += 1
        return Outcome(step.batch, loss.detach(), norm.detach(), self._rate(step.position, self.options.lr), scalars)

    @torch.no_grad()
    def embed(self, modality: str) -> np.ndarray:
        """Unit ``"image"`` or ``"text"`` features of all pairs by the model as it is, shape (n, d), float32."""
        self.module.eval()
        features = []
        for rows in np.array_split(np.arange(len(self.pairs.keys)), -(-len(self.pairs.keys) // EMBED_ROWS)):
            batch = Batch(rows, np.zeros(len(rows)))
            with self._autocast():
                if modality == "image":
                    features.append(encode_image(self.module, self._images(batch)))
                else:
                    features.append(encode_text(self.module, self._batch_tokens(batch)))
        self.module.train()
        return torch.cat(features).cpu().numpy()

    def check_finite(self, losses: torch.Tensor) -> None:
        """Raise `InputError` with step and keys for the first of the last ``len(losses)`` losses that is no number."""
        bad = torch.nonzero(~torch.isfinite(losses))
        if len(bad):
            step = self.position - len(losses) + int(bad[0])
            keys = ", ".join(self.pairs.keys[self.parts.batches.at(step).rows])
            hint = "lower lr, raise warmup_share, or take precision=fp32"
            raise InputError(
                f"the loss is {losses[bad[0]].item()} at step {step + 1}; its batch: {keys}", "train", hint
            )

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, in types that torch loads safely."""
        negatives = self.parts.negatives
        return {
            "position": self.position,
            "module": self.module.state_dict(),
            "terms": self.terms.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "batches": self.parts.batches.state(),
            "negatives": negatives.state() if negatives else {},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was saved."""
        self.module.load_state_dict(state["module"])
        self.terms.load_state_dict(state["terms"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.parts.batches.restore(state["batches"])
        if self.parts.negatives:
            self.parts.negatives.restore(state["negatives"])
        self.position = state["position"]

    def finish(self) -> None:
        """Make the model whole again."""
        self._vocabulary.widen()
        self.module.eval()

    def _encode(self, batch: Batch) -> Step:
        progress = self.setting.clock.progress(self.position)
        augmentation = self.parts.augmentation
        torch.manual_seed((self.seed << 32) + self.position)  # for dropout and for the augmentation
        tokens, images = self._batch_tokens(batch), self._cropped(batch)
        applied = augmentation.applied(self.module, self.position, progress) if augmentation else nullcontext()
        with applied, self._autocast():
            image, text = encode_image(self.module, images), encode_text(self.module, tokens)  # (b, d) each
        return Step(
            position=self.position,
            progress=progress,
            batch=batch,
            mine=slice(0, len(batch.rows)),
            image=image,
            text=text,
            tokens=tokens,
            module=self.module,
            logit_scale=self.module.logit_scale.exp(),
            load_images=lambda: images,
            encode_image=self._encode_image,
            encode_text=self._encode_text,
            autocast=self._autocast,
        )

    def _losses(self, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        """The sum of all losses, and what is logged of them."""
        adjustment = self.parts.negatives.adjust(step) if self.parts.negatives else None
        features = step.image, step.text, step.logit_scale, self.clip.logit_bias
        total = contrastive_loss(*features, self.options.objective, adjustment, step.mine)
        scalars = adjustment.logged() if adjustment else {}
        if self.terms:
            scalars |= {"contrastive_loss": total.detach()}
        for term in self.terms:
            loss, logged = term(step)
            total = total + term.weight * loss
            scalars |= logged
        return total, scalars

    def _parameters(self) -> list[nn.Parameter]:
        return [*self.module.parameters(), *self.terms.parameters()]

    def _images(self, batch: Batch) -> torch.Tensor:
        """Normalised images of a batch, float32, shape (b, 3, h, w)."""
        pixels = self.pairs.pixels[torch.from_numpy(batch.rows)].to(self.device, non_blocking=True)
        return normalise(pixels, self.clip.preprocess_cfg)

    def _cropped(self, batch: Batch) -> torch.Tensor:
        images = self._images(batch)
        if self.options.crop_scale_min < 1:
            rng = np.random.default_rng([self.seed, self.position, CROPS])
            images = random_crops(images, self.options.crop_scale_min, rng)
        return images

    def _batch_tokens(self, batch: Batch) -> torch.Tensor:
        """Trimmed tokens of a batch, int64, shape (b, l)."""
        tokens = trim(self.module, self._tokens[self.pairs.captions_of(batch)])
        return tokens.to(self.device, non_blocking=True)

    def _encode_image(self, images: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            return encode_image(self.module, images)

    def _encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            narrow = trim(self.module, self._vocabulary.narrow(tokens))
            return encode_text(self.module, narrow.to(self.device))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bf16")
