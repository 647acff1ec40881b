"""Names for systems that allow fewer characters than ours, one to one: no two things get one name."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

Key = TypeVar("Key", bound=tuple[str, ...])


def one_to_one(keys: Iterable[Key], name_of: Callable[[Key], str], max_length: int = 250) -> dict[Key, str]:
    """A name for every key, different from all others, also where letter case does not count.

    Parameters
    ----------
    keys : iterable of tuple of str
    name_of : callable
        The name of a key in allowed characters; several keys may have the same.
    max_length : int
        Longest name that is allowed, at least 20.

    Returns
    -------
    dict
        Key -> `name_of(key)`; where that is too long or also another key's, with a digest of the key at its end.
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
