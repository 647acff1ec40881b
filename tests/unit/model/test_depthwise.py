"""Depthwise convolutions under autocast on a CPU: the same results, with gradients in float32."""

from contextlib import nullcontext

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from evenclip.model.depthwise import float32_gradients
from evenclip.model.towers import encode_image

CPU = torch.device("cpu")


def a_tower() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8), nn.ReLU(),
        Conv2dSame(8, 16, 3, stride=2, groups=8, bias=False), nn.Conv2d(16, 16, (3, 1), padding="same", groups=16),
    )  # fmt: skip


def trained_on(tower: nn.Module, x: torch.Tensor, context) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with torch.autocast("cpu", torch.bfloat16, enabled=x.dtype == torch.float32), context(tower):
        features = tower(x)
    tower.zero_grad()
    features.float().square().mean().backward()
    return features, [parameter.grad.clone() for parameter in tower.parameters()]


def test_results_are_autocasts_and_gradients_are_better():
    tower, x = a_tower(), torch.randn(32, 3, 13, 11)
    features, gradients = trained_on(tower, x, lambda tower: float32_gradients(tower, CPU))
    plain, rounded = trained_on(tower, x, lambda tower: nullcontext())
    assert features.dtype == torch.bfloat16 and torch.equal(features, plain)
    _, exact = trained_on(tower.double(), x.double(), lambda tower: nullcontext())
    errors = [[float((g - e).norm() / e.norm()) for g, e in zip(gs, exact, strict=True)] for gs in (gradients, rounded)]
    assert max(errors[0]) < 0.05 and sum(errors[0]) < sum(errors[1])


@pytest.mark.parametrize(("needs_x", "needs_weight"), [(True, False), (False, True)])
def test_only_the_gradients_that_are_wanted_are_computed(needs_x, needs_weight):
    tower, x = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)).requires_grad_(needs_weight), torch.randn(2, 4, 6, 6)
    x.requires_grad_(needs_x)
    with torch.autocast("cpu", torch.bfloat16), float32_gradients(tower, CPU):
        tower(x).float().sum().backward()
    assert (x.grad is not None, tower[0].weight.grad is not None) == (needs_x, needs_weight)
    if needs_x:
        expected = torch.autograd.grad(nn.functional.conv2d(x, tower[0].weight.bfloat16().float(), groups=4).sum(), x)
        torch.testing.assert_close(x.grad, expected[0])


class Model(nn.Module):
    """As much of a model as `encode_image` reads."""

    def __init__(self):
        super().__init__()
        self.visual = a_tower()

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return self.visual(images).mean((2, 3))


def test_images_are_encoded_with_these_gradients():
    model, x = Model(), torch.randn(8, 3, 13, 11)
    with torch.autocast("cpu", torch.bfloat16):
        features = encode_image(model, x, unit=False)
    features.square().mean().backward()
    gradient = model.visual[1].weight.grad.clone()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16), float32_gradients(model.visual, CPU):
        model.encode_image(x).float().square().mean().backward()
    assert torch.equal(gradient, model.visual[1].weight.grad)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        model.encode_image(x).float().square().mean().backward()
    assert not torch.equal(gradient, model.visual[1].weight.grad)


def test_elsewhere_nothing_changes():
    tower = a_tower()
    assert isinstance(float32_gradients(tower, CPU), nullcontext)
    with torch.autocast("cpu", torch.bfloat16):
        assert not isinstance(float32_gradients(tower, CPU), nullcontext)
        assert isinstance(float32_gradients(tower[:1], CPU), nullcontext)
        assert isinstance(float32_gradients(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), CPU), nullcontext)
        assert isinstance(float32_gradients(tower, torch.device("cuda")), nullcontext)
        with torch.no_grad():
            assert isinstance(float32_gradients(tower, CPU), nullcontext)
    with torch.autocast("cpu", torch.float16):
        assert isinstance(float32_gradients(tower, CPU), nullcontext)
