"""The five places where a method plugs in: each is called as promised, saved, and absent when it is off."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from evenclip.model.clip import create_clip
from evenclip.train import TrainOptions, engine, train_model
from evenclip.train.batches import Batch, WeightedBatches
from evenclip.train.data import load_pairs
from evenclip.train.engine import Engine
from evenclip.train.methods import Parts
from evenclip.train.plugin import Clock, MethodContext, Step, Term, ramp
from support.tiny_training import write_model, write_squares, write_weights

N = 48
TEXTS = ["a quadrangle", "something else entirely"]


class Pull(Term):
    """Draws the image features towards a learnt text-like direction; sees a text that no caption holds."""

    def __init__(self, context: MethodContext):
        super().__init__()
        self.weight, self.lr = 0.5, 1e-2
        self.direction = nn.Parameter(torch.ones(16))
        self.register_buffer("n_seen", torch.zeros((), dtype=torch.int64))
        self.tokens = context.tokens(TEXTS)

    def forward(self, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        self.n_seen += 1
        further = step.encode_text(self.tokens)
        loss = (step.image - self.direction).square().mean() + further.mean()
        return loss, {"pull": loss.detach(), "progress": step.progress}


class Counted:
    """An augmentation that counts, and changes nothing."""

    def __init__(self):
        self.seen = []

    @contextmanager
    def applied(self, module: nn.Module, position: int, progress: float) -> Iterator[None]:
        self.seen.append((position, progress))
        yield


class Looking(WeightedBatches):
    """Weighted batches that look at all embeddings at the start of each epoch, and know no batch of the next."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.embedded, self.end = [], 0

    def prepare(self, step, embed):
        if step % self.steps_per_epoch == 0:
            everyone = np.arange(N)
            self.embedded.append((step, embed("image", everyone), embed("text", everyone)))
        self.end = (self.epoch(step) + 1) * self.steps_per_epoch

    def known_until(self, step):
        return self.end

    def at(self, step):
        assert step < self.end
        return super().at(step)

    def logged(self, batches: list[Batch]) -> dict[str, float]:
        return {"n_rows": float(sum(len(batch.rows) for batch in batches))}

    def state(self):
        return {"n_looks": len(self.embedded)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts")
    write_squares(root / "data", N)
    write_weights(root / "weights.parquet", {f"{i:05d}": 1 for i in range(N)})
    write_model(root / "tiny.json")
    return root


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[Parts]:
    """Parts of all engines made in the test, which are as above."""
    made = []

    def make(context: MethodContext) -> Parts:
        batches = Looking(context.pairs.copies, context.options.batch_size, context.seed)
        made.append(Parts(batches, augmentation=Counted(), terms=[Pull(context)]))
        return made[-1]

    monkeypatch.setattr(engine, "make_parts", make)
    return made


def options(folder: Path, **changes) -> TrainOptions:
    plain = {"model": str(folder / "tiny.json"), "samples_seen": 96, "batch_size": 16, "precision": "fp32"}
    return TrainOptions(**plain | {"device": "cpu", "log_every": 2} | changes)


def make_engine(folder: Path) -> Engine:
    torch.manual_seed(0)
    clip = create_clip(str(folder / "tiny.json"))
    pairs = load_pairs(folder / "data", folder / "weights.parquet", clip, threads=1)
    return Engine(MethodContext(options(folder), clip, pairs, 0, Clock(6), torch.device("cpu")))


def test_a_term_is_trained_with_its_own_rate_and_logged(folder: Path, parts: list[Parts]):
    trained = make_engine(folder)
    result = trained.step()
    (term,) = parts[0].terms
    assert result.loss.item() == pytest.approx(
        result.scalars["contrastive_loss"].item() + 0.5 * result.scalars["pull"].item(), rel=1e-6
    )
    moved = (term.direction - 1).abs()
    assert torch.allclose(moved, torch.full((16,), 1e-2), rtol=0.05)  # AdamW's first step is the learning rate


def test_batch_sampling_uses_embeddings_of_the_current_model(folder: Path, parts: list[Parts]):
    trained = make_engine(folder)
    for _ in range(4):
        trained.step()
    embedded = parts[0].batches.embedded
    assert [step for step, _, _ in embedded] == [0, 3]
    for _, image, text in embedded:
        assert image.shape == text.shape == (N, 16)
        np.testing.assert_allclose(np.linalg.norm(image, axis=1), 1, rtol=1e-5)
    assert np.abs(embedded[0][1] - embedded[1][1]).max() > 1e-4


@pytest.mark.parametrize("modality", ["image", "text"])
def test_embedding_a_subset_gives_the_rows_of_the_whole(folder: Path, parts: list[Parts], modality: str):
    trained, some = make_engine(folder), np.array([5, 2, 31, 5])
    np.testing.assert_allclose(trained.embed(modality, some), trained.embed(modality, np.arange(N))[some], atol=1e-6)


def test_the_augmentation_gets_step_and_progress(folder: Path, parts: list[Parts]):
    trained = make_engine(folder)
    for _ in range(3):
        trained.step()
    assert parts[0].augmentation.seen == [(0, 0.0), (1, 0.2), (2, 0.4)]


def test_the_saved_state_restores_what_the_parts_remember(folder: Path, parts: list[Parts]):
    straight, broken, restored = (make_engine(folder) for _ in range(3))
    losses = [straight.step().loss.item() for _ in range(4)]
    for _ in range(2):
        broken.step()
    assert broken.state()["batches"] == {"n_looks": 1}
    restored.restore(broken.state())
    assert parts[2].terms[0].n_seen == 2
    assert [restored.step().loss.item() for _ in range(2)] == losses[2:]


def test_what_is_logged_stands_in_the_history(folder: Path, tmp_path: Path, parts: list[Parts]):
    train_model(folder / "data", folder / "weights.parquet", tmp_path / "run", 0, tmp_path / "state", options(folder))
    history = pq.read_table(tmp_path / "run" / "history.parquet").to_pydict()
    assert history["n_rows"] == [32.0, 32.0, 32.0]
    assert history["progress"] == pytest.approx([0.1, 0.5, 0.9])
    assert all(np.isfinite(history[name]).all() for name in ("pull", "contrastive_loss"))


@given(st.integers(1, 1000), st.floats(-5, 5), st.floats(-5, 5), st.none() | st.integers(2, 20))
def test_a_ramp_goes_from_start_to_end_in_order(n_steps: int, start: float, end: float, n_levels: int | None):
    clock = Clock(n_steps)
    values = [ramp(clock.progress(step), start, end, n_levels) for step in range(n_steps)]
    assert values[0] == start
    assert n_steps == 1 or values[-1] == pytest.approx(end, abs=1e-9)
    ordered = values if start <= end else values[::-1]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(ordered))
    assert n_levels is None or len({round(value, 9) for value in values}) <= n_levels
