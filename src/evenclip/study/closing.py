"""The last lines that a finished study prints: its headline result, and where to look next."""

import os
from collections.abc import Sequence
from pathlib import Path

from evenclip.errors import InputError
from evenclip.study.schema import StudyConfig


def closing_lines(config: StudyConfig, runs: Sequence[str], study_files: Sequence[str]) -> list[str]:
    """Headline result, report, bias card if there is one, MLflow and what to do next, one line each.

    If the results do not fit together, as where only some were made again, one line says which file differs.

    Parameters
    ----------
    config : StudyConfig
        A study whose report is written.
    runs : sequence of str
        Names of its runs; the first is the baseline.
    study_files : sequence of str
        The study file, as it was named on the command line; empty for the demo.
    """
    # slow imports, needed only at the end
    from evenclip.report.headline import main_run, sentence
    from evenclip.results import StudyResults

    results = config.results
    study = f" --configfile {os.path.relpath(study_files[0])}" if study_files else ""
    finished = StudyResults(Path(results))
    try:
        main, headline = main_run(finished), sentence(finished)
    except InputError as error:  # only some files were made anew, or one is damaged
        what = str(error).splitlines()[0]
        return [f"report  {results}/report.html does not fit: {what}; to make it again: snakemake --cores all{study}"]
    card = f"{results}/card/{main.name if main else runs[0]}/card.html"
    return [
        f"result  {headline}",
        f"report  {results}/report.html",
        *([f"card    {card}"] if os.path.exists(card) else []),
        f"MLflow  mlflow ui --backend-store-uri {config.track.tracking_uri}    (or: make mlflow)",
        f"next    change {config.ablations} (one row is one run), then: snakemake --cores all{study}",
    ]
