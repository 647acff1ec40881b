"""Items of compositional tests: an image, its caption, and a foil that is wrong in one thing."""

from dataclasses import dataclass, field

from evenclip.data.candidates import Candidate, Reject, one_line, short_key
from evenclip.data.finding import ImageIndex


@dataclass(frozen=True)
class Choice:
    """One item; ``name`` tells it from the others of its ``probe``; ``box`` as in `Candidate`."""

    probe: str
    name: str
    image: str
    caption: str
    foil: str
    columns: dict[str, str] = field(default_factory=dict)
    box: tuple[int, int, int, int] | None = None

    def candidate(self, images: ImageIndex) -> Candidate | Reject:
        """The pair with the columns `probe`, `foil` and `image`; its key is the probe and the item's name."""
        key = short_key(f"{self.probe}_{self.name}".replace(".", "_").replace("/", "_"))
        fitting = images.fitting(self.image)
        caption, foil = one_line(self.caption), one_line(self.foil)
        if len(fitting) != 1:
            return Reject(f"{self.probe} {self.name}", "missing_image", f"{self.image}: {len(fitting)} files")
        if not caption or not foil:
            return Reject(f"{self.probe} {self.name}", "missing_caption", "caption or foil is empty")
        columns = {"probe": self.probe, "foil": foil, "image": fitting[0].name} | self.columns
        return Candidate(fitting[0], key, [caption], columns, self.box)
