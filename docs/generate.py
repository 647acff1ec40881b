"""Write what the documents take from the code and from committed results: `make docs`; a test fails where they drift.

Writes config/README.md and workflow/schemas/config.schema.json from the options. In README.md and in docs/ it fills
what stands between `<!-- name -->` and `<!-- /name -->`; `SECTIONS` says what each name is generated from. `--check`
only lists the files that are out of step.
"""

import csv
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from evenclip.data.fetch.registry import Count, DatasetEntry, RawFile, read_registry
from evenclip.data.layouts import load_layouts
from evenclip.evaluate.measurement import BiasMeasurement, Definition
from evenclip.evaluate.options import KINDS
from evenclip.evaluate.suites import read_suites
from evenclip.graph.sources import FORMATS
from evenclip.metrics import definitions
from evenclip.study.schema import StudyConfig
from evenclip.summarize.inference import OWN_VARIANCE, RunsBySeeds
from evenclip.train.options import TrainOptions

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import benchmark_tables  # noqa: E402

RESULTS = ROOT / "docs" / "results"
NOT_TASKS = {
    "prompt_sensitivity": "all of these", "vqa": "`evenclip vqa`", "link_prediction": "`evenclip links`",
}  # fmt: skip
MAX_COLUMNS = 4  # a table of results has its runs as columns if they are at most so many, else as rows
HEADLINES = {
    "bias/world_ambiguous/ab_max": "association bias of the model",
    "bias/world_ambiguous/ab_per_skill": "the same at equal knowledge of the labels",
    "bias/world_unmarked/rb": "representation bias of the model",
    "zeroshot/world_people/acc1": "accuracy of naming the occupation",
    "bias/world_people/worst_group_accuracy": "the same, in the worse group",
    "retrieval/world_mixed/image_to_text_recall_at_5": "image-to-text recall at 5",
}
"""Rows of README's table."""
CONFIG_INTRODUCTION = """\
# Configuration

<!-- Written by docs/generate.py from the option blocks in src/evenclip; do not edit. -->

One study file = one reproducible table. `config/config.yaml` is the default, the demo study; others are in
`config/studies/`:

    snakemake --cores all --configfile config/studies/flickr8k.yaml

- `config/studies/<name>.tsv`, beside the study file: one row = one run. Columns: `run` (its name), `strategy` (a key of
  `balance`), and any `train.<option>` that differs between runs. The demo's is `config/demo.tsv`.
- `config/models/*.json`: model configurations in open_clip's format.
- `config/prompts/*.yaml`: class names with templates for zero-shot heads.
- `config/lexicons/*.yaml`: the words by which captions are labelled.

`evenclip config check FILE` checks a study file and lists its runs; an unknown key is an error that names the nearest.

"""


def config_reference() -> str:
    """config/README.md: every key of a study file with its type, default and meaning."""
    schema = StudyConfig.model_json_schema()
    lines: list[str] = []
    seen: list[str] = []

    def block(title: str, definition: dict) -> None:
        lines.append(f"## {title}\n")
        if text := definition.get("description"):
            lines.append(" ".join(text.split()) + "\n")
        lines.append("| key | type | default | meaning |\n|---|---|---|---|")
        nested: list[str] = []
        required = definition.get("required", [])
        for key, field in definition.get("properties", {}).items():
            default = "required" if key in required else f"`{json.dumps(field.get('default'))}`"
            references = re.findall(r"#/\$defs/(\w+)", json.dumps(field))
            if references and "default" in field:
                default = "see below"
            meaning = " ".join(field.get("description", "").split()).replace("|", "\\|")
            lines.append(f"| `{key}` | {_type_of(field)} | {default} | {meaning} |")
            nested += [name for name in references if name not in seen]
        lines.append("")
        for name in dict.fromkeys(nested):
            if name not in seen:
                seen.append(name)
                if "properties" in schema["$defs"][name]:
                    block(name, schema["$defs"][name])

    block("The study file", schema)
    return CONFIG_INTRODUCTION + "\n".join(lines)


