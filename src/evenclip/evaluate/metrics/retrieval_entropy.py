"""Retrieval entropy: how mixed the groups are among the first k images retrieved by each word.

Reads the truth columns of perceived attributes and the prompts of the words; yields
bias/<set>/retrieval_entropy_at_<k>. Follows the So-B-IT study, which ranks faces by words and compares the groups of
the top-ranked ones. A low entropy is meaningful only if the groups are about equally frequent in the set.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
import scipy  # scipy.special is imported when it is first used
from pydantic import Field

from evenclip.evaluate.bootstrap import Bootstrap, reflected_row
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.groups import find_groups
from evenclip.evaluate.measurement import Definition, EvaluateOptions, GroupMeasurement
from evenclip.evaluate.ranking import Rankings
from evenclip.tables import MetricRow


class RetrievalEntropy(GroupMeasurement):
    """Normalised entropy of the groups among the first k images of each word."""

    metrics: ClassVar = (
        Definition("bias/retrieval_entropy_at_{k}", "entropy of the groups among the top k images; mean and by word",
                   "-sum_a p_a ln p_a / ln(number of groups), p_a = share of a among the first k", "[0, 1]",
                   "mean over random rankings", "after Hamidieh et al. 2024 (So-B-IT), arXiv 2411.00997"),
    )  # fmt: skip

    kind: Literal["retrieval_entropy"] = "retrieval_entropy"
    """Retrieval entropy."""
    k: Annotated[int, Field(ge=1)] = 100
    """Number of top-ranked images to use."""

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield -sum_a p_a ln p_a / ln(number of groups), p = shares among the first k: the mean, and by word.

        The range is [0, 1]: 1 = all groups equally often, 0 = only one group. The bootstrap is stratified by group.
        """
        name = f"bias/{data.name}/retrieval_entropy_at_{self.k}"
        groups = find_groups(data, self.column, self.values, options.minimum_group)
        yield from groups.insufficient_rows([name])
        if not groups.comparable:
            return
        where = f"retrieval entropy of {data.name}, column {self.column}"
        n_groups = len(groups.names)
        similarity = data.similarity(self.prompts)[groups.rows]
        ranked = Rankings.of(similarity, groups.strata, n_groups, self.k, where, bootstrap.seed)
        point, replicates, random = (
            scipy.special.entr(shares).sum(axis=-1) / np.log(n_groups)
            for shares in (ranked.shares(), ranked.resampled_shares(bootstrap), ranked.chance_shares(bootstrap.seed))
        )
        chance = float(random.mean())
        yield reflected_row(name, point.mean(), replicates.mean(axis=1), groups.n, (0, 1), random=chance)
        for index, word in enumerate(data.classes(self.prompts).names):
            yield reflected_row(name, point[0, index], replicates[:, index], groups.n, (0, 1), word, chance)
