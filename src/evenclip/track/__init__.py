"""Synchronisation of a study with MLflow: `evenclip track sync --results results/demo`.

Reads `results/<study>/`; writes the MLflow store, and a receipt with the run ids. The results folder stays the source
of truth: the store can be deleted at any time and rebuilt from it.
"""

from pathlib import Path


def sync(results: Path, tracking_uri: str, out: Path | None = None) -> None:
    """Make a study's experiment match its results folder; does nothing if it already matches.

    Parameters
    ----------
    results : Path
        Folder of one study, e.g. ``results/demo``, as written by `evenclip summarize` and `evenclip report`.
    tracking_uri : str
        MLflow store, e.g. ``sqlite:///mlflow.db`` or the address of a server.
    out : Path, optional
        Receipt to write: experiment, store and the id of every run; it changes only if a run changes.

    Raises
    ------
    InputError
        A file of the study is missing, or the store cannot be used or was moved.
    """
    # MLflow takes seconds to import, which users of the options should not wait for
    from evenclip.provenance import write_json
    from evenclip.results import StudyResults
    from evenclip.track.plan import plan_study
    from evenclip.track.store import StudyStore

    study = StudyResults(results)
    planned = plan_study(study)
    change = StudyStore(tracking_uri, study.name).synchronise(planned)
    if out is not None:
        write_json({"experiment": study.name, "tracking_uri": tracking_uri, "runs": change.run_ids,
                    "models": change.versions}, out)  # fmt: skip
    counts = {"created": change.created, "replaced": change.replaced, "removed": change.removed}
    counts |= {"registered": change.registered}
    summary = ", ".join(f"{len(keys)} {word}" for word, keys in counts.items() if keys)
    print(f"MLflow experiment '{study.name}' in {tracking_uri}: {summary or 'nothing to do'} ({len(planned)} runs)")
