"""What the embedded world is: its vocabulary, its biases, and how one scene's latent state is drawn.

Reads and writes nothing. A scene holds one or two coloured objects, or one object beside a figure; a figure has a
group (seen by its hat and clothes, when its mark shows) and an occupation (seen by its tool), and it stands in a
setting that hints at the occupation. Names of groups and occupations are invented, so that the demo teaches bias
without drawing a stereotype. `captions` beside this module puts a scene into words, `drawing` into pixels.
"""

from dataclasses import dataclass, replace

import numpy as np

from evenclip.data.options import WorldOptions

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLORS = ("red", "green", "blue", "yellow", "purple", "pink")
SIZES = ("small", "large")
PLACES = ("left", "right", "above", "below")
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
GROUPS = ("zubbin", "tamlet")
SETTINGS = ("yard", "kitchen", "harbor", "forest", "market", "studio", "tunnel", "desert")
OCCUPATIONS = ("lorker", "trunder", "jorper", "nolster", "dasker", "felster", "plorer", "gelker")
TOOLS = dict(zip(OCCUPATIONS, ("mallet", "ladder", "umbrella", "bucket", "flag", "wheel", "fork", "kite"), strict=True))
HOME_SETTING = dict(zip(OCCUPATIONS, SETTINGS, strict=True))
OBJECT_CLASSES = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)

# The first group is shown more often and in most walks of life, the second almost only in one. So most settings and
# tools hint at the first group, and a model that has learnt the hints sees it where no group can be seen.
LEANS_TO_FIRST = np.array([1, 1, 1, 1, 1, 1, 1, -1])
POPULARITY = np.array([4, 4, 3, 3, 2, 2, 2, 20]) / 20
"""Sums to 1 over the occupations of either lean."""

PAIR_SHARE = 1 / 3
"""Share of scenes with two objects among those without a figure."""

RADIUS = {"small": 0.15, "large": 0.21}
"""Half the extent of an object, in shares of the image's side."""


@dataclass(frozen=True)
class Thing:
    """A coloured object with its centre (x, y) in [0, 1], x to the right, y downwards."""

    shape: str
    color: str
    size: str
    x: float = 0.5
    y: float = 0.5

    @property
    def name(self) -> str:
        """The class of the object, e.g. "red circle"."""
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class Figure:
    """A figure with its tool; ``marked`` = its group is visible. (x, y) is the centre of figure and tool together."""

    group: str
    occupation: str
    marked: bool = True
    x: float = 0.5
    y: float = 0.5


@dataclass(frozen=True)
class Scene:
    """The latent state of one image.

    ``place`` says where the first object is: in the picture if it is alone, else relative to its companion (the second
    object or the figure). A scene has one object and no companion, two objects, or one object and a figure.
    """

    setting: str
    things: tuple[Thing, ...]
    figure: Figure | None
    place: str

    @property
    def columns(self) -> dict[str, str]:
        """The scene's truth as the columns of its row; "" = not applicable, or not visible (an unmarked group)."""
        first, figure = self.things[0], self.figure
        return {
            "group": figure.group if figure and figure.marked else "",
            "occupation": figure.occupation if figure else "",
            "setting": self.setting,
            "object": first.name,
            "shape": first.shape,
            "color": first.color,
            "size": first.size,
            "place": self.place,
            "other_object": self.things[1].name if len(self.things) > 1 else "",
        }


def occupation_given_group(association: float) -> np.ndarray:
    """P(occupation | group).

    Parameters
    ----------
    association : float
        In [0, 1]: 0 = the groups share one distribution, 1 = each occupation has one group only.

    Returns
    -------
    ndarray of shape (2, 8)
        Rows follow `GROUPS` and sum to 1, columns follow `OCCUPATIONS`. The gap between the rows, which is the
        world's association bias, is ``association * POPULARITY`` up to sign.
    """
    lean = association * np.stack([LEANS_TO_FIRST, -LEANS_TO_FIRST])
    return POPULARITY * (1 + lean) / 2


