"""Knowledge graph in the report: a table of statistics, and a drawing of a small part."""

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array, csgraph

from evenclip.report.drawing import COLORS, GREY, PAPER, Picture, finish, panel
from evenclip.report.tables import Table
from evenclip.report.words import number
from evenclip.results import StudyResults

N_NODES, N_LINKS_OF_START, N_LINKS_OF_OTHERS, N_RELATIONS, N_LETTERS = 14, 6, 3, 12, 22

Link = tuple[str, str, str]


def statistics_table(statistics: dict[str, Any]) -> Table:
    """Table of the graph's counts, splits, sources and most frequent relations."""
    rows = [
        [name, number(statistics.get(f"n_{name}", 0))] for name in ("triples", "entities", "relations", "negatives")
    ]
    rows += [[f"triples to {'train on' if k == 'train' else k}", number(n)] for k, n in statistics["splits"].items()]
    rows += [[f"entities that are {name}", number(n)] for name, n in statistics["modalities"].items()]
    for source, counts in statistics["sources"].items():
        text = ", ".join(f"{reason.replace('_', ' ')} {number(n)}" for reason, n in counts.items() if n)
        rows.append([f"source {source}", text])
    rows.append(["triples per entity, mean and maximum", f"{statistics['degree']['mean']:.1f}, "
                 f"{number(statistics['degree']['max'])}"])  # fmt: skip
    rows.append(["entities in the largest component", number(statistics["largest_component_share"])])
    frequent = sorted(statistics["relations"].items(), key=lambda item: -item[1])[:N_RELATIONS]
    rows.append(["most frequent relations", ", ".join(f"{text} ({number(n)})" for text, n in frequent)])
    return Table("The knowledge graph", ["what", "count"], rows)


def graph_sample(study: StudyResults) -> Picture:
    """Drawing of the entities around one pictured object, or else around one term, with their relations."""
    entities = study.graph_table("entities", ["id", "text", "modality", "image_key"])
    relations = study.graph_table("relations", ["id", "text"])
    triples = study.graph_table("triples", ["head", "relation", "tail"])
    nodes, links = _neighbourhood(entities, triples)
    text = dict(zip(*(relations.column(name).to_pylist() for name in ("id", "text")), strict=True))
    entity_of = {row["id"]: row for row in entities.filter(pc.is_in(entities["id"], pa.array(nodes))).to_pylist()}
    positions = dict(zip(nodes, _layout(nodes, links), strict=True))
    with panel(4.8) as (figure, axes):
        for head, relation, tail in links:
            ends = np.array([positions[head], positions[tail]])
            arrow = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 9, "shrinkB": 9, "linewidth": 0.9}
            axes.annotate("", ends[1], ends[0], arrowprops=arrow, zorder=1)
            box = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.4}
            middle = {"fontsize": 6.5, "color": GREY, "ha": "center", "va": "center", "bbox": box, "zorder": 2}
            axes.text(*ends.mean(axis=0), text[relation], **middle)
        for id, (x, y) in positions.items():
            look = COLORS[0] if entity_of[id]["modality"] == "text" else COLORS[1]
            box = {"boxstyle": "round,pad=0.25", "facecolor": PAPER, "edgecolor": look, "linewidth": 1.2}
            axes.text(x, y, _name(entity_of[id]), fontsize=8, ha="center", va="center", bbox=box, zorder=3)
        axes.set(title="Some entities: text (blue), pictured (orange)")
        axes.axis("off")
        axes.margins(0.14)
        axes.scatter(*np.array(list(positions.values())).T, s=0)  # so that the limits hold the texts
        text_of_links = "; ".join(f"{_name(entity_of[h])} {text[r]} {_name(entity_of[t])}" for h, r, t in links)
        return finish(figure, "part of the knowledge graph", f"A part of the knowledge graph: {text_of_links}.")


def _name(entity: dict[str, Any]) -> str:
    text = entity["text"].partition(":")[0] or f"picture {entity['image_key']}"
    return text if len(text) <= N_LETTERS else text[: N_LETTERS - 1] + "…"


def _neighbourhood(entities: pa.Table, triples: pa.Table) -> tuple[list[str], list[Link]]:
    """Up to `N_NODES` entities in breadth-first order from an object or a term, and the triples that reach them."""
    around: dict[str, list[Link]] = defaultdict(list)
    for link in zip(*(triples.column(name).to_pylist() for name in triples.column_names), strict=True):
        around[link[0]].append(link)
        around[link[2]].append(link)
    pictured = entities.filter(pc.is_valid(entities["image_key"])).column("id").to_pylist()
    ids = pictured or entities.column("id").to_pylist()
    start = min(ids, key=lambda id: abs(len(around[id]) - N_LINKS_OF_START))
    nodes: list[str] = [start]
    links: list[Link] = []
    for node in nodes:  # the list grows during the loop
        wanted = N_LINKS_OF_START if node == start else N_LINKS_OF_OTHERS
        for link in around[node]:
            new = [end for end in (link[0], link[2]) if end not in nodes]
            if new and wanted and len(nodes) < N_NODES:
                nodes += new
                links.append(link)
                wanted -= 1
    return nodes, links


def _layout(nodes: list[str], links: list[Link]) -> np.ndarray:
    """Positions whose distances match path lengths, shape (n, 2): stress majorisation (Gansner et al. 2004)."""
    from sklearn.manifold import smacof  # slow to import, and of use only to studies with a graph

    index = {node: k for k, node in enumerate(nodes)}
    ends = np.array([(index[head], index[tail]) for head, _, tail in links])
    n = len(nodes)
    distance = csgraph.shortest_path(coo_array((np.ones(len(ends)), ends.T), (n, n)), directed=False, unweighted=True)
    return smacof(distance, n_components=2, n_init=8, random_state=0, normalized_stress=False)[0]