def _type_of(field: dict) -> str:
    if "$ref" in field:
        return field["$ref"].rsplit("/", 1)[-1]
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    for union in ("anyOf", "oneOf"):
        if union in field:
            return " \\| ".join(dict.fromkeys(_type_of(part) for part in field[union]))
    if field.get("type") == "array":
        return f"list of {_type_of(field.get('items', {}))}"
    for values in (field.get("additionalProperties"), *field.get("patternProperties", {}).values()):
        if isinstance(values, dict):
            return f"name: {_type_of(values)}"
    low, high = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum", field.get("exclusiveMaximum"))
    bounds = (
        "" if low is None and high is None else f" in [{'' if low is None else low}, {'' if high is None else high}]"
    )
    return f"{field.get('type', 'value')}{bounds}"


def rule_graph() -> str:
    """The rule graph of the claims study, which has a knowledge graph too, as a Mermaid diagram."""
    study = ["--configfile", "config/studies/claims.yaml"]
    command = [sys.executable, "-m", "snakemake", *study, "--rulegraph", "mermaid-js", "--forceall", "--quiet", "all"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"docs/generate.py needs a working Snakemake (pip install '.[all]'):\n{done.stderr[-2000:]}")
    text = done.stdout
    edges = sorted(set(re.findall(r"^\s*(id\d+)\s*-->\s*(id\d+)", text, re.MULTILINE)))
    names = dict(re.findall(r"(id\d+)\[(\w+)", text))
    names |= {id: "graph_[graph]" for id, name in names.items() if name == "graph"}  # a word of Mermaid's own
    lines = [f"  {names[a]} --> {names[b]}" for a, b in edges if a != b and names[b] not in ("all", "default")]
    return "```mermaid\nflowchart LR\n" + "\n".join(sorted(lines)) + "\n```"


def results_table(study: str) -> str:
    """Mean over seeds with 95 % interval of a committed study: a line for each metric, or of many runs for each run."""
    rows, about = _summary(study), _about(study)
    metrics = [metric for metric in about["shown"] if any(row["metric"] == metric for row in rows)]
    runs = list(dict.fromkeys(row["run"] for row in rows if row["run"]))
    cells = {(row["run"], row["metric"]): _cell(row) for row in rows}
    if len(runs) <= MAX_COLUMNS:
        table = [["metric", *runs]]
        table += [[f"`{metric}`", *(cells.get((run, metric), "-") for run in runs)] for metric in metrics]
    else:
        table = [["run", *(f"`{metric}`" for metric in metrics)]]
        table += [[run, *(cells.get((run, metric), "-") for metric in metrics)] for run in runs]
    table.insert(1, ["---"] * len(table[0]))
    lines = [f"| {' | '.join(line)} |" for line in table]
    return "\n".join([*lines, "", f"{about['seeds']} seeds, mean [95 % interval]. {_made(about)}"])


def headline_table(study: str) -> str:
    """README's table: a model without bias in its data, the baseline, two balances and their control, a difference."""
    means = {(row["run"], row["metric"]): float(row["mean"]) for row in _summary(study) if not row["group"]}
    floor = {row["metric"]: float(row["mean"]) for row in _summary("preserve_null") if not row["group"]}
    differences = {
        row["metric"]: f"{float(row['effect']):+.3f} [{float(row['ci_low']):+.3f}, {float(row['ci_high']):+.3f}]"
        for row in _rows(study, "tests.csv")
        if (row["run_a"], row["run_b"]) == ("baseline", "m4_preserve")
    }
    lines = [
        "| measured on the trained model | no bias in the data | baseline | `thin` | M4 | M4 that keeps labels"
        " | its difference from the baseline [95 % interval] |",
        "|---" * 7 + "|",
    ]
    for metric, words in HEADLINES.items():
        values = (floor.get(metric), *(means[run, metric] for run in ("baseline", "thin", "m4", "m4_preserve")))
        cells = ["-" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"| {' | '.join([words, *cells, differences[metric]])} |")
    about = _about(study)
    return "\n".join([*lines, "", f"Study `{study}`: {about['seeds']} seeds. {_made(about)}"])


