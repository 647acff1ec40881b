"""The same numbers as CLIP_benchmark on real photos, with random and with trained weights."""

from pathlib import Path

import pytest
import torch

from evenclip.data.importing import import_dataset
from evenclip.data.options import ImportOptions
from evenclip.data.shards import read_pairs
from evenclip.embed import EmbedOptions
from evenclip.embed.cache import EmbeddingCache
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.measurement import EvaluateOptions
from evenclip.evaluate.metrics.retrieval import Retrieval
from evenclip.evaluate.metrics.zeroshot import ZeroShot
from evenclip.evaluate.reading import read_embedded_set
from evenclip.model.clip import create_clip, save_clip
from evenclip.prompts import read_prompts
from evenclip.train import TrainOptions, train_model
from support.tiny_training import write_weights

pytest.importorskip("clip_benchmark", reason="clip-benchmark is not installed (evenclip[bench])")
from support.clip_benchmark_peer import needs_old_numpy, peer_retrieval, peer_zeroshot

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
MODEL = "config/models/photos_small.json"
IMPORTS = {
    "flickr8k": ("flickr8k", "dev", {"layout": "flickr8k"}),
    "idenprof": ("idenprof/idenprof.tar", "all", {"name_pattern": r"(?:.*/)?(?P<profession>\w+)/[^/]+\.jpg"}),
    "imagenet": ("imagenet_sample/imagenet_sample.tar", "all", {"name_pattern": r"(?:.*/)?(?P<synset>n\d+)_.+\.JPEG"}),
}


@pytest.fixture(scope="module")
def data(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    for name, (source, split, options) in IMPORTS.items():
        import_dataset(real_data / source, folder / name, split, ImportOptions(max_px=64, **options))
    return {name: folder / name for name in IMPORTS}


@pytest.fixture(scope="module", params=["random", "trained"])
def run(request: pytest.FixtureRequest, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    if request.param == "random":
        torch.manual_seed(0)
        save_clip(create_clip(MODEL), folder)
        return folder
    keys = read_pairs(data["flickr8k"], ["key"])["key"].to_pylist()
    weights = write_weights(folder / "weights.parquet", dict.fromkeys(keys, 1), "none")
    options = TrainOptions(model=MODEL, samples_seen=3000, batch_size=100, device="cpu")
    train_model(data["flickr8k"], weights, folder / "run", 0, folder / "state", options)
    return folder / "run"


def ours(run: Path, data: Path, task, columns: list[str], prompts: list[Path]) -> dict[str, float]:
    cache = EmbeddingCache(run.parent / "cache", str(run), EmbedOptions(device="cpu"))
    embedded = read_embedded_set(data, cache.files(data, prompts), "s", columns)
    rows = task.measure(embedded, Bootstrap(100, 0), EvaluateOptions())
    return {row.metric.rpartition("/")[2]: row.value for row in rows}


def test_retrieval_agrees_with_the_peer_on_flickr8k(run: Path, data: dict[str, Path]):
    theirs, measured = peer_retrieval(run, data["flickr8k"]), ours(run, data["flickr8k"], Retrieval(), [], [])
    for k in (1, 5, 10):
        assert measured[f"text_to_image_recall_at_{k}"] == pytest.approx(
            theirs[f"image_retrieval_recall@{k}"], abs=1e-6
        )
        assert measured[f"image_to_text_recall_at_{k}"] == pytest.approx(theirs[f"text_retrieval_recall@{k}"], abs=1e-6)


@needs_old_numpy
@pytest.mark.parametrize(("name", "column"), [("idenprof", "profession"), ("imagenet", "synset")])
def test_zero_shot_agrees_with_the_peer_on_real_sets(
    run: Path, data: dict[str, Path], tmp_path: Path, name: str, column: str
):
    """With one text for each class, as CLIP_benchmark has it, and without classes that have no image."""
    there = set(read_pairs(data[name], [column])[column].to_pylist())
    prompts = read_prompts(Path("config/prompts") / f"{name}.yaml")
    lines = [f"  {label}: [{texts[0]}]" for label, texts in prompts.classes.items() if label in there]
    templates = "".join(f"  - {template}\n" for template in prompts.templates)
    (tmp_path / "single.yaml").write_text(f"templates:\n{templates}classes:\n" + "\n".join(lines))
    theirs = peer_zeroshot(run, data[name], tmp_path / "single.yaml", column)
    task = ZeroShot(column=column, prompts="single")
    measured = ours(run, data[name], task, [column], [tmp_path / "single.yaml"])
    for metric in ("acc1", "acc5", "mean_per_class_recall"):
        assert measured[metric] == pytest.approx(theirs[metric], abs=1e-6)
