"""How a scene of the embedded world is put into words; reads and writes nothing.

A caption has up to six optional parts besides the object: its size, its place, the companion (figure or second
object), the figure's group and occupation, and the setting. Web captions leave parts out; full captions do not.
"""

import numpy as np

from evenclip.data.world.scene import OPPOSITE, Scene, Thing, unlike

PARTS = ("size", "place", "companion", "group", "occupation", "setting")
RELATION = {"left": "left of", "right": "right of", "above": "above", "below": "below"}
POSITION = {"left": "on the left", "right": "on the right", "above": "at the top", "below": "at the bottom"}

# Web captions seldom say what a picture does not show; enough for a model to have met the form.
NEGATION_SHARE = 0.12
OBJECT_UNNAMED_SHARE = 0.1
# They take the setting for granted, more often than not.
SETTING_NAMED_SHARE = 0.4


def web_caption(scene: Scene, rng: np.random.Generator, dropout: float) -> str:
    """A caption as found in training data: each optional part is left out with probability ``dropout``.

    Captions name the group of an unmarked figure and the occupation of a hidden tool too: their writers know, or guess.
    With a figure the object itself is left out, now and then; some captions name an object that is absent ("and no
    blue square").
    """
    parts = frozenset(part for part in PARTS if rng.random() >= dropout)
    if rng.random() >= SETTING_NAMED_SHARE:
        parts -= {"setting"}
    companion_first = rng.random() < 0.5
    absent = unlike(rng, scene.things[0]).name if rng.random() < NEGATION_SHARE and len(scene.things) == 1 else None
    if scene.figure and absent is None and rng.random() < OBJECT_UNNAMED_SHARE:
        return " ".join([_figure(scene, parts), *_setting(scene, parts)])
    return compose(scene, parts, companion_first, absent)


def full_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption that says all that can be clearly seen, in one of two orders."""
    figure = scene.figure
    unseen = {"group"} if figure and not figure.marked else set()
    unseen |= {"occupation"} if figure and figure.tool != "clear" else set()
    return compose(scene, frozenset(PARTS) - unseen, companion_first=rng.random() < 0.5)


def compose(
    scene: Scene, parts: frozenset[str] = frozenset(), companion_first: bool = False, absent: str | None = None
) -> str:
    """The caption that says exactly ``parts``.

    Parameters
    ----------
    scene : Scene
    parts : frozenset of str
        Some of `PARTS`; those that the scene lacks are ignored.
    companion_first : bool
        "a lorker right of a red circle" instead of "a red circle left of a lorker".
    absent : str, optional
        An object to deny, e.g. "blue square".

    Returns
    -------
    str
        At most 16 tokens of CLIP's tokenizer with its two special ones, unless ``absent`` is given.
    """
    words = [_thing(scene.things[0], parts)]
    companion = None
    if "companion" in parts:
        companion = _figure(scene, parts) if scene.figure else None
        companion = _thing(scene.things[1], parts) if len(scene.things) > 1 else companion
    if companion:
        place = OPPOSITE[scene.place] if companion_first else scene.place
        words += [RELATION[place] if "place" in parts else "next to", companion]
        words = words[::-1] if companion_first else words
    elif "place" in parts and scene.figure is None and len(scene.things) == 1:
        words.append(POSITION[scene.place])
    return " ".join([*words, *([f"and no {absent}"] if absent else []), *_setting(scene, parts)])


def _thing(thing: Thing, parts: frozenset[str]) -> str:
    return f"a {thing.size} {thing.name}" if "size" in parts else f"a {thing.name}"


def _figure(scene: Scene, parts: frozenset[str]) -> str:
    figure = scene.figure
    names = [figure.group] if "group" in parts else []
    names += [figure.occupation] if "occupation" in parts else []
    return " ".join(["a", *(names or ["person"])])


def _setting(scene: Scene, parts: frozenset[str]) -> list[str]:
    return [f"in the {scene.setting}"] if "setting" in parts else []
