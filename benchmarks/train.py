"""Measure training against open_clip's own trainer, and our input against its WebDataset pipeline.

    python -m benchmarks.train [CASE...]     cases: cpu resnet input profile methods towers

Photos of Flickr8k (EVENCLIP_REAL_DATA), both from the same JPEG bytes; the same architecture, batch size, number of
samples, crops, schedule and optimiser settings; runs alternate. "steps": a step's time once training goes, the first
one left out. "whole run": from where the data is first touched to the end of the last step, with our decoding of the
whole set and the start of the peer's loader, which a longer training has no more of. The peer is `open_clip_train`
(in open_clip_torch; needs the packages webdataset 0.2.86 and braceexpand beside it), with one or two loader processes:
what was faster in a first run, which is not counted. Losses are compared before times are. "methods": what SimCLIP and
AHNM cost a training, several epochs with their searches for neighbours, against the same training without them.
"towers": pretrained towers of the photo study (requirements-photos.txt) at 128 px, from the same weights, in processor
time of one thread, which other work on the machine hardly changes; it asks for EVENCLIP_BENCHMARK_STEPS=10
EVENCLIP_BENCHMARK_BATCH=32, because more takes hours. Rows go to benchmarks/results/train.csv.
"""

import csv
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from benchmarks.measuring import ROOT, SMOKE, Missing, real_data, row, run, size
from evenclip.data.importing import import_dataset
from evenclip.data.options import ImportOptions
from evenclip.data.shards import iterate_images, read_pairs
from evenclip.model.clip import create_clip, resolve_precision
from evenclip.model.images import normalise, pixel_transform
from evenclip.tables import WEIGHTS_SCHEMA, write_table
from evenclip.train import TrainOptions
from evenclip.train.data import crop, draw_crops, load_pairs
from evenclip.train.engine import Engine
from evenclip.train.methods import MethodContext
from evenclip.train.plugin import Clock

PEER = "open_clip_train 3.3"
TEXT_TOWER = {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 4}
IMAGE_TOWERS = {
    "small_vit": {"image_size": 64, "patch_size": 8, "width": 128, "layers": 4, "head_width": 64},
    "small_resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
}
N_THREADS = 2
BATCH_SIZE = int(os.environ.get("EVENCLIP_BENCHMARK_BATCH", size("256", "20")))
N_STEPS = int(os.environ.get("EVENCLIP_BENCHMARK_STEPS", size("60", "3")))
N_RUNS = int(os.environ.get("EVENCLIP_BENCHMARK_RUNS", size("3", "1")))
PEERS_WORKERS = size((1, 2), (1,))
WINDOW = min(10, N_STEPS)  # steps whose mean loss is compared
LOSS_TOLERANCE = size(0.1, 9.0)  # of two windows' mean losses; other seeds of one program differ by as much
OPTIONS = {"lr": 5e-4, "warmup_share": 0.1, "weight_decay": 0.1, "clip_norm": 1.0, "crop_scale_min": 0.9}
RUN_PEER = """
import logging, sys, time
import open_clip
from open_clip_train.main import main

make_record = logging.getLogRecordFactory()

def stamped(*arguments, **named):
    record = make_record(*arguments, **named)
    record.msg = f"{record.msg} cpu {time.process_time()}"
    return record

logging.setLogRecordFactory(stamped)
open_clip.add_model_config(sys.argv[1])
main(sys.argv[2:])
"""
LOGGED = re.compile(r"Train Epoch: .* Batch \(t\): ([\d.]+), .* Loss: ([\d.]+).* cpu ([\d.]+)")