PHOTOS = {
    "retrieval and recognition": {
        "text to image R@5": "retrieval/flickr8k_dev/text_to_image_recall_at_5",
        "image to text R@5": "retrieval/flickr8k_dev/image_to_text_recall_at_5",
        "objects": "recognition/flickr8k_dev_objects/acc1",
        "professions": "zeroshot/idenprof/acc1",
        "gender, dev": "recognition/flickr8k_dev_gender/acc1",
        "gender, UTKFace": "recognition/utkface/acc1",
    },
    "bias": {
        "AB max, balanced dev": "bias/flickr8k_dev/ab_max",
        "AB max, dev as it is": "bias/flickr8k_dev_unbalanced/ab_max",
        "AB max, UTKFace": "bias/utkface/ab_max",
        "objects, gap of groups": "recognition/flickr8k_dev_objects/attribute_gap",
        "RB random photos (+ = woman)": "bias/imagenet_sample/rb_signed",
        "RB professions (+ = woman)": "bias/idenprof/rb_signed",
    },
    "caption against a copy with one word exchanged": {
        kind: f"compositional/dev_swaps/{kind}" for kind in ("gender", "color", "attribute", "position", "posture")
    },
}
WORLD = {
    "pictures that leave it open": {
        "AB max": "bias/world_ambiguous/ab_max",
        "AB mean": "bias/world_ambiguous/ab_mean",
        "RB (+ = zubbin)": "bias/world_unmarked/rb_signed",
    },
    "recognition and retrieval": {
        "occupations": "zeroshot/world_people/acc1",
        "occupations, worst group": "bias/world_people/worst_group_accuracy",
        "image to text R@1": "retrieval/world_mixed/image_to_text_recall_at_1",
        "text to image R@5": "retrieval/world_mixed/text_to_image_recall_at_5",
    },
}
DIFFERENCES = {"photos": PHOTOS, "photos_finetune": PHOTOS, "preserve": WORLD, "preserve_unseen": WORLD}
"""Tables of paired differences of a study: column -> metric."""
STARTS = {"photos_finetune": ("photos", "baseline")}
"""The study and run whose models a study continues from, seed by seed."""
CONTROLS = [
    ("m4", "random_subsample"), ("m4", "thin"), ("m4_preserve", "random_subsample"), ("m4_preserve", "thin"),
    ("m4_preserve", "m4"),
    ("ahnm", "ahnm_unfair"), ("bo_k_clip", "m4"),
]  # fmt: skip
"""Runs, and what they are compared with beside the baseline."""


def since_start(study: str) -> str:
    """Paired differences of a study's first run to the models that it continues from."""
    from scipy import stats

    about, (other, start) = _about(study), STARTS[study]
    run = next(iter(dict.fromkeys(row["run"] for row in _rows(study, "seeds.csv"))))
    values = {
        (name, row["metric"], row["seed"]): float(row["value"])
        for name, wanted in ((study, run), (other, start))
        for row in _rows(name, "seeds.csv")
        if row["run"] == wanted and not row["group"] and row["value"]
    }
    lines = [f"| | {start} of `{other}`, mean | {run} - its start |", "|---|---|---|"]
    for title, metric in ((title, metric) for group in DIFFERENCES[study].values() for title, metric in group.items()):
        seeds = sorted(seed for name, of, seed in values if name == study and of == metric)
        before, after = (np.array([values[name, metric, seed] for seed in seeds]) for name in (other, study))
        change = after - before
        low, high = stats.t.interval(0.95, len(seeds) - 1, change.mean(), stats.sem(change))
        title = f"right caption, {title}" if metric.startswith("compositional/") else title
        lines.append(f"| {title} | {before.mean():.3f} | {change.mean():+.3f} [{low:+.3f}, {high:+.3f}] |")
    note = f"Mean paired difference over {about['seeds']} seeds [95 % interval]. {_made(about)}"
    return "\n".join([*lines, "", note])


def differences_tables(study: str) -> str:
    """Paired differences between runs of a committed study: of each run to the baseline and to its controls."""
    tested = {(row["metric"], row["run_a"], row["run_b"]): row for row in _rows(study, "tests.csv")}
    runs = list(dict.fromkeys(run for row in tested.values() for run in (row["run_a"], row["run_b"])))
    pairs = [(run, runs[0]) for run in runs[1:]]
    pairs += [pair for pair in CONTROLS if set(pair) <= set(runs)]
    text = []
    for title, metrics in DIFFERENCES[study].items():
        lines = [f"| {title} | {' | '.join(metrics)} |", "|---" * (len(metrics) + 1) + "|"]
        means = {(row["run"], row["metric"]): float(row["mean"]) for row in _summary(study) if not row["group"]}
        lines.append(f"| {runs[0]}, mean | {' | '.join(f'{means[runs[0], m]:.3f}' for m in metrics.values())} |")
        for pair in pairs:
            cells = [_difference(tested, metric, *pair) for metric in metrics.values()]
            lines.append(f"| {pair[0]} - {pair[1]} | {' | '.join(cells)} |")
        text.append("\n".join(lines))
    about = _about(study)
    note = f"Mean paired difference over {about['seeds']} seeds [95 % interval of this pair alone, not adjusted]"
    return "\n\n".join([*text, f"{note}. Verdicts are on claims, and adjusted. {_made(about)}"])


