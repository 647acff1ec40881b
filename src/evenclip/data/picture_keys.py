"""Keys of pictures that data sets of knowledge and of questions name by number or name.

The number is the last digits of the key: Visual Genome's 2405722, COCO's COCO_val2014_000000391895, the embedded
world's 000000012.
"""

import os
import re

from evenclip.data.shards import read_pairs

_LAST_DIGITS = re.compile(r"(\d+)\D*$")


class PictureKeys:
    """The keys of a data folder; without one, every picture is its own key."""

    def __init__(self, data: str | os.PathLike | None):
        keys = [] if data is None else read_pairs(data, ["key"]).column("key").to_pylist()
        self._everything = data is None
        self._names = set(keys)
        self._numbers: dict[int, str | None] = {}
        for key in keys:
            if match := _LAST_DIGITS.search(key):
                number = int(match[1])
                self._numbers[number] = None if number in self._numbers else key  # two keys of one number: neither

    def of(self, picture: int | str) -> str | None:
        """The key of the picture with that number or name; None if it is not there, or not the only one."""
        if self._everything:
            return str(picture)
        if isinstance(picture, int):
            return self._numbers.get(picture)
        return picture if picture in self._names else None
