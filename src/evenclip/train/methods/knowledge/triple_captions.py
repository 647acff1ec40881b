"""Control for Knowledge-CLIP: the same triples as captions of their images, in CLIP's own loss.

Reads the folder of `evenclip graph`. Triples between two texts have no image and are left out.
"""

import numpy as np
import torch

from evenclip.model.multimodal_graph import MultiModalGraph
from evenclip.train.method_options import KnowledgeOptions
from evenclip.train.methods.knowledge.masked_contrast import symmetric_contrast
from evenclip.train.methods.knowledge.triple_batches import TripleBatches, positions
from evenclip.train.methods.knowledge.triple_losses import load_training_graph
from evenclip.train.plugin import MethodContext, Step, Term


class TripleCaptions(Term):
    """CLIP's softmax loss of the batch's images with sentences of triples in place of captions.

    A sentence that some triple of the graph makes true of an image is no negative of it, as in the E2E loss.

    Parameters
    ----------
    context : MethodContext
    options : KnowledgeOptions
    """

    def __init__(self, context: MethodContext, options: KnowledgeOptions):
        super().__init__()
        self.weight, self.lr, self._graph = options.as_captions, options.lr, load_training_graph(context)
        self._batches = TripleBatches(self._graph, options.triples_per_batch, options.image_share, context.seed)
        sentences, self._sentence = _sentences(self._graph)
        self._tokens, self._n_sentences = context.tokens(sentences), len(sentences)
        graph = self._graph
        pairs = np.concatenate([graph.entity_pair[graph.head], graph.entity_pair[graph.tail]])
        self._true = np.unique(self._codes(pairs, np.tile(self._sentence, 2))[pairs >= 0])

    def forward(self, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        """The loss, also logged as ``triple_caption_loss``."""
        rows, device = step.batch.rows[step.local_rows], step.image.device
        batch = self._batches.at(step.position, rows)
        if batch is None or not batch.as_image.any():
            return step.image.new_zeros(()), {"triple_caption_loss": 0.0}
        has_image = batch.as_image.any(axis=0)
        triples, head_is_image = batch.triples[has_image], batch.as_image[0, has_image]
        pair = self._graph.entity_pair[np.where(head_is_image, self._graph.head[triples], self._graph.tail[triples])]
        sentence = self._sentence[triples]
        texts, row = np.unique(sentence, return_inverse=True)
        features = step.encode_text(self._tokens[torch.from_numpy(texts)])
        image = step.image[step.local_rows][torch.from_numpy(positions(pair, rows)).to(device)]
        true = _contains(self._true, self._codes(pair[:, None], sentence))
        text = features[torch.from_numpy(row).to(device)]
        loss = symmetric_contrast(image, text, step.logit_scale, torch.from_numpy(true).to(device))
        return loss, {"triple_caption_loss": loss.detach()}

    def _codes(self, pair: np.ndarray, sentence: np.ndarray) -> np.ndarray:
        return pair * self._n_sentences + sentence


def _contains(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Whether ``ordered``, shape (n,), n > 0, has each of ``values``; np.isin would sort all n anew in every step."""
    return ordered[np.searchsorted(ordered, values).clip(max=len(ordered) - 1)] == values


def _sentences(graph: MultiModalGraph) -> tuple[list[str], np.ndarray]:
    """The different sentences of the triples about images, and the sentence of each triple, shape (n,), -1 = none.

    An entity without text is the image itself; then the text of the other entity is the caption.
    """
    numbers: dict[str, int] = {}
    sentence = np.full(len(graph.head), -1)
    about_image = (graph.entity_pair[graph.head] >= 0) | (graph.entity_pair[graph.tail] >= 0)
    for triple in np.flatnonzero(about_image):
        head, tail = (graph.entity_text[ends[triple]] for ends in (graph.head, graph.tail))
        parts = [head, graph.relation_text[graph.relation[triple]], tail] if min(head, tail) >= 0 else [max(head, tail)]
        words = " ".join(graph.texts[part] for part in parts if part >= 0)
        sentence[triple] = numbers.setdefault(words, len(numbers))
    return list(numbers), sentence
