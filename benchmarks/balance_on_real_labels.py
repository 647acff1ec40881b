"""Balancing on the labels of real captions and photos; writes results/balance_real.csv and balance_strategies.csv.

    python -m benchmarks.balance_on_real_labels [real] [strategies]

`real`: bias before and after, and the largest retention, of the captions of real data sets. `strategies`: what each
strategy leaves of real and drawn labels. Needs EVENCLIP_REAL_DATA.
"""

import csv
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import ROOT, begin, cost, measured, real_data, size, write_rows
from evenclip.balance import M4Balancer, audit
from evenclip.errors import InputError


def real_case() -> list[dict]:
    """Captions of real data sets: bias before and after, and the largest retention; see docs/balance.md."""
    from evenclip.label.from_captions import label_captions
    from evenclip.label.lexicon import read_lexicon
    from evenclip.label.matching import Matcher

    folder = real_data()
    rows = []
    for name, lexicon, captions in islice(real_captions(folder), size(99, 1)):
        matcher = Matcher(read_lexicon(ROOT / "config" / "lexicons" / f"{lexicon.removesuffix('_lexicon')}.yaml"))
        labels, _ = label_captions(captions, matcher, "any")
        table = pa.table({column: labels[:, j] for j, column in enumerate(matcher.columns)})
        pair = [c for c in table.column_names if c.startswith("sensitive.gender.")]
        gendered = np.logical_or.reduce([table.column(c).to_numpy() for c in pair])
        enough = [c for c in table.column_names if c.startswith("target.")
                  and (table.column(c).to_numpy() & gendered).sum() >= 10]  # fmt: skip
        report = M4Balancer().fit(table.select(pair + enough)).report_
        fields = ("n", "n_cells", "rb_before", "rb_after", "ab_before", "ab_after", "realised_rb", "realised_ab",
                  "largest_retention", "relative_gap", "ess")  # fmt: skip
        rows.append({"data": name, "lexicon": lexicon, "n_labels": len(enough)} | {f: report[f] for f in fields})
    return rows


STRATEGIES = {
    "none": {},
    "m4": {},
    "m4_preserve 0.1": {"strategy": "m4", "preserve": "labels", "preserve_tolerance": 0.1},
    "m4_preserve 0.25": {"strategy": "m4", "preserve": "labels", "preserve_tolerance": 0.25},
    "m4_preserve 0.5": {"strategy": "m4", "preserve": "labels", "preserve_tolerance": 0.5},
    "thin": {},
    "metaclip": {},
    "reweighing": {"cap": 100},
}
MIN_ROWS = 10  # rows of a label on either side of the contrast, so that all strategies can have the same labels


def strategies_case() -> list[dict]:
    """What each strategy leaves of real and drawn labels: bias, kept shares, effective size, copies, seconds."""
    folder = real_data()
    rows = []
    for name, table in islice(labelled_sets(folder), size(99, 1)):
        for strategy, options in STRATEGIES.items():
            given = {"strategy": strategy} | options
            rows.append({"data": name, "strategy": strategy} | measured_strategy(table, given))
    return rows


def measured_strategy(table: pa.Table, options: dict) -> dict:
    """One row of the strategies' table; null where the strategy's weights are refused."""
    columns = ["n", "n_labels", "rb", "ab", "ab_text_text", "ab_text_image", "ab_image_text", "ab_image_image",
               "kept_min", "kept_mean", "ess", "copies", "retention", "largest_retention", "seconds",
               "note"]  # fmt: skip
    entry = dict.fromkeys(columns)
    try:
        seconds, _, balancer = cost(lambda: M4Balancer(**options).fit(table))
    except InputError as error:
        return entry | {"note": error.what}
    report = balancer.report_
    keys = pa.array(np.arange(len(table)).astype(str))
    weights = pa.table({"key": keys, "weight": balancer.weight_})
    crossings = audit(table.append_column("key", keys), weights, n_bootstrap=0)["crossings"]
    for sides, stages in crossings.items():
        entry[f"ab_{sides.replace('-', '_')}"] = stages["after"]["value"]
    if not crossings:
        entry["ab_text_text"] = report["ab_after"]
    kept = [part["kept"] for part in report["kept"] if part["group"] is None]
    return entry | {
        "n": report["n"], "n_labels": len(kept), "rb": report["rb_after"], "ab": report["ab_after"],
        "kept_min": min(kept), "kept_mean": float(np.mean(kept)), "ess": report["ess"] / report["n"],
        "copies": report["most_copies"], "retention": report["retention"],
        "largest_retention": report["largest_retention"], "seconds": seconds,
    }  # fmt: skip


