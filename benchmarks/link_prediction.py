"""Link prediction by texts alone on WN18RR and CN-100K, against frequency and chance.

    EVENCLIP_REAL_DATA=/where/the/sets/are python benchmarks/link_prediction.py

One thread, minutes a set. The official splits; filtered by all three; MRR and Hits@k over both sides of every test
triple, realistic ranks, bootstrap intervals over triples. Writes results/link_prediction.csv; `make docs` then puts the
table into docs/graph.md.
"""

import csv
import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from contestants.text_scorer import TextScorerOptions, train_text_scorer

from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.links.ranking import Scorer, filtered_ranks, frequency_scorer, link_metrics

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "link_prediction.csv"
SETS = {"wn18rr": ("wn18rr/text", (0, 1, 2)), "cn100k": ("conceptnet/CN-100K", (1, 0, 2))}
"""Folder, and the columns of head, relation and tail."""
OPTIONS = TextScorerOptions(epochs=4, n_drawn=512)
BOOTSTRAP = Bootstrap(1000, 0)
SPLITS = ("train", "valid", "test")


def main() -> None:
    torch.set_num_threads(1)
    raw = Path(os.environ["EVENCLIP_REAL_DATA"])
    rows = [row for name in SETS for row in measure(name, raw)]
    RESULTS.parent.mkdir(exist_ok=True)
    with open(RESULTS, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def measure(name: str, raw: Path) -> list[dict[str, str | float]]:
    """Rows of the results table: set, scorer, metric, value, interval, chance."""
    texts, n_relations, splits = read_set(name, raw)
    n, true_triples = len(texts), np.concatenate(list(splits.values()))
    started = time.process_time()
    model = train_text_scorer(texts, splits["train"], n_relations, OPTIONS, seed=0)
    seconds = time.process_time() - started
    scorers = {"random": random_scorer(n), "frequency": frequency_scorer(splits["train"], n),
               "text": model.scorer()}  # fmt: skip
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    rows = []
    for scorer_name, scorer in scorers.items():
        ranks = filtered_ranks(scorer, splits["test"], true_triples, n)
        for row in link_metrics(ranks, name, n, BOOTSTRAP):
            rows.append({
                "set": name, "scorer": scorer_name, "metric": row.metric.rpartition("/")[2], "value": row.value,
                "ci_low": row.ci_low, "ci_high": row.ci_high, "n": row.n,
                "training_cpu_s": round(seconds) if scorer_name == "text" else 0,
                "date": datetime.now(UTC).date().isoformat(), "commit": commit,
            })  # fmt: skip
    return rows


def read_set(name: str, raw: Path) -> tuple[list[str], int, dict[str, np.ndarray]]:
    """Texts of the entities, the number of relations, and the splits as arrays of shape (n, 3)."""
    folder, columns = SETS[name]
    entities: dict[str, int] = {}
    relations: dict[str, int] = {}
    splits = {}
    for split in SPLITS:
        rows = []
        for line in (raw / folder / f"{split}.txt").read_text(encoding="utf-8").splitlines():
            h, r, t = (line.split("\t")[column].strip() for column in columns)
            rows.append((entities.setdefault(h, len(entities)), relations.setdefault(r, len(relations)),
                         entities.setdefault(t, len(entities))))  # fmt: skip
        splits[split] = np.array(rows)
    return [entity.replace("_", " ") for entity in entities], len(relations), splits


def random_scorer(n_entities: int) -> Scorer:
    """Scores that say nothing."""
    rng = np.random.default_rng(0)
    return lambda entities, relations, side: rng.random((len(entities), n_entities), dtype=np.float32)


if __name__ == "__main__":
    main()
