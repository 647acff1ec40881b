"""Link prediction: a trained multi-modal encoder ranks the missing ends of the knowledge graph's triples.

Reads a run of `evenclip train` with knowledge, its graph and its pictures; writes metrics like `evenclip evaluate`.
Command: `evenclip links`.
"""

from pathlib import Path

from evenclip.links.options import LinkOptions

__all__ = ["LinkOptions", "predict_links"]


def predict_links(model: str, graph: Path, data: Path, name: str, out: Path, seed: int, options: LinkOptions) -> None:
    """Run link prediction; see `evenclip.links.run.predict_links`. Imported lazily, so that options need no torch."""
    from evenclip.links.run import predict_links as run

    run(model, graph, data, name, out, seed, options)