def _difference(tested: dict[tuple[str, str, str], dict[str, str]], metric: str, run: str, reference: str) -> str:
    """Cell of a difference run - reference; the table has every pair in one of the two orders."""
    forward = (metric, reference, run) in tested
    sign, row = (1, tested[metric, reference, run]) if forward else (-1, tested[metric, run, reference])
    low, high = sorted(sign * float(row[end]) for end in ("ci_low", "ci_high"))
    return f"{sign * float(row['effect']):+.3f} [{low:+.3f}, {high:+.3f}]"


GATES = [
    ("occupations named rightly", "zeroshot/world_people/acc1", 0.6, 1.0),
    ("group recognised", "recognition/world_people/acc1", 0.9, 1.0),
    ("image-to-text recall at 1", "retrieval/world_mixed/image_to_text_recall_at_1", 0.6, 0.95),
    *((f"probe: {name}", f"compositional/world_probes/{name}", 0.6, 0.97)
      for name in ("color", "position", "size", "negation", "relation")),
]  # fmt: skip
LEAST_TIMES_FLOOR, MOST_SPREAD = 2.5, 0.05


def gates_table(study: str) -> str:
    """Whether the world can be read well enough, but not too well, by the baseline of a study."""
    rows = {row["metric"]: row for row in _summary(study) if row["run"] == "baseline"}
    lines = ["| of the baseline | wanted | measured | met |", "|---|---|---|---|"]

    def line(words: str, wanted: str, value: float, is_met: bool) -> None:
        lines.append(f"| {words} | {wanted} | {value:.3f} | {'yes' if is_met else '**no**'} |")

    for words, metric, low, high in GATES:
        value = float(rows[metric]["mean"])
        line(f"{words} (`{metric}`)", f"{low:g} to {high:g}", value, low <= value <= high)
    spread = float(rows[GATES[0][1]]["sd"])
    line("standard deviation of occupations over seeds", f"at most {MOST_SPREAD:g}", spread, spread <= MOST_SPREAD)
    metric = "bias/world_ambiguous/ab_max"
    floor = {row["metric"]: float(row["mean"]) for row in _summary("preserve_null") if row["mean"]}[metric]
    times = float(rows[metric]["mean"]) / floor
    line("association bias, as a multiple of that without bias in the data", f"{LEAST_TIMES_FLOOR:g} or more", times,
         times >= LEAST_TIMES_FLOOR)  # fmt: skip
    about = _about(study)
    return "\n".join([*lines, "", f"Study `{study}`, {about['seeds']} seeds. {_made(about)}"])


CONTROL_METRICS = {
    "AB where it is left open": "bias/world_ambiguous/ab_max",
    "AB per skill": "bias/world_ambiguous/ab_per_skill",
    "RB (+ = zubbin)": "bias/world_unmarked/rb_signed",
    "occupations": "zeroshot/world_people/acc1",
    "worse group": "bias/world_people/worst_group_accuracy",
    "equalized odds": "bias/world_people/equalized_odds_difference",
    "recall at 5": "retrieval/world_mixed/image_to_text_recall_at_5",
}
CONTROL_RUNS = ("baseline", "random_subsample", "thin", "m4_shuffled", "m4", "m4_proxies", "m4_preserve")


