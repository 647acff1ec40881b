"""Measure evaluation against CLIP_benchmark; writes benchmarks/results/evaluate.csv.

    python -m benchmarks.evaluate [CASE...]     cases: small medium retrieval scale

small, medium: one model (64 px; 224 px, where the towers outweigh what each command starts with), zero-shot on three
sets, retrieval and bias, each tool by its own commands on all cores (ours computes the bias too, which CLIP_benchmark
lacks), in turns; the numbers that both have are compared before the times. Needs EVENCLIP_REAL_DATA and an interpreter
with clip-benchmark (evenclip[bench], NumPy < 2.4; PEER_PYTHON, default this one).
retrieval: recall from given embeddings. scale: recall of 100,000 images and 500,000 captions in bounded memory.
A case replaces its own rows of the table and leaves the others.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measuring import ROOT, SMOKE, Missing, real_data, row, run, size

PEER_PYTHON = os.environ.get("PEER_PYTHON", sys.executable)
# 77 tokens, as all published CLIP models have; a shorter context would spare CLIP_benchmark most padding
MODELS = {
    "small": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "patch_size": 8, "width": 128, "layers": 4, "head_width": 64},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 3},
    },
    "medium": {
        "embed_dim": 256,
        "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 256, "layers": 6, "head_width": 64},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 6},
    },
}
FACES = {"gender": {"0": "man", "1": "woman"}, "race": {"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}}
UTKFACE = r"(?:.*/)?(?P<age>\d+)_(?P<gender>[01])_(?P<race>[0-4])_\d+\.jpg\.chip\.jpg"
# name -> source below the real data, split, options of the import
IMPORTS = {
    "flickr8k": ("flickr8k", "dev", {"layout": "flickr8k"}),
    "utkface": ("utkface/UTKFace.tar", "all", {"name_pattern": UTKFACE, "values": FACES}),
    "idenprof": ("idenprof/idenprof.tar", "all", {"name_pattern": r"(?:.*/)?(?P<profession>\w+)/[^/]+\.jpg"}),
    "imagenet": ("imagenet_sample/imagenet_sample.tar", "all", {"name_pattern": r"(?:.*/)?(?P<synset>n\d+)_.+\.JPEG"}),
}
COLUMNS = {"utkface": "gender", "idenprof": "profession", "imagenet": "synset"}
PROMPTS = {"utkface": "perceived_gender", "idenprof": "idenprof", "imagenet": "imagenet"}
N_RUNS = size(3, 1)
TARGETS = {"small": 4, "medium": 5}
PROBE = """
import json, os, subprocess, sys
before = os.times()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
after, (_, _, usage) = os.times(), (0, 0, __import__("resource").getrusage(__import__("resource").RUSAGE_CHILDREN))
if done.returncode:
    sys.exit(done.stderr[-2000:])
cpu = after.children_user + after.children_system - before.children_user - before.children_system
print(json.dumps([after.elapsed - before.elapsed, cpu, usage.ru_maxrss / 1024]))
"""


def measured(command: list[str], cwd: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak memory (MB, of the largest process) of a command and its children."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return tuple(json.loads(done.stdout))


def suite_case(model: str) -> list[dict]:
    """Zero-shot on three sets, retrieval and bias of one model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, MODELS[model])
        ours, peer = [], []
        for _ in range(N_RUNS):
            ours.append(our_suite(folder))
            if has_peer():
                peer.append(peer_suite(folder))
        if peer:
            compare(folder)
        n_metrics = sum(len(json.loads(path.read_text())["metrics"]) for path in folder.glob("ours_*.json"))
    ours, peer = np.transpose(ours), np.transpose(peer) if peer else [None] * 3
    case = f"zero-shot on 3 sets (ImageNet: 80 templates) and retrieval; ours with bias, {n_metrics} numbers"
    name = "CLIP_benchmark 1.6.2"
    return [
        row(case, "s", ours[0], peer[0], name, TARGETS[model], threads=os.cpu_count()),
        row(f"{case}: processor time", "s", ours[1], peer[1], name, TARGETS[model], threads=os.cpu_count()),
        row(f"{case}: peak memory", "MB", ours[2], peer[2], name, 1, smaller=True),
    ]


