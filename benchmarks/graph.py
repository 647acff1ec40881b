"""Time and memory of `evenclip graph` on a graph of the size of ConceptNet's English part; writes results/graph.csv.

    python -m benchmarks.graph

Draws assertions in the format of ConceptNet 5.7's dump: 1.2 million terms of one to three words with Zipf's
frequencies, plurals among them, and relations in about the shares of the real dump; 1 % are duplicates, and 1 %
are repeated with head and tail exchanged. The whole command is measured, from the compressed file to the tables.
"""

import gzip
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measuring import cost, row, run, size

N_TERMS = size(1_200_000, 3000)
RELATIONS = {
    "RelatedTo": 0.49, "FormOf": 0.11, "DerivedFrom": 0.09, "HasContext": 0.07, "IsA": 0.07, "Synonym": 0.06,
    "UsedFor": 0.02, "AtLocation": 0.02, "EtymologicallyRelatedTo": 0.02, "SimilarTo": 0.01, "CapableOf": 0.01,
    "HasSubevent": 0.01, "HasPrerequisite": 0.01, "Antonym": 0.01,
}  # fmt: skip
DETAILS = json.dumps({
    "dataset": "/d/wiktionary/en", "license": "cc:by-sa/4.0", "weight": 1.0,
    "sources": [{"process": "/s/process/wikiparsec/2", "contributor": "/s/resource/wiktionary/en"}],
})  # fmt: skip
MAX_SECONDS, MAX_MB = 300, 6000


def english_case() -> list[dict]:
    """The whole command, from the compressed file to the tables."""
    n = size(3_500_000, 5000)
    with tempfile.TemporaryDirectory() as folder:
        dump, out = Path(folder) / "assertions.csv.gz", Path(folder) / "graph"
        write_dump(dump, n, np.random.default_rng(0))
        command = [sys.executable, "-m", "evenclip", "graph", "--source", f"conceptnet={dump}", "--out", str(out)]
        seconds, cpu_s, _ = cost(lambda: subprocess.run(command, check=True))
        report = json.loads((out / "graph.json").read_text(encoding="utf-8"))
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # Linux counts in KB
    case = f"{n:,} assertions -> {report['n_triples']:,} triples, {report['n_entities']:,} entities"
    return [
        row(f"{case}: whole command", "s", seconds, None, "", MAX_SECONDS, smaller=True),
        row(f"{case}: CPU time", "s", cpu_s, None, "", MAX_SECONDS, smaller=True),
        row(f"{case}: peak memory", "MB", peak_mb, None, "", MAX_MB, smaller=True),
    ]


def write_dump(path: Path, n: int, rng: np.random.Generator) -> None:
    """Write ``n`` assertions between terms of Zipf's frequencies."""
    terms = draw_terms(rng)
    weight = 1 / np.arange(1, N_TERMS + 1) ** 0.8
    weight /= weight.sum()
    heads, tails = (rng.choice(N_TERMS, n, p=weight) for _ in range(2))
    names = rng.choice(list(RELATIONS), n, p=np.array(list(RELATIONS.values())) / sum(RELATIONS.values()))
    n_again = n // 100
    heads[-n_again:], tails[-n_again:], names[-n_again:] = heads[:n_again], tails[:n_again], names[:n_again]
    mirrored = slice(n - 2 * n_again, n - n_again)
    heads[mirrored], tails[mirrored] = tails[n_again : 2 * n_again], heads[n_again : 2 * n_again]
    names[mirrored] = names[n_again : 2 * n_again]
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        for head, tail, name in zip(heads.tolist(), tails.tolist(), names.tolist(), strict=True):
            uris = f"/r/{name}", f"/c/en/{terms[head]}", f"/c/en/{terms[tail]}"
            file.write(f"/a/[{uris[0]}/,{uris[1]}/,{uris[2]}/]\t{uris[0]}\t{uris[1]}\t{uris[2]}\t{DETAILS}\n")


def draw_terms(rng: np.random.Generator) -> list[str]:
    """Invented terms; a tenth of them are plurals of others."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "in", "ol")]
    words = ["".join(rng.choice(syllables, size)) for size in rng.integers(2, 5, size=N_TERMS // 10)]
    n_words = rng.choice([1, 2, 3], N_TERMS, p=[0.3, 0.5, 0.2])
    terms = ["_".join(words[i] for i in rng.integers(len(words), size=k)) for k in n_words]
    for i in rng.choice(N_TERMS - 1, N_TERMS // 10, replace=False):
        terms[i] = terms[i + 1] + "s"
    return terms


if __name__ == "__main__":
    run("graph", {"English": english_case})
