"""The data sets of a study: each is synthesised, imported, or made of another one.

A block gives the `evenclip data` command that makes a split, and the files that the split is made from.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints

from evenclip.balance.options import BalanceOptions
from evenclip.data.options import ImportOptions, WorldOptions
from evenclip.data.raw_listing import fingerprint_files
from evenclip.options import Count, FilePath, Options, Seed, expand_variables

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
"""A name that becomes part of paths and metrics."""
SplitName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+$")]
DataName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*/[A-Za-z0-9_]+$")]
"""`<dataset>/<split>`."""


def unique(values: list) -> list:
    """The same values; `ValueError` if one occurs twice."""
    if twice := [value for i, value in enumerate(values) if value in values[:i]]:
        name = twice[0].to_argument() if hasattr(twice[0], "to_argument") else twice[0]  # a task
        raise ValueError(f"{name} occurs twice")
    return values


def manifest_of(data: str) -> str:
    """The manifest of the data ``<dataset>/<split>``: the one file that stands for its shards."""
    return f"data/{data}/manifest.json"


def made_with(path: str, datasets: Iterable[str]) -> str:
    """The manifest of the data folder that ``path`` lies in, if one of ``datasets`` makes it; else ``path``."""
    parts = Path(path).parts
    ours = len(parts) > 2 and parts[0] == "data" and parts[1] in datasets
    return manifest_of("/".join(parts[1:3])) if ours else path


class SynthesizedDataset(Options):
    """A data set that is drawn from the embedded world."""

    source: Literal["synthesize"]
    """The data set is drawn."""
    splits: Annotated[dict[SplitName, Count], Field(min_length=1)]
    """Number of pairs of each split."""
    seed: Seed = 0
    """Seed of the drawing."""
    world: WorldOptions = WorldOptions()
    """The biases and looks of the world."""

    module: ClassVar = "evenclip.data.world.synthesize"

    def arguments(self, split: str) -> list[str]:
        """`evenclip data` sub-command and arguments that make one split."""
        size = ["--n", str(self.splits[split]), "--seed", str(self.seed)]
        return ["synthesize", "--split", split, *size, *self.world.to_flags()]

    def raw_files(self) -> list[str]:
        """Files that the data set is read from: none."""
        return []

    def listing(self) -> str:
        """Fingerprint of the files that the data set is read from: '' for none."""
        return ""

    def made_from(self, split: str) -> list[str]:
        """What of this study a split is made from: nothing."""
        return []


class ImportedDataset(Options):
    """A data set that is read from files."""

    source: Literal["import"]
    """The data set is read from files."""
    root: FilePath
    """Folder, tar or zip with the files; `${NAME}` and `${NAME:-default}` stand for environment variables."""
    splits: Annotated[list[SplitName], Field(min_length=1), AfterValidator(unique)] = ["all"]
    """Splits to import."""
    options: ImportOptions = ImportOptions()
    """How the files are read."""

    module: ClassVar = "evenclip.data.importing"

    def arguments(self, split: str) -> list[str]:
        """`evenclip data` sub-command and arguments that make one split."""
        return ["import", "--source", self.raw_files()[0], "--split", split, *self.options.to_flags()]

    def raw_files(self) -> list[str]:
        """The folder or archive that the data set is read from, and a captions file elsewhere; variables expanded."""
        captions = self.options.captions
        elsewhere = [captions] if captions and os.path.isabs(captions) else []
        return [expand_variables(self.root, "data, root"), *elsewhere]

    def listing(self) -> str:
        """Fingerprint of the files that the data set is read from; times alone do not change it."""
        return "".join(map(fingerprint_files, self.raw_files()))

    def made_from(self, split: str) -> list[str]:
        """What of this study a split is made from: nothing."""
        return []


class DerivedDataset(Options):
    """A data set that is made from another one of the study."""

    of: Name
    """The data set that it is made from."""
    splits: Annotated[list[SplitName], Field(min_length=1), AfterValidator(unique)]
    """Its splits that are used."""

    def raw_files(self) -> list[str]:
        """Files from outside that the data set is read from: none."""
        return []

    def listing(self) -> str:
        """Fingerprint of the files that the data set is read from: '' for none."""
        return ""

    def made_from(self, split: str) -> list[str]:
        """The manifest of the data that a split is made from, and other files that the study names."""
        return [manifest_of(f"{self.of}/{split}")]


class AnnotatedDataset(DerivedDataset):
    """The pairs of another data set, with columns of what their captions name, and weights that balance it."""

    source: Literal["annotate"]
    """Columns are added to another data set."""
    lexicon: FilePath
    """YAML file with the words of each perceived attribute and target."""
    options: BalanceOptions = BalanceOptions()
    """How the weights in the column `balance` are found."""

    module: ClassVar = "evenclip.label.annotate"

    def arguments(self, split: str) -> list[str]:
        """`evenclip data` sub-command and arguments that make one split."""
        data = ["--data", f"data/{self.of}/{split}", "--lexicon", self.lexicon]
        return ["annotate", *data, *self.options.to_flags()]

    def made_from(self, split: str) -> list[str]:
        """The manifest of the data that a split is made from, and the lexicon."""
        return [*super().made_from(split), self.lexicon]


class SwapProbes(DerivedDataset):
    """Captions of another data set against copies with one word exchanged, by kind of word."""

    source: Literal["swaps"]
    """Swap probes are made of another data set's captions."""
    seed: Seed = 0
    """Seed of the choice among a picture's swaps."""

    module: ClassVar = "evenclip.graph.swap_probes"

    def arguments(self, split: str) -> list[str]:
        """`evenclip data` sub-command and arguments that make one split."""
        return ["swaps", "--data", f"data/{self.of}/{split}", "--seed", str(self.seed)]


Dataset = Annotated[SynthesizedDataset | ImportedDataset | AnnotatedDataset | SwapProbes, Field(discriminator="source")]
