"""The embedded world's vocabulary, its biases, and how the latent state of one scene is drawn.

Reads and writes nothing. A scene shows one or two coloured objects, or one object beside a figure. A figure has a group
(seen by its hat and clothes, if it is marked) and an occupation (seen by its tool, if the tool can be seen), and it
stands in a setting that hints at the occupation. The names of groups and occupations are invented, so that the demo
teaches bias without drawing a stereotype. `captions` puts a scene into words, `drawing` into pixels.
"""

from dataclasses import dataclass, replace

import numpy as np

from evenclip.data.options import WorldOptions

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLORS = ("red", "pink", "purple", "blue", "green", "yellow")
"""In the order of their hues: each is most easily mistaken for its neighbours, the last for the first."""
SIZES = ("small", "large")
PLACES = ("left", "right", "above", "below")
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
GROUPS = ("zubbin", "tamlet")
SETTINGS = ("yard", "kitchen", "harbor", "forest", "market", "studio", "tunnel", "desert")
OCCUPATIONS = ("lorker", "trunder", "jorper", "nolster", "dasker", "felster", "plorer", "gelker")
TOOLS = dict(zip(OCCUPATIONS, ("mallet", "ladder", "umbrella", "bucket", "flag", "wheel", "fork", "kite"), strict=True))
HOME_SETTING = dict(zip(OCCUPATIONS, SETTINGS, strict=True))
OBJECT_CLASSES = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)
TOOL_VIEWS = ("clear", "blurred", "hidden")
"""How well a tool can be seen; `hidden` = a crate stands in its place."""

# The first group is shown more often and in most walks of life, the second mostly in one. So most tools and settings
# hint at the first group, and a model that has learnt the hints sees it where no group can be seen.
LEANS_TO_FIRST = np.array([1, 1, 1, 1, 1, 1, 1, -1])
POPULARITY = np.array([1, 1, 1, 1, 1, 1, 1, 7]) / 7
"""Sums to 1 over the occupations of either lean."""

PAIR_SHARE = 0.7
"""Share of scenes with two objects among those without a figure."""

RADIUS = {"small": 0.15, "large": 0.205}
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
    """A figure with its tool; (x, y) is the centre of both together.

    ``marked``: whether the group can be seen; ``tool``: how well the tool can be seen, one of `TOOL_VIEWS`.
    """

    group: str
    occupation: str
    marked: bool = True
    tool: str = "clear"
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
        """The scene's truth as the columns of its row; "" = not there, or not visible (unmarked group, hidden tool)."""
        first, figure = self.things[0], self.figure
        return {
            "group": figure.group if figure and figure.marked else "",
            "occupation": figure.occupation if figure and figure.tool != "hidden" else "",
            "tool": figure.tool if figure else "",
            "setting": self.setting,
            "object": first.name,
            "shape": first.shape,
            "color": first.color,
            "size": first.size,
            "place": self.place,
            "other_object": self.things[1].name if len(self.things) > 1 else "",
        }


def first_group_share(options: WorldOptions) -> float:
    """P(group = the first of `GROUPS`) in `train`."""
    return 0.5 + options.bias * (options.group_share - 0.5)


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


def draw_scene(rng: np.random.Generator, options: WorldOptions, biased: bool = True) -> Scene:
    """Draw a scene: with a figure or without, and all that follows.

    Parameters
    ----------
    rng : numpy.random.Generator
    options : WorldOptions
    biased : bool
        Draw group, occupation and setting as the options say; False: each uniform and independent of the others.
    """
    if rng.random() >= options.person_share:
        return object_scene(rng, n_things=1 + int(rng.random() < PAIR_SHARE))
    marked = rng.random() < options.marked_share
    tool = "clear" if rng.random() < options.tool_share else pick(rng, TOOL_VIEWS[1:])
    if not biased:
        return figure_scene(rng, Figure(pick(rng, GROUPS), pick(rng, OCCUPATIONS), marked, tool), pick(rng, SETTINGS))
    group = int(rng.random() >= first_group_share(options))
    distribution = occupation_given_group(options.bias * options.association)[group]
    occupation = OCCUPATIONS[rng.choice(len(OCCUPATIONS), p=distribution)]
    at_home = rng.random() < options.setting_share
    setting = HOME_SETTING[occupation] if at_home else pick(rng, SETTINGS)
    return figure_scene(rng, Figure(GROUPS[group], occupation, marked, tool), setting)


def object_scene(rng: np.random.Generator, n_things: int, name: str | None = None) -> Scene:
    """Draw a scene of one or two objects in any setting; ``name`` ("red circle") fixes the first."""
    things = [draw_thing(rng)]
    if name is not None:
        color, shape = name.split()
        things[0] = replace(things[0], color=color, shape=shape)
    if n_things == 2:
        things.append(unlike(rng, things[0]))
    place = pick(rng, PLACES)
    centres = _centres(rng, place, (0.24, 0.76) if n_things == 2 else (0.4,))
    placed = tuple(replace(thing, x=x, y=y) for thing, (x, y) in zip(things, centres, strict=True))
    return Scene(pick(rng, SETTINGS), placed, None, place)


def exchanged(scene: Scene) -> Scene:
    """The twin of a scene in which the object and its companion have changed places.

    Of two objects the other one is named first, in the same relation. A lone object, or one beside a figure, is
    mirrored at the centre, so that its place is the opposite one.
    """
    if len(scene.things) > 1:
        first, second = scene.things
        return replace(scene, things=(replace(second, x=first.x, y=first.y), replace(first, x=second.x, y=second.y)))
    thing, figure = scene.things[0], scene.figure
    figure = replace(figure, x=1 - figure.x, y=1 - figure.y) if figure else None
    return Scene(scene.setting, (replace(thing, x=1 - thing.x, y=1 - thing.y),), figure, OPPOSITE[scene.place])


def figure_scene(rng: np.random.Generator, figure: Figure, setting: str) -> Scene:
    """Draw a scene of ``figure`` and one object left or right of it; what the object is and its side are uniform."""
    place = pick(rng, PLACES[:2])
    (x, y), (figure_x, figure_y) = _centres(rng, place, (0.21, 0.71))
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


def _centres(rng: np.random.Generator, place: str, depths: tuple[float, ...]) -> list[tuple[float, float]]:
    """Centres along the axis of ``place``, the first on its side at ``depths[0]`` from that edge, with some jitter."""
    centres = []
    for depth in depths:
        along = depth if place in ("left", "above") else 1 - depth
        along += rng.uniform(-0.02, 0.02)
        across = rng.uniform(0.42, 0.58)
        centres.append((along, across) if place in ("left", "right") else (across, along))
    return centres
