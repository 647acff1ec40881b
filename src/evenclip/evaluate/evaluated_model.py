"""Model whose numbers are in files of `evenclip evaluate`, `vqa` and `links`; a card has one model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from evenclip.digests import fingerprint
from evenclip.errors import InputError


@dataclass(frozen=True)
class EvaluatedModel:
    """A model as named by an evaluation's manifest; ``identity`` is {} for embeddings of unknown origin."""

    name: str
    identity: dict[str, str]
    embedding: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: dict[str, Any]) -> Self:
        """Create from a manifest; a model without a name is named after the folder of its embeddings."""
        name = manifest.get("model") or manifest["options"].get("model")
        if not name and "embeddings" in manifest["inputs"]:
            name = Path(manifest["inputs"]["embeddings"]["path"]).parent.as_posix()
        return cls(name or ".", manifest.get("model_identity", {}), manifest.get("embedding") or {})

    def is_other_than(self, other: Self) -> bool:
        """Whether two models differ, by weights if both are known, else by name."""
        if self.identity and other.identity:
            return self.identity != other.identity
        return self.name != other.name

    @property
    def title(self) -> str:
        """A short name, never empty."""
        path = Path(self.name)
        return "/".join(path.parts[-2:]) or "embeddings" if path.exists() else self.name

    @property
    def facts(self) -> dict[str, str]:
        """Facts about the model for the card."""
        weights = {"weights": fingerprint(self.identity)} if self.identity else {}
        made = {"embedded in": "{precision}, device {device}".format(**self.embedding)} if self.embedding else {}
        return {"model": self.name} | weights | made


def one_model(manifests: dict[Path, dict[str, Any]]) -> EvaluatedModel:
    """The model of all evaluations.

    Raises
    ------
    InputError
        They are of different models or weights, or were embedded in different precisions.
    """
    models = {path: EvaluatedModel.of(manifest) for path, manifest in manifests.items()}
    first = next(iter(models.values()))
    for path, other in models.items():
        if other.is_other_than(first):
            what = f"is of '{other.name}', not of '{first.name}'"
            if other.name == first.name:
                what = f"is of '{other.name}' with other weights than {next(iter(models))}"
            raise InputError(what, str(path), "a card has one model: evaluate it again")
        precisions = {model.embedding["precision"] for model in (first, other) if model.embedding}
        if len(precisions) > 1:
            what = f"embedded in {' and '.join(sorted(precisions))}, the files of one card"
            raise InputError(what, str(path), "evaluate all sets with the same --embed-option precision=...")
    return first
