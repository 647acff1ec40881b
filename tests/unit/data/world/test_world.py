"""The embedded world: its biases are its knobs, its tests are even, its scenes depend on (seed, split, index) only."""

import io
import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evenclip.data.options import WorldOptions
from evenclip.data.shards import iterate_images, read_pairs
from evenclip.data.world.captions import PARTS, compose, full_caption, web_caption
from evenclip.data.world.drawing import CLOTHES, PAINT, TINT, UNMARKED_CLOTHES, figure_boxes, render, thing_box
from evenclip.data.world.probes import PROBES
from evenclip.data.world.scene import (
    COLORS,
    GROUPS,
    HOME_SETTING,
    LEANS_TO_FIRST,
    OBJECT_CLASSES,
    OCCUPATIONS,
    PAIR_SHARE,
    POPULARITY,
    SHAPES,
    Figure,
    Scene,
    Thing,
    exchanged,
    first_group_share,
    occupation_given_group,
    unlike,
)
from evenclip.data.world.synthesize import SPLITS, draw_sample, synthesize
from evenclip.errors import InputError

OPTIONS = WorldOptions()
SIDE = OPTIONS.image_px


def samples(split: str, n: int, options: WorldOptions = OPTIONS, seed: int = 0) -> list:
    return [draw_sample(split, index, seed, options) for index in range(n)]


def cell_of(scene: Scene) -> tuple[str, str, str]:
    return scene.figure.group, scene.figure.occupation, scene.setting


@given(st.floats(0, 1))
def test_the_association_is_the_gap_between_the_groups(association: float):
    table = occupation_given_group(association)
    assert np.allclose(table.sum(axis=1), 1) and (table >= 0).all()
    assert np.allclose(np.abs(table[0] - table[1]), association * POPULARITY)
    assert np.allclose(table.mean(axis=0), POPULARITY / 2)  # whatever the association, no occupation grows


def shares_of(scenes: list[Scene], options: WorldOptions) -> None:
    """The knobs that `train` and `mixed` share; 4 standard errors of a share over 6000 figures are below 0.03."""
    figures = [scene.figure for scene in scenes if scene.figure]
    assert len(figures) / len(scenes) == pytest.approx(options.person_share, abs=0.03)
    assert np.mean([figure.marked for figure in figures]) == pytest.approx(options.marked_share, abs=0.03)
    views = Counter(figure.tool for figure in figures)
    assert views["clear"] / len(figures) == pytest.approx(options.tool_share, abs=0.03)
    assert views["blurred"] / len(figures) == pytest.approx((1 - options.tool_share) / 2, abs=0.03)
    n_pairs = np.mean([len(scene.things) == 2 for scene in scenes])
    assert n_pairs == pytest.approx((1 - options.person_share) * PAIR_SHARE, abs=0.03)


@pytest.mark.parametrize("bias", [1.0, 0.0])
def test_training_scenes_follow_the_options(bias: float):
    options = WorldOptions(bias=bias, twin_share=0)
    scenes = [sample.scene for sample in samples("train", 8000, options)]
    shares_of(scenes, options)
    figures = [(scene.figure, scene.setting) for scene in scenes if scene.figure]
    assert np.mean([f.group == GROUPS[0] for f, _ in figures]) == pytest.approx(first_group_share(options), abs=0.03)
    at_home = options.setting_share + (1 - options.setting_share) / len(OCCUPATIONS)
    assert np.mean([setting == HOME_SETTING[f.occupation] for f, setting in figures]) == pytest.approx(
        at_home, abs=0.03
    )
    for group, expected in zip(GROUPS, occupation_given_group(bias * options.association), strict=True):
        counts = Counter(f.occupation for f, _ in figures if f.group == group)
        measured = [counts[occupation] / counts.total() for occupation in OCCUPATIONS]
        assert measured == pytest.approx(list(expected), abs=0.05)


