"""Put the report together: choose the figures, gather the tables, fill the template."""

import base64
from pathlib import Path

import jinja2

from evenclip.errors import InputError
from evenclip.provenance import atomic_file, atomic_folder
from evenclip.report import figures, tables
from evenclip.report.figures import Picture
from evenclip.report.samples import END, START, read_samples
from evenclip.results import StudyResults

HEADLINE_QUALITY = ("zeroshot/*/acc1", "retrieval/*/image_to_text_recall_at_5")
MAX_SCATTERS = 4


def write_report(results: Path, out: Path) -> None:
    """Draw the figures into ``figures/`` beside ``out`` and write the self-contained page.

    The page needs no network: figures and sample images are embedded. Equal results give an equal page.

    Parameters
    ----------
    results : Path
        Folder of one study, as `evenclip summarize` leaves it.
    out : Path
        The page, e.g. ``results/demo/report.html``.

    Raises
    ------
    InputError
        If a file of the study is missing or not readable.
    """
    study = StudyResults(results)
    pictures = draw(study)
    page = render(study, pictures)
    with atomic_folder(Path(out).parent / "figures") as folder:
        for picture in [picture for group in pictures.values() for picture in group]:
            (folder / f"{picture.name}.png").write_bytes(picture.png)
    with atomic_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def draw(study: StudyResults) -> dict[str, list[Picture]]:
    """All figures by the page's section."""
    association, representation = _measured(study, "bias/*/ab_max"), _measured(study, "bias/*/rb")
    quality = [metric for pattern in HEADLINE_QUALITY for metric in _measured(study, pattern)]
    if not study.runs or not (association or representation or quality):
        raise InputError(
            "the study has no runs with metrics", str(study.folder / "summary.csv"), "run `evenclip summarize`"
        )
    pairs = [(bias, metric) for bias in association for metric in quality][:MAX_SCATTERS]
    return {
        "scatter": [figures.bias_against_quality(study, *pair) for pair in pairs],
        "data": [
            figures.data_bias(study, "rb", "Representation bias of the data"),
            figures.data_bias(study, "ab", "Association bias of the data"),
        ],
        "model": [
            figures.dot_plot(study, metric, f"Representation bias on {_set(metric)}") for metric in representation
        ]
        + [figures.dot_plot(study, metric, f"Association bias on {_set(metric)}") for metric in association],
        "quality": [figures.dot_plot(study, metric, f"Quality on {_set(metric)}") for metric in quality],
        "training": [figures.training_curves(study)],
    }


def render(study: StudyResults, pictures: dict[str, list[Picture]]) -> str:
    """The page's HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["data_uri"] = lambda svg: "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    return environment.get_template("page.html.j2").render(
        study=study,
        sets=sorted({name for run in study.runs for seed in run.seeds for name in study.evaluations(run.name, seed)}),
        pictures=pictures,
        samples={name: read_samples(study, name, document) for name, document in study.labels.items()},
        samples_start=START,
        samples_end=END,
        strategies=tables.strategy_table(study),
        results=tables.result_tables(study),
        intervals=sorted(set(study.summary.get("interval", [])) - {""}),
        tests=tables.tests_table(study),
        smallest_p=tables.smallest_p(study),
        labels=[tables.label_table(document, name) for name, document in study.labels.items()],
        making=tables.making_table(study),
        packages=tables.package_table(study),
    )


def _measured(study: StudyResults, pattern: str) -> list[str]:
    """Metrics ``family/*/measure`` that have a value for some run, in the order of summary.csv."""
    family, _, measure = pattern.split("/")
    table = study.summary
    chosen = table["metric"].str.match(f"{family}/.+/{measure}$") & (table["group"] == "") & table["mean"].notna()
    return list(dict.fromkeys(table["metric"][chosen]))


def _set(metric: str) -> str:
    return metric.split("/", 1)[1].rpartition("/")[0]
