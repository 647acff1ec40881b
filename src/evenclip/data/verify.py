"""Check a data folder against the SHA-256 sums in its manifest. Command: `evenclip data verify DIR`."""

from pathlib import Path

from evenclip.data.shards import read_manifest
from evenclip.errors import InputError
from evenclip.progress import track
from evenclip.provenance import sha256_file


def verify_dataset(folder: str | Path) -> int:
    """Return the number of pairs; `InputError` naming each shard file that is missing, changed or not listed."""
    folder = Path(folder)
    shards = read_manifest(folder)["shards"]
    expected = {name: digest for shard in shards for name, digest in shard["sha256"].items()}
    problems = []
    for name, digest in track(expected.items(), f"verify {folder}", len(expected)):
        if not (folder / name).is_file():
            problems.append(f"{name} is missing")
        elif sha256_file(folder / name) != digest:
            problems.append(f"{name} has changed")
    present = {path.name for path in folder.glob("[0-9]*") if path.suffix in (".tar", ".parquet")}
    problems += [f"{name} is not in the manifest" for name in sorted(present - set(expected))]
    if problems:
        raise InputError("; ".join(problems), str(folder), "make the data folder again")
    return sum(shard["n"] for shard in shards)
