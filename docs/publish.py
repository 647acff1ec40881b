"""Copy a finished study's tables and main figures to docs/results/<study>/, with date, machine and commit.

`make results STUDY=demo`, on the machine that ran the study. Beside them it writes `pins.sha256`, the sums of the
study's data, labels, weights and models, for `sha256sum --check` in the project's folder.
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
from evenclip.digests import read_manifest_file, recorded_outputs

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("label", "balance", "train", "embed", "evaluate", "summarize")
TABLES = ("summary.csv", "seeds.csv", "tests.csv", "claims.json")
FIGURES = ("tradeoff-*.svg", "training-*_in_two_stages.svg")  # bias against quality; bias along two stages
PINNED = re.compile(r"\.(tar|safetensors)$|(?<!history)\.parquet$")
"""Files whose content follows from the study alone: no times are in them."""
# the tables of docs/results/README.md show these; docs/results/<study>/summary.csv has all
HEADLINES = re.compile(
    r"data/(rb|ab_max)|bias/\w+/(rb|ab_max|ab_per_skill)|zeroshot/\w+/acc1|retrieval/\w+/image_to_text_recall_at_5"
    r"|compositional/.*|recognition/\w+/acc1|vqa/\w+/accuracy|link_prediction/\w+/\w+_mrr(_counting)?"
)


def machine() -> str:
    """CPU model and number of cores this process may use."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        line = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        model = line.group(1) if line else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def pins(results: Path) -> dict[str, str]:
    """SHA-256 sum of each file that holds a study's data, labels, weights or models, by its path in the project."""
    sums = {}
    waiting = sorted(results.rglob("*.json"))
    seen = set(waiting)
    for path in waiting:
        if (manifest := read_manifest_file(path)) is None:
            continue
        for name, recorded in recorded_outputs(manifest).items():
            if PINNED.search(name):
                sums[str((path.parent / name).relative_to(ROOT))] = recorded.sha256
        folders = {ROOT / entry["path"] / "manifest.json" for entry in manifest.get("inputs", {}).values()}
        data = [folder for folder in sorted(folders - seen) if folder.exists() and folder.is_relative_to(ROOT)]
        waiting += data
        seen.update(data)
    return sums


def publish(study: str) -> None:
    """Copy the tables and figures, and write about.json."""
    source, target = ROOT / "results" / study, ROOT / "docs" / "results" / study
    target.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        shutil.copyfile(source / name, target / name)
    for old in [*target.glob("*.png"), *target.glob("*.svg")]:
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
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(pins(source).items()))
    (target / "pins.sha256").write_text(lines, encoding="utf-8")
    (target / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    publish(sys.argv[1])