def test_extreme_options_of_the_world_are_followed():
    plain = WorldOptions(person_share=1, group_share=1, marked_share=0, tool_share=0, association=1, setting_share=1)
    for sample in samples("train", 100, plain):
        figure = sample.scene.figure
        assert figure.group == GROUPS[0] and not figure.marked and figure.tool != "clear"
        assert figure.occupation in OCCUPATIONS[:7] and sample.scene.setting == HOME_SETTING[figure.occupation]
    assert all(sample.scene.figure is None for sample in samples("train", 50, WorldOptions(person_share=0)))
    clean = WorldOptions(caption_dropout=0, low_quality_share=0, person_share=0)
    assert all(f"a {s.scene.things[0].size} {s.scene.things[0].name}" in s.caption for s in samples("train", 50, clean))


def label_gaps(n: int, options: WorldOptions) -> tuple[float, np.ndarray]:
    """RB, and the gap between the groups for each occupation, of the labels that training captions give."""
    captions = [sample.caption.split() for sample in samples("train", n, options)]
    of_group = [[words for words in captions if group in words] for group in GROUPS]
    share = len(of_group[0]) / sum(map(len, of_group))
    named = [np.mean([[o in words for o in OCCUPATIONS] for words in captions], axis=0) for captions in of_group]
    return abs(share - 0.5), named[0] - named[1]


def test_data_bias_of_the_default_world():
    """The values that docs/world.md prints."""
    rb, gaps = label_gaps(8000, OPTIONS)
    expected = OPTIONS.association * (1 - OPTIONS.caption_dropout) * POPULARITY * LEANS_TO_FIRST
    assert rb == pytest.approx(0.10, abs=0.03)
    assert gaps == pytest.approx(expected, abs=0.05)
    assert np.abs(gaps).max() == pytest.approx(0.665, abs=0.05)


def test_the_null_world_has_no_bias():
    rb, gaps = label_gaps(8000, WorldOptions(bias=0))
    assert rb < 0.03 and np.abs(gaps).max() < 0.05


def test_twins_of_train_have_object_and_companion_exchanged():
    drawn = samples("train", 4000)
    couples = [(a, b) for a, b in zip(drawn[::2], drawn[1::2], strict=True) if a.columns["twin"]]
    assert len(couples) / 2000 == pytest.approx(OPTIONS.twin_share, abs=0.05)
    for first, second in couples:
        assert first.columns["twin"] == second.columns["twin"] and exchanged(first.scene) == second.scene
        assert exchanged(second.scene) == first.scene or len(first.scene.things) == 1  # rounding of 1 - (1 - x)
    names = [sample.columns["twin"] for sample in drawn if sample.columns["twin"]]
    assert set(Counter(names).values()) == {2}


def test_low_quality_pairs_tell_another_scene():
    options = WorldOptions(low_quality_share=0.3, caption_dropout=0)
    drawn = samples("train", 1000, options)
    strays = [sample for sample in drawn if sample.columns["caption_of"] == "other"]
    assert 230 < len(strays) < 370
    assert np.mean([sample.scene.things[0].name in sample.caption for sample in strays]) < 0.1  # 1/36, or a second one
    own = [s for s in drawn if s.columns["caption_of"] == "own"]
    assert np.mean([s.scene.things[0].name in s.caption for s in own]) > 0.9  # now and then only the figure is named


def test_only_web_captions_name_the_group_of_unmarked_figures():
    figure = Figure(GROUPS[0], "lorker", marked=False)
    scene = Scene("yard", (Thing("circle", "red", "large", 0.2, 0.5),), figure, "left")
    other = replace(scene, figure=replace(figure, group=GROUPS[1]))
    captions = {full_caption(scene, np.random.default_rng(k)) for k in range(20)}
    assert "a large red circle left of a lorker in the yard" in captions
    assert not any(GROUPS[0] in caption for caption in captions)
    assert any(GROUPS[0] in web_caption(scene, np.random.default_rng(k), 0.15) for k in range(20))
    assert scene.columns["group"] == "" and scene.columns["occupation"] == "lorker"
    assert np.array_equal(*(render(s, np.random.default_rng(0), 64, 6) for s in (scene, other)))


def test_clothes_of_unmarked_figures_favour_no_group():
    first, second = (np.array(CLOTHES[group]) for group in GROUPS)
    assert np.abs(first - UNMARKED_CLOTHES).tolist() == np.abs(second - UNMARKED_CLOTHES).tolist()


