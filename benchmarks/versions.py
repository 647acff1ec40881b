"""Measure commands of this version against an earlier one, in turns, each on its own outputs and with its own files.

    EVENCLIP_BENCHMARK_BASE=COMMIT python -m benchmarks.versions [CASE...]

Default base: the last commit before the targets of docs/speed.md were worked on. `stages`: drawing, labels, balance,
audit, graph, training, embedding and evaluation, each alone. `study`: a study with one seed that runs every rule.
`plan`: its plan. Writes benchmarks/results/versions.csv; the target is a ratio of 0.98: 2 % slower at most. The spread
says how small a difference can be seen.
"""

import compileall
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.balance import synthetic_batches
from benchmarks.measuring import ROOT, SMOKE, Missing, command_cost, row, run, size

sys.path.insert(0, str(ROOT / "tests"))
from support.workflow_project import copy_project

BASE = os.environ.get("EVENCLIP_BENCHMARK_BASE", "6d82e56")
N_PAIRS, N_PEOPLE, N_ROWS = size(6000, 300), size(1024, 128), size(1_000_000, 2000)
N_ROUNDS = size(5, 1)
TRAIN = "train --data {w}/data/train --weights {w}/m4/weights.parquet --labels {w}/labels.parquet --out {w}/{name}"
TRAIN += f" --option model=config/models/{{model}}.json --option samples_seen={size(3200, 128)} --option batch_size=64"
PEOPLE, GROUPS = "config/prompts/world_occupations.yaml", "config/prompts/world_groups.yaml"
TASKS = (
    "association:{{column: group, prompts: world_occupations}}", "recognition:{{column: group, prompts: world_groups}}",
    "fairness:{{column: group, target: occupation, prompts: world_occupations}}", "retrieval",
)  # fmt: skip
STAGES = {
    "pictures drawn": [f"data synthesize --split train --n {N_PAIRS} --out {{w}}/data/train"],
    "pictures drawn for evaluation": [f"data synthesize --split people --n {N_PEOPLE} --out {{w}}/data/people"],
    "labels of captions": ["label --data {w}/data/train --lexicon config/lexicons/world.yaml --out {w}/labels.parquet"],
    "balance": ["balance {w}/labels.parquet --out {w}/m4 --option preserve=labels"],
    "balance, 1 million rows": ["balance {w}/table.parquet --out {w}/large"],
    "audit, 1 million rows": ["audit {w}/table.parquet --weights {w}/large/weights.parquet --json"],
    "graph": [
        "graph --data {w}/data/train --out {w}/graph --source conceptnet={w}/data/train/knowledge/"
        "conceptnet-assertions.csv --source visual_genome={w}/data/train/knowledge"
    ],
    "training, ViT": [TRAIN.replace("{model}", "world_tiny").replace("{name}", "vit")],
    "training, convolutions": [TRAIN.replace("{model}", "world_conv").replace("{name}", "conv")],
    "embedding, ViT": [f"embed --model {{w}}/vit --set people={{w}}/data/people:{PEOPLE},{GROUPS} --out {{w}}/of_vit"],
    "embedding, convolutions": [
        f"embed --model {{w}}/conv --set people={{w}}/data/people:{PEOPLE},{GROUPS} --out {{w}}/of_conv"
    ],
    "evaluation": [
        "evaluate --embeddings {w}/of_vit/people.npz --dataset {w}/data/people --name people --out {w}/people.json",
        *(f"--task={task}" for task in TASKS),
    ],
}
"""Arguments of a command; those after the first may have spaces. {w} = the version's own folder."""
STUDY = ["-m", "snakemake", "--cores", "1", "--quiet", "all", "--configfile", "tests/workflow/smoke.yaml"]


def stages_case() -> list[dict]:
    """All stages in their order, each version's after the other's."""
    spent: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in STAGES}
    with tempfile.TemporaryDirectory() as name:
        trees = versions(Path(name))
        with pq.ParquetWriter(Path(name) / "table.parquet", next(synthetic_batches(1, 2, 20)).schema) as writer:
            for table in synthetic_batches(N_ROWS, 2, 20):
                writer.write_table(table)
        for turn in range(N_ROUNDS):
            for stage, (first, *others) in STAGES.items():
                for tree, seconds in in_turn(trees, spent[stage], turn):
                    folder = Path(name) / f"of_{tree.name}"
                    folder.mkdir(exist_ok=True)
                    if not (folder / "table.parquet").exists():
                        (folder / "table.parquet").hardlink_to(Path(name) / "table.parquet")
                    arguments = [part.format(w=folder) for part in [*first.split(), *others]]
                    _, cpu_s, _ = command_cost([sys.executable, "-m", "evenclip", *arguments], tree, tree / "src")
                    seconds.append(cpu_s)
    return [compared(stage, *seconds) for stage, seconds in spent.items()]


def study_case(*more: str) -> list[dict]:
    """The study that runs every rule, or its plan, by one core."""
    spent: tuple[list[float], list[float]] = [], []
    with tempfile.TemporaryDirectory() as name:
        trees = versions(Path(name))
        for turn in range(size(3, 1)):
            for tree, seconds in in_turn(trees, spent, turn):
                left = ["results", "data", ".snakemake", ".state", "mlflow.db", "mlartifacts", "logs"]
                subprocess.run(["rm", "-rf", *left], cwd=tree, check=True)
                _, cpu_s, _ = command_cost([sys.executable, *STUDY, *more], tree, tree / "src")
                seconds.append(cpu_s)
    return [compared(f"Snakemake on the smoke study{', plan alone' if more else ''}", *spent)]


def versions(folder: Path) -> list[Path]:
    """Clean copies of this commit and of the base; in a smoke run a copy of the files as they are alone."""
    if SMOKE:
        return [copy_project(folder / "now").folder]
    trees = []
    for name, commit in (("now", "HEAD"), ("before", BASE)):
        tree = folder / name
        tree.mkdir()
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
        if archive.returncode:
            raise Missing(f"no commit {commit} in this clone: set EVENCLIP_BENCHMARK_BASE, or fetch its history")
        subprocess.run(["tar", "-x"], cwd=tree, input=archive.stdout, check=True)
        compileall.compile_dir(tree / "src", quiet=2)
        trees.append(tree)
    return trees


def in_turn(trees: list[Path], spent: tuple[list[float], list[float]], turn: int) -> list[tuple[Path, list[float]]]:
    """Both versions with their lists, the other one first each time."""
    both = list(zip(trees, spent, strict=False))
    return both[::-1] if turn % 2 else both


def compared(what: str, now: list[float], before: list[float]) -> dict:
    """A row of processor seconds."""
    return row(what, "s CPU", now, before or None, f"commit {BASE}", 0.98)


CASES: dict[str, Callable[[], list[dict]]] = {
    "stages": stages_case, "plan": partial(study_case, "--dry-run"),
} | size({"study": study_case}, {})  # fmt: skip

if __name__ == "__main__":
    run("versions", CASES)
