"""One training in memory: its model, its parts, its optimiser and where it is; `step` does one batch.

A step depends on (seed, step), on the weights so far and on what the parts remember, on nothing else: no generator's
state has to be saved. How a method plugs in: `evenclip.train.plugin`.
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
from evenclip.train.optimizer_step import OptimizerStep
from evenclip.train.pixels import Prefetcher
from evenclip.train.plugin import MethodContext, Step

CROPS = 1  # names the stream of random numbers that crops are drawn from
EMBED_ROWS = 256  # pairs embedded at a time
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepResult:
    """What one step did."""

    batch: Batch
    loss: torch.Tensor
    """All that was minimised by this process, on the device."""
    grad_norm: torch.Tensor
    """Before clipping, on the device."""
    lr: float
    scalars: dict[str, torch.Tensor | float]
    """What the parts log."""


class Engine:
    """A model being trained.

    Parameters
    ----------
    context : MethodContext
        Its ``options`` have ``precision`` resolved. The model is moved to the device and trained in place; `finish`
        leaves it whole, on that device.
    processes : Processes, optional
        The processes that train together; default: this one.
    """

    def __init__(self, context: MethodContext, processes: Processes | None = None):
        self.context, self.options, self.processes = context, context.options, processes or Processes()
        self.clip, self.pairs, self.seed, self.device = context.clip, context.pairs, context.seed, context.device
        self.n_steps, self.position = context.clock.n_steps, 0
        self.module: nn.Module = self.clip.module.to(self.device)
        self.parts = make_parts(context)
        self.probe = BiasProbe(self.options.probe, self.clip, self.n_steps) if self.options.probe else None
        self.terms = nn.ModuleList(self.parts.terms).to(self.device)
        self._vocabulary = NarrowVocabulary(self.module, self.pairs.tokens, *context.extra_tokens)
        self._tokens = self._vocabulary.narrow(self.pairs.tokens)
        self._to_training()
        self._optimizer_step = OptimizerStep(self.module, self.terms, self.options, self.n_steps, self.processes)
        if self.options.compile:
            compile_towers(self.module)
        self._prefetcher = Prefetcher(self.pairs.pixels, self.processes.share, pin=self.device.type == "cuda")

    def step(self) -> StepResult:
        """Train on the next batch."""
        self._look()
        batches = self.parts.batches
        batches.prepare(self.position, self.embed)
        known = min(batches.known_until(self.position), self.n_steps)
        prepared = self._prefetcher.take(self.position, known, batches.at)
        inputs = self._inputs(prepared.batch, prepared.pixels)
        features = CachedFeatures(lambda rows: self._encode(inputs, rows), len(inputs.tokens), self._n_at_once(inputs))
        step = self._step(prepared.batch, inputs, features)
        loss, scalars = self._losses(step)
        norm, rate = self._optimizer_step(self.position, loss, features)
        self.position += 1
        return StepResult(step.batch, loss.detach(), norm, rate, scalars)

    @torch.no_grad()
    def embed(self, modality: str, rows: np.ndarray) -> np.ndarray:
        """Unit ``"image"`` or ``"text"`` features of pairs by the model as it is, shape (n_rows, d), float32."""
        n, local_rows = len(rows), rows[self._my_part(len(rows))]
        self.module.eval()
        features = []
        for some in np.array_split(local_rows, -(-len(local_rows) // EMBED_ROWS)):
            if modality == "image":
                pixels = self.pairs.pixels.at(some).to(self.device)
                features.append(self._encode_image(normalise(pixels, self.clip.preprocess_cfg)))
            else:
                tokens = trim(self.module, self._tokens[self.pairs.captions_of(Batch(some, np.zeros(len(some))))])
                features.append(self._encode_text(tokens))
        self._to_training()
        return self.processes.gather(torch.cat(features))[:n].cpu().numpy()

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, in types that torch loads safely."""
        negatives = self.parts.negatives
        return {
            "position": self.position,
            "module": self.module.state_dict(),
            "terms": self.terms.state_dict(),
            "batches": self.parts.batches.state(),
            "negatives": negatives.state() if negatives else {},
            "probe": self.probe.rows if self.probe else [],
            **self._optimizer_step.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was saved."""
        self.module.load_state_dict(state["module"])
        self.terms.load_state_dict(state["terms"])
        self.parts.batches.restore(state["batches"])
        if self.parts.negatives:
            self.parts.negatives.restore(state["negatives"])
        self._optimizer_step.restore(state)
        if self.probe:
            self.probe.rows = state["probe"]
        self.position = state["position"]

    def tables(self) -> dict[str, pa.Table]:
        """What the parts and the probe have to tell, by the stem of its file in the run folder."""
        told = self.parts.negatives.tables() if self.parts.negatives else {}
        return told | ({"bias_history": self.probe.table()} if self.probe else {})

    def finish(self) -> None:
        """Make the model whole again."""
        self._optimizer_step.finish()  # the moving average first: the last look is at the model that is saved
        self._look()
        self._vocabulary.widen()
        self.module.eval()

    @torch.no_grad()
    def _look(self) -> None:
        """Measure the bias of the model as it is, where the probe wants to know it."""
        if self.probe is None or not self.probe.wanted(self.position):
            return
        self.module.eval()
        with self._vocabulary.whole():
            scale, cfg = self.module.logit_scale.exp(), self.clip.preprocess_cfg
            self.probe.look(
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
        """Image and text features of ``rows`` of this process's share, shape (n_rows, d)."""
        # dropout and the augmentation draw the same numbers whenever these rows are encoded
        with self._disturbed(self.processes.rank, rows.start):
            return self._encode_image(inputs.images(rows)), self._encode_text(inputs.tokens[rows])

    def _disturbed(self, *stream: int) -> AbstractContextManager:
        """The augmentation, if there is one, and a generator that depends on the step and on ``stream`` alone."""
        draws = np.random.SeedSequence([self.seed, self.position, *stream])
        torch.manual_seed(int(draws.generate_state(1, np.uint64)[0]))
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
        """The sum of all losses, and what is logged of them."""
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
        """Unit features of texts in the whole vocabulary."""
        return self._encode_text(trim(self.module, self._vocabulary.narrow(tokens)))

    def _encode_beside(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `Step.encode_beside`."""
        local_rows = tokens[self._my_part(len(tokens))]
        with self._disturbed(
            self.processes.size, self.processes.rank
        ):  # no stream that the batch itself was encoded with
            return self.processes.gather(self._encode_further(local_rows))[: len(tokens)]

    def _my_part(self, n: int) -> np.ndarray:
        """Which of ``n`` > 0 things this rank does; as many on each rank, so that some may be done twice."""
        size = self.processes.size
        return (np.arange(-(-n // size) * size) % n)[self.processes.share(-(-n // size) * size)]

    def _autocast(self) -> torch.autocast:
        dtype = AUTOCAST.get(self.options.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def _to_training(self) -> None:
        self.module.train()
        self.terms.train()
        freeze_towers(self.module, self.options.freeze)
