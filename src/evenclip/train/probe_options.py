"""Options of the bias probe."""

from typing import Annotated

from pydantic import Field

from evenclip.options import Options


class ProbeOptions(Options):
    """At which moments, and on what, the model's bias is measured while it is trained."""

    images: str
    """Folder of image-text shards of random images, for RB, e.g. data/world/unmarked."""
    groups: str
    """Prompt file of the values of the perceived attribute, for RB."""
    people: str
    """Folder of image-text shards of people, for AB, e.g. data/world/people."""
    column: str
    """Its truth column with the perceived attribute."""
    labels: str
    """Prompt file of the labels, for AB."""
    points: Annotated[int, Field(ge=2)] = 20
    """Moments, evenly spaced from the first step to the end."""
    n_images: Annotated[int, Field(ge=2)] = 500
    """At most so many images of each folder, evenly spread over it."""

    def files(self) -> dict[str, str]:
        """The files and folders that are read."""
        return {"probe groups": self.groups, "probe labels": self.labels} | self.folders()

    def folders(self) -> dict[str, str]:
        """The folders that are read."""
        return {"probe images": self.images, "probe people": self.people}
