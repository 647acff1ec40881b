"""Links: ranks equal those of a slow computation, triple by triple; what looks like the training's is not asked."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from evenclip.data.shards import iterate_images
from evenclip.errors import InputError
from evenclip.links import LinkOptions, predict_links
from evenclip.model.clip import create_clip, load_clip, save_clip
from evenclip.model.images import decode_images, normalise
from evenclip.model.multimodal import HEAD, TAIL, TEXT_TOKENS, MultiModalEncoder, load_multimodal, save_multimodal
from evenclip.model.regions import WHOLE
from evenclip.model.tokens import TokenTap, last_text_tokens
from evenclip.records import write_table
from tiny_graph import write_graph
from tiny_training import write_model, write_squares

N = 12
HELD_OUT = 5  # every fifth triple


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("links")
    write_squares(root / "data", N)
    write_graph(root / "graph", N)
    triples = pq.read_table(root / "graph" / "triples.parquet")
    split = ["test" if i % HELD_OUT == 2 else "train" for i in range(len(triples))]
    column = triples.column_names.index("split")
    write_table(triples.set_column(column, "split", pa.array(split)), root / "graph" / "triples.parquet")
    (root / "run").mkdir()
    torch.manual_seed(0)
    save_clip(create_clip(str(write_model(root / "tiny.json"))), root / "run")
    save_multimodal(MultiModalEncoder(32, 32, 32, 1, 16), root / "run", region_side=2)
    return root


def run(folder: Path, out: Path, **options) -> dict[str, dict]:
    parsed = LinkOptions.parse({"minimum_group": 2, "resamples": 100, "device": "cpu"} | options, "test")
    predict_links(str(folder / "run"), folder / "graph", folder / "data", "tiny", out, 0, parsed)
    return {row["metric"].removeprefix("link_prediction/tiny/"): row for row in json.loads(out.read_text())["metrics"]}


class Slow:
    """Everything shown is (is_image, what): a picture with a box, or a text; each is encoded by itself."""

    def __init__(self, folder: Path):
        self.clip = load_clip(str(folder / "run"))
        self.clip.module.eval()
        self.encoder = load_multimodal(folder / "run")[0].eval()
        self.tap = TokenTap(self.clip.module, always=True)
        images = list(iterate_images(folder / "data"))
        pixels = decode_images(images, self.clip.preprocess_cfg, "data")
        self.pixels = {key: image for (key, _), image in zip(images, pixels, strict=True)}
        self.entities = {row["id"]: row for row in pq.read_table(folder / "graph" / "entities.parquet").to_pylist()}
        self.particular = {name for name, row in self.entities.items() if row["image_key"]}
        self.triples = pq.read_table(folder / "graph" / "triples.parquet").to_pylist()

    def shown(self, entity: str) -> list[tuple]:
        """The ways to show an entity."""
        row = self.entities[entity]
        as_text = [("text", row["text"])] if row["text"] else []
        box = (0.0, 0.0, 0.5, 1.0) if row["box"] else WHOLE
        return as_text + ([("image", row["image_key"], box)] if row["image_key"] else [])

    @torch.no_grad()
    def slot(self, content: tuple):
        if content[0] == "text":
            tokens = self.clip.tokenizer([content[1]])
            self.clip.module.encode_text(tokens)
            return self.encoder.text(*last_text_tokens(self.clip.module, tokens, self.tap.text, TEXT_TOKENS))
        pixels = torch.from_numpy(self.pixels[content[1]].copy())[None]
        self.clip.module.encode_image(normalise(pixels, self.clip.preprocess_cfg))
        box = np.array([content[2]], np.float32)
        return self.encoder.regions(self.tap.image, torch.tensor([0]), box, 2)

    @torch.no_grad()
    def view(self, *slots, place: int) -> torch.Tensor:
        return self.encoder.entity(self.encoder(slots)[0][:, place])[0]

    def looks(self, split: tuple[str, ...]) -> set[tuple]:
        """All that the triples of some splits look like."""
        chosen = [t for t in self.triples if t["split"] in split]
        return {
            (h, t["relation"], tail) for t in chosen for h in self.shown(t["head"]) for tail in self.shown(t["tail"])
        }

    def count(self, place: str, relation: str, content: tuple, other: str) -> int:
        """Training triples of ``relation`` with ``content`` at ``place`` and something ``other`` to show beside it."""
        beside = {"head": "tail", "tail": "head"}[place]
        return sum(
            t["split"] == "train"
            and t["relation"] == relation
            and content in self.shown(t[place])
            and any(each[0] == other for each in self.shown(t[beside]))
            and ("image" in (content[0], other) or not {t["head"], t["tail"]} & self.particular)
            for t in self.triples
        )

    def ranks(self) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """By kind of question, those of the model and those of counting."""
        known, in_train = self.looks(("train", "test")), self.looks(("train",))
        asked = {
            (h, t["relation"], tail)
            for t in self.triples
            if t["split"] == "test"
            for h in self.shown(t["head"])
            for tail in self.shown(t["tail"])
            if h[0] == "image" or tail[0] == "image" or not {t["head"], t["tail"]} & self.particular
        } - in_train
        contents = sorted({content for name in self.entities for content in self.shown(name)}, key=str)
        slots = {content: self.slot(content) for content in contents}
        as_head = {c: self.view(slots[c], None, None, place=HEAD) for c in contents}
        as_tail = {c: self.view(None, None, slots[c], place=TAIL) for c in contents}
        found, counted = defaultdict(list), defaultdict(list)
        for head, relation, tail in asked:
            said = self.slot(("text", relation.replace("_", " ")))
            for answer, query, answers, kind in (
                (tail, self.view(slots[head], said, None, place=TAIL), as_tail, f"{head[0]}_to_{tail[0]}"),
                (head, self.view(None, said, slots[tail], place=HEAD), as_head, f"{tail[0]}_to_{head[0]}"),
            ):
                others = [
                    c for c in contents
                    if c[0] == answer[0] and c != answer
                    and ((head, relation, c) if answer == tail else (c, relation, tail)) not in known
                ]  # fmt: skip
                own = float(query @ answers[answer])
                scores = [float(query @ answers[c]) for c in others]
                found[kind].append(1 + sum(score > own for score in scores))
                place, other = ("tail", head[0]) if answer == tail else ("head", tail[0])
                own, *counts = (self.count(place, relation, c, other) for c in [answer, *others])
                counted[kind].append(1 + sum(c > own for c in counts) + sum(c == own for c in counts) / 2)
        return found, counted


def test_ranks_are_those_of_a_slow_computation(folder: Path, tmp_path: Path):
    measured, (slow, counted) = run(folder, tmp_path / "links.json"), Slow(folder).ranks()
    assert set(slow) == {"text_to_text", "text_to_image", "image_to_text", "image_to_image"}
    for kind, ranks in slow.items():
        assert measured[f"{kind}_mrr"]["n"] == len(ranks)
        assert measured[f"{kind}_mrr"]["value"] == pytest.approx(np.mean(1 / np.array(ranks)), abs=1e-6)
        assert measured[f"{kind}_hits_at_3"]["value"] == pytest.approx(np.mean(np.array(ranks) <= 3))
        row = measured[f"{kind}_mrr"]
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        assert row["random"] == pytest.approx(np.mean(1 / np.array(counted[kind])))
        assert measured[f"{kind}_hits_at_1"]["random"] == pytest.approx(np.mean(np.array(counted[kind]) <= 1))


def test_fewer_triples_and_pictures_are_drawn_by_the_seed(folder: Path, tmp_path: Path):
    first, second = (run(folder, tmp_path / f"{i}.json", triples=3, pictures=6) for i in range(2))
    assert first == second
    assert first["text_to_image_mrr"]["n"] <= 12
    manifest = json.loads((tmp_path / "0.json").read_text())["manifest"]
    assert manifest["n_pictures"] == 6 and manifest["stage"] == "links"


def test_few_questions_get_no_number(folder: Path, tmp_path: Path):
    row = run(folder, tmp_path / "links.json", minimum_group=1000)["text_to_text_mrr"]
    assert row["value"] is None and row["group"] == "all questions (insufficient)"


def test_what_is_missing_is_said(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no triple is in the split 'valid'"):
        run(folder, tmp_path / "links.json", split="valid")
    options = LinkOptions()
    with pytest.raises(InputError, match="cannot name"):
        predict_links(str(folder / "run"), folder / "graph", folder / "data", "a/b", tmp_path / "x.json", 0, options)
    (folder / "plain").mkdir()
    with pytest.raises(InputError, match="trained with knowledge"):
        predict_links(str(folder / "plain"), folder / "graph", folder / "data", "t", tmp_path / "x.json", 0, options)
    assert not (tmp_path / "x.json").exists() and not (tmp_path / "links.json").exists()
