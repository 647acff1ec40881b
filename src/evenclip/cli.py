"""The `evenclip` command: one sub-command per stage, each of which works alone, without Snakemake.

Exit status: 0 = done, 2 = the user's input is wrong (one message, no traceback), 1 = a fault of ours.
Stages are imported inside their command, so that `evenclip balance` never loads torch.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from evenclip.errors import InputError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.split("\n")[0]
)
data_app = typer.Typer(no_args_is_help=True, help="Fetch, synthesize, import and verify data sets.")
track_app = typer.Typer(no_args_is_help=True, help="Write results to MLflow.")
config_app = typer.Typer(no_args_is_help=True, help="Check study files and write their JSON schema.")
app.add_typer(data_app, name="data")
app.add_typer(track_app, name="track")
app.add_typer(config_app, name="config")

OptionPairs = Annotated[
    list[str], typer.Option("--option", metavar="KEY=VALUE", help="An option of this stage, as in the study file; repeat.")
]  # fmt: skip
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write; replaced as a whole.")]
OutFile = Annotated[Path, typer.Option("--out", help="File to write.")]
Registry = Annotated[Path, typer.Option(help="The registry of known data sets.")]
REGISTRY = Path("config/datasets.yaml")
Seed = Annotated[int, typer.Option("--seed", help="Random seed; results are deterministic given it.")]


def main() -> None:
    """Entry point: turns `InputError` into one message and exit status 2."""
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@data_app.command("synthesize")
def data_synthesize(
    split: Annotated[str, typer.Option(help="Which set: train, people, objects, mixed, unmarked, probes.")],
    n: Annotated[int, typer.Option("--n", help="Number of image-text pairs.")],
    out: OutFolder,
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Draw a split of the embedded world into image-text shards."""
    from evenclip.data.options import WorldOptions
    from evenclip.data.synthesize import synthesize

    synthesize(out, split, n, seed, WorldOptions.from_arguments(option))


@data_app.command("import")
def data_import(
    source: Annotated[Path, typer.Option(help="Where the files are: a folder, a tar or a zip.")],
    out: OutFolder,
    split: Annotated[str, typer.Option(help="Split to import, where the layout has splits.")] = "all",
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Import images and captions (a folder, Flickr8k's layout, WebDataset tars) into image-text shards."""
    from evenclip.data.importing import import_dataset
    from evenclip.data.options import ImportOptions

    import_dataset(source, out, split, ImportOptions.from_arguments(option))


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="Data set of the registry, e.g. coco_2017.")],
    to: Annotated[Path | None, typer.Option(help="Folder for its files; default data/raw/NAME.")] = None,
    accept_terms: Annotated[bool, typer.Option("--accept-terms", help="You accept the data set's terms.")] = False,
    registry: Registry = REGISTRY,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Fetch a known data set's files: resumed, checked against their checksums, whole or not at all."""
    from evenclip.data.fetch import FetchOptions, fetch_dataset

    fetch_dataset(name, to or Path("data/raw") / name, FetchOptions.from_arguments(option), accept_terms, registry)


