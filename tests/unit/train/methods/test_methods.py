"""Each method as a switch of the training: it trains, and continues where it was stopped, with the same weights."""

from pathlib import Path

import pytest
import torch

from support.tiny_methods import N_STEPS, make_methods_engine, write_methods_folder

METHODS = {
    "simclip": {"simclip": {"cluster_size": 4, "share": 0.5}},
    "two stages": {"stages": {"first": "first.parquet", "share": 0.6}},
    "two stages of simclip": {"stages": {"first": "first.parquet", "share": 0.3}, "simclip": {"cluster_size": 4}},
    "fcl": {"fcl": {"prompts": "colors.yaml", "weight": 0.1}},
    "efficientcl": {"efficientcl": {"image_end": 0.3}},
    "efficientcl in micro batches": {"efficientcl": {}, "micro_batch_size": 4},
    "true texts masked": {"mask_true": True},
    "ahnm": {"ahnm": {}, "mask_true": True},
    "ahnm on simclip batches": {"simclip": {"cluster_size": 4}, "ahnm": {"graph_texts": 0, "fair": False}},
    "ahnm, siglip": {"ahnm": {}, "objective": "siglip"},
    "all at once": {
        "simclip": {"cluster_size": 4},
        "ahnm": {},
        "efficientcl": {},
        "mask_true": True,
        "micro_batch_size": 8,
        "fcl": {"prompts": "colors.yaml", "weight": 0.1},
        "stages": {"first": "first.parquet", "share": 0.4},
    },
    "simclip offline, by images": {"simclip": {"cluster_size": 4, "modality": "image", "online": False}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_methods_folder(tmp_path_factory.mktemp("methods"))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_and_resumes_within_an_epoch(
    folder: Path, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder)
    straight, broken, restored = (make_methods_engine(folder, lr=3e-3, **METHODS[method]) for _ in range(3))
    losses = [straight.step().loss.item() for _ in range(N_STEPS)]
    assert losses[-1] < losses[0]
    for _ in range(5):
        broken.step()
    torch.save(broken.state(), tmp_path / "state.pt")
    restored.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [restored.step().loss.item() for _ in range(N_STEPS - 5)] == losses[5:]


def test_extra_texts_are_augmented_and_have_gradients(folder: Path):
    disturbing, plain = (
        make_methods_engine(folder, **({"efficientcl": {"text_end": 0.5}} if on else {})) for on in (1, 0)
    )
    tokens = plain.context.tokens(["a red square of no colour", "green"])
    for engine in (disturbing, plain):
        engine.context.tokens(["a red square of no colour", "green"])
        engine.position = N_STEPS - 1
    undisturbed = plain._encode_further(tokens)
    assert torch.equal(plain._encode_beside(tokens), undisturbed)
    beside = disturbing._encode_beside(tokens)
    assert (beside - undisturbed).abs().max() > 1e-3
    beside[:, 0].sum().backward()
    assert disturbing.module.token_embedding.weight.grad.abs().max() > 0


def test_a_stage_embeds_for_its_own_epochs_only(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Six steps an epoch, of which four are trained; then nine, of which five are left of the first and three come."""
    monkeypatch.chdir(folder)
    engine, seen = make_methods_engine(folder, **METHODS["two stages of simclip"]), []
    embed = engine.embed
    engine.embed = lambda modality, rows: (seen.append(engine.position), embed(modality, rows))[1]
    for _ in range(N_STEPS):
        engine.step()
    assert seen == [0, 4]


def test_mined_negatives_are_logged_and_told_as_examples(folder: Path):
    trained = make_methods_engine(folder, ahnm={"strength_start": 1})
    results = [trained.step() for _ in range(3)]
    names = {"masked", "strength", "rb", "ab"}
    assert set(results[-1].scalars) == {f"negatives_{name}" for name in names}
    table = trained.parts.negatives.tables()["negatives"].to_pydict()
    assert set(table["step"]) == {1, 2, 3}
    assert set(table["source"]) == {"batch", "graph"}
    assert all(text.startswith("a square of no") == (source == "graph")
               for text, source in zip(table["negative_text"], table["source"], strict=True))  # fmt: skip
