"""Micro batches and several processes change what is in memory, not what is learnt: equal gradients to 1e-5."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evenclip.errors import InputError
from evenclip.train.distributed import Processes, check_shares
from evenclip.train.engine import Engine
from support import parallel_training
from support.parallel_training import CASES, METHODS, gradients, make_engine, method_gradients
from support.project import ROOT
from support.tiny_methods import write_methods_folder
from support.tiny_training import TINY_MODEL, write_model, write_squares, write_weights

N = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gradients")
    write_squares(root / "data", N)
    write_weights(root / "weights.parquet", {f"{i:05d}": 1 for i in range(N)})
    write_model(root / "tiny.json")
    write_methods_folder(root / "methods")
    return root


@pytest.fixture(autouse=True)
def _restore_parts():
    """`make_engine` replaces what builds the parts."""
    before = parallel_training.engine.make_parts
    yield
    parallel_training.engine.make_parts = before


def by_two_processes(folder: Path) -> list[dict]:
    """What each of two processes finds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", parallel_training.__name__, str(folder), str(folder)]
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    processes = [subprocess.Popen(command, env=common | {"RANK": str(rank)}) for rank in (0, 1)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    return [torch.load(folder / f"rank{rank}.pt") for rank in (0, 1)]


def assert_equal(gradients: dict, expected: dict) -> None:
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            gradients[name], gradient, rtol=1e-5, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_two_processes_have_the_gradients_of_one(
    folder: Path, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
):
    """All cases in one test, because each worker of the tests would start the two processes.

    Methods come first: `make_engine` replaces what builds them.
    """
    found = by_two_processes(folder)
    monkeypatch.chdir(folder / "methods")
    for case, options in METHODS.items():
        with subtests.test(case):
            expected = method_gradients(folder / "methods", Processes(), **options)
            for of_process in found:
                assert_equal(of_process[case], expected)
    for case, options in CASES.items():
        with subtests.test(case):
            expected = gradients(make_engine(folder, Processes(), **options))
            for of_process in found:
                assert_equal(of_process[case], expected)
            for name, gradient in found[0][case].items():
                assert torch.equal(gradient, found[1][case][name]), name  # or weights would drift apart


@pytest.mark.parametrize("n", [1, 2, 5, 8, 9])
def test_ranks_share_what_all_of_them_need(folder: Path, n: int):
    engine, size = make_engine(folder, Processes()), 4
    parts = []
    for rank in range(size):
        engine.processes = Processes(rank, size)
        parts.append(engine._own_part(n))
    assert {len(part) for part in parts} == {-(-n // size)}
    assert np.concatenate(parts)[:n].tolist() == list(range(n))  # in order, what is done twice behind


@pytest.mark.parametrize("n_at_once", [1, 5, 15, 16])
@pytest.mark.parametrize("objective", ["clip", "siglip"])
def test_micro_batches_have_the_gradients_of_the_whole_batch(folder: Path, n_at_once: int, objective: str):
    options = {"objective": objective, "crop_scale_min": 0.5}
    expected = gradients(make_engine(folder, Processes(), **options))
    assert_equal(gradients(make_engine(folder, Processes(), **options, micro_batch_size=n_at_once)), expected)


def test_both_passes_of_a_micro_batch_draw_the_same_numbers(tmp_path: Path, folder: Path):
    """With dropped patches: the gradients of a loss of exactly the features that the loss was computed on."""
    write_model(folder / "tiny.json", vision_cfg=TINY_MODEL["vision_cfg"] | {"patch_dropout": 0.5})
    try:
        cached = gradients(make_engine(folder, Processes(), micro_batch_size=4))
        engine: Engine = make_engine(folder, Processes(), micro_batch_size=4)
        batch = engine.parts.batches.at(0)
        inputs = engine._inputs(batch, engine.pairs.pixels.at(batch.rows))
        in_parts = [engine._encode(inputs, slice(start, start + 4)) for start in range(0, 16, 4)]
        again = engine._encode(inputs, slice(4, 8))
        assert torch.equal(again[0], in_parts[1][0])
        assert not torch.equal(engine._encode(inputs, slice(4, 9))[0][:4], engine._encode(inputs, slice(5, 9))[0])
        images, texts = (torch.cat([pair[i] for pair in in_parts]) for i in (0, 1))
        features = type("Features", (), {"image": images, "text": texts})
        engine._losses(engine._step(batch, inputs, features))[0].backward()
        norm = torch.nn.utils.clip_grad_norm_(engine._optimizer_step._parameters, engine.options.clip_norm)
        assert torch.isfinite(norm)
        plain = {name: p.grad for name, p in engine.module.named_parameters()}
        for name, gradient in plain.items():
            torch.testing.assert_close(cached[name], gradient, rtol=1e-5, atol=1e-5)
    finally:
        write_model(folder / "tiny.json")


@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_frozen_tower_stays_as_it_is_and_the_other_learns(folder: Path, tower: str):
    engine = make_engine(folder, Processes(), freeze=[tower])
    before = {name: p.detach().clone() for name, p in engine.module.named_parameters()}
    for _ in range(2):
        engine.step()
    moved = {name for name, p in engine.module.named_parameters() if not torch.equal(p, before[name])}
    of_images = {name for name in before if name.startswith("visual.")}
    of_texts = before.keys() - of_images - {"logit_scale", "logit_bias"}
    kept, trained = (of_images, of_texts) if tower == "image" else (of_texts, of_images)
    assert not moved & kept
    assert trained <= moved and "logit_scale" in moved


def test_the_moving_average_is_that_of_the_weights(folder: Path):
    plain, averaged = make_engine(folder, Processes()), make_engine(folder, Processes(), ema=0.8)
    expected = None
    for _ in range(3):
        plain.step(), averaged.step()
        now = plain.module.visual.proj.detach().clone()
        expected = now if expected is None else 0.8 * expected + 0.2 * now
    assert torch.equal(averaged.module.visual.proj, plain.module.visual.proj)
    restored = make_engine(folder, Processes(), ema=0.8)
    restored.restore(averaged.state())
    for engine in (averaged, restored):
        engine.finish()
        torch.testing.assert_close(engine.module.visual.proj.detach(), expected)


def set_loss_scale(engine: Engine, scale: float) -> None:
    scaler = engine._optimizer_step._scaler
    scaler.load_state_dict(scaler.state_dict() | {"scale": scale})


def test_an_overflow_in_float16_skips_the_step_and_scales_less(folder: Path):
    engine = make_engine(folder, Processes(), precision="fp16")
    before = engine.module.visual.proj.detach().clone()
    set_loss_scale(engine, 2.0**127)
    overflowed = engine.step()
    assert not torch.isfinite(overflowed.grad_norm) and torch.isfinite(overflowed.loss)
    assert torch.equal(engine.module.visual.proj, before)
    assert engine.state()["scaler"]["scale"] == 2.0**126
    set_loss_scale(engine, 2.0**10)
    assert torch.isfinite(engine.step().grad_norm)
    assert not torch.equal(engine.module.visual.proj, before)


def test_float16_learns_what_float32_learns(folder: Path):
    losses = []
    for precision in ("fp32", "fp16"):
        engine = make_engine(folder, Processes(), precision=precision, lr=3e-3)
        set_loss_scale(engine, 2.0**10)
        losses.append([engine.step().loss.item() for _ in range(4)])
    assert losses[1] == pytest.approx(losses[0], abs=0.05)


def test_a_batch_that_cannot_be_shared_is_named():
    check_shares(16, Processes(0, 2))
    with pytest.raises(InputError, match="15 cannot be shared equally by 2 processes"):
        check_shares(15, Processes(0, 2))
