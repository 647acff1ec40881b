"""Link prediction in the knowledge graph by a trained multi-modal encoder, between texts and pictures.

Reads a run of `evenclip train` with knowledge, its graph and its pictures; writes metrics like `evenclip evaluate`.
Command: `evenclip links`.
"""

from pathlib import Path

from evenclip.links.options import LinkOptions

__all__ = ["LinkOptions", "predict_links"]


def predict_links(model: str, graph: Path, data: Path, name: str, out: Path, seed: int, options: LinkOptions) -> None:
    """Rank and measure; see `evenclip.links.run.predict_links`, imported here so that options load without torch."""
    from evenclip.links.run import predict_links as run

    run(model, graph, data, name, out, seed, options)
