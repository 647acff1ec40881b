"""From a loss to new weights: gradients, their mean over processes, clipping, AdamW, schedule, moving average."""

import math
from collections.abc import Callable, Iterable
from math import inf
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from evenclip.errors import InputError
from evenclip.model.towers import trunk_parameters
from evenclip.train.distributed import Processes
from evenclip.train.loss import CachedFeatures
from evenclip.train.options import TrainOptions
from evenclip.train.plugin import Term

BETAS = (0.9, 0.98)  # Radford et al. 2021, table 18 (ViT)
EPSILON = 1e-6
MAX_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5: larger scales make training unstable


def make_optimizer(module: nn.Module, options: TrainOptions, terms: Iterable[Term] = ()) -> torch.optim.AdamW:
    """AdamW with weight decay of matrices only: parameters with fewer dimensions are gains, biases and scales.

    Each parameter group keeps its highest learning rate as ``"peak"``: that of the training, or of a trunk or term.
    """
    groups, rest = [], list(module.parameters())
    for tower, factor in options.trunk_lr.items():
        trunk = {id(parameter) for parameter in trunk_parameters(module, tower)}
        groups += _groups([p for p in rest if id(p) in trunk], factor * options.lr, options.weight_decay)
        rest = [p for p in rest if id(p) not in trunk]
    groups = _groups(rest, options.lr, options.weight_decay) + groups
    for term in terms:
        groups += _groups(term.parameters(), term.lr, options.weight_decay)
    return torch.optim.AdamW(groups, lr=options.lr, betas=BETAS, eps=EPSILON, fused=True)


def _groups(parameters: Iterable[nn.Parameter], peak: float, weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in parameters if p.requires_grad]
    matrices, others = [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]
    decays = ((matrices, weight_decay), (others, 0.0))
    return [{"params": group, "weight_decay": decay, "peak": peak} for group, decay in decays if group]


def make_schedule(options: TrainOptions, n_steps: int) -> Callable[[int, float], float]:
    """Learning rate from step (counted from 0) and peak: linear warm-up, then a cosine to 0 at ``n_steps``."""
    n_warmup = round(options.warmup_share * n_steps)

    def rate(step: int, peak: float) -> float:
        if step < n_warmup:
            return peak * (step + 1) / n_warmup
        return peak * 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_steps - n_warmup)))

    return rate


def check_trainable(module: nn.Module, terms: nn.Module, options: TrainOptions, processes: Processes) -> None:
    """Reject a training without trainable parameters, or with gradients that differ from those of the whole batch.

    Batch normalisation mixes the images that are encoded together: in parts of a batch, micro batches or the shares of
    several processes, its features and gradients are others.

    Parameters
    ----------
    module : nn.Module
        In its state of training: frozen parts are in evaluation.
    terms : nn.Module
    options : TrainOptions
    processes : Processes

    Raises
    ------
    InputError
    """
    temperature = ("logit_scale", "logit_bias")
    trained = [name for name, p in module.named_parameters() if p.requires_grad and name not in temperature]
    if not trained and not any(p.requires_grad for p in terms.parameters()):
        raise InputError("nothing is left to train but the temperature", "train.freeze", "leave a part out of it")
    is_split = processes.size > 1 or (options.micro_batch_size or inf) < options.batch_size
    normalised = (m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training)
    if is_split and any(normalised):
        what = "a trained tower has batch normalisation, but the batch is encoded in parts"
        hint = "use one process without micro_batch_size, or freeze the tower"
        raise InputError(what, "train.micro_batch_size", hint)


@torch.no_grad()
def clamp_logit_scale(module: nn.Module) -> None:
    """Keep the logit scale, a logarithm, in [0, log 100]."""
    module.logit_scale.clamp_(0, MAX_LOGIT_SCALE)


class OptimizerStep:
    """Updates the weights of a model and of the terms that are trained with it.

    Parameters
    ----------
    module : nn.Module
    terms : nn.ModuleList
    options : TrainOptions
    n_steps : int
    processes : Processes
    """

    def __init__(
        self, module: nn.Module, terms: nn.ModuleList, options: TrainOptions, n_steps: int, processes: Processes
    ):
        self._module, self._clip_norm, self._lr, self._processes = module, options.clip_norm, options.lr, processes
        self._optimizer = make_optimizer(module, options, terms)
        self._parameters = [p for p in (*module.parameters(), *terms.parameters()) if p.requires_grad]
        self._rate = make_schedule(options, n_steps)
        # float16 has no numbers below 6e-8, so the loss is scaled up before gradients are computed
        self._scaler = torch.amp.GradScaler(module.logit_scale.device.type, enabled=options.precision == "fp16")
        averaging = {"multi_avg_fn": get_ema_multi_avg_fn(options.ema)} if options.ema else {}
        self._average = AveragedModel(module, **averaging) if options.ema else None

    def __call__(self, position: int, loss: torch.Tensor, features: CachedFeatures) -> tuple[torch.Tensor, float]:
        """Update at step ``position``; returns the gradient norm before clipping, on the device, and learning rate."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(position, group["peak"])
        features.backward(self._scaler.scale(loss))
        self._processes.share_gradients(self._parameters)
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        clamp_logit_scale(self._module)
        if self._average:
            self._average.update_parameters(self._module)
        return norm.detach(), self._rate(position, self._lr)

    def finish(self) -> None:
        """Load the moving average, if there is one, into the model."""
        if self._average:
            self._module.load_state_dict(self._average.module.state_dict())

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs beside the weights themselves."""
        average = self._average.state_dict() if self._average else {}
        return {"optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict(), "average": average}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved ``state``."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average:
            self._average.load_state_dict(state["average"])
