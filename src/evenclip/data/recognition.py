"""The layout of a source, guessed: every layout is asked whether it knows the files.

An official format is known by its ``DESCRIPTION.signature``. A general layout has a function ``recognise(source,
captions)`` that gives a `Recognition` or None. The default layout, which takes any folder of images, is asked last.
"""

import re

from evenclip.data.layouts import load_layouts
from evenclip.data.layouts.base import Recognition
from evenclip.data.options import ImportOptions
from evenclip.data.source import Source
from evenclip.errors import InputError


def recognise(source: Source, captions: str | None = None) -> tuple[str, Recognition]:
    """The name of the layout that ``source`` has, and its splits and options.

    Parameters
    ----------
    source : Source
    captions : str, optional
        Path of the captions file, below the source or absolute; then the layout is `folder`.

    Raises
    ------
    InputError
        No layout knows the source.
    """
    layouts = load_layouts()
    default = ImportOptions().layout
    general = {name: layout.recognise for name, layout in layouts.items() if hasattr(layout, "recognise")}
    for name in sorted(general, key=lambda name: name == default):
        if name == default and not captions and (official := _official(source)):
            return official
        if recognition := general[name](source, captions):
            return name, recognition
    if captions:
        hint = "it needs a column of image names and one of captions: CSV or TSV with a header, JSON lines or Parquet"
        raise InputError("no column of this captions file names images of the source", captions, hint)
    hint = "give --captions FILE, or folders named after classes; or see docs/data.md for the layouts"
    raise InputError("no captions and no layout are recognised", str(source.root), hint)


def _official(source: Source) -> tuple[str, Recognition] | None:
    for name, layout in load_layouts().items():
        if not layout.DESCRIPTION.signature:
            continue
        pattern = re.compile(rf"(?:.*/)?{layout.DESCRIPTION.signature}")
        matches = [match for file in source.files() if (match := pattern.fullmatch(file.name))]
        if matches:
            splits = [match["split"] for match in matches] if "split" in pattern.groupindex else []
            return name, Recognition(list(dict.fromkeys(splits)))
    return None