def labelled_sets(folder: Path) -> Iterator[tuple[str, pa.Table]]:
    """Labels with at least `MIN_ROWS` rows on either side of gender (or of the drawn group)."""
    from evenclip.data.options import WorldOptions
    from evenclip.data.world.synthesize import synthesize
    from evenclip.label import LabelOptions, label_dataset
    from evenclip.label.from_captions import label_captions
    from evenclip.label.lexicon import read_lexicon
    from evenclip.label.matching import Matcher
    from evenclip.options import read_yaml

    with tempfile.TemporaryDirectory() as temporary:
        data, labels = Path(temporary) / "world", Path(temporary) / "labels.parquet"
        demo = read_yaml(ROOT / "config" / "config.yaml")["data"]["world"]
        synthesize(data, "train", demo["splits"]["train"], 0, WorldOptions(**demo.get("world", {})))
        lexicon = ROOT / "config" / "lexicons" / "world.yaml"
        both = {"columns": {"group": "group"}, "target_columns": ["occupation"]}
        for name, options in (("demo world, captions", {}), ("demo world, both sides", both)):
            label_dataset(data, lexicon, labels, LabelOptions(**options))
            yield name, with_counterexamples(pq.read_table(labels))
    for name, lexicon, captions in real_captions(folder):
        if (name, lexicon) not in [(n, "flickr8k_lexicon") for n in ("Flickr8k", "COCO val2017", "CC3M validation")]:
            continue
        matcher = Matcher(read_lexicon(ROOT / "config" / "lexicons" / "flickr8k.yaml"))
        flags, _ = label_captions(captions, matcher, "any")
        table = pa.table({column: flags[:, j] for j, column in enumerate(matcher.columns)})
        yield name, with_counterexamples(table)
    yield "UTKFace", with_counterexamples(utkface_labels(folder / "utkface" / "UTKFace.tar"))


def with_counterexamples(table: pa.Table) -> pa.Table:
    """Gender or group, and the labels that at least `MIN_ROWS` rows of each group have."""
    groups = [c for c in table.column_names if ".gender." in c or ".group." in c]
    flags = [table.column(c).to_numpy(zero_copy_only=False).astype(bool) for c in groups]
    labels = [c for c in table.column_names if "target." in c and not c.startswith("proxy")]
    enough = [c for c in labels if min((table.column(c).to_numpy() & s).sum() for s in flags) >= MIN_ROWS]
    return table.select([*groups, *enough])


def utkface_labels(path: Path) -> pa.Table:
    """Perceived gender, and age band and race as labels, from the names of UTKFace's files."""
    with tarfile.open(path) as archive:
        names = [Path(member.name).name for member in archive if member.isfile()]
    matches = [match for match in map(re.compile(r"(\d+)_([01])_([0-4])_\d+").match, names) if match]
    age, gender, race = np.array([[int(value) for value in match.groups()] for match in matches]).T
    columns = {"image.sensitive.gender.man": gender == 0, "image.sensitive.gender.woman": gender == 1}
    bands = (("child", 0, 13), ("young", 13, 30), ("middle", 30, 60), ("old", 60, 200))
    columns |= {f"image.target.{name}": (low <= age) & (age < high) for name, low, high in bands}
    races = ("white", "black", "asian", "indian", "other")
    return pa.table(columns | {f"image.target.{name}": race == k for k, name in enumerate(races)})


def real_captions(folder: Path) -> Iterator[tuple[str, str, list[list[str]]]]:
    def pooled(pairs: list[tuple[str, str]]) -> list[list[str]]:
        groups: dict[str, list[str]] = {}
        for image, caption in pairs:
            groups.setdefault(image, []).append(caption)
        return list(groups.values())

    lines = list(csv.reader((folder / "flickr8k" / "captions.txt").open(encoding="utf-8")))[1:]
    yield "Flickr8k", "flickr8k_lexicon", pooled([(line[0], line[-1]) for line in lines])
    coco = json.loads((folder / "coco" / "annotations" / "captions_val2017.json").read_text())["annotations"]
    coco_pairs = [(str(item["image_id"]), item["caption"]) for item in coco]
    yield "COCO val2017", "flickr8k_lexicon", pooled(coco_pairs)
    yield "COCO val2017", "people_lexicon", pooled(coco_pairs)
    tsv = next((folder / "cc3m").glob("*.tsv")).read_text(encoding="utf-8").splitlines()
    cc3m = [[line.split("\t")[0]] for line in tsv]
    yield "CC3M validation", "flickr8k_lexicon", cc3m
    yield "CC3M validation", "people_lexicon", cc3m
    items = [item for path in sorted((folder / "vlchecklist").rglob("*.json")) for item in json.loads(path.read_text())]
    yield "VL-CheckList", "flickr8k_lexicon", pooled([(image, text) for image, entry in items for text in entry["POS"]])


CASES = {"real": real_case, "strategies": strategies_case}


def main() -> None:
    """Each case writes a table of its own."""
    chosen, out = begin(CASES)
    for name in chosen:
        if rows := measured(name, CASES[name]):
            write_rows(out / f"balance_{name}.csv", rows)


if __name__ == "__main__":
    main()
