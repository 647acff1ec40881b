"""The knowledge graph of a training: the triples of its training split, shown by the training's own pairs."""

from evenclip.errors import InputError
from evenclip.model.shown_graph import ShownGraph, read_shown_graph
from evenclip.train.setting import Setting


def load_training_graph(setting: Setting) -> ShownGraph:
    """Read what a training may see of its graph.

    Raises
    ------
    InputError
        The training has no graph, crops its images, or a table is missing or names what the others lack.
    """
    if setting.graph is None or setting.data is None:
        raise InputError("knowledge needs a graph", "train.knowledge", "give --graph, the folder of `evenclip graph`")
    if setting.options.crop_scale_min < 1:
        raise InputError("crops move the graph's regions", "train.crop_scale_min", "set it to 1 for knowledge")
    graph = read_shown_graph(setting.graph, setting.pairs.keys, setting.data, setting.clip.preprocess_cfg)
    return graph.of_split("train")
