"""Unique names for systems that allow fewer characters, such as file systems and MLflow."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

Key = TypeVar("Key", bound=tuple[str, ...])


def one_to_one(keys: Iterable[Key], name_of: Callable[[Key], str], max_length: int = 250) -> dict[Key, str]:
    """Assign each key a unique name, also unique when letter case is ignored.

    Parameters
    ----------
    keys : iterable of tuple of str
    name_of : callable
        Name of a key in allowed characters; it need not be unique.
    max_length : int
        Largest allowed length of a name, at least 20.

    Returns
    -------
    dict
        Name by key: `name_of(key)`, with a digest of the key at its end if that is too long or not unique.
    """
    names = {key: name_of(key) for key in keys}
    taken = Counter(name.casefold() for name in names.values())
    digests = {key: hashlib.sha256("\0".join(key).encode()).hexdigest()[:12] for key in names}
    return {
        key: name
        if taken[name.casefold()] == 1 and len(name) <= max_length
        else f"{name[: max_length - 13]}-{digests[key]}"
        for key, name in names.items()
    }
