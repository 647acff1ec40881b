"""A baseline for link prediction that knows entities by their text alone; part of no stage, only there to be beaten.

An entity's vector is the sum of learnt vectors of its words and of their character n-grams (fastText: Bojanowski et al.
2017), hashed into buckets, so that unseen entities have a vector too. The query of (entity, relation) is
``e + A_r e + b_r``, with separate matrices for the inverse relations. It is compared with all entities except ``e``
itself, which is nearest to its own text and hardly ever the answer. Training is a softmax over the batch's answers and
uniformly drawn entities, corrected for the sampling probability (Bengio and Senecal 2008).
"""

import zlib
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from evenclip.links.ranking import Scorer, Side
from evenclip.options import Options

N_BUCKETS = 2**17
NGRAMS = (3, 4, 5)


class TextScorerOptions(Options):
    """How the text scorer is trained."""

    width: Annotated[int, Field(ge=1)] = 128
    """Dimensions of an entity."""
    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the training triples."""
    batch_size: Annotated[int, Field(ge=1)] = 512
    """Triples in a batch; each is asked from both sides."""
    n_drawn: Annotated[int, Field(ge=0)] = 1024
    """Entities drawn uniformly as further wrong answers of a batch."""
    lr: Annotated[float, Field(gt=0)] = 3e-3
    """Learning rate of Adam at the start; it falls to 0 along a straight line."""


def text_features(text: str) -> list[int]:
    """Sorted buckets of a text: of its words, their n-grams, and the whole text."""
    words = text.lower().split()
    pieces = {f"={text.lower()}", *words}
    for word in (f"<{word}>" for word in words):
        pieces |= {word[k : k + n] for n in NGRAMS for k in range(len(word) - n + 1)}
    return sorted({zlib.crc32(piece.encode()) % N_BUCKETS for piece in pieces})


class TextScorer(nn.Module):
    """Scores of all entities for (entity, relation); see the module's docstring.

    Parameters
    ----------
    texts : sequence of str
        Of every entity, by row.
    """

    def __init__(self, texts: Sequence[str], n_relations: int, width: int):
        super().__init__()
        features = [text_features(text) for text in texts]
        lengths = np.array([len(buckets) for buckets in features])
        self.n_relations = n_relations
        self._flat = torch.tensor([bucket for buckets in features for bucket in buckets])
        self._start = torch.from_numpy(np.cumsum(lengths) - lengths)
        self._length = torch.from_numpy(lengths)
        times = torch.bincount(self._flat, minlength=N_BUCKETS).float()
        self._idf = torch.log(len(texts) / times.clamp(min=1))
        self.buckets = nn.EmbeddingBag(N_BUCKETS, width, mode="sum", sparse=True)
        nn.init.normal_(self.buckets.weight, std=width**-0.5)
        self.matrix = nn.Parameter(torch.zeros(2 * n_relations, width, width))
        self.bias = nn.Parameter(torch.zeros(2 * n_relations, width))
        self.prior = nn.Linear(width, 1)
        self.scale = nn.Parameter(torch.tensor(2.5))

    def embed(self, entities: Tensor) -> Tensor:
        """Vectors of entities, shape (n, width): the mean over their pieces by inverse document frequency, scaled."""
        length = self._length[entities]
        offsets = length.cumsum(0) - length
        owner = torch.repeat_interleave(torch.arange(len(entities)), length)
        pieces = self._flat[self._start[entities][owner] + torch.arange(len(owner)) - offsets[owner]]
        weight = self._idf[pieces]
        norm = torch.zeros(len(entities)).index_add_(0, owner, weight**2).sqrt().clamp(min=1e-6)
        return self.buckets(pieces, offsets, per_sample_weights=weight / norm[owner])

    def query(self, vectors: Tensor, relations: Tensor) -> Tensor:
        """What is compared with the answers, shape (n, width); relations of the head's side are + n_relations."""
        turned = torch.empty_like(vectors)
        for relation in relations.unique().tolist():
            rows = (relations == relation).nonzero().squeeze(1)
            turned[rows] = vectors[rows] @ self.matrix[relation].T
        return nn.functional.normalize(vectors + turned + self.bias[relations], dim=1)

    def compare(self, queries: Tensor, answers: Tensor) -> Tensor:
        """Scores, shape (n_queries, n_answers): scaled cosine, and what the answer's text alone makes likely."""
        cosine = queries @ nn.functional.normalize(answers, dim=1).T
        return self.scale.exp() * cosine + self.prior(answers).T

    def scorer(self) -> Scorer:
        """As `evenclip.links.ranking` asks for it; with the present weights."""
        with torch.no_grad():
            vectors = self.embed(torch.arange(len(self._length)))

        @torch.no_grad()
        def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
            relation = torch.from_numpy(relations) + (self.n_relations if side == "head" else 0)
            asked = torch.from_numpy(entities)
            scores = self.compare(self.query(vectors[asked], relation), vectors)
            scores[torch.arange(len(asked)), asked] = scores.min() - 1  # nothing is its own head or tail
            return scores.numpy()

        return score


def train_text_scorer(
    texts: Sequence[str], train: np.ndarray, n_relations: int, options: TextScorerOptions, seed: int
) -> TextScorer:
    """Train on triples, shape (n, 3), rows of head, relation, tail; deterministic given the seed and one thread."""
    torch.manual_seed(seed)
    model = TextScorer(texts, n_relations, options.width)
    queries, answers = _both_sides(torch.from_numpy(train), n_relations)
    log_share = torch.log(torch.bincount(answers, minlength=len(texts)) / len(answers))
    optimizers = [
        torch.optim.SparseAdam(list(model.buckets.parameters()), lr=options.lr),
        torch.optim.Adam([p for name, p in model.named_parameters() if not name.startswith("buckets")], lr=options.lr),
    ]
    n_queries = 2 * options.batch_size
    n_steps = options.epochs * -(-len(queries) // n_queries)
    step = 0
    for _ in range(options.epochs):
        for rows in torch.randperm(len(queries)).split(n_queries):
            for optimizer in optimizers:
                optimizer.param_groups[0]["lr"] = options.lr * (1 - step / n_steps)
                optimizer.zero_grad()
            _loss(model, queries[rows], answers[rows], log_share, options.n_drawn).backward()
            for optimizer in optimizers:
                optimizer.step()
            step += 1
    return model


def _both_sides(triples: Tensor, n_relations: int) -> tuple[Tensor, Tensor]:
    """(entity, relation) asked of, shape (2n, 2), and the answers, shape (2n,)."""
    head, relation, tail = triples.T
    queries = torch.cat([torch.stack([head, relation], 1), torch.stack([tail, relation + n_relations], 1)])
    return queries, torch.cat([tail, head])


def _loss(model: TextScorer, queries: Tensor, answers: Tensor, log_share: Tensor, n_drawn: int) -> Tensor:
    """Cross entropy of the right answers among the batch's and the drawn; equal entities are one candidate."""
    candidates, index = torch.cat([answers, torch.randint(len(log_share), (n_drawn,))]).unique(return_inverse=True)
    query = model.query(model.embed(queries[:, 0]), queries[:, 1])
    scores = model.compare(query, model.embed(candidates))
    # a candidate is met about so often in a batch; its score is to say how likely it is, not how likely to be drawn
    expected = len(answers) * log_share[candidates].exp() + n_drawn / len(log_share)
    scores = scores - torch.log1p(-torch.exp(-expected))
    return nn.functional.cross_entropy(scores, index[: len(answers)])
