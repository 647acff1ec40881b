"""The same numbers as CLIP_benchmark on the same weights and data, and where its definitions differ."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evenclip.data.shard_writer import write_shards
from evenclip.embed import EmbedOptions
from evenclip.embed.cache import EmbeddingCache
from evenclip.evaluate.metrics.retrieval import Retrieval
from evenclip.evaluate.metrics.zeroshot import ZeroShot
from evenclip.evaluate.reading import read_embedded_set
from evenclip.model.clip import create_clip, save_clip
from evenclip.provenance import Manifest
from support.evaluate_example import make_set, measure, unit
from support.tiny_training import COLORS, square_jpeg, write_model

peer = pytest.importorskip("clip_benchmark", reason="clip-benchmark is not installed (evenclip[bench])")
from clip_benchmark.metrics.zeroshot_classification import accuracy  # noqa: E402
from clip_benchmark.metrics.zeroshot_retrieval import recall_at_k  # noqa: E402

from support.clip_benchmark_peer import needs_old_numpy, peer_retrieval, peer_zeroshot  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of the peer
N = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, 60 squares with one to three captions each, and the prompts of eight classes."""
    root = tmp_path_factory.mktemp("parity")
    torch.manual_seed(0)
    (root / "run").mkdir()
    save_clip(create_clip(str(write_model(root / "tiny.json"))), root / "run")
    rng = np.random.default_rng(0)
    names = [f"{size} {color}" for color in COLORS for size in ("large", "small")]
    with write_shards(root / "data", Manifest("data", {}, {})) as writer:
        for i in range(N):
            name = names[i % 8]
            captions = [f"a {name} square number {i}", f"picture {i} of something {name}", f"{i}"][: 1 + i % 3]
            jpeg = square_jpeg(name.split()[1], rng)
            writer.add(f"{i:03d}", jpeg, captions, {"name": name}, width=32, height=32, sha256=str(i))
    classes = "".join(f"  {name}: [{name} thing]\n" for name in names)
    (root / "names.yaml").write_text(
        f"templates: ['a {{}}.', 'a photo of a {{}}', 'the {{}} here']\nclasses:\n{classes}"
    )
    return root


def ours(root: Path, task, *columns: str) -> dict[str, float]:
    cache = EmbeddingCache(root / "cache", str(root / "run"), EmbedOptions(device="cpu"))
    files = cache.files(root / "data", [root / "names.yaml"])
    data = read_embedded_set(root / "data", files, "s", list(columns))
    return {metric: row.value for (metric, _), row in measure(task, data).items()}


@needs_old_numpy
def test_zero_shot_of_one_model_on_the_same_images(root):
    theirs = peer_zeroshot(root / "run", root / "data", root / "names.yaml", "name")
    metrics = ours(root, ZeroShot(column="name", prompts="names"), "name")
    for metric in ("acc1", "acc5", "mean_per_class_recall"):
        assert metrics[metric] == pytest.approx(theirs[metric], abs=1e-6)
    assert 0 < metrics["acc5"] < 1


def test_retrieval_of_one_model_on_the_same_images_and_captions(root):
    theirs, metrics = peer_retrieval(root / "run", root / "data"), ours(root, Retrieval())
    for k in (1, 5, 10):
        assert metrics[f"text_to_image_recall_at_{k}"] == pytest.approx(theirs[f"image_retrieval_recall@{k}"], abs=1e-6)
        assert metrics[f"image_to_text_recall_at_{k}"] == pytest.approx(theirs[f"text_retrieval_recall@{k}"], abs=1e-6)
    assert 0 < metrics["image_to_text_recall_at_10"] < 1


@pytest.mark.parametrize("seed", range(5))
def test_random_embeddings_of_any_number_of_captions(seed):
    rng = np.random.default_rng(seed)
    image = unit(rng.normal(size=(80, 10)))
    text_image = np.repeat(np.arange(80), rng.integers(1, 6, size=80))
    text = unit(image[text_image] + rng.normal(size=(len(text_image), 10)))
    metrics = measure(Retrieval(), make_set(image, text=text, text_image=text_image))
    scores = torch.from_numpy(text) @ torch.from_numpy(image).T
    right = torch.zeros_like(scores, dtype=torch.bool)
    right[torch.arange(len(text)), torch.from_numpy(text_image)] = True
    for k in (1, 5, 10):
        to_image = (recall_at_k(scores, right, k) > 0).float().mean().item()
        to_text = (recall_at_k(scores.T, right.T, k) > 0).float().mean().item()
        assert metrics[f"text_to_image_recall_at_{k}", ""].value == pytest.approx(to_image, abs=1e-6)
        assert metrics[f"image_to_text_recall_at_{k}", ""].value == pytest.approx(to_text, abs=1e-6)


@needs_old_numpy
def test_ties_are_random_here_and_by_position_in_the_peer():
    same = np.ones((40, 4))
    data = make_set(same, truth={"c": list("abcd") * 10}, prompts={"p": {name: np.ones(4) for name in "abcd"}})
    (theirs,) = accuracy(torch.ones(40, 4), torch.arange(4).repeat(10))
    assert theirs in (0.25, 0.0, 1.0)  # whichever class happens to come first
    skewed = accuracy(torch.ones(40, 4), torch.full((40,), 3))[0]
    assert skewed in (0.0, 1.0)  # a collapsed model is perfect, or useless, at one class
    assert measure(ZeroShot(column="c", prompts="p"), data)["acc1", ""].value == pytest.approx(0.25)


def test_uncaptioned_images_are_misses_only_in_the_peer():
    image = np.eye(12)
    data = make_set(image, text=image[:10], text_image=np.arange(10))
    assert measure(Retrieval(), data)["image_to_text_recall_at_1", ""].value == 1.0
    scores, right = torch.eye(12)[:, :10], torch.eye(12, dtype=torch.bool)[:, :10]
    assert (recall_at_k(scores, right, 1) > 0).float().mean().item() == pytest.approx(10 / 12)
