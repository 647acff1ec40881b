"""The chunked losses: values and gradients of the plain formulas, of open_clip's, and of finite differences."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.loss import ClipLoss, SigLipLoss
from torch.nn import functional as F

from evenclip.train.loss import contrastive_loss

B, D, Q = 13, 7, 5
OBJECTIVES = ["clip", "siglip"]


@dataclass
class Weights:
    """An adjustment held as whole matrices."""

    image: torch.Tensor
    text: torch.Tensor
    extra_text: torch.Tensor | None = None
    outside: torch.Tensor | None = None

    def extra_log_weight(self, rows: slice) -> torch.Tensor:
        return self.outside[rows]

    def log_weight(self, rows: slice) -> torch.Tensor:
        return self.image[rows]

    def log_weight_text(self, rows: slice) -> torch.Tensor:
        return self.text[rows]

    def logged(self) -> dict:
        return {}


def features(seed: int = 0, b: int = B) -> list[torch.Tensor]:
    """Image and text features, logit scale and bias, float64 leaves."""
    rng = torch.Generator().manual_seed(seed)
    image, text = (F.normalize(torch.randn(b, D, generator=rng, dtype=torch.float64), dim=1) for _ in range(2))
    scalars = torch.tensor(9.0, dtype=torch.float64), torch.tensor(-3.0, dtype=torch.float64)
    return [tensor.requires_grad_() for tensor in (image, text, *scalars)]


def weights(seed: int = 1, extra: bool = True) -> Weights:
    """Random weights with a third of the negatives masked."""
    rng = torch.Generator().manual_seed(seed)

    def matrix(n_columns: int) -> torch.Tensor:
        values = torch.randn(B, n_columns, generator=rng, dtype=torch.float64)
        return values.masked_fill(torch.rand(B, n_columns, generator=rng) < 1 / 3, -torch.inf)

    outside = F.normalize(torch.randn(Q, D, generator=rng, dtype=torch.float64), dim=1).requires_grad_()
    made = Weights(matrix(B).fill_diagonal_(0), matrix(B).fill_diagonal_(0))
    return Weights(made.image, made.text, outside, matrix(Q)) if extra else made


def plain(objective: str, image, text, scale, bias, w: Weights | None = None) -> torch.Tensor:
    """The formulas over whole matrices."""
    logits = scale * image @ text.T
    zero = torch.zeros_like(logits)
    of_images, of_texts = logits + (w.image if w else zero), logits.T + (w.text if w else zero)
    outside = scale * image @ w.extra_text.T + w.outside if w and w.extra_text is not None else None
    if objective == "clip":
        positive = logits.diagonal()
        wide = of_images if outside is None else torch.cat([of_images, outside], 1)
        return ((wide.logsumexp(1) - positive) + (of_texts.logsumexp(1) - positive)).mean() / 2
    sign = 1 - 2 * torch.eye(len(image), dtype=image.dtype)
    cells = (F.softplus(sign * (of_images + bias)) + F.softplus(sign * (of_texts + bias))) / 2
    rows = cells.sum(1)
    return (rows if outside is None else rows + F.softplus(outside + bias).sum(1)).mean()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("adjusted", ["", "weights", "weights and texts"])
@pytest.mark.parametrize("chunk", [1, 4, B, None])
def test_value_and_gradients_are_those_of_the_plain_loss(objective: str, adjusted: str, chunk: int | None):
    leaves = features()
    w = weights(extra="texts" in adjusted) if adjusted else None
    wanted = leaves + ([w.extra_text] if "texts" in adjusted else [])
    wanted = wanted if objective == "siglip" else [leaf for leaf in wanted if leaf is not leaves[3]]
    ours = contrastive_loss(*leaves, objective=objective, adjustment=w, chunk=chunk)
    expected = plain(objective, *leaves, w)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)
    for got, right in zip(
        torch.autograd.grad(3 * ours, wanted), torch.autograd.grad(3 * expected, wanted), strict=True
    ):
        torch.testing.assert_close(got, right, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_are_those_of_finite_differences(objective: str):
    leaves = features(b=6)

    def loss(image, text, scale, bias):
        return contrastive_loss(image, text, scale, bias, objective=objective, chunk=4)

    if objective == "clip":
        leaves[3].requires_grad_(False)
    assert torch.autograd.gradcheck(loss, leaves)


@given(st.integers(2, 12), st.integers(0, 99), st.sampled_from(OBJECTIVES), st.integers(1, 13))
def test_float32_is_open_clips_loss_to_1e_5(b: int, seed: int, objective: str, chunk: int):
    ours, theirs = ([leaf.detach().float().requires_grad_() for leaf in features(seed, b)] for _ in range(2))
    wanted = slice(0, 3 if objective == "clip" else 4)
    loss = contrastive_loss(*ours, objective=objective, chunk=chunk)
    reference = ClipLoss()(*theirs[:3]) if objective == "clip" else SigLipLoss()(*theirs)
    torch.testing.assert_close(loss, reference, rtol=1e-5, atol=1e-5)
    pairs = zip(torch.autograd.grad(loss, ours[wanted]), torch.autograd.grad(reference, theirs[wanted]), strict=True)
    for got, right in pairs:
        torch.testing.assert_close(got, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_mean_over_equal_shares_of_rows_is_the_whole_loss(objective: str):
    leaves = features(b=12)
    shares = [contrastive_loss(*leaves, objective=objective, local_rows=slice(i, i + 4)) for i in (0, 4, 8)]
    torch.testing.assert_close(sum(shares) / 3, contrastive_loss(*leaves, objective=objective))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_image_without_negatives_feels_only_its_positive(objective: str):
    leaves = features()
    mask = torch.zeros(B, B, dtype=torch.float64)
    mask[2, :], mask[:, 2] = -torch.inf, -torch.inf
    mask[2, 2] = 0.0
    loss = contrastive_loss(*leaves, objective=objective, adjustment=Weights(mask, mask.T))
    gradient_image, gradient_text = torch.autograd.grad(loss, leaves[:2])
    if objective == "clip":  # a positive alone in its row has probability 1
        assert gradient_image[2].abs().max() == 0 and gradient_text[2].abs().max() == 0
    else:  # only the positive pulls
        pulled = F.cosine_similarity(gradient_image[2], -leaves[1][2], dim=0)
        assert pulled.item() == pytest.approx(1)


MEASURE = """
import resource, torch
from torch.nn import functional as F
from evenclip.train.loss import contrastive_loss

def train(n):
    image, text = (F.normalize(torch.randn(n, 8), dim=1).requires_grad_() for _ in range(2))
    contrastive_loss(image, text, torch.tensor(10.0), chunk=128).backward()

train(256)  # loads what the first step of any size loads
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
train(4096)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's peak memory")
def test_the_memory_is_that_of_a_chunk_and_not_of_the_matrix():
    """4096 x 4096 similarities are 64 MB in float32; chunks of 128 rows are 2 MB."""
    done = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 64
