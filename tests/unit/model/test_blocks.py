"""Towers compute less than open_clip's own code, on a CPU also in groups: features and gradients are those of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evenclip.model.clip import create_clip
from evenclip.model.towers import GROUP_ROWS, encode_image, encode_text
from support.tiny_training import TINY_MODEL, write_model

N = GROUP_ROWS + 6  # two groups, one of them not full
Encode = Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]


@pytest.fixture(params=["GELU", "QuickGELU with layer scale"])
def module(tmp_path: Path, request: pytest.FixtureRequest) -> torch.nn.Module:
    """Three layers in float64, with biases and gains that are not those of the start."""
    torch.manual_seed(0)
    towers = {tower: TINY_MODEL[tower] | {"layers": 3} for tower in ("vision_cfg", "text_cfg")}
    if request.param != "GELU":
        towers = {tower: cfg | {"ls_init_value": 0.5} for tower, cfg in towers.items()} | {"quick_gelu": True}
    module = create_clip(str(write_model(tmp_path / "tiny.json", **towers))).module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return module


@pytest.fixture(params=["image", "text"])
def case(request: pytest.FixtureRequest) -> tuple[torch.Tensor, Encode, Encode]:
    """Inputs of a tower, our encoding, and open_clip's."""
    torch.manual_seed(1)
    if request.param == "image":
        images = torch.randn(N, 3, 16, 16, dtype=torch.float64)
        return images, encode_image, lambda module, inputs: module.encode_image(inputs, normalize=True)
    lengths = torch.randint(2, 12, (N, 1))
    tokens = torch.randint(1, 49406, (N, 12)).where(torch.arange(12) < lengths, 0).scatter(1, lengths - 1, 49407)
    return tokens, encode_text, lambda module, inputs: module.encode_text(inputs, normalize=True)


def gradients(module: torch.nn.Module, features: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of each parameter that ``features`` depend on, for gradients of these that differ by row and column."""
    names, parameters = zip(*module.named_parameters(), strict=True)
    upstream = torch.randn(features.shape, generator=torch.Generator().manual_seed(2)).to(features.dtype)
    of_each = torch.autograd.grad(features, parameters, upstream, allow_unused=True)
    return {name: gradient for name, gradient in zip(names, of_each, strict=True) if gradient is not None}


def test_lean_towers_are_exact_in_float64(module: torch.nn.Module, case: tuple, monkeypatch: pytest.MonkeyPatch):
    inputs, encode, plain = case
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # features are float32 otherwise
    features, expected = encode(module, inputs), plain(module, inputs)
    assert features.dtype == torch.float64
    torch.testing.assert_close(features, expected, atol=1e-13, rtol=1e-12)
    ours, theirs = gradients(module, features), gradients(module, expected)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-12, rtol=1e-9, msg=lambda text, name=name: name + text)


def test_lean_towers_leave_no_trace(module: torch.nn.Module, case: tuple):
    inputs, encode, _ = case
    before = [set(vars(part)) for part in module.modules()]
    encode(module, inputs)
    assert [set(vars(part)) for part in module.modules()] == before


def test_lean_towers_train_in_bfloat16(module: torch.nn.Module, case: tuple):
    """Half precision rounds, to 8 bits: the direction of the gradient stays."""
    inputs, encode, plain = case
    module.float()
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    expected = gradients(module, plain(module, inputs))
    with torch.autocast("cpu", torch.bfloat16):
        features = encode(module, inputs)
    ours = gradients(module, features)
    flat, whole = (torch.cat([one[name].flatten() for name in expected]) for one in (ours, expected))
    assert torch.cosine_similarity(flat, whole, dim=0) > 0.99