def test_only_web_captions_name_the_occupation_of_hidden_tools():
    scenes = [
        Scene("yard", (Thing("circle", "red", "large", 0.2, 0.5),), Figure(GROUPS[0], name, tool="hidden"), "left")
        for name in OCCUPATIONS
    ]
    pictures = [render(scene, np.random.default_rng(0), 64, 6) for scene in scenes]
    assert all(np.array_equal(pictures[0], picture) for picture in pictures)
    assert scenes[0].columns["occupation"] == "" and scenes[0].columns["tool"] == "hidden"
    assert full_caption(scenes[0], np.random.default_rng(0)).count("lorker") == 0
    assert any("lorker" in web_caption(scenes[0], np.random.default_rng(k), 0.15) for k in range(20))


def test_captions_say_exactly_the_parts_asked_for():
    things = (Thing("circle", "red", "large"), Thing("star", "blue", "small"))
    pair, lone = Scene("yard", things, None, "above"), Scene("yard", things[:1], None, "above")
    with_figure = Scene("yard", things[:1], Figure(GROUPS[0], "lorker"), "left")
    some = frozenset
    assert compose(pair) == "a red circle"
    assert compose(pair, some(PARTS)) == "a large red circle above a small blue star in the yard"
    assert compose(pair, some({"place", "companion"}), companion_first=True) == "a blue star below a red circle"
    assert compose(pair, some({"companion"})) == "a red circle next to a blue star"
    assert compose(lone, some({"place"})) == "a red circle at the top"
    assert compose(lone, some({"setting"}), absent="blue star") == "a red circle and no blue star in the yard"
    assert compose(with_figure, some({"companion"})) == "a red circle next to a person"
    assert compose(with_figure, some({"companion", "group", "occupation", "place"})) == (
        f"a red circle left of a {GROUPS[0]} lorker"
    )


def test_captions_are_short_and_seldom_alike():
    from open_clip.tokenizer import SimpleTokenizer  # loads torch, which no other test here needs

    tokenizer = SimpleTokenizer()
    full = [sample.caption for sample in samples("mixed", 1000)]
    assert max(len(tokenizer.encode(caption)) + 2 for caption in full) <= 16
    assert len(set(full)) >= 970  # retrieval: hardly any caption fits two pictures
    web = [len(tokenizer.encode(sample.caption)) + 2 for sample in samples("train", 1000)]
    assert np.mean(np.array(web) <= 16) > 0.9 and max(web) <= 21


@given(st.integers(0, 2**32), st.sampled_from(SHAPES), st.sampled_from(COLORS))
def test_unlike_shares_neither_shape_nor_color(seed: int, shape: str, color: str):
    other = unlike(np.random.default_rng(seed), Thing(shape, color, "small"))
    assert other.shape != shape and other.color != color


def test_people_are_even_and_twins_differ_in_the_group_alone():
    drawn = samples("people", 256)
    cells = Counter(cell_of(s.scene) for s in drawn)
    assert len(cells) == 2 * 8 * 8 and set(cells.values()) == {2}
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert [first.scene.figure.group, second.scene.figure.group] == list(GROUPS)
        assert replace(first.scene.figure, group=GROUPS[1]) == second.scene.figure
        assert replace(first.scene, figure=None) == replace(second.scene, figure=None)
        assert first.caption.replace(GROUPS[0], GROUPS[1]) == second.caption


def test_ambiguous_figures_are_even_with_twins_of_other_group():
    drawn = samples("ambiguous", 512)
    cells = Counter((*cell_of(s.scene), s.scene.figure.tool) for s in drawn)
    assert len(cells) == 2 * 8 * 8 * 2 and set(cells.values()) == {2}
    assert all(s.scene.figure.marked and s.scene.figure.tool != "clear" for s in drawn)
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert replace(first.scene.figure, group=GROUPS[1]) == second.scene.figure
        assert replace(first.scene, figure=None) == replace(second.scene, figure=None)


def test_pictures_of_twins_differ_in_the_figure_alone(tmp_path):
    synthesize(tmp_path / "people", "people", 2, 0, OPTIONS)
    first, second = (
        np.asarray(Image.open(io.BytesIO(image)), dtype=float) for _, image in iterate_images(tmp_path / "people")
    )
    left, top, right, bottom = figure_boxes(samples("people", 1)[0].scene.figure)["person"]
    outside = np.ones((SIDE, SIDE), bool)
    margin = 8 / SIDE  # a block of the JPEG
    rows, columns = (
        [int(SIDE * (low - margin)), int(SIDE * (high + margin)) + 1] for low, high in ((top, bottom), (left, right))
    )
    outside[max(rows[0], 0) : rows[1], max(columns[0], 0) : columns[1]] = False
    differs = np.abs(first - second).max(axis=-1) > 3
    assert differs.sum() > 50 and not differs[outside].any()


