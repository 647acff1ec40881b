"""Report of a study: figures and a page. `evenclip report --results results/demo --out results/demo/report.html`.

Reads `results/<study>/` and, for the sample grid, the training data folder; writes the self-contained page, and
beside it `figures/*.png`, with their digests in `figures/figures.json`.
"""

import re
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
    # slow imports: the tracker needs only `evenclip.report.samples`
    import hashlib

    from evenclip.digests import with_digest
    from evenclip.provenance import atomic_file, atomic_folder, only_writer, write_json
    from evenclip.report.page import render
    from evenclip.results import StudyResults
    from evenclip.unique_names import one_to_one

    page, pictures = render(StudyResults(results))
    names = one_to_one([(picture.name,) for picture in pictures], lambda key: re.sub(r"[^\w.-]", "_", key[0]), 200)
    files = {f"{names[(picture.name,)]}.png": picture.png for picture in pictures}
    digests = {name: hashlib.sha256(png).hexdigest() for name, png in files.items()}
    with only_writer(out):
        with atomic_folder(Path(out).parent / "figures") as folder:
            for name, png in files.items():
                (folder / name).write_bytes(png)
            index = {"page": hashlib.sha256(page.encode()).hexdigest(), "figures": digests}
            write_json(with_digest(index), folder / "figures.json")
        with atomic_file(out) as temporary:
            temporary.write_text(page, encoding="utf-8")
