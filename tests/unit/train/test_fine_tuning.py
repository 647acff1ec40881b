"""The study that fine-tunes the last blocks, end to end on a small convolutional tower."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from evenclip.embed import EmbedOptions, EmbedSet, embed_sets
from evenclip.evaluate.options import EvaluateOptions, Task
from evenclip.evaluate.run import evaluate_set
from evenclip.features import FeatureOptions, compute_features
from evenclip.model.clip import create_clip, load_clip, save_clip
from evenclip.study.study import load_study
from evenclip.train import TrainOptions, train_models
from support.tiny_methods import write_methods_folder
from support.tiny_training import write_model

STUDY = load_study("config/studies/photos_finetune.yaml")
VISION = {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 32}
SMALL = {"samples_seen": 64, "batch_size": 16, "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a model, and projections that were trained on its frozen trunks."""
    root = write_methods_folder(tmp_path_factory.mktemp("fine_tuning"))
    (root / "graph" / "manifest.json").write_text('{"fingerprint": "graph"}')
    entities = pq.read_table(root / "graph/entities.parquet")
    whole = pa.nulls(len(entities), entities.schema.field("box").type)  # as from captions; regions forbid crops
    column = entities.column_names.index("box")
    pq.write_table(entities.set_column(column, entities.schema.field("box"), whole), root / "graph/entities.parquet")
    torch.manual_seed(1)
    (root / "model").mkdir()
    save_clip(create_clip(str(write_model(root / "small.json", vision_cfg=VISION))), root / "model")
    model = str(root / "model")
    compute_features(model, root / "data", root / "features", FeatureOptions(), [], root / "state")
    frozen = {"model": model, "init": model, "freeze": ["image_trunk", "text_trunk"]}
    options = TrainOptions.parse(SMALL | frozen, "start")
    train_models(
        root / "data", root / "weights.parquet", {0: root / "start"}, root / "state", options,
        features=root / "features",
    )  # fmt: skip
    return root


@pytest.mark.parametrize("name", STUDY.runs)
def test_every_run_goes_from_trained_projections_to_metrics(folder: Path, tmp_path: Path, name: str):
    start = {"model": str(folder / "model"), "init": str(folder / "start"), "last_blocks": {"image": 2, "text": 1}}
    options = TrainOptions.parse(STUDY.runs[name].options.model_dump() | SMALL | start, name)
    train_models(
        folder / "data", folder / "weights.parquet", {0: tmp_path / "run"}, tmp_path / "state", options,
        labels=folder / "l.parquet", graph=folder / "graph",
    )  # fmt: skip
    trained, before = load_file(tmp_path / "run" / "model.safetensors"), load_clip(str(folder / "start")).module
    moved = {key for key, value in trained.items() if not torch.equal(value, before.state_dict()[key])}
    assert {"visual.trunk.bn2.weight", "visual.trunk.conv_head.weight", "text_projection"} < moved
    assert not {key for key in moved if "running_" in key}  # the statistics of batch normalisation stay
    assert not {key for key in moved if key.startswith(("visual.trunk.conv_stem", "visual.trunk.bn1", "token_"))}
    runs = {str(tmp_path / "run"): tmp_path / "embed"}
    embed_sets(runs, [EmbedSet("s", folder / "data", ())], EmbedOptions(device="cpu"))
    document = evaluate_set(
        folder / "data", [tmp_path / "embed" / "s.npz"], "s", [Task.from_argument("retrieval")],
        tmp_path / "s.json", 0, EvaluateOptions(),
    )  # fmt: skip
    assert any(row["metric"] == "retrieval/s/image_to_text_recall_at_1" for row in document["metrics"])