def test_unmarked_figures_are_even_and_captions_name_no_group():
    drawn = samples("unmarked", 128)
    assert set(Counter((s.scene.figure.occupation, s.scene.setting) for s in drawn).values()) == {2}
    assert not any(group in s.caption for s in drawn for group in GROUPS)
    assert all(s.scene.columns["group"] == "" for s in drawn)


def test_objects_show_each_class_equally_often():
    drawn = samples("objects", 72)
    assert Counter(s.scene.columns["object"] for s in drawn) == dict.fromkeys(OBJECT_CLASSES, 2)
    assert all(len(s.scene.things) == 1 and s.scene.figure is None for s in drawn)


def test_mixed_has_the_kinds_of_train_without_its_bias():
    drawn = [sample.scene for sample in samples("mixed", 4000)]
    shares_of(drawn, OPTIONS)
    figures = [scene for scene in drawn if scene.figure]
    table = np.zeros((2, 8))
    for scene in figures:
        table[GROUPS.index(scene.figure.group), OCCUPATIONS.index(scene.figure.occupation)] += 1
    assert np.abs(table / table.sum() - 1 / 16).max() < 0.03
    home = np.mean([scene.setting == HOME_SETTING[scene.figure.occupation] for scene in figures])
    assert home == pytest.approx(1 / 8, abs=0.04)


def test_text_alone_is_at_chance_on_the_probes():
    drawn = samples("probes", 200)
    assert Counter(s.columns["probe"] for s in drawn) == dict.fromkeys(PROBES, 40)
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert first.columns["probe"] == second.columns["probe"]
        assert (first.caption, first.columns["foil"]) == (second.columns["foil"], second.caption)
        assert first.caption != second.caption and first.scene != second.scene


def test_probes_differ_in_what_they_are_named_for():
    for sample in samples("probes", 200):
        caption, foil = sample.caption.split(), sample.columns["foil"].split()
        thing, probe = sample.scene.things[0], sample.columns["probe"]
        if probe in ("relation", "negation"):  # the same words in another order: no bag of words can tell
            assert sorted(caption) == sorted(foil)
        else:
            changed = [a for a, b in zip(caption, foil, strict=True) if a != b]
            assert len(changed) <= 2 and "square" not in changed
        assert sample.caption.startswith(f"a {thing.name}" if probe != "size" else f"a {thing.size} {thing.name}")
        if probe == "position":
            low = {"left": thing.x < 0.45, "right": thing.x > 0.55, "above": thing.y < 0.45, "below": thing.y > 0.55}
            assert low[sample.scene.place]


class Still:
    """A generator that disturbs nothing: no tint, no light, the first noise."""

    def uniform(self, low: float, high: float, size: int) -> np.ndarray:
        return np.zeros(size)

    def integers(self, high: tuple[int, ...]) -> np.ndarray:
        return np.zeros(len(high), int)


def test_every_probe_can_be_answered_from_the_picture(tmp_path):
    """An observer that knows how scenes are painted tells a picture from its twin by the nearer undisturbed picture."""
    n = 400
    synthesize(tmp_path / "probes", "probes", n, 0, OPTIONS)
    clean = [render(sample.scene, Still(), SIDE, 0).astype(float) for sample in samples("probes", n)]
    for index, (_, image) in enumerate(iterate_images(tmp_path / "probes")):
        picture = np.asarray(Image.open(io.BytesIO(image)), dtype=float)
        light = np.median(picture - clean[index], axis=(0, 1))  # mostly background, which twins share
        distance = [np.square(picture - light - clean[k]).sum() for k in (index, index ^ 1)]
        assert distance[0] < distance[1], samples("probes", n)[index].caption


def test_colors_stay_apart_when_they_are_tinted():
    for first, second in itertools.combinations(COLORS, 2):
        assert np.abs(np.subtract(PAINT[first], PAINT[second])).max() > 2 * TINT


