"""Every stage that may run on a GPU keeps its tensors on one device: a GPU, or where there is none a pretended one."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from evenclip.data.vqa_questions import QUESTIONS_SCHEMA
from evenclip.embed import EmbedOptions, EmbedSet, embed_sets
from evenclip.features import FeatureOptions, compute_features
from evenclip.links import LinkOptions, predict_links
from evenclip.tables import write_table
from evenclip.train import TrainOptions, train_model
from evenclip.vqa import QuestionSet, VqaOptions, answer_questions
from support.pretended_cuda import PretendedCuda, on_gpu
from support.tiny_graph import write_graph
from support.tiny_methods import N, write_methods_folder
from support.tiny_training import COLORS, write_squares

Gpu = nullcontext if torch.cuda.is_available() else PretendedCuda
PROBE = {"images": "data", "people": "data", "groups": "colors.yaml", "labels": "colors.yaml", "column": "color",
         "points": 3}  # fmt: skip
KNOWLEDGE = {"triples_per_batch": 12, "e2e": 0.5, "e2r": 0.5, "g2e": 0.5, "kd": 1.0}
FCL = {"prompts": "colors.yaml", "weight": 0.5}
TRAININGS = {
    "plain, with all that a training may do": {"crop_scale_min": 0.5, "ema": 0.9, "micro_batch_size": 4},
    "siglip": {"objective": "siglip"},
    "images from shards": {"cache_mb": 0},
    "bias probe": {"bias_probe": PROBE},
    "known positives": {"mask_true": True},
    "simclip": {"simclip": {"cluster_size": 4}},
    "simclip of images": {"simclip": {"cluster_size": 4, "modality": "image", "online": False}},
    "ahnm": {"ahnm": {}},
    "ahnm, siglip": {"ahnm": {}, "objective": "siglip", "mask_true": True},
    "efficientcl": {"efficientcl": {"start": 0.3, "image_end": 0.3}},
    "fcl": {"fcl": FCL},
    "stages": {"stages": {"first": "first.parquet", "share": 0.5}},
    "knowledge": {"knowledge": KNOWLEDGE, "init": "start"},
    "knowledge, teacher recomputed": {"knowledge": KNOWLEDGE | {"teacher": "recomputed"}, "init": "start"},
    "knowledge, triples as captions": {"knowledge": {"as_captions": 0.5, "kd": 0.0}},
    "all at once": {"simclip": {"cluster_size": 4}, "ahnm": {}, "efficientcl": {}, "fcl": FCL, "mask_true": True,
                    "knowledge": KNOWLEDGE, "init": "start", "bias_probe": PROBE,
                    "stages": {"first": "first.parquet", "share": 0.4}},
}  # fmt: skip
LOSSES = {"fcl": ["fcl_ab_max"], "knowledge": ["e2e_loss", "e2r_loss", "g2e_loss", "kd_loss"],
          "knowledge, triples as captions": ["triple_caption_loss"],
          "all at once": ["fcl_ab_max", "e2e_loss", "e2r_loss", "g2e_loss", "kd_loss"]}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares with labels, weights, prompts, a graph, questions, and a trained model `start`."""
    root = write_methods_folder(tmp_path_factory.mktemp("devices"))
    write_graph(root / "knowledge", N)
    shutil.copy(root / "graph/negatives.parquet", root / "knowledge")
    for split in ("train", "test"):
        rows = [{"question_id": i, "image_key": f"{i:05d}", "question": "What color is this?", "question_type": "what",
                 "answer_type": "other", "answer": color, "answers": [color] * 10}
                for i, color in enumerate(list(COLORS) * 10)]  # fmt: skip
        write_table(pa.Table.from_pylist(rows, schema=QUESTIONS_SCHEMA), root / f"{split}.parquet")
    write_squares(root / "foils", 20, foils=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        train(root, "start", device="cpu")
    return root


def train(folder: Path, out: str, stop_at: int | None = None, **options) -> Path:
    plain = {"model": "tiny.json", "samples_seen": 96, "batch_size": 16, "precision": "fp32", "device": "cuda"}
    parsed = TrainOptions.parse(plain | {"log_every": 1, "save_every_s": 1e-9} | options, "test")

    def stop(row: dict) -> None:
        if row["step"] == stop_at:
            raise KeyboardInterrupt

    arguments = Path("data"), Path("weights.parquet"), folder / out, 0, folder / f"{out}.state", parsed
    train_model(*arguments, Path("l.parquet"), Path("knowledge"), watch=stop)
    return folder / out


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_stops_and_resumes_on_one_device(folder: Path, tmp_path: Path, monkeypatch, name: str):
    monkeypatch.chdir(folder)
    with Gpu():
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, "run", stop_at=3, **TRAININGS[name])
        run = train(tmp_path, "run", **TRAININGS[name])
    history = pq.read_table(run / "history.parquet")
    assert history.num_rows == 6 and json.loads((run / "manifest.json").read_text())["device"] == "cuda"
    for loss in LOSSES.get(name, []):
        assert max(history[loss].to_pylist()) > 0, loss


