"""EfficientCL: what is cut, what is jittered and how, and that the model is as before once the context is left."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenclip.errors import InputError
from evenclip.model.clip import create_clip
from evenclip.model.towers import encode_image, encode_text
from evenclip.train.method_options import EfficientClOptions
from evenclip.train.methods.efficientcl import HiddenAugmentation, draw_spans, pca_jitter
from support.tiny_training import TINY_MODEL, write_model


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.floats(0, 1), st.integers(0, 99))
def test_a_span_is_contiguous_and_within_the_free_tokens(free: list[int], rate, seed):
    torch.manual_seed(seed)
    cut = draw_spans(torch.tensor(free), 24, rate)
    assert not cut[:, 0].any()
    for n, row in zip(free, cut, strict=True):
        positions = torch.nonzero(row).flatten().tolist()
        assert positions == list(range(positions[0], positions[0] + len(positions))) if positions else True
        assert not positions or positions[-1] <= n
        assert abs(len(positions) - rate * n) < 1


def test_spans_have_the_rates_mean_length_and_lie_everywhere():
    torch.manual_seed(0)
    cut = draw_spans(torch.full((20_000,), 6), 8, 0.1).float()
    assert cut.sum(1).mean().item() == pytest.approx(0.6, abs=0.02)
    torch.testing.assert_close(cut.mean(0)[1:7], torch.full((6,), 0.1), atol=0.01, rtol=0)


def sequence(seed: int = 0, length: int = 12, width: int = 6) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    scale = torch.tensor([2.0, 1.0, 0.7, 0.5, 0.2, 0.1])[:width]
    return torch.randn(1, length, width, generator=rng) * scale + 1


def test_jitter_keeps_every_norm_and_leaves_the_others_alone():
    torch.manual_seed(0)
    hidden, valid = sequence(), torch.tensor([[False] + [True] * 8 + [False] * 3])
    jittered = pca_jitter(hidden, valid, 0.5)
    torch.testing.assert_close(jittered.norm(dim=2), hidden.norm(dim=2))
    assert torch.equal(jittered[~valid], hidden[~valid])
    assert (jittered[valid] != hidden[valid]).any(dim=1).all()


def test_jitter_has_the_variances_of_the_principal_directions():
    """Against the definition by eigenvectors: deviations are rate * eigenvalue, directions independent, mean 0."""
    torch.manual_seed(0)
    n, rate = 20_000, 0.01
    hidden = sequence().expand(n, -1, -1)
    valid = torch.ones(n, 12, dtype=torch.bool)
    jittered = pca_jitter(hidden, valid, rate)
    scale = hidden.norm(dim=2, keepdim=True)
    vector = scale * (jittered / (jittered * hidden).sum(2, keepdim=True) * scale) - hidden  # up to order rate squared
    along = hidden / scale
    centred = hidden[0] - hidden[0].mean(0)
    eigenvalues, directions = torch.linalg.eigh(centred.T @ centred / 11)
    expected = directions @ torch.diag((rate * eigenvalues) ** 2) @ directions.T
    for token in range(3):  # the part along the token itself is lost to its norm
        off = torch.eye(6) - torch.outer(along[0, token], along[0, token])
        covariance = torch.cov(vector[:, token].T)
        torch.testing.assert_close(covariance, off @ expected @ off, rtol=0.05, atol=2e-2 * expected.abs().max().item())
        assert (vector[:, token].mean(0).abs() < 4 * expected.diagonal().max().sqrt() / n**0.5).all()


def test_the_vector_is_the_same_for_all_tokens_of_a_sequence():
    torch.manual_seed(0)
    hidden = sequence()
    moved = pca_jitter(hidden, torch.ones(1, 12, dtype=torch.bool), 1e-3) / hidden.norm(dim=2, keepdim=True)
    direction = hidden / hidden.norm(dim=2, keepdim=True)
    change = (moved - direction) * hidden.norm(dim=2, keepdim=True)
    vector, *_ = torch.linalg.lstsq(
        torch.cat([torch.eye(6) - torch.outer(d, d) for d in direction[0]]), change[0].reshape(-1, 1)
    )
    predicted = torch.stack([(torch.eye(6) - torch.outer(d, d)) @ vector[:, 0] for d in direction[0]])
    torch.testing.assert_close(change[0], predicted, rtol=0.02, atol=1e-5)


@pytest.mark.parametrize("n_valid", [0, 1])
def test_a_sequence_that_is_too_short_to_vary_stays(n_valid: int):
    valid = torch.arange(12)[None] < n_valid
    torch.testing.assert_close(pca_jitter(sequence(), valid, 0.5), sequence())


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    torch.manual_seed(0)
    towers = {part: TINY_MODEL[part] | {"layers": 3} for part in ("vision_cfg", "text_cfg")}
    return create_clip(str(write_model(tmp_path_factory.mktemp("efficient") / "tiny.json", **towers))).module.train()


IMAGES = torch.rand(4, 3, 16, 16)
TOKENS = torch.tensor([[49406, 5, 6, 7, 8, 49407, 0], [49406, 5, 49407, 0, 0, 0, 0], [49406, 49407, 0, 0, 0, 0, 0]])


def encode(module: torch.nn.Module, progress: float, seed: int = 1, **options) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    with HiddenAugmentation(EfficientClOptions(**options), module).applied(module, 0, progress):
        return encode_image(module, IMAGES), encode_text(module, TOKENS)


def plain(module: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    return encode_image(module, IMAGES), encode_text(module, TOKENS)


def test_rate_zero_changes_nothing_and_others_both_towers(module: torch.nn.Module):
    for disturbed, clean in zip(encode(module, 1, start=0, image_end=0, text_end=0), plain(module), strict=True):
        torch.testing.assert_close(disturbed, clean)
    image, text = encode(module, 1, image_end=0.5, text_end=0.5)
    assert (image - plain(module)[0]).abs().max() > 1e-3 and (text - plain(module)[1])[0].abs().max() > 1e-4
    torch.testing.assert_close(text[2], plain(module)[1][2])  # nothing between its start and its end


def test_the_model_is_as_before_outside_also_after_an_error(module: torch.nn.Module):
    before = plain(module)
    with pytest.raises(ZeroDivisionError), HiddenAugmentation(EfficientClOptions(), module).applied(module, 0, 1):
        _ = 1 / 0
    encode(module, 1)
    assert all(torch.equal(a, b) for a, b in zip(plain(module), before, strict=True))


def test_equal_seeds_draw_alike_and_the_rate_follows_the_clock(module: torch.nn.Module):
    assert torch.equal(encode(module, 1)[0], encode(module, 1)[0])
    assert not torch.equal(encode(module, 1)[0], encode(module, 1, seed=2)[0])
    change = [(encode(module, t, image_end=0.9)[0] - plain(module)[0]).norm().item() for t in (0, 1)]
    assert change[0] < change[1]
    assert torch.equal(encode(module, 0.99)[0], encode(module, 1)[0])  # the same of ten levels
    assert not torch.equal(encode(module, 0.89)[0], encode(module, 1)[0])


def test_end_tokens_are_kept_and_cut_tokens_get_no_attention(module: torch.nn.Module):
    seen = {}

    def watch(name: str):
        def hook(block: torch.nn.Module, arguments: tuple, named: dict) -> None:
            seen.setdefault(name, []).append((arguments[0].detach(), named["attn_mask"]))

        return hook

    for seed in range(20):
        torch.manual_seed(seed)
        options = EfficientClOptions(start=0.9, image_end=0.9, text_end=0.9)
        with HiddenAugmentation(options, module).applied(module, 0, 1):
            hooks = [
                tower.resblocks[-1].register_forward_pre_hook(watch(name), with_kwargs=True)
                for name, tower in (("image", module.visual.transformer), ("text", module.transformer))
            ]
            encode_image(module, IMAGES), encode_text(module, TOKENS)
            for hook in hooks:
                hook.remove()
    ends = {"image": torch.zeros(4, dtype=torch.long), "text": TOKENS.argmax(1)}
    for name, calls in seen.items():
        for hidden, mask in calls:
            open_to = mask.view(len(hidden), 2, hidden.shape[1], -1)[:, 0, -1] == 0  # the last token sees all others
            assert open_to[:, 0].all() and open_to[torch.arange(len(hidden)), ends[name]].all()
            assert (hidden[:, 0].norm(dim=1) > 0).all()
        assert any((~mask.isfinite()).any() for _, mask in calls)
    image_mask = torch.stack([mask for _, mask in seen["image"]])
    assert (image_mask.isinf().any(dim=2)[:, :, 1:].float().mean()) == pytest.approx(0.9, abs=0.05)


def test_the_disturbed_layer_is_hidden_and_drawn_anew(module: torch.nn.Module):
    layers = set()
    for seed in range(20):
        torch.manual_seed(seed)
        with HiddenAugmentation(EfficientClOptions(), module).applied(module, 0, 1):
            hooked = [len(block._forward_pre_hooks) for block in module.visual.transformer.resblocks]
        layers.add(hooked.index(1))
    assert layers == {1, 2}


RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16}
EFFICIENTNET = {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 64}
BOTH_WAYS = TINY_MODEL["text_cfg"] | {"layers": 2, "no_causal_mask": True, "pool_type": "last"}


@pytest.mark.parametrize(
    "changes",
    [{"vision_cfg": RESNET}, {"vision_cfg": EFFICIENTNET}, {"text_cfg": BOTH_WAYS, "custom_text": True}],
    ids=["resnet", "efficientnet", "both_ways"],
)
def test_other_towers_are_disturbed_and_left_as_before(changes: dict, tmp_path: Path):
    torch.manual_seed(0)
    module = create_clip(str(write_model(tmp_path / "other.json", **changes))).module.eval()
    px = changes.get("vision_cfg", TINY_MODEL["vision_cfg"])["image_size"]
    images, tokens = torch.rand(3, 3, px, px), torch.zeros(3, 12, dtype=torch.long)
    tokens[:, :7] = TOKENS

    def embed(rate: float) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(3)
        options = EfficientClOptions(start=rate, image_end=rate, text_end=rate)
        with HiddenAugmentation(options, module).applied(module, 0, 1):
            return encode_image(module, images), encode_text(module, tokens)

    clean = encode_image(module, images), encode_text(module, tokens)
    for undisturbed, whole in zip(embed(0), clean, strict=True):
        torch.testing.assert_close(undisturbed, whole, atol=1e-5, rtol=1e-4)
    for disturbed, whole in zip(embed(0.5), clean, strict=True):
        assert (disturbed - whole)[0].abs().max() > 1e-4
    assert all(map(torch.equal, clean, (encode_image(module, images), encode_text(module, tokens))))


def test_a_model_without_such_towers_is_an_error(tmp_path: Path):
    vision = {"timm_model_name": "test_vit", "timm_proj": "linear", "image_size": 160}
    timm_vit = create_clip(str(write_model(tmp_path / "timm.json", vision_cfg=vision))).module
    with pytest.raises(InputError, match="efficientcl needs open_clip's vision transformer or a convolutional tower"):
        HiddenAugmentation(EfficientClOptions(), timm_vit)