@data_app.command("fetch-images")
def data_fetch_images(
    url_list: Annotated[Path, typer.Argument(metavar="LIST.tsv", help="Captions and addresses, as CC3M has them.")],
    out: OutFolder,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Fetch the images of a list of captions and addresses into image-text shards; count the dead links."""
    from evenclip.data.fetch import UrlListOptions, fetch_images

    fetch_images(url_list, out, UrlListOptions.from_arguments(option))


@data_app.command("unpack")
def data_unpack(
    archive: Annotated[Path, typer.Argument(help="A .tar (also .gz, .bz2, .xz) or a .zip.")],
    out: Annotated[Path, typer.Option("--out", help="New folder for what is in it.")],
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Unpack an archive safely; `data import` reads archives without."""
    from evenclip.data.archives import UnpackOptions, unpack

    print(f"{out}: {unpack(archive, out, UnpackOptions.from_arguments(option))} files")


@data_app.command("verify")
def data_verify(
    data: Annotated[str, typer.Argument(help="Folder of image-text shards; with --root, a data set of the registry.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the data set's raw files.")] = None,
    registry: Registry = REGISTRY,
) -> None:
    """Check shards against the sums in their manifest, or raw files against the registry."""
    if root is not None:
        from evenclip.data.fetch import verify_raw

        print(f"{root}: {verify_raw(data, root, registry)}")
        return
    from evenclip.data.verify import verify_dataset

    print(f"{data}: {verify_dataset(data)} pairs, every shard as it was written")


@data_app.command("questions")
def data_questions(
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS.json", help="Questions of VQA v2.")],
    out: OutFile,
    annotations: Annotated[Path | None, typer.Option(help="Their annotations: the answers.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of image-text shards with the pictures.")] = None,
) -> None:
    """Write VQA v2's questions and answers as one table."""
    from evenclip.data.vqa import write_questions_table

    print(f"{out}: {write_questions_table(questions, annotations, data, out)} questions")


@app.command()
def graph(
    source: Annotated[
        list[str],
        typer.Option(
            "--source", metavar="FORMAT=PATH", help="conceptnet, wordnet, mkg, visual_genome or visualsem; repeat."
        ),
    ],
    out: OutFolder,
    data: Annotated[Path | None, typer.Option(help="Folder of image-text shards with the entities' pictures.")] = None,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Build the knowledge graph from its sources: triples, entities and relations."""
    from evenclip.graph import GraphOptions, GraphSource, build_graph

    sources = [GraphSource.from_argument(argument) for argument in source]
    rows = build_graph(sources, out, data, GraphOptions.from_arguments(option))
    print(f"{out}: " + ", ".join(f"{n} {name.removeprefix('n_')}" for name, n in rows.items()))


@app.command()
def label(
    data: Annotated[Path, typer.Option(help="Folder of image-text shards.")],
    lexicon: Annotated[Path, typer.Option(help="YAML file of attributes, labels and proxies with their words.")],
    out: OutFile,
    embeddings: Annotated[
        Path | None, typer.Option(help=".npz of the pairs, for the image side and for similarity.")
    ] = None,
    attribute_set: Annotated[Path | None, typer.Option(help=".npz of an annotated set: the image side.")] = None,
    attribute_data: Annotated[Path | None, typer.Option(help="Folder of image-text shards of that set.")] = None,
    attribute: Annotated[
        list[str], typer.Option("--attribute", metavar="COLUMN", help="A column of that set, e.g. gender; repeat.")
    ] = [],  # noqa: B006
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Label pairs with perceived attributes, targets and proxies, by captions and by images; one row per pair."""
    from evenclip.label import AttributeSet, LabelOptions, label_dataset

    annotated = None
    if attribute_set or attribute_data or attribute:
        if not (attribute_set and attribute_data and attribute):
            raise InputError("the image side is incomplete", "label", "--attribute-set, --attribute-data, --attribute")
        annotated = AttributeSet(attribute_set, attribute_data, tuple(attribute))
    label_dataset(data, lexicon, out, LabelOptions.from_arguments(option), embeddings, annotated)


@app.command("label-proxies")
def label_proxies(
    labels: Annotated[Path, typer.Argument(metavar="LABELS.parquet", help="Labels table.")],
    data: Annotated[Path, typer.Option(help="Folder of image-text shards that was labelled.")],
    lexicon: Annotated[Path, typer.Option(help="The lexicon it was labelled with.")],
    out: OutFile,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Suggest proxies: words tied to a perceived attribute and to a target, for a person to accept."""
    from evenclip.label.proxies import ProxyOptions, suggest_proxies

    found = suggest_proxies(labels, data, lexicon, out, ProxyOptions.from_arguments(option))
    print(f"{out}: {len(found)} suggestions" + "".join(f", {each.word}" for each in found[:5]))


@app.command()
def balance(
    labels: Annotated[list[Path], typer.Argument(metavar="LABELS.parquet", help="Labels table; one file or more.")],
    out: OutFolder,
    strategy: Annotated[str | None, typer.Option(help="none, random_subsample, m4, raking or reweighing.")] = None,
    target: Annotated[
        list[str], typer.Option("--target", metavar="NAME=SHARE", help="e.g. gender.woman=0.5; repeat.")
    ] = [],  # noqa: B006
    retention: Annotated[str | None, typer.Option(help="Mean weight: auto, or a share such as 0.9.")] = None,
    cap: Annotated[float | None, typer.Option(help="Largest weight; 1 = subsampling.")] = None,
    eps_rel: Annotated[float | None, typer.Option(help="Tolerance on associations, relative.")] = None,
    eps_rep: Annotated[float | None, typer.Option(help="Tolerance on shares.")] = None,
    attribute_coding: Annotated[str | None, typer.Option(help="auto, one_hot or signed.")] = None,
    solver: Annotated[str | None, typer.Option(help="exact or stochastic.")] = None,
    allow_infeasible: Annotated[bool, typer.Option("--allow-infeasible", help="Return the least violation.")] = False,
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Weigh pairs so that perceived groups are shown equally and independently of the labels, with a certificate."""
    from evenclip.balance import BalanceOptions
    from evenclip.balance import balance as balance_labels

    named = {
        "strategy": strategy, "retention": retention, "cap": cap, "eps_rel": eps_rel, "eps_rep": eps_rep,
        "attribute_coding": attribute_coding, "solver": solver, "allow_infeasible": allow_infeasible or None,
    }  # fmt: skip
    given = [f"{name}={value}" for name, value in named.items() if value is not None]
    if target:
        given.append(f"target={{{', '.join(name.replace('=', ': ') for name in target)}}}")
    print(_balance_line(balance_labels(labels, out, BalanceOptions.from_arguments([*option, *given]), seed)))


@app.command("balance-count")
def balance_count(
    labels: Annotated[Path, typer.Argument(metavar="SHARD.parquet", help="One shard of a labels table.")],
    out: OutFile,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Count the cells of one shard, for balance-solve."""
    from evenclip.balance import BalanceOptions
    from evenclip.balance.scatter import count_shard

    print(f"{count_shard(labels, out, BalanceOptions.from_arguments(option))} cells")


@app.command("balance-solve")
def balance_solve(
    cells: Annotated[list[Path], typer.Argument(metavar="CELLS.parquet...", help="Cells of all shards.")],
    out: OutFolder,
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Weigh the added-up cells of all shards, for balance-apply."""
    from evenclip.balance import BalanceOptions
    from evenclip.balance.scatter import solve_cells

    print(_balance_line(solve_cells(cells, out, BalanceOptions.from_arguments(option), seed)))


@app.command("balance-apply")
def balance_apply(
    labels: Annotated[Path, typer.Argument(metavar="SHARD.parquet", help="One shard of a labels table.")],
    plan: Annotated[Path, typer.Option(help="Folder written by balance-solve.")],
    out: OutFile,
    before: Annotated[
        list[Path], typer.Option("--before", metavar="CELLS.parquet", help="Cells of each earlier shard; repeat.")
    ] = [],  # noqa: B006
) -> None:
    """Write the weights of one shard."""
    from evenclip.balance.scatter import apply_plan

    apply_plan(labels, plan, before, out)


def _balance_line(report: dict) -> str:
    return (
        f"{report['strategy']}: {report['n']} rows, {report['n_cells']} cells, retention {report['retention']:.4f}, "
        f"RB {report['rb_before']:.4f} -> {report['realised_rb']:.4f}, "
        f"AB {report['ab_before']:.4f} -> {report['realised_ab']:.4f}"
    )


@app.command()
def audit(
    labels: Annotated[Path, typer.Argument(metavar="LABELS.parquet", help="Labels table.")],
    weights: Annotated[Path | None, typer.Option(help="weights.parquet of the same rows.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for love plot and heat map (PNG) and audit.html.")
    ] = None,
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Measure representation and association bias of a labels table, before and after weighting."""
    import json

    from evenclip.balance import BalanceOptions
    from evenclip.balance import audit as audit_labels
    from evenclip.balance.audit_text import as_text

    found = audit_labels(labels, weights, BalanceOptions.from_arguments(option), seed=seed)
    print(json.dumps(found, indent=1) if as_json else as_text(found))
    if figures:
        from evenclip.balance.figures import write_figures

        write_figures(found, figures)


@app.command()
def embed(
    model: Annotated[str, typer.Option(help="An evenclip run folder, an open_clip name:tag, or a checkpoint.")],
    dataset: Annotated[
        list[str],
        typer.Option("--set", metavar="NAME=DATA[:PROMPTS,...]", help="A set: its shards, its prompt files; repeat."),
    ],
    out: OutFolder,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Embed images, captions and class prompts of every set once, for all evaluations: one .npz per set."""
    from evenclip.embed import EmbedOptions, EmbedSet, embed_sets

    embed_sets(
        model, [EmbedSet.from_argument(argument) for argument in dataset], out, EmbedOptions.from_arguments(option)
    )


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of image-text shards.")],
    weights: Annotated[Path, typer.Option(help="weights.parquet of `evenclip balance`.")],
    out: OutFolder,
    seed: Seed = 0,
    state: Annotated[Path, typer.Option(help="Where interrupted trainings are kept.")] = Path(".state"),
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Train a CLIP model on weighted image-text pairs; continues where an interrupted training stopped."""
    from evenclip.train import TrainOptions, train_model

    train_model(data, weights, out, seed, state, TrainOptions.from_arguments(option))


@app.command()
def evaluate(
    out: OutFile,
    dataset: Annotated[Path, typer.Option(help="Folder of image-text shards with the truth columns.")],
    embeddings: Annotated[Path, typer.Option(help=".npz of `evenclip embed`, or made by anybody.")],
    name: Annotated[str, typer.Option(help="Name of the set in the metrics, e.g. world_people.")],
    task: Annotated[
        list[str],
        typer.Option(
            "--task", metavar="KIND:{...}", help="e.g. 'zeroshot:{column: object, prompts: objects}'; repeat."
        ),
    ],
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Measure quality and bias on embeddings, each metric with a bootstrap 95 % interval."""
    from evenclip.evaluate import EvaluateOptions, Task, evaluate_set

    tasks = [Task.from_argument(argument) for argument in task]
    evaluate_set(dataset, embeddings, name, tasks, out, seed, EvaluateOptions.from_arguments(option))


@app.command()
def summarize(
    results: Annotated[Path, typer.Option(help="Folder of one study, e.g. results/demo.")],
    run: Annotated[list[str], typer.Option("--run", help="Runs to summarize; repeat.")],
    seed: Annotated[list[int], typer.Option("--seed", help="Seeds of each run; repeat.")],
) -> None:
    """Summarize metrics over seeds and test differences between runs: summary.csv, tests.csv, study.json."""
    from evenclip.summarize import summarize_study

    summarize_study(results, run, seed)


@track_app.command("sync")
def track_sync(
    results: Annotated[Path, typer.Option(help="Folder of one study, e.g. results/demo.")],
    tracking_uri: Annotated[str, typer.Option(help="MLflow store.")] = "sqlite:///mlflow.db",
    out: Annotated[Path | None, typer.Option(help="Receipt to write: what was logged, under which run ids.")] = None,
) -> None:
    """Write a study to MLflow, or bring the store up to date with it; results/ stays the truth."""
    from evenclip.track import sync

    sync(results, tracking_uri, out)


@app.command()
def report(
    results: Annotated[Path, typer.Option(help="Folder of one study, e.g. results/demo.")],
    out: OutFile,
) -> None:
    """Draw the study's figures and its self-contained report.html."""
    from evenclip.report import write_report

    write_report(results, out)


@config_app.command("check")
def config_check(study: Path) -> None:
    """Check a study file and list its runs."""
    from evenclip.config import load_study

    for run in load_study(study).runs.values():
        print(f"{run.name}\tstrategy={run.strategy}\t{' '.join(f'{k}={v}' for k, v in run.overrides.items())}".rstrip())


@config_app.command("schema")
def config_schema(out: OutFile = Path("workflow/schemas/config.schema.json")) -> None:
    """Write the JSON schema of study files, generated from the option blocks."""
    from evenclip.config import StudyConfig
    from evenclip.provenance import write_json

    write_json(StudyConfig.model_json_schema(), out)
