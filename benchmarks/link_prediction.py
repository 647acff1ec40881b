"""Link prediction by texts alone on WN18RR and CN-100K, against frequency and chance.

    EVENCLIP_REAL_DATA=/where/the/sets/are python -m benchmarks.link_prediction

One thread, minutes a set. The official splits; filtered by all three; MRR and Hits@k over both sides of every test
triple, realistic ranks, bootstrap intervals over triples. Writes results/link_prediction.csv; `make docs` then puts the
table into docs/graph.md.
"""

import time
from functools import partial

import numpy as np
import torch

from benchmarks.contestants.text_scorer import TextScorerOptions, train_text_scorer
from benchmarks.measuring import begin, measured, provenance, real_data, size, write_rows
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.links.ranking import Scorer, filtered_ranks, frequency_scorer, link_metrics

SETS = {"wn18rr": ("wn18rr/text", (0, 1, 2)), "cn100k": ("conceptnet/CN-100K", (1, 0, 2))}
"""Folder, and the columns of head, relation and tail."""
OPTIONS = TextScorerOptions(epochs=size(4, 1), n_drawn=size(512, 64))
BOOTSTRAP = Bootstrap(size(1000, 100), 0)
SPLITS = ("train", "valid", "test")


def main() -> None:
    """One table for all sets, each with its own rows."""
    torch.set_num_threads(1)
    chosen, out = begin(SETS)
    if rows := [entry for name in chosen for entry in measured(name, partial(measure, name))]:
        write_rows(out / "link_prediction.csv", rows)


def measure(name: str) -> list[dict[str, str | float]]:
    """Rows of the results table: set, scorer, metric, value, interval, chance."""
    texts, n_relations, splits = read_set(name)
    n, true_triples = len(texts), np.concatenate(list(splits.values()))
    started = time.process_time()
    model = train_text_scorer(texts, splits["train"], n_relations, OPTIONS, seed=0)
    seconds = time.process_time() - started
    scorers = {"random": random_scorer(n), "frequency": frequency_scorer(splits["train"], n),
               "text": model.scorer()}  # fmt: skip
    rows = []
    for scorer_name, scorer in scorers.items():
        ranks = filtered_ranks(scorer, splits["test"], true_triples, n)
        for row in link_metrics(ranks, name, n, BOOTSTRAP):
            rows.append({
                "set": name, "scorer": scorer_name, "metric": row.metric.rpartition("/")[2], "value": row.value,
                "ci_low": row.ci_low, "ci_high": row.ci_high, "n": row.n,
                "training_cpu_s": round(seconds) if scorer_name == "text" else 0,
            } | provenance())  # fmt: skip
    return rows


def read_set(name: str) -> tuple[list[str], int, dict[str, np.ndarray]]:
    """Texts of the entities, the number of relations, and the splits as arrays of shape (n, 3)."""
    folder, columns = SETS[name]
    entities: dict[str, int] = {}
    relations: dict[str, int] = {}
    splits = {}
    for split in SPLITS:
        rows = []
        lines = real_data(folder, f"{split}.txt").read_text(encoding="utf-8").splitlines()
        for line in lines[: size(len(lines), 300)]:
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
