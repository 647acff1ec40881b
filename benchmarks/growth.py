"""How processor time and memory grow with what a study has more of; writes benchmarks/results/growth.csv.

    python -m benchmarks.growth [rows] [cells] [labels] [captions] [phrases] [sets] [seeds]

`rows`, `cells`, `labels`: `evenclip balance`. `captions`, `phrases`: labelling by a lexicon, in memory. `sets`:
`evenclip evaluate` of sets of 1,000 images. `seeds`: planning a study of four runs. Each on one thread, each size by a
process of its own. `make docs` fits cost = start + b * size ^ exponent to each and draws them (docs/scale.md).
"""

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.balance import synthetic_batches
from benchmarks.measuring import ROOT, begin, command_cost, measured, provenance, size, write_rows

WORDS = [a + b + c for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u") for c in "klmnrst"]
LABELLING = """
import sys
import numpy as np
from evenclip.label.from_captions import label_captions
from evenclip.label.lexicon import Lexicon
from evenclip.label.matching import Matcher
n, n_phrases = map(int, sys.argv[1:3])
words, rng = sys.argv[3].split(), np.random.default_rng(0)
phrases = list({" ".join(words[i] for i in row): None for row in rng.integers(len(words), size=(n_phrases, 3))})
target = {f"l{k}": phrases[k::20] for k in range(20)}
lexicon = Lexicon.parse({"sensitive": {"group": {"x": ["xylo"], "y": ["yodel"]}}, "target": target}, "drawn")
captions = [[" ".join(words[i] for i in row)] for row in rng.integers(len(words), size=(n, 10))]
label_captions(captions, Matcher(lexicon), "any")
"""


def point(what: str, n: int, spent: tuple[float, float, float]) -> dict:
    """A row of the table."""
    _, cpu_s, memory_mb = spent
    return {"what": what, "size": n, "cpu_s": cpu_s, "memory_mb": memory_mb} | provenance()


def balanced(what: str, n_rows: int, n_attributes: int, n_labels: int, retention: float = 0.7) -> dict:
    """`evenclip balance` of drawn labels; ``what`` says which of their sizes counts."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "labels.parquet", Path(folder) / "out"
        writer = None
        for table in synthetic_batches(n_rows, n_attributes, n_labels):
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
        writer.close()
        command = [sys.executable, "-m", "evenclip", "balance", path, "--out", out, "--retention", retention]
        spent = command_cost(command)
        n_cells = json.loads((out / "report.json").read_text(encoding="utf-8"))["n_cells"]
    return point(what, {"rows": n_rows, "labels": n_labels, "cells": n_cells}[what], spent)


def labelled(what: str, n: int, n_phrases: int) -> dict:
    """Captions of ten drawn words, by a lexicon of drawn phrases of three."""
    spent = command_cost([sys.executable, "-c", LABELLING, n, n_phrases, " ".join(WORDS)])
    return point(what, {"captions": n, "phrases": n_phrases}[what], spent)


def sets_case() -> Iterable[dict]:
    """Zero-shot and association on sets of 1,000 images, all by one command."""
    from evenclip.data.options import WorldOptions
    from evenclip.data.world.synthesize import synthesize
    from evenclip.model.clip import create_clip, save_clip

    evenclip, prompts = [sys.executable, "-m", "evenclip"], ROOT / "config/prompts/world_occupations.yaml"
    tasks = [f"{kind}:{{column: {column}, prompts: world_occupations}}"
             for kind, column in (("zeroshot", "occupation"), ("association", "group"))]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesize(folder / "data", "people", size(1000, 200), 0, WorldOptions())
        (folder / "model").mkdir()
        save_clip(create_clip(str(ROOT / "config/models/world_tiny.json")), folder / "model")
        numbers = size([1, 4, 16, 64], [1, 2])
        sets = [f"--set=s{k}={folder / 'data'}:{prompts}" for k in range(numbers[-1])]
        command_cost([*evenclip, "embed", "--model", folder / "model", *sets, "--out", folder / "embedded"])
        command = [*evenclip, "evaluate", "--embeddings", folder / "embedded" / "{dataset}.npz"]
        command += ["--out", folder / "{dataset}.json", *(f"--task={task}" for task in tasks)]
        for n in numbers:
            spent = command_cost([*command, *(f"--dataset=s{k}={folder / 'data'}" for k in range(n))])
            yield point("sets", n, spent)


def seeds_case() -> Iterable[dict]:
    """A dry run of four runs."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.workflow_project import copy_project

    rows = [f"run{i}\t{'m4' if i % 2 else 'none'}\t{1e-4 * (i + 1)}" for i in range(4)]
    for n_seeds in size([2, 8, 32, 64], [2, 4]):
        with tempfile.TemporaryDirectory() as folder:
            project = copy_project(Path(folder) / "project")
            (project.folder / "tests/workflow/smoke.tsv").write_text(
                "\n".join(["run\tstrategy\ttrain.lr", *rows]) + "\n"
            )
            project.edit("tests/workflow/smoke.yaml", "seeds: [0]", f"seeds: {list(range(n_seeds))}")
            yield point("seeds", n_seeds, command_cost(project.command("--dry-run", "--quiet", "all"), project.folder))


CASES = {
    "rows": lambda: [balanced("rows", n, 2, 20) for n in size([10**5, 10**6, 10**7, 10**8 // 3], [1000, 2000])],
    "cells": lambda: [balanced("cells", size(300_000, 1000), 2, n) for n in size([10, 20, 40, 80], [5, 10])],
    "labels": lambda: [balanced("labels", size(100_000, 1000), 2, n, 0.5) for n in size([20, 40, 80, 160], [5, 10])],
    "captions": lambda: [labelled("captions", n, 1000) for n in size([10**4, 10**5, 10**6], [10, 20])],
    "phrases": lambda: [
        labelled("phrases", size(10**4, 10), n) for n in size([10**3, 10**4, 10**5, 5 * 10**5], [40, 80])
    ],
    "sets": sets_case,
    "seeds": seeds_case,
}


def main() -> None:
    """Every case has rows of its own in one table."""
    chosen, out = begin(CASES)
    for name in chosen:
        if rows := measured(name, CASES[name]):
            write_rows(out / "growth.csv", [{"case": f"{name}: {row.pop('what')}"} | row for row in rows], name)


if __name__ == "__main__":
    main()
