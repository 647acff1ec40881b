"""Prompt files: `config/prompts/<stem>.yaml` with templates, and classes that each have one or more names."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from evenclip.options import Options, read_yaml

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Prompts(Options):
    """The texts that stand for classes in zero-shot classification."""

    templates: Annotated[list[Annotated[str, StringConstraints(pattern=r"\{\}")]], Field(min_length=1)]
    """Sentences with `{}` in the place of the class, e.g. "a photo of a {}."."""
    classes: Annotated[dict[Text, Annotated[list[Text], Field(min_length=1)]], Field(min_length=1)]
    """The texts of each class; their embeddings are averaged."""

    def texts(self, template: str, name: str) -> list[str]:
        """The texts of one class in one template."""
        return [template.replace("{}", text) for text in self.classes[name]]


def read_prompts(path: Path) -> Prompts:
    """Read a prompt file; `InputError` if a template has no `{}` or a class has no text."""
    return Prompts.parse(read_yaml(path) or {}, str(path))
