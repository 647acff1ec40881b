"""Draw a split of the embedded world into image-text shards, and write down what is known about it.

Writes a data folder (`evenclip.data.shards`) with, for some splits, a sub-folder `knowledge/`
(`evenclip.data.world.knowledge`); reads nothing. A pair depends on (seed, split, index) and on the world's options
only, not on how many are drawn. Command: `evenclip data synthesize --split train --n 6000 --out DIR`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evenclip.data.options import WorldOptions
from evenclip.data.shard_writer import write_shards
from evenclip.data.world.captions import full_caption, web_caption
from evenclip.data.world.drawing import draw_jpeg
from evenclip.data.world.knowledge import write_choices, write_common_sense, write_entities, write_scene_graphs
from evenclip.data.world.probes import draw_probe
from evenclip.data.world.questions import write_questions
from evenclip.data.world.scene import (
    GROUPS,
    OBJECT_CLASSES,
    OCCUPATIONS,
    SETTINGS,
    Figure,
    Scene,
    draw_scene,
    exchanged,
    figure_scene,
    object_scene,
    pick,
)
from evenclip.errors import InputError
from evenclip.provenance import Manifest


@dataclass(frozen=True)
class Sample:
    """A scene with its caption, and columns that only its split has."""

    scene: Scene
    caption: str
    columns: dict[str, str] = field(default_factory=dict)


def synthesize(out: Path, split: str, n: int, seed: int, options: WorldOptions) -> None:
    """Write the first ``n`` pairs of ``split`` into the folder ``out``.

    Parameters
    ----------
    out : Path
        Data folder; replaced as a whole.
    split : str
        `train` (biased as the options say), `people`, `ambiguous`, `unmarked`, `objects`, `mixed` (unbiased test sets)
        or `probes`.
    n : int
        Number of pairs; the test sets are exactly even at multiples of 128 (people), 256 (ambiguous), 64 (unmarked),
        36 (objects) and 10 (probes).
    seed : int
        At least 0.
    options : WorldOptions
        The world's knobs.

    Raises
    ------
    InputError
        Unknown split, or ``n`` or ``seed`` out of range.
    """
    if split not in SPLITS:
        raise InputError(f"there is no split '{split}'", "--split", f"splits: {', '.join(SPLITS)}")
    if n < 1 or seed < 0:
        raise InputError(f"n = {n}, seed = {seed}", "--n, --seed", "n must be at least 1, seed at least 0")
    manifest = Manifest("data", {"split": split, "n": n, "world": options.model_dump(mode="json")}, {}, seed)
    side = options.image_px
    samples = [draw_sample(split, index, seed, options) for index in range(n)]
    with write_shards(out, manifest) as writer:
        for index, sample in enumerate(samples):
            paint = _generator(seed, split, index // 2 if split in TWIN_SPLITS else index, "paint")
            image = draw_jpeg(sample.scene, paint, side, options.noise)
            columns, digest = sample.scene.columns | sample.columns, hashlib.sha256(image).hexdigest()
            writer.add(_key(index), image, [sample.caption], columns, width=side, height=side, sha256=digest)
        _write_knowledge(writer.folder / "knowledge", split, samples, seed, side)


def _write_knowledge(folder: Path, split: str, samples: list[Sample], seed: int, image_px: int) -> None:
    scenes, keys = [sample.scene for sample in samples], [_key(index) for index in range(len(samples))]
    if split not in ("train", "mixed", "probes"):
        return
    folder.mkdir()
    if split == "probes":
        write_choices(folder, keys, [sample.caption for sample in samples], [sample.columns for sample in samples])
        return
    write_scene_graphs(folder, scenes, image_px)
    write_questions(folder, split, scenes, [_generator(seed, split, index, "ask") for index in range(len(samples))])
    if split == "train":
        write_common_sense(folder)
        write_entities(folder, scenes, keys)


def draw_sample(split: str, index: int, seed: int, options: WorldOptions) -> Sample:
    """The ``index``-th scene of ``split`` with its caption; see `synthesize`."""
    return SPLITS[split](index, seed, options)


def _train(index: int, seed: int, options: WorldOptions) -> Sample:
    """A share of the pictures 2i and 2i+1 are exchanged twins; each has a caption of its own."""
    rng, couple = _generator(seed, "train", index, "scene"), _generator(seed, "train", index // 2, "couple")
    is_twin = couple.random() < options.twin_share
    scene = draw_scene(couple if is_twin else rng, options)
    scene = exchanged(scene) if is_twin and index % 2 else scene
    is_stray = rng.random() < options.low_quality_share
    described = draw_scene(rng, options) if is_stray else scene
    columns = {"caption_of": "other" if is_stray else "own", "twin": _key(index // 2) if is_twin else ""}
    return Sample(scene, web_caption(described, rng, options.caption_dropout), columns)


def _mixed(index: int, seed: int, options: WorldOptions) -> Sample:
    rng = _generator(seed, "mixed", index, "scene")
    scene = draw_scene(rng, options, biased=False)
    return Sample(scene, full_caption(scene, rng))


def _people(index: int, seed: int, options: WorldOptions) -> Sample:
    """Figures that can be read: group and tool are clear."""
    return _crossed("people", ("clear",), index, seed)


def _ambiguous(index: int, seed: int, options: WorldOptions) -> Sample:
    """Figures whose group can be seen and whose tool cannot, or hardly."""
    return _crossed("ambiguous", ("blurred", "hidden"), index, seed)


def _crossed(split: str, views: tuple[str, ...], index: int, seed: int) -> Sample:
    """Twins 2i and 2i+1 differ in the group alone; occupations, settings and views are crossed evenly."""
    twin, group = divmod(index, len(GROUPS))
    rng = _generator(seed, split, twin, "scene")
    rest, occupation = divmod(twin, len(OCCUPATIONS))
    rest, setting = divmod(rest, len(SETTINGS))
    figure = Figure(GROUPS[group], OCCUPATIONS[occupation], tool=views[rest % len(views)])
    scene = figure_scene(rng, figure, SETTINGS[setting])
    return Sample(scene, full_caption(scene, rng), {"twin": _key(twin)})


def _unmarked(index: int, seed: int, options: WorldOptions) -> Sample:
    """Figures whose group cannot be seen: which group does a model see there? Occupations and settings are even."""
    rng = _generator(seed, "unmarked", index, "scene")
    occupation, setting = OCCUPATIONS[index % len(OCCUPATIONS)], SETTINGS[index // len(OCCUPATIONS) % len(SETTINGS)]
    scene = figure_scene(rng, Figure(pick(rng, GROUPS), occupation, marked=False), setting)
    return Sample(scene, full_caption(scene, rng))


def _objects(index: int, seed: int, options: WorldOptions) -> Sample:
    rng = _generator(seed, "objects", index, "scene")
    scene = object_scene(rng, n_things=1, name=OBJECT_CLASSES[index % len(OBJECT_CLASSES)])
    return Sample(scene, full_caption(scene, rng))


def _probes(index: int, seed: int, options: WorldOptions) -> Sample:
    rng = _generator(seed, "probes", index // 2, "scene")
    probe, scene, caption, foil = draw_probe(rng, twin=index // 2, side=index % 2)
    return Sample(scene, caption, {"probe": probe, "foil": foil, "twin": _key(index // 2)})


SPLITS: dict[str, Callable[[int, int, WorldOptions], Sample]] = {
    "train": _train,
    "people": _people,
    "ambiguous": _ambiguous,
    "unmarked": _unmarked,
    "objects": _objects,
    "mixed": _mixed,
    "probes": _probes,
}
TWIN_SPLITS = ("people", "ambiguous", "probes")
"""Here pictures 2i and 2i+1 are twins; their light, tints and noise are the same too."""
_STREAMS = ("scene", "paint", "ask", "couple")


def _key(index: int) -> str:
    return f"{index:09d}"


def _generator(seed: int, split: str, index: int, stream: str) -> np.random.Generator:
    """One independent generator for each scene, so that a scene does not depend on those drawn before it."""
    key = (list(SPLITS).index(split), _STREAMS.index(stream), index)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
