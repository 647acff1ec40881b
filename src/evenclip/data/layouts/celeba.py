"""CelebA as distributed: `list_attr_celeba.txt`, `list_eval_partition.txt` and the images, unpacked or not.

The attribute list's first line is the number of images, the second the 40 names, then a name and 1 or -1 for each.
Every attribute becomes a column of "1" and "-1", which the option `values` can name. The partition says 0, 1 or 2:
train, valid, test; without it there is only the split `all`. There are no captions.
"""

from evenclip.data.layouts.base import (
    Candidate,
    Description,
    ImageIndex,
    Reject,
    check_values,
    key_of,
    with_value_names,
)
from evenclip.data.options import ImportOptions
from evenclip.data.source import File, Source
from evenclip.errors import InputError

ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
SPLITS = {"train": "0", "valid": "1", "test": "2"}

DESCRIPTION = Description(
    files="`list_attr_celeba.txt`, `list_eval_partition.txt`",
    splits="train, valid, test",
    columns="the 40 attributes",
    signature=r"list_attr_celeba\.txt",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> list[Candidate | Reject]:
    """The faces of ``split``, in the list's order."""
    files = source.files()
    texts = {file.base: file for file in files if not file.is_image}
    if ATTRIBUTES not in texts:
        raise InputError(f"{ATTRIBUTES} is missing", str(source.root), "give the folder that holds it")
    split_of = _partition(source, texts, split)
    images = ImageIndex(files)
    lines = source.read_lines(texts[ATTRIBUTES])
    names = lines[1].split() if len(lines) > 1 else []
    check_values(set(names), options.values)
    records: list[Candidate | Reject] = []
    for number, line in enumerate(lines[2:], start=3):
        name, *values = line.split() or [""]
        if len(values) != len(names) or not set(values) <= {"1", "-1"}:
            records.append(Reject(f"{ATTRIBUTES}:{number}", "malformed_row", f"{len(values)} values of 1 and -1"))
        elif split != "all" and name not in split_of:
            records.append(Reject(name, "malformed_row", f"its split is not in {PARTITION}"))
        elif split == "all" or split_of[name] == SPLITS[split]:
            image = images.find(name)
            if isinstance(image, Reject):
                records.append(image)
            else:
                candidate = Candidate(image, key_of(name), [], dict(zip(names, values, strict=True)))
                records.append(with_value_names(candidate, options.values))
    if lines and lines[0].strip() != str(len(lines) - 2):
        records.append(
            Reject(f"{ATTRIBUTES}:1", "malformed_row", f"{lines[0].strip()} announced, {len(lines) - 2} there")
        )
    return records


def _partition(source: Source, texts: dict[str, File], split: str) -> dict[str, str]:
    if split == "all":
        return {}
    if split not in SPLITS or PARTITION not in texts:
        instead = f"one of {', '.join(SPLITS)} with {PARTITION}, or all"
        raise InputError(f"the split '{split}' is not there", str(source.root), instead)
    rows = (line.split() for line in source.read_lines(texts[PARTITION]))
    return {row[0]: row[1] for row in rows if len(row) == 2}
