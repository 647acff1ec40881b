"""SimCLIP batches and neighbour search against scanning all vectors: writes benchmarks/results/batches.csv.

    python -m benchmarks.batches [clusters] [neighbours]

Vectors vary in 64 directions with falling strength, with a little noise in all 512: neighbours without clusters, which
is hard for an index. One thread each, and the processor's time, which others on the machine disturb less. The peer of
`clusters` is the method of the released SimCLIP code, written anew: for each cluster NumPy compares the pivot with the
whole set, norms included, and sorts all. It is timed on some clusters and multiplied up, as its time does not depend on
which. The peer of `neighbours` is faiss's exact index, timed on some queries in the same way.
"""

import time

import faiss
import numpy as np

from benchmarks.measuring import row, run, size
from evenclip.train.method_options import SimClipOptions
from evenclip.train.methods.simclip import Neighbours, SimClipBatches

WIDTH, RANK, NOISE = 512, 64, 0.02
BATCH, SIZE = size(1024, 64), 16
N_SCANNED = size(64, 2)  # clusters that the peer makes
N_QUERIES = size(500, 20)  # vectors whose neighbours are searched exactly


def embeddings(n: int) -> np.ndarray:
    """Unit vectors, shape (n, WIDTH), float32."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((WIDTH, RANK)))[0].T / np.sqrt(np.arange(1, RANK + 1))[:, None]
    features = rng.standard_normal((n, RANK), np.float32) @ directions.astype(np.float32)
    features += NOISE * rng.standard_normal((n, WIDTH), np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def scan(features: np.ndarray, pivot: int, taken: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A cluster of the peer: the pivot and its SIZE - 1 drawn of the SIZE nearest that are free, marked as taken."""
    similarity = features @ features[pivot] / (np.linalg.norm(features, axis=1) * np.linalg.norm(features[pivot]))
    similarity[taken] = -1
    similarity[pivot] = -1
    nearest = np.argsort(similarity)[::-1][:SIZE]
    cluster = np.append(rng.choice(nearest, SIZE - 1, replace=False), pivot)
    taken[cluster] = True
    return cluster


def clusters_case(n: int = size(100_000, 1000), n_runs: int = size(3, 1)) -> list[dict]:
    """All batches of one epoch, from embeddings: ours with its index, the peer by scanning."""
    features, rng = embeddings(n), np.random.default_rng(1)
    ours, peer, batch_rows = [], [], []
    n_clusters = n // BATCH * BATCH // SIZE
    for number in range(n_runs):  # in turns
        options = SimClipOptions(cluster_size=SIZE)
        batches = SimClipBatches(np.ones(n, np.int64), np.arange(n), BATCH, number, options, 1000)
        start = time.process_time()
        batches.prepare(0, lambda modality, rows: features[rows])
        batch_rows = [batches.at(step).rows for step in range(batches.steps_per_epoch)]
        ours.append(time.process_time() - start)
        taken = np.zeros(n, bool)
        start = time.process_time()
        for pivot in rng.choice(n, N_SCANNED, replace=False):
            scan(features, pivot, taken, rng)
        peer.append((time.process_time() - start) * n_clusters / N_SCANNED)
    share = agreement(features, batch_rows[0])
    assert share > 0.95, share
    case = f"one epoch of batches of {BATCH:,} from {n:,} vectors of {WIDTH}, {n_clusters:,} clusters of {SIZE}"
    return [
        row(case, "s CPU", ours, peer, "NumPy scan of all for each cluster", 100),
        row(f"{case}: neighbours among the {SIZE} nearest that are free", "share", share, None, "", 0.95),
    ]


def agreement(features: np.ndarray, rows: np.ndarray) -> float:
    """Share of a batch's neighbours that a scan would have allowed."""
    taken = np.zeros(len(features), bool)
    taken[rows[::SIZE]] = True
    allowed = []
    for pivot, *members in rows.reshape(-1, SIZE):
        similarity = features @ features[pivot]
        similarity[taken] = -1
        allowed += np.isin(members, np.argsort(similarity)[::-1][:SIZE]).tolist()
        taken[members] = True
    return float(np.mean(allowed))


def neighbours_case(n: int = size(1_000_000, 2000)) -> list[dict]:
    """The neighbours of all pivots of an epoch, index included, against an exact search; and the recall."""
    features = embeddings(n)
    n_pivots, queries = n // SIZE, np.random.default_rng(1).choice(n, n // SIZE, replace=False)
    exact = faiss.IndexFlatIP(WIDTH)
    exact.add(features)
    start = time.process_time()
    _, truth = exact.search(features[queries[:N_QUERIES]], 2 * SIZE + 1)
    peer = (time.process_time() - start) * n_pivots / N_QUERIES
    del exact
    start = time.process_time()
    index = Neighbours(features, 0)
    built = time.process_time() - start
    nearest = index.search(queries, 2 * SIZE)
    ours = time.process_time() - start
    case = f"neighbours of {n_pivots:,} of {n:,} vectors of {WIDTH}"
    recalls = [
        row(f"{case}: recall at {k}", "share", recall(nearest[:N_QUERIES, :k], truth[:, 1 : k + 1]), None, "", 0.95)
        for k in (SIZE, 2 * SIZE)
    ]
    return [
        row(case, "s CPU", ours, peer, "faiss exact search"),
        row(f"{case}: of this, the index", "s CPU", built),
        *recalls,
    ]


def recall(neighbours: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true neighbours that were found."""
    return float(np.mean([np.isin(b, a).mean() for a, b in zip(neighbours, truth, strict=True)]))


CASES = {"clusters": clusters_case, "neighbours": neighbours_case}


if __name__ == "__main__":
    faiss.omp_set_num_threads(1)
    run("batches", CASES)
