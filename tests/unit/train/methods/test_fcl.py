"""The fair contrastive loss is the difference between groups of what the model sees, remembered over batches."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F

from evenclip.bias import Contrast
from evenclip.train.batches import Batch
from evenclip.train.group_labels import GroupLabels
from evenclip.train.method_options import FclOptions
from evenclip.train.methods.fcl import FairContrastiveLoss
from support.vectors import unit_rows

N, D = 40, 8
TEXTS = {"a lorker": 0, "the lorker": 1, "a dasker": 2, "the dasker": 3, "a worker": 4, "the worker": 5}
FEATURES = torch.from_numpy(unit_rows(6, D, seed=3, rank=D))
GROUP_LABELS = GroupLabels((Contrast("group.g0", np.arange(N) % 3 == 0, np.arange(N) % 3 == 1, 0.5),), np.ones((N, 1)))


@pytest.fixture
def make(tmp_path: Path):
    classes = {"lorker": ["lorker"], "dasker": ["dasker", "worker"]}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"templates": ["a {}", "the {}"], "classes": classes}))

    def term(**options) -> FairContrastiveLoss:
        context = SimpleNamespace(
            options=SimpleNamespace(lr=1e-3), tokens=lambda texts: torch.tensor([[TEXTS[text]] for text in texts])
        )
        return FairContrastiveLoss(context, FclOptions(prompts=str(tmp_path / "p.yaml"), **options), GROUP_LABELS)

    return term


def make_step(rows: np.ndarray, image: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(
        image=image, batch=Batch(rows, np.zeros(len(rows))), logit_scale=torch.tensor(5.0, requires_grad=True),
        encode_text=lambda tokens: FEATURES[tokens[:, 0]],
    )  # fmt: skip


def distribution(image: torch.Tensor) -> torch.Tensor:
    dasker = F.normalize(FEATURES[[2, 4]].mean(0), dim=0) + F.normalize(FEATURES[[3, 5]].mean(0), dim=0)
    classes = F.normalize(torch.stack([FEATURES[[0, 1]].mean(0), dasker]), dim=1)
    return torch.softmax(5 * image @ classes.T, dim=1)


def test_without_memory_the_loss_is_the_batch_difference(make):
    rows, image = np.arange(20), torch.from_numpy(unit_rows(20, D))
    loss, logged = make(memory=0.0)(make_step(rows, image))
    f = distribution(image)
    gap = (f[rows % 3 == 0].mean(0) - f[rows % 3 == 1].mean(0)).abs()
    assert loss.item() == pytest.approx(gap.sum().item(), rel=1e-5)
    assert logged["fcl_ab_max"].item() == pytest.approx(gap.max().item(), rel=1e-5)


def test_past_batches_are_remembered_by_their_number_of_images(make):
    term = make(memory=0.9)
    first, second = torch.from_numpy(unit_rows(30, D, 1)), torch.from_numpy(unit_rows(10, D, 2))
    term(make_step(np.arange(30), first))
    loss, _ = term(make_step(np.arange(10), second))
    f, weight = distribution(torch.cat([first, second])), torch.cat([torch.full((30,), 0.9), torch.ones(10)])
    group = torch.from_numpy(np.concatenate([np.arange(30), np.arange(10)]) % 3)
    means = [(weight * (group == g)) @ f / weight[group == g].sum() for g in (0, 1)]
    assert loss.item() == pytest.approx((means[0] - means[1]).abs().sum().item(), rel=1e-5)


def test_a_group_that_was_never_seen_costs_nothing(make):
    loss, logged = make()(make_step(np.array([0, 3, 6, 2]), torch.from_numpy(unit_rows(4, D))))
    assert loss.item() == logged["fcl_ab_max"].item() == 0


def test_a_gradient_step_lowers_the_loss(make):
    rows, image = np.arange(N), torch.from_numpy(unit_rows(N, D)).requires_grad_()
    step = make_step(rows, image)
    loss, _ = make(memory=0.0)(step)
    loss.backward()
    assert step.logit_scale.grad is None
    moved = F.normalize(image.detach() - 0.1 * image.grad, dim=1)
    assert make(memory=0.0)(make_step(rows, moved))[0] < loss


def test_the_memory_is_saved_and_restored(make):
    first, second = make(), make()
    first(make_step(np.arange(20), torch.from_numpy(unit_rows(20, D))))
    second.load_state_dict(first.state_dict())
    step = make_step(np.arange(20, 40), torch.from_numpy(unit_rows(20, D, 5)))
    assert first(step)[0] == second(step)[0]


def test_the_gradient_does_not_fade_with_a_longer_memory(make):
    norms = []
    for memory in (0.0, 0.5, 0.99):
        term = make(memory=memory)
        image = torch.from_numpy(unit_rows(30, D)).requires_grad_()
        for _ in range(20):
            loss, _ = term(make_step(np.arange(30), image))
        (gradient,) = torch.autograd.grad(loss, image)
        norms.append(gradient.norm().item())
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-5)
