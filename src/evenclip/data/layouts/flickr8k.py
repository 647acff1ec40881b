"""Flickr8k as its authors distribute it.

`Flickr8k.token.txt` holds lines `name.jpg#i<TAB>caption`; `Flickr_8k.trainImages.txt`, `.devImages.txt` and
`.testImages.txt` hold one name a line; the photos lie in `Flicker8k_Dataset` (the authors' spelling), unpacked or not.
The token file is known to name a photo `2258277193_586949ec62.jpg.1`, which is no photo's name.
"""

import re

from evenclip.data.layouts.base import Candidate, Description, Reject, key_of, one_line
from evenclip.data.options import ImportOptions
from evenclip.data.source import File, Source
from evenclip.errors import InputError

TOKENS = "Flickr8k.token.txt"
SPLIT_LIST = re.compile(r"Flickr_8k\.(\w+)Images\.txt")
TOKEN_LINE = re.compile(r"(?P<name>[^\t]+)#(?P<number>\d+)\t(?P<caption>.*)")

DESCRIPTION = Description(
    files="`Flickr8k.token.txt`, `Flickr_8k.*Images.txt`",
    splits="train, dev, test",
    columns="",
    signature=r"Flickr_8k\.(?P<split>\w+)Images\.txt",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> list[Candidate | Reject]:
    """The photos of ``split`` with their captions in the authors' order; ``all`` = every photo, listed or not."""
    files = source.files()
    texts = {file.base: file for file in files if not file.is_image}
    photos = {file.base: file for file in files if file.is_image}
    if TOKENS not in texts:
        raise InputError(f"{TOKENS} is missing", str(source.root), "give the folder that holds Flickr8k_text")
    captions, records = _captions(source, texts[TOKENS])
    names = list(photos | dict.fromkeys(captions)) if split == "all" else _listed(source, texts, split)
    for name in names:
        key = key_of(name)
        if name not in photos:
            records.append(Reject(name, "missing_image"))
        elif not captions.get(name):
            records.append(Reject(name, "missing_caption"))
        else:
            records.append(Candidate(photos[name], key, captions[name]))
    return records


def _captions(source: Source, tokens: File) -> tuple[dict[str, list[str]], list[Candidate | Reject]]:
    captions: dict[str, list[tuple[int, str]]] = {}
    rejects: dict[str, Reject] = {}
    for number, line in enumerate(source.read_lines(tokens), start=1):
        if not line.strip():
            continue
        match = TOKEN_LINE.fullmatch(line)
        if match is None:
            where = f"{tokens.base}:{number}"
            rejects[where] = Reject(where, "malformed_row", "not of the form name.jpg#number<TAB>caption")
        elif not match["name"].lower().endswith(".jpg"):
            rejects[match["name"]] = Reject(match["name"], "stray_name", f"{tokens.base}:{number}: not a .jpg")
        elif caption := one_line(match["caption"]):
            captions.setdefault(match["name"], []).append((int(match["number"]), caption))
    ordered = {name: [caption for _, caption in sorted(numbered)] for name, numbered in captions.items()}
    return ordered, list(rejects.values())


def _listed(source: Source, texts: dict[str, File], split: str) -> list[str]:
    lists = {match[1]: file for name, file in texts.items() if (match := SPLIT_LIST.fullmatch(name))}
    if split not in lists:
        splits = ", ".join([*sorted(lists), "all"])
        raise InputError(f"Flickr_8k.{split}Images.txt is missing", str(source.root), f"available splits: {splits}")
    names = (line.strip() for line in source.read_lines(lists[split]))
    return list(dict.fromkeys(name for name in names if name))
