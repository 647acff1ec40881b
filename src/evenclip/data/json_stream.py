"""Read JSON files of any size item by item: memory holds one item and one block of text.

Annotation files of several gigabytes are one list, or one object whose members are lists (COCO) or objects (VALSE).
Not ijson: docs/dependencies.md says why.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO

from evenclip.errors import InputError

BLOCK = 2**16  # characters read at once
MAX_ITEM = 2**27  # characters of one item; a broken file must not be read whole in search of an item's end
_SPACE = re.compile(r"[ \t\n\r]*")


def iterate_items(file: TextIO, where: str) -> Iterator[tuple[str, Any]]:
    """Yield what a JSON file holds, in its order.

    Parameters
    ----------
    file : text file
        Read once, from where it stands to its end.
    where : str
        The file's name in error messages.

    Yields
    ------
    (str, value)
        Of a list, ``""`` and each element. Of an object, each member's key with its value, or, where the value is a
        list, with each element.

    Raises
    ------
    InputError
        If the file is not JSON, ends too early, or is a bare value.
    """
    reader = _Reader(file, where)
    if reader.take("[{") == "[":
        yield from (("", item) for item in reader.elements())
    else:
        for key in reader.object_keys():
            if reader.peek() == "[":
                reader.take("[")
                yield from ((key, item) for item in reader.elements())
            else:
                yield key, reader.value()
    reader.end()


class _Reader:
    """A window on the text that moves forward."""

    def __init__(self, file: TextIO, where: str):
        self._file, self._where = file, where
        self._text, self._at = "", 0
        self._passed = 0  # characters before the window
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is no white space."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                self._fail("the file ends too early")

    def take(self, expected: str) -> str:
        """Step over the next character, which must be one of ``expected``."""
        character = self.peek()
        if character not in expected:
            self._fail(f"'{character}' where one of {' '.join(expected)} should be")
        self._at += 1
        return character

    def value(self) -> Any:
        """Step over one value."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError:
                self._fail("nested too deeply")
            except ValueError as error:  # broken, or cut by the window's end
                if len(self._text) - self._at > MAX_ITEM or not self._more():
                    self._fail(str(error).partition(":")[0])
                continue
            if end + len(".e+") > len(self._text) and self._more():
                continue  # a number may go on: 1 is 1.5e+9 cut off
            self._at = end
            return value

    def elements(self) -> Iterator[Any]:
        """The elements of a list whose bracket has been taken."""
        yield from (self.value() for _ in self._members("]"))

    def object_keys(self) -> Iterator[str]:
        """The keys of an object whose brace has been taken; the caller reads each value."""
        for _ in self._members("}"):
            if self.peek() != '"':
                self._fail("a key is no string")
            key = self.value()
            self.take(":")
            yield key

    def end(self) -> None:
        """Check that only white space is left."""
        while True:
            if self._text[self._at :].strip(" \t\n\r"):
                self._fail("more text after the JSON")
            self._at = len(self._text)
            if not self._more():
                return

    def _members(self, closing: str) -> Iterator[None]:
        if self.peek() != closing:
            yield
            while self.take("," + closing) != closing:
                yield
        else:
            self.take(closing)

    def _more(self) -> bool:
        """Discard what has been read, and read as much again as is left, so that the time stays linear."""
        try:
            block = self._file.read(max(BLOCK, len(self._text) - self._at))
        except UnicodeDecodeError:
            self._fail("not UTF-8 text")
        if block:
            self._passed += self._at
            self._text, self._at = self._text[self._at :] + block, 0
        return bool(block)

    def _fail(self, what: str) -> NoReturn:
        position = f"{self._where}, near character {self._passed + self._at}"
        raise InputError(f"not readable JSON ({what})", position, "fetch the file again")
