"""Which model made the embeddings that are evaluated, as the evaluation's manifest records it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from evenclip.errors import InputError


@dataclass(frozen=True)
class Embedder:
    """A model: its name as given, what it is (`evenclip.model.identity.model_identity`), and how it embedded."""

    name: str
    identity: dict[str, str]
    precision: str
    device: str

    @classmethod
    def beside(cls, embeddings: Iterable[Path]) -> Self | None:
        """The model of `.npz` files, from the manifests of `evenclip embed` beside them; None where there are none.

        Raises
        ------
        InputError
            The files are of different models.
        """
        found = [each for folder in dict.fromkeys(path.parent for path in embeddings) if (each := cls._of(folder))]
        for each in found[1:]:
            if each.identity != found[0].identity:
                what = f"embeddings of '{found[0].name}' and of another model, '{each.name}'"
                raise InputError(what, ", ".join(map(str, embeddings)), "evaluate the embeddings of one model")
        return found[0] if found else None

    @classmethod
    def _of(cls, folder: Path) -> Self | None:
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            options = manifest["options"]
            return cls(options["model"], manifest["model_identity"], options["precision"], manifest["device"])
        except (OSError, ValueError, KeyError, TypeError):  # none, or that of something else
            return None

    def as_manifest(self) -> dict[str, Any]:
        """Entries of an evaluation's manifest."""
        embedding = {"precision": self.precision, "device": self.device}
        return {"model": self.name, "model_identity": self.identity, "embedding": embedding}
