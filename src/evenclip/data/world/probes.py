"""Compositional probes of the embedded world: a caption against a foil that differs in one thing.

Probes come as twins: two scenes, each one's caption being the other's foil. So whoever does not look at the picture is
right on exactly one of each pair of twins: text alone is at chance by construction.
"""

from dataclasses import replace

import numpy as np

from evenclip.data.world.captions import compose
from evenclip.data.world.scene import COLORS, Scene, exchanged, object_scene

PROBES = ("color", "position", "size", "negation", "relation")


def draw_probe(rng: np.random.Generator, twin: int, side: int) -> tuple[str, Scene, str, str]:
    """Draw a probe.

    Parameters
    ----------
    rng : numpy.random.Generator
        The same for both sides of a twin.
    twin : int
        Number of the pair of twins; the kinds of `PROBES` take turns.
    side : {0, 1}
        Which of the two scenes is shown.

    Returns
    -------
    tuple
        The kind of probe, the scene, its caption and the foil.
    """
    probe = PROBES[twin % len(PROBES)]
    scenes, captions = _twins(rng, probe)
    return probe, scenes[side], captions[side], captions[1 - side]


def _twins(rng: np.random.Generator, probe: str) -> tuple[tuple[Scene, Scene], tuple[str, str]]:
    scene = object_scene(rng, n_things=2 if probe == "relation" else 1)
    thing, parts = scene.things[0], set()
    if probe == "relation":
        twin, parts = exchanged(scene), {"place", "companion"}
    elif probe == "position":
        twin, parts = exchanged(scene), {"place"}
    elif probe == "size":
        size = {"small": "large", "large": "small"}[thing.size]
        twin, parts = replace(scene, things=(replace(thing, size=size),)), {"size"}
    else:  # color and negation: an object of a neighbouring hue
        neighbour = COLORS.index(thing.color) + (1 if rng.random() < 0.5 else -1)
        twin = replace(scene, things=(replace(thing, color=COLORS[neighbour % len(COLORS)]),))
    absent = (twin.things[0].name, thing.name) if probe == "negation" else (None, None)
    captions = tuple(compose(s, frozenset(parts), absent=name) for s, name in zip((scene, twin), absent, strict=True))
    return (scene, twin), captions
