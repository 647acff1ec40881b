"""Random unit vectors, and their nearest neighbours by a scan of all."""

import numpy as np


def unit_rows(n: int, d: int, seed: int = 0, rank: int = 8) -> np.ndarray:
    """Unit vectors that vary in ``rank`` directions mostly, as embeddings do."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)) + 0.1 * rng.standard_normal((n, d))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def brute_force(features: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    similarity = features[rows].astype(float) @ features.T.astype(float)
    similarity[np.arange(len(rows)), rows] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]
