"""`evenclip balance`, its scattered form, and `evenclip audit`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evenclip.cli.arguments import OWN_DATA, NParts, OptionPairs, OutFile, OutFolder, PartsFolder, Seed, part_files
from evenclip.errors import InputError
from evenclip.plugins import summaries_of

if TYPE_CHECKING:
    from evenclip.balance.table.source import Source

app = typer.Typer()

STRATEGIES = summaries_of("evenclip.balance.strategies")

Targets = Annotated[list[str], typer.Option("--target", metavar="NAME=SHARE", help="e.g. gender.woman=0.5; repeat.")]

Attributes = Annotated[
    list[str], typer.Option("--attribute", metavar="COLUMN", help="Column of group names, e.g. gender; repeat.")
]
Labels = Annotated[
    list[str], typer.Option("--label", metavar="COLUMN", help="Column of true and false, e.g. nurse; repeat.")
]
Key = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column that names the rows. Default: key, else the row's number.")
]


@app.command(
    rich_help_panel=OWN_DATA,
    epilog="Example: evenclip balance photos.csv --key photo --attribute gender --label nurse --out balanced/",
)
def balance(
    table: Annotated[
        list[Path], typer.Argument(metavar="TABLE", help="CSV, TSV or Parquet files, or folders of them.")
    ],
    out: OutFolder,
    attribute: Attributes = [],  # noqa: B006
    label: Labels = [],  # noqa: B006
    key: Key = None,
    strategy: Annotated[str | None, typer.Option(help=f"{', '.join(STRATEGIES)}. Default: m4.")] = None,
    target: Targets = [],  # noqa: B006
    retention: Annotated[str | None, typer.Option(help="Mean weight: auto, or a share such as 0.9.")] = None,
    preserve: Annotated[str | None, typer.Option(help="none, or labels: every label keeps its share.")] = None,
    preserve_tolerance: Annotated[
        float | None, typer.Option(help="How much of its share a preserved label may lose or gain. Default: 0.1.")
    ] = None,
    cap: Annotated[float | None, typer.Option(help="Largest weight; 1 = subsampling.")] = None,
    max_copies: Annotated[float | None, typer.Option(help="Most copies of a row per epoch.")] = None,
    eps_rel: Annotated[float | None, typer.Option(help="Tolerance on associations, relative.")] = None,
    eps_rep: Annotated[float | None, typer.Option(help="Tolerance on shares.")] = None,
    attribute_coding: Annotated[str | None, typer.Option(help="auto, one_hot or signed.")] = None,
    allow_infeasible: Annotated[bool, typer.Option("--allow-infeasible", help="Allow the least violation.")] = False,
    frontier: Annotated[bool, typer.Option("--frontier", help="Compare many settings: table and picture.")] = False,
    grid: Annotated[
        list[str], typer.Option("--grid", metavar="KEY=[VALUE, ...]", help="Settings of --frontier; repeat.")
    ] = [],  # noqa: B006
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Weigh pairs so that perceived groups are shown equally and independently of the labels, with a certificate."""
    _use_one_blas_thread()
    from evenclip.balance import BalanceOptions
    from evenclip.balance import balance as balance_labels

    named = {
        "strategy": strategy, "retention": retention, "preserve": preserve, "preserve_tolerance": preserve_tolerance,
        "cap": cap, "max_copies": max_copies, "eps_rel": eps_rel, "eps_rep": eps_rep,
        "attribute_coding": attribute_coding, "allow_infeasible": allow_infeasible or None,
    }  # fmt: skip
    given = [f"{name}={value}" for name, value in named.items() if value is not None]
    options = BalanceOptions.from_arguments([*option, *given, *_target_option(target)], "balance")
    chosen_grid = None
    if frontier or grid:
        from evenclip.balance.frontier import FrontierGrid

        chosen_grid = FrontierGrid.from_arguments(grid, "--grid")
    source = _source(table, attribute, label, key)
    _print_report(balance_labels(source, out, options, seed, chosen_grid))


def _use_one_blas_thread() -> None:
    """Before this command loads NumPy, unless OMP_NUM_THREADS or OPENBLAS_NUM_THREADS is set.

    Systems of a few thousand moments are too small for several threads of OpenBLAS, which keep their cores busy while
    they wait: at a million rows they take 15 % more processor time and are no faster.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _source(table: list[Path], attribute: list[str], label: list[str], key: str | None) -> "Source":
    """The table, with a note on stderr where its rows have no keys."""
    from evenclip.balance.table.form import TableForm
    from evenclip.balance.table.source import Source

    source = Source(table, TableForm(tuple(attribute), tuple(label), key))
    for note in source.notes:
        print(f"note: {note}", file=sys.stderr)
    return source


def _target_option(target: list[str]) -> list[str]:
    for share in target:
        if "=" not in share:
            raise InputError(f"'{share}' is not of the form NAME=SHARE", "--target", "write e.g. gender.woman=0.5")
    return [f"target={{{', '.join(name.replace('=', ': ') for name in target)}}}"] if target else []


@app.command("balance-count", hidden=True)
def balance_count(
    labels: Annotated[Path, typer.Argument(metavar="PART.parquet", help="One part of a labels table.")],
    out: OutFile,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Count the cells of one part, for balance-add."""
    from evenclip.balance import BalanceOptions
    from evenclip.balance.scatter import count_part

    print(f"{count_part(labels, out, BalanceOptions.from_arguments(option))} cells")


