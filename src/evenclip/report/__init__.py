"""Report of a study: figures and a page. `evenclip report --results results/demo --out results/demo/report.html`.

Reads `results/<study>/` and, for the sample grid, the training data folder; writes the self-contained page, and
beside it `figures/*.svg`, with their digests in `figures/figures.json`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evenclip.report.options import ReportOptions


def write_report(results: Path, out: Path, options: ReportOptions | None = None) -> None:
    """Draw the figures into ``figures/`` beside ``out`` and write the self-contained page.

    The page needs no network: figures and sample images are embedded. Equal results give an equal page.

    Parameters
    ----------
    results : Path
        Folder of one study, as `evenclip summarize` leaves it.
    out : Path
        The page, e.g. ``results/demo/report.html``.
    options : ReportOptions, optional

    Raises
    ------
    InputError
        If a file of the study is missing or not readable.
    """
    # slow imports: the tracker needs only `evenclip.report.samples`
    import hashlib

    from evenclip.digests import with_digest
    from evenclip.provenance import atomic_file, atomic_folder, only_writer, write_json
    from evenclip.report.options import ReportOptions
    from evenclip.report.page import render
    from evenclip.results import StudyResults
    from evenclip.unique_names import one_to_one

    page, pictures = render(StudyResults(results), options or ReportOptions())
    drawn = {(section, picture.name): picture.svg for section, group in pictures.items() for picture in group}
    names = one_to_one(drawn, lambda key: re.sub(r"[^\w.-]", "_", f"{key[0]}-{key[1]}"), 200)
    files = {f"{names[key]}.svg": svg for key, svg in drawn.items()}
    digests = {name: hashlib.sha256(svg).hexdigest() for name, svg in files.items()}
    with only_writer(out):
        with atomic_folder(Path(out).parent / "figures") as folder:
            for name, svg in files.items():
                (folder / name).write_bytes(svg)
            index = {"page": hashlib.sha256(page.encode()).hexdigest(), "figures": digests}
            write_json(with_digest(index), folder / "figures.json")
        with atomic_file(out) as temporary:
            temporary.write_text(page, encoding="utf-8")