def test_every_method_is_among_the_trainings():
    assert set(TrainOptions.method_classes()) <= {key for options in TRAININGS.values() for key in options}


def test_stages_after_a_training_stay_on_one_device(folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(folder)
    with Gpu():
        run = train(tmp_path, "run", **TRAININGS["all at once"])
        sets = [EmbedSet("plain", Path("data"), (Path("colors.yaml"),)), EmbedSet("foils", Path("foils"))]
        embed_sets({str(run): tmp_path / "embed"}, sets, EmbedOptions(device="cuda"))
        compute_features(str(run), Path("foils"), tmp_path / "f", FeatureOptions(device="cuda"), [], tmp_path / "s")
        for start in ("fresh", "knowledge"):
            options = {"start": start, "device": "cuda", "questions_seen": 64, "layers": 1, "minimum_group": 5}
            both = [QuestionSet(Path(f"{split}.parquet"), Path("data")) for split in ("train", "test")]
            parsed = VqaOptions.parse(options, "test")
            answer_questions(str(run), *both, "squares", tmp_path / f"{start}.json", 0, parsed)
        links = LinkOptions.parse({"device": "cuda", "minimum_group": 2, "resamples": 100}, "test")
        predict_links(str(run), Path("knowledge"), Path("data"), "tiny", tmp_path / "links.json", 0, links)
    written = ["embed/plain.npz", "embed/foils.npz", "f/manifest.json", "fresh.json", "knowledge.json", "links.json"]
    assert all((tmp_path / name).exists() for name in written)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real GPU")
def test_mixing_devices_fails_as_on_a_gpu():
    with PretendedCuda():
        gpu, cpu = torch.ones(3, device="cuda"), torch.ones(3)
        layer = nn.Linear(3, 2).to("cuda")
        assert gpu.device.type == "cuda" and layer.weight.is_cuda and layer(gpu).is_cuda
        assert (gpu + 1).is_cuda and (gpu * torch.tensor(2.0)).is_cuda and not gpu.cpu().is_cuda
        assert nn.Parameter(gpu).is_cuda and torch.zeros_like(gpu).is_cuda and gpu[torch.tensor([0])].is_cuda
        mistakes = [
            lambda: gpu + cpu, lambda: layer(cpu), lambda: cpu[gpu > 0], lambda: gpu.sum() * cpu,
            lambda: torch.cat([gpu, cpu]), lambda: nn.functional.cross_entropy(gpu[None], torch.tensor([0])),
        ]  # fmt: skip
        for mistake in mistakes:
            with pytest.raises(RuntimeError, match="same device"):
                mistake()
        with pytest.raises(TypeError, match="numpy"):
            gpu.numpy()
    assert not on_gpu(torch.ones(3)) and not torch.cuda.is_available()