@app.command("balance-add", hidden=True)
def balance_add(cells: PartsFolder, parts: NParts, out: OutFolder) -> None:
    """Add up the cells of all parts, for balance-solve and balance-apply."""
    from evenclip.balance.scatter import add_counts

    print(f"{add_counts(part_files(cells, parts), out)} cells")


@app.command("balance-solve", hidden=True)
def balance_solve(
    counts: Annotated[Path, typer.Argument(metavar="DIR", help="Folder written by balance-add.")],
    out: OutFolder,
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Weigh the cells of all parts, for balance-apply."""
    _use_one_blas_thread()
    from evenclip.balance import BalanceOptions
    from evenclip.balance.scatter import solve_cells

    _print_report(solve_cells(counts, out, BalanceOptions.from_arguments(option), seed))


@app.command("balance-apply", hidden=True)
def balance_apply(
    labels: Annotated[Path, typer.Argument(metavar="PART.parquet", help="One part of a labels table.")],
    number: Annotated[int, typer.Option(help="The part's number, from 1.")],
    counts: Annotated[Path, typer.Option(help="Folder written by balance-add.")],
    plan: Annotated[Path, typer.Option(help="Folder written by balance-solve.")],
    out: OutFile,
) -> None:
    """Write the weights of one part."""
    from evenclip.balance.scatter import apply_plan

    apply_plan(labels, number, counts, plan, out)


@app.command("balance-gather", hidden=True)
def balance_gather(
    weights: PartsFolder,
    parts: NParts,
    plan: Annotated[Path, typer.Option(help="Folder written by balance-solve.")],
    out: OutFolder,
) -> None:
    """Join the weights of all parts into what balance writes."""
    from evenclip.balance.scatter import gather_weights

    print(_balance_line(gather_weights(part_files(weights, parts), plan, out)))


def _print_report(report: dict) -> None:
    """One line for the result, on stdout; one for each warning, on stderr."""
    print(_balance_line(report))
    for warning in report["warnings"]:
        print(f"balance: {warning}", file=sys.stderr)


def _balance_line(report: dict) -> str:
    held = "" if report["feasible"] or report["strategy"] != "m4" else "; the constraints do NOT hold: see report.json"
    return (
        f"{report['strategy']}: {report['n']} rows, {report['n_cells']} cells, retention {report['retention']:.4f}, "
        f"RB {_bias(report['rb_before'])} -> {_bias(report['realised_rb'])}, "
        f"AB {_bias(report['ab_before'])} -> {_bias(report['realised_ab'])}, {_worst_label(report)}{held}"
    )


def _worst_label(report: dict) -> str:
    worst = next(part for part in report["kept"] if part["group"] is None)
    return f"labels keep at least {worst['kept']:.2f} of their share ({worst['label']})"


def _bias(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


@app.command(
    rich_help_panel=OWN_DATA,
    epilog="Example: evenclip audit photos.csv --key photo --attribute gender --label nurse",
)
def audit(
    table: Annotated[
        list[Path], typer.Argument(metavar="TABLE", help="CSV, TSV or Parquet files, or folders of them.")
    ],
    attribute: Attributes = [],  # noqa: B006
    label: Labels = [],  # noqa: B006
    key: Key = None,
    weights: Annotated[Path | None, typer.Option(help="weights.parquet of the same rows.")] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Annotated rows with attribute, truth, perceived: corrects RB and AB for label noise."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for love plot and heat map (PNG) and audit.html.")
    ] = None,
    target: Targets = [],  # noqa: B006
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Measure representation and association bias of a labels table, before and after weighting."""
    import json

    from evenclip.balance import BalanceOptions
    from evenclip.balance import audit as audit_labels
    from evenclip.balance.audit_report import as_text

    options = BalanceOptions.from_arguments([*option, *_target_option(target)], "audit")
    source = _source(table, attribute, label, key)
    result = audit_labels(source, weights, options, seed=seed, calibration=calibration)
    print(json.dumps(result, indent=1) if as_json else as_text(result))
    if figures:
        from evenclip.balance.audit_report import write_figures

        write_figures(result, figures)
