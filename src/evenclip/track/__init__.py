"""Write a study to MLflow, or bring the store up to date with it: `evenclip track sync --results results/demo`.

Reads `results/<study>/`, which stays the truth; writes the store, and a receipt with the run ids. The store can
be removed at any time and made again from the results.
"""

from pathlib import Path


def sync(results: Path, tracking_uri: str, out: Path | None = None) -> None:
    """Make the experiment of a study hold exactly what is in its results folder; do nothing where it does already.

    Parameters
    ----------
    results : Path
        Folder of one study, e.g. ``results/demo``, as `evenclip summarize` and `evenclip report` leave it.
    tracking_uri : str
        MLflow store, e.g. ``sqlite:///mlflow.db`` or the address of a server.
    out : Path, optional
        Receipt to write: experiment, store and the id of every run; it changes only where a run does.

    Raises
    ------
    InputError
        If a file of the study is missing, or the store cannot be used or was moved.
    """
    # MLflow takes seconds to import: not for those who only want the options
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
    done = ", ".join(f"{len(keys)} {word}" for word, keys in counts.items() if keys)
    print(f"MLflow experiment '{study.name}' in {tracking_uri}: {done or 'nothing to do'} ({len(planned)} runs)")
