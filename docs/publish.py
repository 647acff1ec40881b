"""Copy a finished study's tables to docs/results/<study>/, with date, machine and commit: `make results STUDY=demo`."""

import csv
import datetime
import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from evenclip.provenance import git_state

ROOT = Path(__file__).resolve().parents[1]
TABLES = ("summary.csv", "tests.csv")
# README's tables show these; docs/results/<study>/summary.csv has all
HEADLINES = re.compile(
    r"data/(rb|ab_max)|bias/\w+/(rb|rb_hard|ab_max|ab_mean)|zeroshot/\w+/acc1|retrieval/\w+/\w+_recall_at_5"
    r"|compositional/.*|recognition/\w+/acc1"
)


def machine() -> str:
    """CPU model and number of cores this process may use."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        model = found.group(1) if found else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def publish(study: str) -> None:
    """Copy the tables and write about.json."""
    source, target = ROOT / "results" / study, ROOT / "docs" / "results" / study
    target.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        shutil.copyfile(source / name, target / name)
    with open(source / "summary.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    state = git_state()
    about = {
        "study": study,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "commit": f"{state['commit'][:10]}{' with uncommitted changes' if state['dirty'] else ''}",
        "seeds": max(int(row["n_seeds"] or 0) for row in rows),
        "shown": list(dict.fromkeys(row["metric"] for row in rows if HEADLINES.fullmatch(row["metric"]))),
    }
    (target / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    publish(sys.argv[1])