def draw_scene(rng: np.random.Generator, options: WorldOptions) -> Scene:
    """Draw a scene as the options' shares say: with a figure or without, and all that follows."""
    if rng.random() >= options.person_share:
        return object_scene(rng, n_things=1 + int(rng.random() < PAIR_SHARE))
    group = GROUPS[int(rng.random() >= options.group_share)]
    distribution = occupation_given_group(options.association)[GROUPS.index(group)]
    occupation = OCCUPATIONS[rng.choice(len(OCCUPATIONS), p=distribution)]
    at_home = rng.random() < options.setting_share
    setting = HOME_SETTING[occupation] if at_home else pick(rng, SETTINGS)
    return figure_scene(rng, Figure(group, occupation, marked=rng.random() < options.marked_share), setting)


def draw_even_scene(rng: np.random.Generator, options: WorldOptions) -> Scene:
    """Draw a scene of the same kinds in the same shares, but without bias: all of the rest uniform and independent."""
    if rng.random() >= options.person_share:
        return object_scene(rng, n_things=1 + int(rng.random() < PAIR_SHARE))
    figure = Figure(pick(rng, GROUPS), pick(rng, OCCUPATIONS), marked=rng.random() < options.marked_share)
    return figure_scene(rng, figure, pick(rng, SETTINGS))


def object_scene(rng: np.random.Generator, n_things: int, name: str | None = None) -> Scene:
    """Draw a scene of one or two objects in any setting; ``name`` ("red circle") fixes the first."""
    things = [draw_thing(rng)]
    if name is not None:
        color, shape = name.split()
        things[0] = replace(things[0], color=color, shape=shape)
    if n_things == 2:
        things.append(unlike(rng, things[0]))
    place = pick(rng, PLACES)
    spots = _spots(rng, place, (0.24, 0.76) if n_things == 2 else (0.3,))
    placed = tuple(replace(thing, x=x, y=y) for thing, (x, y) in zip(things, spots, strict=True))
    return Scene(pick(rng, SETTINGS), placed, None, place)


def figure_scene(rng: np.random.Generator, figure: Figure, setting: str) -> Scene:
    """Draw a scene of ``figure`` beside one object: what the object is and where it lies are uniform."""
    place = pick(rng, PLACES)
    # a figure is taller than wide, so it leaves more room beside it than above or below
    (x, y), (figure_x, figure_y) = _spots(rng, place, (0.22, 0.72))
    return Scene(setting, (replace(draw_thing(rng), x=x, y=y),), replace(figure, x=figure_x, y=figure_y), place)


def draw_thing(rng: np.random.Generator) -> Thing:
    """Draw an object, uniform over shapes, colours and sizes, not placed yet."""
    return Thing(pick(rng, SHAPES), pick(rng, COLORS), pick(rng, SIZES))


def unlike(rng: np.random.Generator, thing: Thing) -> Thing:
    """Draw an object that shares neither shape nor colour with ``thing``, so that every phrase fits one of the two."""
    shape = pick(rng, tuple(s for s in SHAPES if s != thing.shape))
    color = pick(rng, tuple(c for c in COLORS if c != thing.color))
    return Thing(shape, color, pick(rng, SIZES))


def pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    """Draw one of ``values``, uniformly."""
    return values[rng.integers(len(values))]


def _spots(rng: np.random.Generator, place: str, depths: tuple[float, ...]) -> list[tuple[float, float]]:
    """Centres along the axis of ``place``, the first on its side at ``depths[0]`` from that edge, with some jitter."""
    spots = []
    for depth in depths:
        along = depth if place in ("left", "above") else 1 - depth
        along += rng.uniform(-0.02, 0.02)
        across = rng.uniform(0.42, 0.58)
        spots.append((along, across) if place in ("left", "right") else (across, along))
    return spots
