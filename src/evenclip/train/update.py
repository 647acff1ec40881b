"""From a loss to new weights: backward, the mean over ranks, clipping, AdamW, the moving average."""

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from evenclip.train.gradcache import CachedFeatures
from evenclip.train.optimizer import clamp_logit_scale, make_optimizer, make_schedule
from evenclip.train.options import TrainOptions
from evenclip.train.parallel import Ranks


class Update:
    """Updates a model and the terms that are trained with it.

    Parameters
    ----------
    module : nn.Module
    terms : nn.ModuleList
    options : TrainOptions
    n_steps : int
    ranks : Ranks
    """

    def __init__(self, module: nn.Module, terms: nn.ModuleList, options: TrainOptions, n_steps: int, ranks: Ranks):
        self._module, self._clip_norm, self._lr, self._ranks = module, options.clip_norm, options.lr, ranks
        self._optimizer = make_optimizer(module, options, terms)
        self._parameters = [p for p in (*module.parameters(), *terms.parameters()) if p.requires_grad]
        self._rate = make_schedule(options, n_steps)
        # float16 has no room below 6e-8: gradients are taken of a loss that is scaled up
        self._scaler = torch.amp.GradScaler(module.logit_scale.device.type, enabled=options.precision == "fp16")
        averaging = {"multi_avg_fn": get_ema_multi_avg_fn(options.ema)} if options.ema else {}
        self._average = AveragedModel(module, **averaging) if options.ema else None

    def __call__(self, position: int, loss: torch.Tensor, features: CachedFeatures) -> tuple[torch.Tensor, float]:
        """Do step ``position``; returns the gradient's norm before clipping, on the device, and the learning rate."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(position, group["peak"])
        features.backward(self._scaler.scale(loss))
        self._ranks.share_gradients(self._parameters)
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
        """Put the moving average, if there is one, into the model."""
        if self._average:
            self._module.load_state_dict(self._average.module.state_dict())

    def state(self) -> dict[str, Any]:
        """All that `restore` needs beside the weights themselves."""
        average = self._average.state_dict() if self._average else {}
        return {"optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict(), "average": average}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was saved."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average:
            self._average.load_state_dict(state["average"])
