"""Readers of what stages leave in a results folder: JSON documents, training histories and plain files, all checked.

A file that is missing, half written, edited or of another kind is an `InputError` that names the file and the key.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from evenclip.digests import check_digest, check_output, fingerprint
from evenclip.documents import Document
from evenclip.errors import InputError
from evenclip.tables import read_table

AGAIN = "run the stage that writes it again"


def read_document(path: Path, model: type[Document], sha256: str | None = None) -> Any:
    """Read and check a JSON file.

    Parameters
    ----------
    path : Path
    model : type
        Schema of the document.
    sha256 : str, optional
        Expected digest of the file.

    Returns
    -------
    dict
        The document as stored in the file.
    """
    content = read_bytes(path, sha256)
    try:
        document = json.loads(content.decode("utf-8"))
        check_digest(document, path)
        model.model_validate_json(content)
    except ValidationError as error:
        raise InputError(_first_problem(error), str(path), AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not readable JSON ({error})", str(path), AGAIN) from None
    return document


def read_bytes(path: Path, sha256: str | None = None) -> bytes:
    """Content of a file; `InputError` if it is missing or its digest differs."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError("no such file", str(path), "run the stages before this one") from None
    except OSError as error:
        raise InputError(f"not readable ({error.strerror})", str(path), "check the path") from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        what = f"was changed after it was written, or is incomplete ({len(content):,} bytes)"
        raise InputError(what, str(path), "run the stage that writes it again, and those after it")
    check_output(path)
    return content


def read_history(path: Path) -> pa.Table:
    """Training history sorted by step; columns step, samples_seen, loss, ..., all numeric."""
    read_table(path, ["step", "samples_seen", "loss", "samples_per_second"])
    table = read_table(path).sort_by("step")
    if not len(table):
        raise InputError("the history has no rows", str(path), "run `evenclip train` again")
    for field in table.schema:
        if not any(of_kind(field.type) for of_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_null)):
            raise InputError(f"column {field.name} is of {field.type}, not numbers", str(path), AGAIN)
    return table


def balanced_labels(manifest: dict[str, Any], results: Path) -> str:
    """Name of the labels that a strategy balanced.

    A strategy that was solved in parts names none in its manifest; then it is the study's only labels file.
    """
    if "labels" in manifest["inputs"]:
        return Path(manifest["inputs"]["labels"]["path"]).stem
    names = [path.stem for path in (results / "label").glob("*.json")]
    if len(names) != 1:
        raise InputError(f"{len(names)} files of labels, not one", str(results / "label"), "run `evenclip label`")
    return names[0]


def study_fingerprint(document: dict[str, Any]) -> str:
    """Fingerprint of study.json without its own `fingerprint` entry."""
    return fingerprint({key: value for key, value in document.items() if key != "fingerprint"})


def _first_problem(error: ValidationError) -> str:
    problem, *others = error.errors(include_url=False)
    key = ".".join(map(str, problem["loc"])) or "the document"
    more = f" (and {len(others)} more)" if others else ""
    return f"'{key}': {problem['msg'][0].lower()}{problem['msg'][1:]}{more}"