def controls_table(study: str) -> str:
    """Means of the balances of a study and of their controls, and what is left of M4's effects beyond each control.

    The run on shuffled labels is of the study `<study>_shuffled`, with the same pairs and seeds; the floor is that of
    preserve_null.
    """
    values: dict[tuple[str, str], dict[str, float]] = {}
    for name in (study, f"{study}_shuffled"):
        for row in _rows(name, "seeds.csv") if (RESULTS / name / "seeds.csv").exists() else []:
            if not row["group"] and row["value"]:
                values.setdefault((row["run"], row["metric"]), {})[row["seed"]] = float(row["value"])
    floor = {row["metric"]: row["mean"] for row in _summary("preserve_null")}
    runs = [run for run in CONTROL_RUNS if (run, CONTROL_METRICS["occupations"]) in values]
    heads = [f"| {{}} | {' | '.join(CONTROL_METRICS)} |", "|---" * (len(CONTROL_METRICS) + 1) + "|"]
    means = [
        f"| {run} | {' | '.join(_mean_of(values.get((run, metric))) for metric in CONTROL_METRICS.values())} |"
        for run in runs
    ]
    unbiased = " | ".join(f"{float(floor[m]):.3f}" if floor.get(m) else "-" for m in CONTROL_METRICS.values())
    left = []
    for run in (name for name in ("m4", "m4_preserve") if name in runs):
        for control in (name for name in runs if name not in ("m4", "m4_preserve", "m4_proxies")):
            cells = [
                _paired(values.get((run, metric)), values.get((control, metric))) for metric in CONTROL_METRICS.values()
            ]
            left.append(f"| {run} - {control} | {' | '.join(cells)} |")
    about = _about(study)
    note = f"{about['seeds']} seeds; mean paired difference [95 % interval of this pair alone, not adjusted]."
    return "\n".join([
        heads[0].format("mean over seeds"), heads[1], f"| no bias in the data | {unbiased} |", *means, "",
        heads[0].format("what is left beyond a control"), heads[1], *left, "", f"{note} {_made(about)}",
    ])  # fmt: skip


def _mean_of(of_seeds: dict[str, float] | None) -> str:
    return f"{statistics.mean(of_seeds.values()):.3f}" if of_seeds else "-"


def _paired(run: dict[str, float] | None, reference: dict[str, float] | None) -> str:
    """Cell of a paired difference over the seeds that both runs have."""
    seeds = sorted((run or {}).keys() & (reference or {}).keys())
    if len(seeds) < OWN_VARIANCE:
        return "-"
    pair = RunsBySeeds({"run": [run[seed] for seed in seeds], "reference": [reference[seed] for seed in seeds]})
    difference = pair.difference("run", "reference")
    low, high = difference.interval()
    return f"{difference.estimate:+.3f} [{low:+.3f}, {high:+.3f}]"


def claims_table(study: str) -> str:
    """What a committed study says of each claim, the negative answers too, and what it could not test."""
    entries = json.loads((RESULTS / study / "claims.json").read_text(encoding="utf-8"))
    lines = [
        "| claim | metric | difference [95 % interval] | raw p | adjusted p | its interval | seeds | verdict |",
        "|---" * 8 + "|",
    ]
    for entry in entries:
        if entry["runs"] is None:
            continue
        pair = f"{entry['runs']['run']} - {entry['runs']['reference']}"
        interval = f"{entry['estimate']:.3f} [{entry['ci_low']:.3f}, {entry['ci_high']:.3f}]"
        cells = [
            entry["name"],
            f"`{entry['metric']}`",
            f"{pair}: {interval}",
            f"{entry['p']:.3f}",
            *_at_adjusted_level(entry),
            str(entry["n"]),
        ]
        lines.append(f"| {' | '.join(cells)} | {_verdict(entry)} |")
    sentences = []
    for verdict in ("not testable here", "not tested here"):
        names = dict.fromkeys(entry["name"] for entry in entries if entry["verdict"] == verdict)
        sentences += [f"{verdict.capitalize()}: {'; '.join(names)}."] if names else []
    return "\n".join([*lines, "", *sentences])


def _at_adjusted_level(entry: dict) -> tuple[str, str]:
    """Adjusted p and the interval at its level; nothing where there are too few seeds for a verdict."""
    if entry.get("p_adjusted") is None:
        return "-", "-"
    return f"{entry['p_adjusted']:.3f}", f"[{entry['adjusted_low']:.3f}, {entry['adjusted_high']:.3f}]"


def _verdict(entry: dict) -> str:
    """Verdict of a test; studies of before there were looks have none where they have too few seeds."""
    if entry["n"] < OWN_VARIANCE:
        return f"undecided: {entry['n']} seeds, at least {OWN_VARIANCE} needed"
    return f"**{entry['verdict']}**{' (primary)' if entry.get('primary') else ''}"


