"""A training in memory: model, parts, optimiser and position; `Engine.step` trains on one batch.

A step depends on the seed, its number, the current weights and what the parts remember, and on nothing else, so no
state of a random generator has to be saved. `evenclip.train.plugin` explains how a method plugs in.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from evenclip.model.images import normalise
from evenclip.model.towers import NarrowVocabulary, compile_towers, encode_image, encode_text, freeze_towers, trim
from evenclip.train.batches import Batch
from evenclip.train.bias_probe import BiasProbe
from evenclip.train.data import Inputs, draw_crops
from evenclip.train.distributed import Processes
from evenclip.train.loss import CachedFeatures, contrastive_loss
from evenclip.train.methods import make_parts
from evenclip.train.optimizer_step import OptimizerStep, check_trainable
from evenclip.train.pixels import Prefetcher
from evenclip.train.plugin import MethodContext, Step

CROPS = 1  # names the stream of random numbers for crops
EMBED_ROWS = 256  # pairs embedded at a time
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepResult:
    """What one step did and measured."""

    batch: Batch
    loss: torch.Tensor
    """The total loss of this process, on the device."""
    grad_norm: torch.Tensor
    """Norm of the gradient before clipping, on the device."""
    lr: float
    scalars: dict[str, torch.Tensor | float]
    """Scalars that the parts log."""


class Engine:
    """A model being trained.

    Parameters
    ----------
    context : MethodContext
        Its ``options`` have ``precision`` resolved. The model is moved to the device and trained in place; after
        `finish` it is complete, on that device.
    processes : Processes, optional
        The processes that train together; by default only this one.
    """

    def __init__(self, context: MethodContext, processes: Processes | None = None):
        self.context, self.options, self.processes = context, context.options, processes or Processes()
        self.clip, self.pairs, self.seed, self.device = context.clip, context.pairs, context.seed, context.device
        self.n_steps, self.position = context.clock.n_steps, 0
        self.module: nn.Module = self.clip.module.to(self.device)
        self.parts = make_parts(context)
        self.bias_probe = (
            BiasProbe(self.options.bias_probe, self.clip, self.n_steps) if self.options.bias_probe else None
        )
        self.terms = nn.ModuleList(self.parts.terms).to(self.device)
        self._vocabulary = NarrowVocabulary(self.module, self.pairs.tokens, *context.extra_tokens)
        self._tokens = self._vocabulary.narrow(self.pairs.tokens)
        self._to_training()
        check_trainable(self.module, self.terms, self.options, self.processes)
        self._optimizer_step = OptimizerStep(self.module, self.terms, self.options, self.n_steps, self.processes)
        if self.options.compile:
            compile_towers(self.module)
        self._prefetcher = Prefetcher(self.pairs.pixels, self.processes.share, pin=self.device.type == "cuda")

    def step(self) -> StepResult:
        """Train on the next batch."""
        self._measure_bias()
        batches = self.parts.batches
        batches.prepare(self.position, self.embed)
        end = min(batches.known_until(self.position), self.n_steps)
        prepared = self._prefetcher.take(self.position, end, batches.at)
        inputs = self._inputs(prepared.batch, prepared.pixels)
        features = CachedFeatures(lambda rows: self._encode(inputs, rows), len(inputs.tokens), self._n_at_once(inputs))
        step = self._step(prepared.batch, inputs, features)
        loss, scalars = self._losses(step)
        norm, rate = self._optimizer_step(self.position, loss, features)
        self.position += 1
        return StepResult(step.batch, loss.detach(), norm, rate, scalars)

    @torch.no_grad()
    def embed(self, modality: str, rows: np.ndarray) -> np.ndarray:
        """Unit ``"image"`` or ``"text"`` features of pairs by the current model, shape (n_rows, d), float32."""
        n, own_rows = len(rows), rows[self._own_part(len(rows))]
        self.module.eval()
        features = []
        for part in np.array_split(own_rows, -(-len(own_rows) // EMBED_ROWS)):
            if modality == "image":
                pixels = self.pairs.pixels.at(part).to(self.device)
                features.append(self._encode_image(normalise(pixels, self.clip.preprocess_cfg)))
            else:
                tokens = trim(self.module, self._tokens[self.pairs.captions_of(Batch(part, np.zeros(len(part))))])
                features.append(self._encode_text(tokens))
        self._to_training()
        return self.processes.gather(torch.cat(features))[:n].cpu().numpy()

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, in types that torch loads safely."""
        negatives = self.parts.negatives
        return {
            "position": self.position,
            "module": self.module.state_dict(),
            "terms": self.terms.state_dict(),
            "batches": self.parts.batches.state(),
            "negatives": negatives.state() if negatives else {},
            "bias_probe": self.bias_probe.rows if self.bias_probe else [],
            **self._optimizer_step.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved ``state``."""
        self.module.load_state_dict(state["module"])
        self.terms.load_state_dict(state["terms"])
        self.parts.batches.restore(state["batches"])
        if self.parts.negatives:
            self.parts.negatives.restore(state["negatives"])
        self._optimizer_step.restore(state)
        if self.bias_probe:
            self.bias_probe.rows = state["bias_probe"]
        self.position = state["position"]

    def tables(self) -> dict[str, pa.Table]:
        """Tables of the parts and of the bias probe, by the stem of their file in the run folder."""
        tables = self.parts.negatives.tables() if self.parts.negatives else {}
        return tables | ({"bias_history": self.bias_probe.table()} if self.bias_probe else {})

    def finish(self) -> None:
        """Complete the model: moving average, last measurement, full vocabulary."""
        self._optimizer_step.finish()  # the moving average first: the last measurement is of the model that is saved
        self._measure_bias()
        self._vocabulary.widen()
        self.module.eval()

    @torch.no_grad()
    def _measure_bias(self) -> None:
        """Measure the bias of the current model, at the steps that the bias probe asks for."""
        if self.bias_probe is None or not self.bias_probe.wanted(self.position):
            return
        self.module.eval()
        with self._vocabulary.whole():
            scale, cfg = self.module.logit_scale.exp(), self.clip.preprocess_cfg
            self.bias_probe.measure(
                self.position,
                lambda pixels: self._encode_image(normalise(pixels.to(self.device), cfg)),
                lambda tokens: self._encode_text(trim(self.module, tokens)),
                scale,
            )
        self._to_training()

    def _inputs(self, batch: Batch, pixels: torch.Tensor) -> Inputs:
        local_rows = self.processes.share(len(batch.rows))
        tokens = trim(self.module, self._tokens[self.pairs.captions_of(batch)[local_rows]])
        crops = None
        if self.options.crop_scale_min < 1:
            rng = np.random.default_rng([self.seed, self.position, CROPS])
            crops = draw_crops(len(batch.rows), self.options.crop_scale_min, rng)[local_rows]
        return Inputs(pixels, tokens.to(self.device, non_blocking=True), crops, self.clip.preprocess_cfg)

    def _n_at_once(self, inputs: Inputs) -> int:
        return min(self.options.micro_batch_size or len(inputs.tokens), len(inputs.tokens))

    def _encode(self, inputs: Inputs, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and text features of ``rows`` of this process's share, shape (n_rows, d) each."""
        # dropout and augmentation draw the same numbers whenever these rows are encoded
        with self._augmented(self.processes.rank, rows.start):
            return self._encode_image(inputs.images(rows)), self._encode_text(inputs.tokens[rows])

    def _augmented(self, *stream: int) -> AbstractContextManager:
        """Seed torch for this step and ``stream``, and return the context of the augmentation, if there is one."""
        draws = np.random.SeedSequence([self.seed, self.position, *stream])
        # torch's own function also prepares the generators of devices, at the cost of a small model's step
        generators = torch.default_generator if self.device.type == "cpu" else torch
        generators.manual_seed(int(draws.generate_state(1, np.uint64)[0]))
        augmentation, progress = self.parts.augmentation, self.context.clock.progress(self.position)
        return augmentation.applied(self.module, self.position, progress) if augmentation else nullcontext()

    def _step(self, batch: Batch, inputs: Inputs, features: CachedFeatures) -> Step:
        return Step(
            position=self.position,
            progress=self.context.clock.progress(self.position),
            batch=batch,
            local_rows=self.processes.share(len(batch.rows)),
            image=self.processes.gather(features.image),
            text=self.processes.gather(features.text),
            tokens=inputs.tokens,
            module=self.module,
            logit_scale=self.module.logit_scale.exp(),
            load_images=inputs.images,
            encode_image=self._encode_image,
            encode_text=self._encode_further,
            encode_beside=self._encode_beside,
            autocast=self._autocast,
        )

    def _losses(self, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        """The sum of all losses, and the logged scalars."""
        adjustment = self.parts.negatives.adjust(step) if self.parts.negatives else None
        features = step.image, step.text, step.logit_scale, self.clip.logit_bias
        total = contrastive_loss(*features, self.options.objective, adjustment, step.local_rows)
        scalars = adjustment.logged() if adjustment else {}
        if self.terms:
            scalars |= {"contrastive_loss": total.detach()}
        for term in self.terms:
            loss, logged = term(step)
            total = total + term.weight * loss
            scalars |= logged
        return total, scalars

    def _encode_image(self, images: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            return encode_image(self.module, images)

    def _encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            return encode_text(self.module, tokens.to(self.device))

    def _encode_further(self, tokens: torch.Tensor) -> torch.Tensor:
        """Unit features of texts given in the full vocabulary."""
        return self._encode_text(trim(self.module, self._vocabulary.narrow(tokens)))

    def _encode_beside(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `Step.encode_beside`."""
        own_tokens = tokens[self._own_part(len(tokens))]
        with self._augmented(self.processes.size, self.processes.rank):  # another stream than the batch's
            return self.processes.gather(self._encode_further(own_tokens))[: len(tokens)]

    def _own_part(self, n: int) -> np.ndarray:
        """Which of ``n`` > 0 items this process encodes: equally many in each, so that some are encoded twice."""
        size = self.processes.size
        return (np.arange(-(-n // size) * size) % n)[self.processes.share(-(-n // size) * size)]

    def _autocast(self) -> torch.autocast:
        dtype = AUTOCAST.get(self.options.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def _to_training(self) -> None:
        self.module.train()
        self.terms.train()
        freeze_towers(self.module, self.options.freeze, self.options.last_blocks)
