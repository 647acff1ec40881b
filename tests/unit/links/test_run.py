"""Links: ranks equal those of a slow computation, triple by triple; what looks like the training's is not asked."""

import json
import shutil
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
from evenclip.links.questions import answers_among, draw_questions
from evenclip.model.clip import create_clip, load_clip, save_clip
from evenclip.model.images import decode_images, normalise
from evenclip.model.multimodal import HEAD, TAIL, TEXT_TOKENS, MultiModalEncoder, load_multimodal, save_multimodal
from evenclip.model.multimodal_graph import read_multimodal_graph
from evenclip.model.tokens import WHOLE, TokenTap, last_text_tokens
from evenclip.tables import write_table
from support.tiny_graph import SCHEMA, write_graph
from support.tiny_training import PX, write_model, write_squares

N = 12
COLUMNS = ("head", "relation", "tail")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("links")
    write_squares(root / "data", N)
    write_graph(root / "graph", N)
    _add_hard_cases(root / "graph")
    (root / "run").mkdir()
    torch.manual_seed(0)
    save_clip(create_clip(str(write_model(root / "tiny.json"))), root / "run")
    save_multimodal(MultiModalEncoder(32, 32, 32, 1, 16), root / "run", region_side=2)
    return root


def _add_hard_cases(graph: Path) -> None:
    """Regions that look alike, the word for regions as a concept, and every fifth triple held out."""
    twin = {"id": "twin", "text": "square", "modality": "both", "image_key": "00003", "box": [0, 0, 16, PX]}
    other = {"id": "other", "text": "square", "modality": "both", "image_key": "00003", "box": [16, 0, 16, PX]}
    concept = {"id": "concept", "text": "square", "modality": "text", "image_key": None, "box": None}
    entities = pq.read_table(graph / "entities.parquet").to_pylist()[::-1]
    entities += [twin, other, concept]
    triples = [tuple(t[c] for c in COLUMNS) for t in pq.read_table(graph / "triples.parquet").to_pylist()]
    split = ["test" if i % 5 == 2 else "train" for i in range(len(triples))]
    picture = "picture:3"
    at = triples.index(("region:3", "in", picture))
    split[at] = "train"
    triples += [("twin", "in", picture), ("other", "in", picture), ("other", "has", "color:white"),
                ("twin", "in", "other"), ("twin", "in", "region:3"), ("concept", "is_not", "color:red"),
                ("other", "is_not", "color:green"), ("other", "is_not", "color:blue"),
                ("region:5", "in", "picture:6"), ("other", "is_not", "color:white")]  # fmt: skip
    split += ["test", "test", "train", "test", "test", "test", "train", "train", "test", "test"]
    columns = dict(zip(COLUMNS, zip(*triples, strict=True), strict=True))
    write_table(pa.table({**columns, "source": ["tiny"] * len(triples), "split": split}), graph / "triples.parquet")
    write_table(pa.Table.from_pylist(entities, schema=SCHEMA), graph / "entities.parquet")


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
        self.pixels = dict(decode_images(iterate_images(folder / "data"), self.clip.preprocess_cfg, "data"))
        self.entities = {row["id"]: row for row in pq.read_table(folder / "graph" / "entities.parquet").to_pylist()}
        self.particular = {name for name, row in self.entities.items() if row["image_key"]}
        self.triples = pq.read_table(folder / "graph" / "triples.parquet").to_pylist()

    def contents_of(self, entity: str) -> list[tuple]:
        """The ways to show an entity."""
        row = self.entities[entity]
        as_text = [("text", row["text"])] if row["text"] else []
        box = (row["box"][0] / PX, 0.0, (row["box"][0] + row["box"][2]) / PX, 1.0) if row["box"] else WHOLE
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
    def view(self, *slots, slot: int) -> torch.Tensor:
        return self.encoder.entity(self.encoder(slots)[0][:, slot])[0]

    def looks(self, split: tuple[str, ...]) -> set[tuple]:
        """All that the triples of some splits look like."""
        chosen = [t for t in self.triples if t["split"] in split]
        return {
            (h, t["relation"], tail)
            for t in chosen
            for h in self.contents_of(t["head"])
            for tail in self.contents_of(t["tail"])
        }

    def count(self, side: str, relation: str, content: tuple, other: str) -> int:
        """Training triples of ``relation`` with ``content`` at ``side`` and something ``other`` to show beside it."""
        beside = {"head": "tail", "tail": "head"}[side]
        return sum(
            t["split"] == "train"
            and t["relation"] == relation
            and content in self.contents_of(t[side])
            and any(content_of_end[0] == other for content_of_end in self.contents_of(t[beside]))
            for t in self.triples
        )

    def ranks(self) -> dict[str, list[tuple]]:
        """By kind of question: the model's rank, the best and the worst by counting, and how many take part."""
        true_triples, in_train = self.looks(("train", "test")), self.looks(("train",))
        asked = {
            (h, t["relation"], tail)
            for t in self.triples
            if t["split"] == "test"
            for h in self.contents_of(t["head"])
            for tail in self.contents_of(t["tail"])
            if h != tail and (h[0] == "image" or tail[0] == "image" or not {t["head"], t["tail"]} & self.particular)
        } - in_train
        contents = sorted({content for name in self.entities for content in self.contents_of(name)}, key=str)
        slots = {content: self.slot(content) for content in contents}
        as_head = {c: self.view(slots[c], None, None, slot=HEAD) for c in contents}
        as_tail = {c: self.view(None, None, slots[c], slot=TAIL) for c in contents}
        ranked = defaultdict(list)
        for head, relation, tail in asked:
            said = self.slot(("text", relation.replace("_", " ")))
            for answer, query, answers, kind in (
                (tail, self.view(slots[head], said, None, slot=TAIL), as_tail, f"{head[0]}_to_{tail[0]}"),
                (head, self.view(None, said, slots[tail], slot=HEAD), as_head, f"{tail[0]}_to_{head[0]}"),
            ):
                others = [
                    c for c in contents
                    if c[0] == answer[0] and c != answer
                    and ((head, relation, c) if answer == tail else (c, relation, tail)) not in true_triples
                ]  # fmt: skip
                own = float(query @ answers[answer])
                scores = [float(query @ answers[c]) for c in others]
                rank = 1 + sum(score > own for score in scores)
                side, other = ("tail", head[0]) if answer == tail else ("head", tail[0])
                own, *counts = (self.count(side, relation, c, other) for c in [answer, *others])
                best = 1 + sum(c > own for c in counts)
                ranked[kind].append((rank, best, best + sum(c == own for c in counts), 1 + len(others)))
        return ranked