def statistics_table() -> str:
    """Error rates and power of the whole procedure, as benchmarks/statistics.py simulated them."""
    with open(ROOT / "benchmarks/results/statistics.csv", encoding="utf-8", newline="") as file:
        rates = list(csv.DictReader(file))
    heads = [
        "simulated studies",
        "seeds",
        "any false verdict",
        "false verdicts per claim without effect",
        "effects found",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for rate in rates:
        numbers = (f"{float(rate[key]):.4f}" if rate[key] else "-" for key in ("any_false", "false", "found"))
        lines.append(f"| {rate['scenario']} | {rate['seeds']} | {' | '.join(numbers)} |")
    return "\n".join([*lines, "", f"{int(rates[0]['studies']):,} studies each."])


def _rows(study: str, table: str) -> list[dict[str, str]]:
    with open(RESULTS / study / table, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _summary(study: str) -> list[dict[str, str]]:
    return [row for row in _rows(study, "summary.csv") if not row["group"]]


def _about(study: str) -> dict:
    return json.loads((RESULTS / study / "about.json").read_text(encoding="utf-8"))


def _made(about: dict) -> str:
    values = "" if (RESULTS / about["study"] / "seeds.csv").exists() else " The values of single seeds were not kept."
    return f"Made by commit {about['commit']} on {about['date']} ({about['machine']}).{values}"


def _cell(row: dict) -> str:
    if not row["mean"]:
        return "-"
    interval = f" [{float(row['ci_low']):.3f}, {float(row['ci_high']):.3f}]" if row["ci_low"] else ""
    return f"{float(row['mean']):.3f}{interval}"


def dataset_overview() -> str:
    """One line for each data set of the registry."""
    lines = ["| name | data set | to fetch | checksums known | how | layout |", "|---|---|---|---|---|---|"]
    for name, entry in read_registry(ROOT / "config/datasets.yaml").datasets.items():
        n_known = sum(file.checksum_from is not None for file in entry.files)
        how = "partly by hand" if any(file.urls for file in entry.files) else "by hand"
        how = (how if entry.by_hand else "`data fetch`") + (", terms to accept" if entry.terms.accept else "")
        known_of = f"{n_known} of {len(entry.files)}"
        cells = [f"[`{name}`](#{name})", entry.title, _size(entry.files), known_of, how, f"`{entry.layout}`"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def dataset_sections() -> str:
    """What the registry says of each data set."""
    registry = read_registry(ROOT / "config/datasets.yaml")
    return "\n\n".join(_dataset_section(name, entry) for name, entry in registry.datasets.items())


def _dataset_section(name: str, entry: DatasetEntry) -> str:
    counts = "; ".join(f"{count.n:,} {what}{_how_counted(count)}" for what, count in entry.counts.items())
    facts = {
        "Version": entry.version,
        "Licence": entry.terms.licence + (" (`--accept-terms`)" if entry.terms.accept else ""),
        "Terms": entry.terms.summary,
        "By hand": entry.by_hand,
        "Whole set": counts,
        "Notes": entry.notes,
        "Cite": entry.citation,
    }
    lines = [f"### {name}", "", f"[{entry.title}]({entry.homepage})", ""]
    lines += [f"- {fact}: {text}" for fact, text in facts.items() if text]
    lines += ["", "| file | bytes | sha256 or md5 | says who |", "|---|---|---|---|"]
    for file in entry.files:
        size = file.bytes if file.bytes == "unknown" else f"{file.bytes:,}"
        lines.append(f"| `{file.path}` | {size} | {_checksum(file)} | {file.checksum_from or ''} |")
    return "\n".join(lines)


def _how_counted(count: Count) -> str:
    return "*" if count.files else ""


def _checksum(file: RawFile) -> str:
    if file.sha256 != "unknown":
        return f"`{file.sha256[:16]}`..."
    return f"md5 `{file.md5}`" if file.md5 else "unknown"


def _size(files: list[RawFile]) -> str:
    sizes = [file.bytes for file in files if file.bytes != "unknown"]
    if not sizes:
        return "unknown"
    text = f"{sum(sizes) / 1e9:.1f} GB" if sum(sizes) >= 1e9 else f"{sum(sizes) / 1e6:.0f} MB"
    return text if len(sizes) == len(files) else f"more than {text}"


def metrics_table() -> str:
    """Definitions of all metrics: those about people first, each part by what measures them."""
    about_people = [kind for kind, task in KINDS.items() if issubclass(task, BiasMeasurement)] + ["prompt_sensitivity"]
    quality = [kind for kind in definitions() if kind not in about_people]
    lines = []
    for title, kinds in (("About people", about_people), ("Quality", quality)):
        lines += [f"**{title}**", "", "| task | metric | meaning | formula | range | random | source |"]
        lines += ["|---" * 7 + "|", *(_metric_line(kind, metric) for kind in kinds for metric in definitions()[kind])]
        lines.append("")
    return "\n".join(lines).strip()


def _metric_line(kind: str, metric: Definition) -> str:
    task = NOT_TASKS.get(kind, f"`{kind}`")
    cells = [task, f"`{metric.name}`", metric.meaning, f"`{metric.formula}`", metric.interval, metric.random,
             metric.source]  # fmt: skip
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def suites_table() -> str:
    """What each built-in suite measures."""
    lines = ["| data set | data folder | suite | tasks |", "|---|---|---|---|"]
    for name, dataset in read_suites(ROOT / "config/suites.yaml").datasets.items():
        for suite, tasks in dataset.suites.items():
            kinds = ", ".join(dict.fromkeys(f"`{task.root.kind}`" for task in tasks))
            lines.append(f"| `{name}` | `data/{dataset.data}` | `{suite}` | {kinds} |")
    return "\n".join(lines)


def graph_formats_table() -> str:
    """The formats of graph sources."""
    lines = ["| format | files: entities |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {module.DESCRIPTION} |" for name, module in FORMATS.items())])


def layouts_table() -> str:
    """What each layout of `evenclip data import` reads."""
    lines = ["| layout | official files | splits | columns |", "|---|---|---|---|"]
    for name, layout in load_layouts().items():
        about = layout.DESCRIPTION
        lines.append(f"| `{name}` | {about.files} | {about.splits} | {about.columns} |")
    return "\n".join(lines)


def methods_table() -> str:
    """The training methods, with what each needs and uses."""
    lines = ["| option | method | what it does | needs | uses, if given |", "|---" * 5 + "|"]
    for name, method in TrainOptions.method_classes().items():
        inputs = (", ".join(sorted(names)) or "-" for names in (method.needs, method.uses))
        lines.append(f"| `{name}` | {method.title} | {method.summary} | {' | '.join(inputs)} |")
    return "\n".join(lines)


SECTIONS = {
    "graph_formats": graph_formats_table, "methods": methods_table, "headline": headline_table,
    "metrics": metrics_table, "suites": suites_table, "rules": rule_graph, "results": results_table,
    "claims": claims_table, "controls": controls_table, "gates": gates_table, "statistics": statistics_table,
    "differences": differences_tables, "since_start": since_start,
    "layouts": layouts_table, "datasets": dataset_overview,
    "dataset_sections": dataset_sections, **benchmark_tables.SECTIONS,
}  # fmt: skip


def filled(text: str) -> str:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->` by what it is generated from."""

    def section(match: re.Match) -> str:
        kind, _, argument = match["name"].partition(":")
        content = SECTIONS[kind](*filter(None, [argument]))
        return f"<!-- {match['name']} -->\n{content}\n<!-- /{match['name']} -->"

    names = "|".join(SECTIONS)
    return re.sub(rf"<!-- (?P<name>(?:{names})(?::\w+)?) -->.*?<!-- /(?P=name) -->", section, text, flags=re.DOTALL)


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    schema = json.dumps(StudyConfig.model_json_schema(), indent=1, sort_keys=True) + "\n"
    with_sections = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {
        ROOT / "config/README.md": config_reference(),
        ROOT / "workflow/schemas/config.schema.json": schema,
        ROOT / "docs/growth.svg": benchmark_tables.growth_picture().decode(),
    } | {path: filled(path.read_text(encoding="utf-8")) for path in with_sections}


if __name__ == "__main__":
    stale = [path for path, text in files().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" not in sys.argv[1:]:
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path], encoding="utf-8")
    elif stale:
        sys.exit("out of step, run make docs: " + ", ".join(str(path.relative_to(ROOT)) for path in stale))
