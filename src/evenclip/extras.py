"""Parts of the installation that not everybody needs (extras), and which of them a missing library belongs to."""

import importlib.metadata
import re

from evenclip.errors import InputError

DISTRIBUTIONS = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "open_clip": "open-clip-torch",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Distributions whose import name is not their own; all others are imported by their name."""


def normalise(name: str) -> str:
    """The canonical form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution_of(module: str) -> str:
    """The distribution that brings the import ``module``, e.g. ``sklearn.metrics`` -> ``scikit-learn``."""
    top = module.partition(".")[0]
    return DISTRIBUTIONS.get(top, normalise(top))


def extra_of(distribution: str) -> str | None:
    """The smallest extra of evenclip that brings a distribution, as the installed package's metadata say; or None."""
    brings: dict[str, set[str]] = {}
    for requirement in importlib.metadata.requires("evenclip") or []:
        name, marker = re.match(r"[\w.-]+", requirement).group(), re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        if marker:
            brings.setdefault(marker[1], set()).add(normalise(name))
    extras = [extra for extra, names in brings.items() if distribution in names - {"evenclip"}]
    return min(extras, key=lambda extra: len(brings[extra]), default=None)


def missing_extra(error: ModuleNotFoundError) -> InputError | None:
    """What to install where an import failed; None if the module belongs to no extra."""
    distribution = distribution_of(error.name or "")
    if (extra := extra_of(distribution)) is None:
        return None
    command = f"pip install 'evenclip[{extra}]' (in a checkout: pip install '.[{extra}]')"
    return InputError(f"{distribution} is not installed: this needs the extra '{extra}'", None, command)
