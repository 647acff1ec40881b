"""Copy a finished study's tables and main figures to docs/results/<study>/, with date, machine and commit.

`make results STUDY=demo`, on the machine that ran the study.
"""

import csv
import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from evenclip.code_fingerprint import code_fingerprint

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("label", "balance", "train", "embed", "evaluate", "summarize")
TABLES = ("summary.csv", "seeds.csv", "tests.csv", "claims.json")
FIGURES = ("bias_quality-*.png", "stages-*.png")  # bias against quality; bias along trainings of two stages
# the tables of docs/results/README.md show these; docs/results/<study>/summary.csv has all
HEADLINES = re.compile(
    r"data/(rb|ab_max)|bias/\w+/(rb|ab_max)|zeroshot/\w+/acc1|retrieval/\w+/image_to_text_recall_at_5"
    r"|compositional/.*|recognition/\w+/acc1|vqa/\w+/accuracy|link_prediction/\w+/\w+_mrr(_counting)?"
)


def machine() -> str:
    """CPU model and number of cores this process may use."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        line = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        model = line.group(1) if line else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def publish(study: str) -> None:
    """Copy the tables and figures, and write about.json."""
    source, target = ROOT / "results" / study, ROOT / "docs" / "results" / study
    target.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        shutil.copyfile(source / name, target / name)
    for old in target.glob("*.png"):
        old.unlink()
    for figure in (path for pattern in FIGURES for path in source.glob(f"figures/{pattern}")):
        shutil.copyfile(figure, target / figure.name)
    with open(source / "summary.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    made = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(source.glob("train/*/*/manifest.json"))]
    commits = {f"{m['git']['commit'][:10]}{' with uncommitted changes' * m['git']['dirty']}" for m in made}
    about = {
        "study": study,
        "date": max(m["ended"] for m in made)[:10],
        "machine": machine(),
        "commit": ", ".join(sorted(commits)),
        "code": {stage: code_fingerprint(f"evenclip.{stage}") for stage in STAGES},
        "training_seconds": round(sum(m["seconds"] for m in made)),
        "seeds": max(int(row["n_seeds"] or 0) for row in rows),
        "shown": list(dict.fromkeys(row["metric"] for row in rows if HEADLINES.fullmatch(row["metric"]))),
    }
    (target / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    publish(sys.argv[1])