def has_peer() -> bool:
    """Whether `PEER_PYTHON` has CLIP_benchmark, without which only a smoke run goes on."""
    found = subprocess.run([PEER_PYTHON, "-c", "import clip_benchmark"], capture_output=True).returncode == 0
    if not found and not SMOKE:
        raise Missing("PEER_PYTHON has no clip_benchmark: pip install 'evenclip[bench]' 'numpy<2.4' in its environment")
    return found


def prepare(folder: Path, model_cfg: dict) -> None:
    """The model, the data as both tools read it, and prompts with one text for each class."""
    import torch
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    from evenclip.data.importing import import_dataset
    from evenclip.data.options import ImportOptions
    from evenclip.data.shards import iterate_images, read_pairs
    from evenclip.model.clip import create_clip, save_clip
    from evenclip.prompts import read_prompts

    torch.manual_seed(0)
    (folder / "model").mkdir()
    (folder / "model.json").write_text(json.dumps(model_cfg))
    save_clip(create_clip(str(folder / "model.json")), folder / "model")
    (folder / "prompts").mkdir()
    shutil.copy(ROOT / "config" / "prompts" / "occupations.yaml", folder / "prompts")
    real = real_data()
    for name, (source, split, options) in IMPORTS.items():
        data = folder / "data" / name
        import_dataset(real / source, data, split, ImportOptions(**options))
        pairs = read_pairs(data).to_pylist()
        peer = folder / "wds" / name / "test"
        peer.mkdir(parents=True)
        n_shards = os.cpu_count()  # webdataset wants one for each worker at least
        (peer / "nshards.txt").write_text(str(n_shards))
        if name in COLUMNS:
            there = {pair[COLUMNS[name]] for pair in pairs}
            prompts = read_prompts(ROOT / "config" / "prompts" / f"{PROMPTS[name]}.yaml")
            texts = {label: texts[0] for label, texts in prompts.classes.items() if label in there}
            lines = [f"  {json.dumps(label)}: [{json.dumps(text)}]" for label, text in texts.items()]
            # ImageNet with the 80 templates that both tools' users know from CLIP
            known = [openai("{}") for openai in OPENAI_IMAGENET_TEMPLATES[: size(80, 2)]]
            wording = known if name == "imagenet" else prompts.templates
            templates = [f"  - {json.dumps(template)}" for template in wording]
            (folder / "prompts" / f"{name}.yaml").write_text("\n".join(["templates:", *templates, "classes:", *lines]))
            (peer.parent / "classnames.txt").write_text("\n".join(texts.values()))
            (peer.parent / "zeroshot_classification_templates.txt").write_text(
                "\n".join(template.replace("{}", "{c}") for template in wording)
            )
            order = list(texts)
            targets = [("cls", str(order.index(pair[COLUMNS[name]]))) for pair in pairs]
        else:
            (peer.parent / "dataset_type.txt").write_text("retrieval")
            targets = [("txt", "\n".join(pair["captions"])) for pair in pairs]
        samples = list(zip((jpeg for _, jpeg in iterate_images(data)), targets, strict=True))
        for number in range(n_shards):
            write_tar(peer / f"{number}.tar", samples[number::n_shards])