def prepare(folder: Path, px: int) -> None:
    """Shards, weights of 1, the photos as files with a csv of one row per sample, and the model's configuration."""
    options = ImportOptions(layout="flickr8k", max_px=px, shard_size=500)
    import_dataset(real_data("flickr8k"), folder / "data", size("train", "dev"), options)
    table = read_pairs(folder / "data", ["key", "captions"])
    keys = table["key"].to_pylist()
    columns = [pa.array(keys), *(pa.array([1] * len(keys), field.type) for field in list(WEIGHTS_SCHEMA)[1:])]
    write_table(pa.Table.from_arrays(columns, schema=WEIGHTS_SCHEMA), folder / "weights.parquet")
    (folder / "photos").mkdir()
    for key, content in iterate_images(folder / "data"):
        (folder / "photos" / f"{key}.jpg").write_bytes(content)
    rng = np.random.default_rng(0)
    captions = table["captions"].to_pylist()
    rows = np.concatenate([rng.permutation(len(keys)) for _ in range(-(-N_STEPS * BATCH_SIZE // len(keys)))])
    with open(folder / "samples.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filepath", "title"])
        for i in rows[: N_STEPS * BATCH_SIZE]:
            writer.writerow([folder / "photos" / f"{keys[i]}.jpg", captions[i][rng.integers(len(captions[i]))]])
    for model, tower in IMAGE_TOWERS.items():
        config = {"embed_dim": 128, "vision_cfg": tower, "text_cfg": TEXT_TOWER}
        (folder / f"{model}.json").write_text(json.dumps(config))


def train_ours(folder: Path, model: str, device: str, **changes) -> dict:
    """Seconds and losses of our training, in this process."""
    options = TrainOptions(**OPTIONS | {"batch_size": BATCH_SIZE, "device": device, "threads": N_THREADS} | changes)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    clip = create_clip(model, options.init)
    started = time.perf_counter()
    pairs = load_pairs(folder / "data", folder / "weights.parquet", clip, N_THREADS, options.cache_mb)
    path = folder / "labels.parquet"
    labels = path if path.exists() else None
    context = MethodContext(options, clip, pairs, 0, Clock(N_STEPS), torch.device(device), folder / "data", labels)
    engine = Engine(context)
    losses = [engine.step().loss.item()]
    begun, used = time.perf_counter(), time.process_time()
    losses += torch.stack([engine.step().loss for _ in range(N_STEPS - 1)]).tolist()
    ended = time.perf_counter()
    return {
        "whole run": ended - started,
        "steps": ended - begun,
        "processor": time.process_time() - used,
        "losses": losses,
    }


def train_peer(
    folder: Path, model: str, device: str, precision: str, workers: int, *further: object, threads: int = N_THREADS
) -> dict:
    """Seconds and losses of the peer's training, from its log; on as many threads as ours."""
    config = folder / f"{model}.json"
    data = ["--dataset-type", "csv", "--train-data", folder / "samples.csv", "--csv-separator", ","]
    optimiser = ["--lr", OPTIONS["lr"], "--wd", OPTIONS["weight_decay"], "--warmup", round(0.1 * N_STEPS)]
    optimiser += ["--beta1", 0.9, "--beta2", 0.98, "--eps", 1e-6, "--grad-clip-norm", OPTIONS["clip_norm"]]
    run = ["--model", model, "--precision", precision, "--device", device, "--batch-size", BATCH_SIZE, "--epochs", 1]
    run += ["--workers", workers, "--log-every-n-steps", 1, "--save-frequency", 0, "--aug-cfg", "scale=(0.9,1.0)"]
    with tempfile.TemporaryDirectory() as logs:
        arguments = map(str, [config, *data, *optimiser, *run, "--logs", logs, "--name", "run", *further])
        command = [sys.executable, "-c", RUN_PEER, *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    logged = LOGGED.findall(done.stdout + done.stderr)
    if done.returncode or len(logged) != N_STEPS:
        raise RuntimeError(f"{len(logged)} steps logged\n{done.stderr[-3000:]}")
    seconds, used = [float(batch) for batch, *_ in logged], [float(processor) for *_, processor in logged]
    return {
        "whole run": sum(seconds),
        "steps": sum(seconds[1:]),
        "processor": used[-1] - used[0],
        "losses": [float(loss) for _, loss, _ in logged],
    }


def in_child(folder: Path, *arguments: str) -> dict:
    """Our training in a process of its own, as the peer's is."""
    command = [sys.executable, "-m", "benchmarks.train", "--ours", str(folder), *arguments, *SMOKE * ["--smoke"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def windows(losses: list[float]) -> np.ndarray:
    """Mean losses of windows of `WINDOW` steps."""
    return np.array(losses).reshape(-1, WINDOW).mean(axis=1)


def compare(folder: Path, model: str, device: str, precisions: list[tuple], peer_precision: str) -> list:
    """Rows of a case: ours with each (name, options, target), in turns with the peer."""
    ours, peer = {name: [] for name, _, _ in precisions}, []
    workers = min(PEERS_WORKERS, key=lambda n: train_peer(folder, model, device, peer_precision, n)["whole run"])
    for _ in range(N_RUNS):
        for name, options, _ in precisions:
            ours[name].append(in_child(folder, model, device, json.dumps(options)))
            report(f"{name}: {ours[name][-1]['whole run']:.1f} s")
        peer.append(train_peer(folder, model, device, peer_precision, workers))
        report(f"peer: {peer[-1]['whole run']:.1f} s with {workers} workers")
    curve, rows = np.mean([windows(run["losses"]) for run in peer], axis=0), []
    for name, _, target in precisions:
        gap = max(float(np.abs(windows(one["losses"]) - curve).max()) for one in ours[name])
        report(f"{name}: losses {windows(ours[name][0]['losses']).round(3)}; peer {curve.round(3)}; gap {gap:.3f}")
        if gap > LOSS_TOLERANCE:
            raise RuntimeError(f"{name}: the loss curves differ by {gap}")
        for kind, n_steps in (("steps", N_STEPS - 1), ("whole run", N_STEPS)):
            ours_per_s, theirs = ([n_steps * BATCH_SIZE / one[kind] for one in runs] for runs in (ours[name], peer))
            what = f"{name} against {peer_precision}, {kind}, {N_STEPS} of {BATCH_SIZE}, losses within {gap:.2f}"
            rows.append(row(what, "pairs/s", ours_per_s, theirs, PEER, target, rate=True, threads=N_THREADS))
    return rows


def cpu_case(model: str) -> list[dict]:
    """A small model on this CPU."""
    precisions = [("fp32", {"precision": "fp32"}, 2.0), ("bf16", {"precision": "bf16"}, 3.0)]
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), 128)
        return compare(Path(folder), model, "cpu", precisions, "fp32")


def input_case() -> list[dict]:
    """Batches of normalised crops with tokens, without a model: photos larger than the model's input, and as large."""
    return [entry for px in size((128, 64), (64,)) for entry in _input_rows(px)]


def _input_rows(px: int) -> list[dict]:
    """Three times through the set; its photos are at most ``px`` wide and high, the model's input is 64."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), px)
        has_peer = not SMOKE or version("webdataset") < "1"
        n_epochs, speeds = size(3, 1), {"in memory": [], "from the shards": [], "peer": []}
        workers = has_peer and max(PEERS_WORKERS, key=lambda n: read_peer(Path(folder), n, n_epochs))
        for _ in range(N_RUNS):
            speeds["in memory"].append(read_ours(Path(folder), 4096, n_epochs))
            speeds["from the shards"].append(read_ours(Path(folder), 0, n_epochs))
            if has_peer:
                speeds["peer"].append(read_peer(Path(folder), workers, n_epochs))
            report(f"input, {px} px: {speeds} pairs/s")
    theirs, name = speeds.pop("peer") or None, "open_clip WebDataset pipeline"
    return [
        row(f"{ours}, photos of {px} px, 3 epochs", "pairs/s", values, theirs, name, 2.0, rate=True)
        for ours, values in speeds.items()
    ]


def read_ours(folder: Path, cache_mb: float, n_epochs: int) -> float:
    """Pairs per second of our input, the loading of the set included."""
    torch.set_num_threads(N_THREADS)
    options = TrainOptions(**OPTIONS, batch_size=BATCH_SIZE, precision="fp32", cache_mb=cache_mb)
    clip = create_clip(str(folder / "small_vit.json"))
    started = time.perf_counter()
    pairs = load_pairs(folder / "data", folder / "weights.parquet", clip, N_THREADS, cache_mb)
    engine = Engine(MethodContext(options, clip, pairs, 0, Clock(10_000), torch.device("cpu")))
    batches = engine.parts.batches
    n_steps = n_epochs * batches.steps_per_epoch
    for step in range(n_steps):
        prepared = engine._prefetcher.take(step, n_steps, batches.at)
        inputs = engine._inputs(prepared.batch, prepared.pixels)
        assert inputs.images().shape == (BATCH_SIZE, 3, 64, 64) and len(inputs.tokens) == BATCH_SIZE
    return n_steps * BATCH_SIZE / (time.perf_counter() - started)


def read_peer(folder: Path, workers: int, n_epochs: int) -> float:
    """Pairs per second of open_clip's WebDataset pipeline."""
    import open_clip
    from open_clip_train.data import get_wds_dataset
    from open_clip_train.params import parse_args

    open_clip.add_model_config(str(folder / "small_vit.json"))
    _, transform, _ = open_clip.create_model_and_transforms("small_vit", aug_cfg={"scale": (0.9, 1.0)})
    n_shards = len(list((folder / "data").glob("*.tar")))
    arguments = ["--train-data", str(folder / "data" / f"{{00000..{n_shards - 1:05d}}}.tar"), "--workers", str(workers)]
    n_pairs = read_pairs(folder / "data", ["key"]).num_rows
    arguments += ["--train-num-samples", str(n_pairs), "--batch-size", str(BATCH_SIZE), "--model", "small_vit"]
    args = parse_args(arguments)
    args.world_size, args.distributed = 1, False
    started, n = time.perf_counter(), 0
    data = get_wds_dataset(args, transform, is_train=True, tokenizer=open_clip.get_tokenizer("small_vit"))
    for epoch in range(n_epochs):
        data.set_epoch(epoch)
        for images, texts in data.dataloader:
            n += len(images)
            assert texts.shape == (len(images), 32)
    return n / (time.perf_counter() - started)


def profile_case() -> list[dict]:
    """Processor time of one thread for each photo from the shards: what bounds the input that is not in memory."""
    import open_clip

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, 128)
        clip = create_clip(str(folder / "small_vit.json"))
        contents = [content for _, content in iterate_images(folder / "data")][: size(3000, 100)]
        captions = read_pairs(folder / "data", ["captions"])["captions"].to_pylist()
        captions = [texts[0] for texts in captions[: len(contents)]]
        open_clip.add_model_config(name)
        _, transform, _ = open_clip.create_model_and_transforms("small_vit", aug_cfg={"scale": (0.9, 1.0)})
        resize, tokenizer = pixel_transform(clip.preprocess_cfg), open_clip.get_tokenizer("small_vit")
        crops = draw_crops(len(contents), OPTIONS["crop_scale_min"], np.random.default_rng(0))

        def batches(pixels: torch.Tensor) -> None:
            for start in range(0, len(pixels), BATCH_SIZE):
                rows = slice(start, start + BATCH_SIZE)
                crop(normalise(pixels[rows], clip.preprocess_cfg), crops[rows])

        spent, photos = {}, [Image.open(io.BytesIO(content)).convert("RGB") for content in contents]
        resized = [np.asarray(resize(photo)).transpose(2, 0, 1) for photo in photos]
        pixels = torch.from_numpy(np.stack(resized))
        parts = {
            "decode": lambda: [Image.open(io.BytesIO(content)).load() for content in contents],
            "resize": lambda: np.stack([np.asarray(resize(photo)).transpose(2, 0, 1) for photo in photos]),
            "normalise and crop": lambda: batches(pixels),
            "peer's crop, resize, normalise": lambda: [transform(photo) for photo in photos],
            "peer's tokens": lambda: [tokenizer([caption]) for caption in captions],
        }
        for part, work in parts.items():
            seconds = []
            for _ in range(N_RUNS):
                started = time.thread_time()
                work()
                seconds.append(time.thread_time() - started)
            spent[part] = min(seconds) / len(contents) * 1e6
            report(f"profile: {part}: {spent[part]:.0f} us")
    ours, peer = ("decode", "resize", "normalise and crop"), ("decode", *list(parts)[3:])
    text = ", ".join(f"{part} {microseconds:.0f}" for part, microseconds in spent.items())
    speeds = (1e6 / sum(spent[part] for part in steps) for steps in (ours, peer))
    return [row(f"photos of 128 px ({text} us)", "pairs/s of one core", *speeds, "open_clip", 2.0, N_RUNS, rate=True)]


def methods_case() -> list[dict]:
    """The small ViT on this CPU in its best precision, with fair shares of negatives, without a graph."""
    precision = resolve_precision("auto", torch.device("cpu"))
    methods = {
        "plain": {},
        "SimCLIP": {"simclip": {}},
        "AHNM": {"ahnm": {"graph_texts": 0}},
        "SimCLIP and AHNM": {"simclip": {}, "ahnm": {"graph_texts": 0}},
    }
    with tempfile.TemporaryDirectory() as name:
        folder, seconds = Path(name), {method: [] for method in methods}
        prepare(folder, 128)
        label = ["label", "--data", folder / "data", "--out", folder / "labels.parquet"]
        label += ["--lexicon", ROOT / "config" / "lexicons" / "flickr8k.yaml"]
        subprocess.run([sys.executable, "-m", "evenclip", *map(str, label)], check=True, capture_output=True)
        for _ in range(N_RUNS):
            for method, options in methods.items():
                result = in_child(folder, "small_vit", "cpu", json.dumps({"precision": precision} | options))
                seconds[method].append(result["steps"])
                report(f"{method}: {result['steps']:.1f} s")
    speed = {method: [(N_STEPS - 1) * BATCH_SIZE / time for time in times] for method, times in seconds.items()}
    plain, steps = speed.pop("plain"), f"{precision}, {N_STEPS} of {BATCH_SIZE}"
    return [
        row(f"{method}, {steps}", "pairs/s", times, plain, "without", 0.95, rate=True)
        for method, times in speed.items()
    ]


def towers_case() -> list[dict]:
    """Whole towers of the packaged model on one thread of this CPU, from the same weights."""
    from evenclip.features.packaged import IMAGE_PACKAGE, TEXT_PACKAGE, write_packaged_model

    if not SMOKE and (N_STEPS, BATCH_SIZE) != (10, 32):
        raise Missing("EVENCLIP_BENCHMARK_STEPS=10 EVENCLIP_BENCHMARK_BATCH=32 are not set: other sizes take hours")
    precisions = {"fp32": 2.0, resolve_precision("auto", torch.device("cpu")): 3.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, 128)
        model = folder / "model"
        for package in (IMAGE_PACKAGE, TEXT_PACKAGE):
            if importlib.util.find_spec(package) is None:
                raise Missing(f"no {package}: make study-photos installs it (requirements-photos.txt)")
        write_packaged_model(model)
        config = json.loads((model / "open_clip_config.json").read_text())
        own = {"hf_model_name": str(model), "hf_tokenizer_name": str(model), "hf_model_pretrained": False}
        config["model_cfg"]["text_cfg"] |= own
        (folder / "towers.json").write_text(json.dumps(config["model_cfg"]))
        preprocessing = ["--image-mean", *[0.5] * 3, "--image-std", *[0.5] * 3, "--image-resize-mode", "squash"]
        start = ["--pretrained", model / "model.safetensors", *preprocessing]
        ours, peer = {precision: [] for precision in precisions}, []
        for _ in range(N_RUNS):
            peer.append(train_peer(folder, "towers", "cpu", "fp32", 0, *start, threads=1))
            report(f"peer: {peer[-1]['processor']:.1f} s, losses {np.round(peer[-1]['losses'], 2)}")
            for precision, runs in ours.items():
                options = {"precision": precision, "threads": 1, "init": str(model)}
                runs.append(in_child(folder, str(model), "cpu", json.dumps(options)))
                report(f"{precision}: {runs[-1]['processor']:.1f} s, losses {np.round(runs[-1]['losses'], 2)}")
    rows = []
    for precision, runs in ours.items():
        gap = max(abs(float(np.mean(one["losses"]) - np.mean(peer[0]["losses"]))) for one in runs)
        if gap > LOSS_TOLERANCE:
            raise RuntimeError(f"{precision}: the mean losses differ by {gap}")
        speeds = ([(N_STEPS - 1) * BATCH_SIZE / one["processor"] for one in side] for side in (runs, peer))
        what = f"{precision} against fp32, {N_STEPS} of {BATCH_SIZE}, mean losses within {gap:.2f}"
        rows.append(row(what, "pairs/s of one core", *speeds, PEER, precisions[precision], rate=True))
    return rows


def report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


CASES: dict[str, Callable[[], list[dict]]] = {
    "cpu": partial(cpu_case, "small_vit"),
    "resnet": partial(cpu_case, "small_resnet"),
    "input": input_case,
    "profile": profile_case,
    "methods": methods_case,
    "towers": towers_case,
}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        folder, model, device, options = sys.argv[2:6]
        path = Path(folder) / f"{model}.json"
        result = train_ours(Path(folder), str(path) if path.exists() else model, device, **json.loads(options))
        print(json.dumps(result))
    else:
        run("train", CASES)