@pytest.mark.parametrize("rows", [256, 5])
def test_ranks_are_those_of_a_slow_computation(folder: Path, tmp_path: Path, monkeypatch, rows: int):
    monkeypatch.setattr("evenclip.links.encoding.ROWS", rows)
    measured, slow = run(folder, tmp_path / "links.json"), Slow(folder).ranks()
    assert set(slow) == {"text_to_text", "text_to_image", "image_to_text", "image_to_image"}
    for kind, ranks_of_kind in slow.items():
        rank, best, worst, n_answers = np.array(ranks_of_kind).T
        row = measured[f"{kind}_mrr"]
        assert row["n"] == len(ranks_of_kind)
        assert row["value"] == pytest.approx(np.mean(1 / rank), abs=1e-6)
        assert measured[f"{kind}_hits_at_3"]["value"] == pytest.approx(np.mean(rank <= 3))
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        chance = [np.mean(1 / np.arange(1, n + 1)) for n in n_answers]
        assert row["random"] == pytest.approx(np.mean(chance))
        assert measured[f"{kind}_hits_at_3"]["random"] == pytest.approx(np.mean(np.minimum(3 / n_answers, 1)))
        counted = measured[f"{kind}_mrr_counting"]["value"]
        assert np.mean(1 / worst) - 1e-9 <= counted <= np.mean(1 / best) + 1e-9


def test_triples_about_one_picture_are_resampled_together(folder: Path):
    keys = np.array([f"{i:05d}" for i in range(N)])
    cfg = load_clip(str(folder / "run")).preprocess_cfg
    graph = read_multimodal_graph(folder / "graph", keys, folder / "data", cfg)
    every = draw_questions(graph, answers_among(graph, np.arange(N)), "test", 100, np.random.default_rng(0))
    for content in every:
        contents = content.asked[:, 0 if content.way[0] else 2]
        if any(content.way):
            assert content.cluster.tolist() == graph.entity_pair[contents - len(graph.texts)].tolist()
        else:
            assert len(set(content.cluster.tolist())) == len(content.asked) and (content.cluster < 0).all()


def test_fewer_triples_and_pictures_are_drawn_by_the_seed(folder: Path, tmp_path: Path):
    first, second = (run(folder, tmp_path / f"{i}.json", triples=3, pictures=6) for i in range(2))
    assert first == second
    assert first["text_to_text_mrr"]["n"] == 4  # two triples of words are held out
    assert first["image_to_image_mrr"]["n"] == 6
    manifest = json.loads((tmp_path / "0.json").read_text())["manifest"]
    assert manifest["n_pictures"] == 6 and manifest["stage"] == "links"


def test_few_questions_get_no_number(folder: Path, tmp_path: Path):
    row = run(folder, tmp_path / "links.json", minimum_group=1000)["text_to_text_mrr"]
    assert row["value"] is None and row["group"] == "all questions (insufficient)"


def test_wrong_inputs_of_link_prediction_are_named(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no triple of the split 'valid' is left"):
        run(folder, tmp_path / "links.json", split="valid")
    options = LinkOptions()
    with pytest.raises(InputError, match="cannot name"):
        predict_links(str(folder / "run"), folder / "graph", folder / "data", "a/b", tmp_path / "x.json", 0, options)
    strange = write_graph(tmp_path / "strange", N)
    entities = pq.read_table(strange / "entities.parquet").to_pylist()
    moved = [row | {"image_key": row["image_key"] and "x" + row["image_key"]} for row in entities]
    write_table(pa.Table.from_pylist(moved, schema=SCHEMA), strange / "entities.parquet")
    with pytest.raises(InputError, match="none of the graph's pictures"):
        predict_links(str(folder / "run"), strange, folder / "data", "t", tmp_path / "x.json", 0, options)
    broken = tmp_path / "broken"
    shutil.copytree(folder / "run", broken)
    (broken / "multimodal.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match="not a multi-modal encoder"):
        predict_links(str(broken), folder / "graph", folder / "data", "t", tmp_path / "x.json", 0, options)
    encoder = load_multimodal(folder / "run")[0]
    encoder.to_entity.weight.data[0, 0] = torch.nan
    save_multimodal(encoder, broken, region_side=2)
    with pytest.raises(InputError, match="not finite"):
        predict_links(str(broken), folder / "graph", folder / "data", "t", tmp_path / "x.json", 0, options)
    (folder / "plain").mkdir()
    with pytest.raises(InputError, match="trained with knowledge"):
        predict_links(str(folder / "plain"), folder / "graph", folder / "data", "t", tmp_path / "x.json", 0, options)
    assert not (tmp_path / "x.json").exists() and not (tmp_path / "links.json").exists()