def write_tar(path: Path, samples: list[tuple[bytes, tuple[str, str]]]) -> None:
    """WebDataset shard: the JPEG bytes as they are, and a class or captions."""
    with tarfile.open(path, "w") as tar:
        for number, (jpeg, (suffix, text)) in enumerate(samples):
            for end, content in (("jpg", jpeg), (suffix, text.encode())):
                member = tarfile.TarInfo(f"{number:06d}.{end}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def our_suite(folder: Path) -> np.ndarray:
    """Embed all once, then measure all sets by one command; seconds, processor seconds, MB."""
    shutil.rmtree(folder / "embeddings", ignore_errors=True)
    stems = {name: [name] for name in COLUMNS} | {"flickr8k": []}
    stems["utkface"] += ["occupations"]
    stems["imagenet"] += ["utkface"]
    sets = []
    for name, needed in stems.items():
        prompts = ",".join(str(folder / "prompts" / f"{stem}.yaml") for stem in needed)
        sets += ["--set", f"{name}={folder / 'data' / name}" + (f":{prompts}" if prompts else "")]
    evenclip = [sys.executable, "-m", "evenclip"]
    embed = [*evenclip, "embed", "--model", str(folder / "model"), *sets, "--out", str(folder / "embeddings")]
    spent = [measured([*embed, "--option", f"threads={os.cpu_count()}"], folder)]
    tasks = {name: [f"zeroshot:{{column: {column}, prompts: {name}}}"] for name, column in COLUMNS.items()}
    tasks["flickr8k"] = ["retrieval"]
    tasks["imagenet"] += ["representation:{prompts: utkface}", "parity:{prompts: utkface, values: [man, woman]}"]
    tasks["utkface"] += [
        "recognition:{column: gender, groups: [gender, race], prompts: utkface}",
        "association:{column: gender, values: [woman, man], prompts: occupations}",
        "pairwise:{column: gender, values: [woman, man], prompts: occupations}",
        "skew:{column: gender, prompts: occupations}",
        "bias_at_k:{column: gender, values: [man, woman], prompts: occupations}",
        "retrieval_entropy:{column: [gender, race], prompts: occupations}",
    ]
    command = [*evenclip, "evaluate", "--embeddings", str(folder / "embeddings" / "{dataset}.npz"), "--out",
               str(folder / "ours_{dataset}.json")]  # fmt: skip
    for name, own in tasks.items():
        command += ["--dataset", f"{name}={folder / 'data' / name}", *(f"--task={name}={task}" for task in own)]
    spent.append(measured(command, folder))
    return total(spent)


def peer_suite(folder: Path) -> np.ndarray:
    """CLIP_benchmark's command for all sets at once."""
    sets = [f"wds/{name}" for name in IMPORTS]
    spent = []
    for task, names in (("zeroshot_retrieval", sets[:1]), ("zeroshot_classification", sets[1:])):
        spent.append(measured(
            [PEER_PYTHON, "-m", "clip_benchmark.cli", "eval", "--dataset", *names, "--dataset_root",
             str(folder / "wds" / "{dataset}"), "--task", task, "--pretrained_model", f"local-dir:{folder / 'model'},",
             "--no_amp", "--recall_k", "1", "5", "10", "--output", str(folder / "peer_{dataset}.json"),
             "--num_workers", str(os.cpu_count())],
            folder,
        ))  # fmt: skip
    return total(spent)


def total(spent: list[tuple[float, float, float]]) -> np.ndarray:
    seconds, cpu, memory = np.transpose(spent)
    return np.array([seconds.sum(), cpu.sum(), memory.max()])


def compare(folder: Path) -> None:
    """Stop if a number that both tools have differs by more than 1e-6."""
    for name in IMPORTS:
        theirs = json.loads((folder / f"peer_{name}.json").read_text())["metrics"]
        metrics = {row["metric"].rpartition("/")[2]: row["value"]
                 for row in json.loads((folder / f"ours_{name}.json").read_text())["metrics"]
                 if row["metric"].startswith(("zeroshot", "retrieval")) and not row["group"]}  # fmt: skip
        named = {f"{a}_recall_at_{k}": f"{b}_retrieval_recall@{k}" for k in (1, 5, 10)
                 for a, b in (("text_to_image", "image"), ("image_to_text", "text"))}  # fmt: skip
        both = {metric: theirs[other] for metric in metrics if (other := named.get(metric, metric)) in theirs}
        assert len(both) >= 2, (metrics, theirs)  # accuracies, or more recalls
        for metric, other in both.items():
            assert abs(metrics[metric] - other) < 1e-6, (name, metric, metrics[metric], other)
        print(f"{name}: {len(both)} numbers agree", flush=True)


def random_pairs(n_images: int, n_captions: int, d: int) -> dict[str, np.ndarray]:
    """Embeddings of images and of their captions, which lie near them."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((n_images, d), dtype=np.float32)
    text_image = np.arange(n_captions) % n_images
    text = image[text_image] + 3 * rng.standard_normal((n_captions, d), dtype=np.float32)
    return {"image": image, "text": text, "text_image": text_image}


def our_recall(pairs: dict[str, np.ndarray]) -> dict[str, float]:
    from evenclip.evaluate.bootstrap import Bootstrap
    from evenclip.evaluate.embedded import EmbeddedSet
    from evenclip.evaluate.measurement import EvaluateOptions
    from evenclip.evaluate.metrics.retrieval import Retrieval

    for name in ("image", "text"):
        pairs[name] /= np.linalg.norm(pairs[name], axis=1, keepdims=True)
    data = EmbeddedSet("s", "", pairs["image"], pairs["text"], pairs["text_image"], None, {}, 1.0, {}, 0)
    rows = Retrieval().measure(data, Bootstrap(1000, 0), EvaluateOptions())
    return {row.metric.rpartition("/")[2]: row.value for row in rows}


def retrieval_case() -> list[dict]:
    """Recall at 1, 5 and 10 both ways from embeddings of 2,000 images and 10,000 captions; ours with intervals."""
    peer = """
import sys, time, numpy as np, torch
from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k
image, text, rows = (torch.from_numpy(np.load(sys.argv[1])[name]) for name in ("image", "text", "text_image"))
start = time.perf_counter()
scores = text @ image.T
right = torch.zeros_like(scores, dtype=bool)
right[torch.arange(len(scores)), rows] = True
for k in (1, 5, 10):
    print(k, (batchify(recall_at_k, scores, right, 64, "cpu", k=k) > 0).float().mean().item(),
          (batchify(recall_at_k, scores.T, right.T, 64, "cpu", k=k) > 0).float().mean().item())
print(time.perf_counter() - start)
"""
    n_images, n_captions = size(2000, 100), size(10_000, 500)
    pairs = random_pairs(n_images, n_captions, 512)
    start = time.perf_counter()
    recall = our_recall(pairs)
    ours = time.perf_counter() - start
    case = (
        f"recall from embeddings, {n_images:,} images x {n_captions:,} captions, 512 numbers each; ours with intervals"
    )
    if not has_peer():
        return [row(case, "s", ours)]
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file.name, **pairs)
        done = subprocess.run([PEER_PYTHON, "-c", peer, file.name], capture_output=True, text=True, check=True)
    *recalls, seconds = done.stdout.split("\n")[:4]
    for line in recalls:
        k, to_image, to_text = line.split()
        assert abs(recall[f"text_to_image_recall_at_{k}"] - float(to_image)) < 1e-6, (line, recall)
        assert abs(recall[f"image_to_text_recall_at_{k}"] - float(to_text)) < 1e-6, (line, recall)
    return [row(case, "s", ours, float(seconds), "CLIP_benchmark 1.6.2", 3)]


def scale_case() -> list[dict]:
    """100,000 images x 500,000 captions: time, and peak memory beside that of the embeddings themselves."""
    d, n_images, n_captions = 128, size(100_000, 200), size(500_000, 1000)
    code = f"""
import json, resource, time
from benchmarks.evaluate import our_recall, random_pairs
pairs = random_pairs({n_images}, {n_captions}, {d})
start = time.perf_counter()
our_recall(pairs)
print(json.dumps([time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, memory = json.loads(done.stdout)
    matrix = n_images * n_captions * 4 / 2**20
    case = f"recall, {n_images:,} images x {n_captions:,} captions, {d} numbers each, with intervals"
    return [
        row(case, "s", seconds),
        row(
            f"{case}: peak memory",
            "MB",
            memory,
            matrix,
            "the matrix of similarities alone (computed)",
            0.05,
            smaller=True,
        ),
    ]


CASES = {name: partial(suite_case, name) for name in size([*MODELS], ["small"])}
CASES |= {"retrieval": retrieval_case, "scale": scale_case}


if __name__ == "__main__":
    run("evaluate", CASES)
