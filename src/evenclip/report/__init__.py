"""A study's figures and page: `evenclip report --results results/demo --out results/demo/report.html`.

Reads `results/<study>/` and, for the sample grid, the training data folder; writes the self-contained page, and
beside it `figures/*.png`.
"""

from pathlib import Path


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
    # drawing is slow to import: not for the tracker, which needs `evenclip.report.samples` alone
    from evenclip.provenance import atomic_file, atomic_folder
    from evenclip.report.page import render
    from evenclip.results import StudyResults

    page, pictures = render(StudyResults(results))
    with atomic_folder(Path(out).parent / "figures") as folder:
        for picture in pictures:
            (folder / f"{picture.name}.png").write_bytes(picture.png)
    with atomic_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