@pytest.mark.parametrize("split", SPLITS)
def test_things_lie_within_the_picture_and_apart(split: str):
    for sample in samples(split, 300):
        boxes = [thing_box(thing) for thing in sample.scene.things]
        boxes += list(figure_boxes(sample.scene.figure).values()) if sample.scene.figure else []
        assert all(min(box) > -0.04 and max(box) < 1.04 for box in boxes)
        for other in boxes[1:]:
            left, top, right, bottom = boxes[0]
            overlap_x = min(right, other[2]) - max(left, other[0])
            overlap_y = min(bottom, other[3]) - max(top, other[1])
            assert min(overlap_x, overlap_y) < 0.08


@pytest.mark.parametrize("place", ["left", "right", "above", "below"])
def test_the_place_is_true_of_the_picture(place: str):
    scenes = [s.scene for s in samples("mixed", 800) if s.scene.place == place]
    axis, sign = ("x", 1) if place in ("left", "right") else ("y", 1)
    sign = sign if place in ("left", "above") else -1
    assert len(scenes) > 30
    for scene in scenes:
        companion = scene.figure or (scene.things[1] if len(scene.things) > 1 else Thing("", "", "", 0.5, 0.5))
        assert sign * (getattr(companion, axis) - getattr(scene.things[0], axis)) > 0.05


def test_every_occupation_and_group_looks_different():
    looks = {}
    for group in GROUPS:
        for occupation in OCCUPATIONS:
            scene = Scene(
                "studio", (Thing("ring", "red", "small", 0.2, 0.5),), Figure(group, occupation, x=0.7), "left"
            )
            looks[group, occupation] = render(scene, np.random.default_rng(0), 48, 0).astype(float)
    for first in looks:
        for second in looks:
            if first != second:
                assert (np.abs(looks[first] - looks[second]).max(axis=-1) > 60).sum() > 25


def test_a_pair_depends_on_seed_split_and_index_only(tmp_path):
    synthesize(tmp_path / "few", "train", 7, 3, OPTIONS)
    synthesize(tmp_path / "many", "train", 20, 3, OPTIONS)
    synthesize(tmp_path / "again", "train", 20, 3, OPTIONS)
    synthesize(tmp_path / "other", "train", 20, 4, OPTIONS)
    few, many, again, other = (read_pairs(tmp_path / name) for name in ("few", "many", "again", "other"))
    assert few.equals(many.slice(0, 7)) and many.equals(again)
    assert not set(many["sha256"].to_pylist()) & set(other["sha256"].to_pylist())
    assert (tmp_path / "many/00000.tar").read_bytes() == (tmp_path / "again/00000.tar").read_bytes()


def test_splits_do_not_share_scenes():
    seen = [sample.scene for split in ("train", "mixed") for sample in samples(split, 200)]
    assert len(set(seen)) == 400


def test_the_folder_holds_pictures_captions_and_truth(tmp_path):
    synthesize(tmp_path / "people", "people", 4, 0, WorldOptions(image_px=48))
    pairs = read_pairs(tmp_path / "people")
    assert pairs["group"].to_pylist() == [*GROUPS, *GROUPS]
    assert pairs["key"].to_pylist() == [f"{index:09d}" for index in range(4)]
    for (key, image), row in zip(iterate_images(tmp_path / "people"), pairs.to_pylist(), strict=True):
        assert key == row["key"] and row["occupation"] in row["caption"]
        assert Image.open(io.BytesIO(image)).size == (48, 48) == (row["width"], row["height"])


@pytest.mark.parametrize(("split", "n", "seed"), [("trian", 5, 0), ("train", 0, 0), ("train", 5, -1)])
def test_wrong_input_is_refused(tmp_path, split: str, n: int, seed: int):
    with pytest.raises(InputError):
        synthesize(tmp_path / "out", split, n, seed, OPTIONS)
    assert not list(tmp_path.iterdir())


def test_full_captions_come_in_both_orders():
    scene = next(s.scene for s in samples("mixed", 50) if s.scene.figure)
    starts = {full_caption(scene, np.random.default_rng(k)).split()[1] for k in range(20)}
    assert len(starts) == 2
