"""Schemas of the JSON documents in a results folder.

A schema names the keys that later stages use; a document may hold more. `evenclip.stage_outputs` reads and checks them.
"""

import time
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    create_model,
    model_validator,
)


class Document(BaseModel):
    """Base of JSON objects; additional keys are allowed."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)


def _is_time(text: str) -> str:
    time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return text


Time = Annotated[str, AfterValidator(_is_time)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]


class Input(Document):
    """A file or folder that a stage has read."""

    path: Name
    sha256: Name


class GitState(Document):
    """Git state of the checkout that a stage ran in; None outside a checkout."""

    commit: str | None
    dirty: bool | None


class StageManifest(Document):
    """Manifest of an output (`evenclip.provenance.Manifest`)."""

    stage: Name
    fingerprint: Name
    options: dict[str, Any]
    inputs: dict[str, Input]
    git: GitState
    packages: dict[str, str]
    python: str
    started: Time
    ended: Time
    seconds: float


def _with_inputs(*names: str) -> type[BaseModel]:
    """Schema of a manifest's inputs that requires ``names``."""
    return create_model("Inputs", __base__=Document, **dict.fromkeys(names, (Input, ...)))


class LabelColumnCounts(Document):
    """Number of pairs with a label, the words that gave it, and example captions."""

    n: Count
    share: float
    words: dict[str, int]
    examples: list[str]


class LabelManifest(StageManifest):
    """`label/<dataset>.json`."""

    n: Count
    columns: dict[str, LabelColumnCounts]


class BalanceManifest(StageManifest):
    """`balance/<strategy>/manifest.json`."""


class KeptPart(Document):
    """What balancing left of a group, of a label, or of a pair of both."""

    group: str | None
    label: str | None
    rows: Count
    before: float
    realised: float
    kept: float
    effective_rows: float


class Certificate(Document):
    """`balance/<strategy>/report.json`."""

    strategy: str
    n: Count
    retention: float
    ess: float
    rb_before: float | None
    ab_before: float | None
    realised_rb: float | None
    realised_ab: float | None
    kept_min: float
    kept: list[KeptPart]
    warnings: list[str]
    relative_gap: float | None
    feasible: bool


class StrategyBias(Document):
    """Bias of the data under a strategy's weights, in `balance/<strategy>/report.json`."""

    n: Count | None = None
    rb_after: float | None = None
    ab_after: float | None = None
    kept_min: float | None = None


class BalancedWith(Document):
    """Options and inputs of a strategy, in `balance/<strategy>/manifest.json`."""

    options: dict[str, Any]
    inputs: dict[str, Input]


class LabelledWith(Document):
    """Options of labelling, in `label/<dataset>.json`."""

    options: dict[str, Any]


class TrainingChoices(Document):
    """Training options that are shown."""

    model: str
    init: str
    objective: str
    batch_size: int
    lr: float


class TrainedWith(Document):
    """Strategy and options of a run, in `train/<run>/seed<k>/manifest.json`."""

    strategy: Name
    options: dict[str, Any]


class TrainingManifest(StageManifest):
    """`train/<run>/seed<k>/manifest.json`."""

    strategy: Name
    options: TrainingChoices
    inputs: _with_inputs("data", "weights")
    device: str
    dtype: str
    n_pairs: Count
    samples_seen: Count


class Metric(Document):
    """One measured value (`evenclip.tables.MetricRow`); its name is `<family>/<set>/<measure>`."""

    model_config = ConfigDict(extra="forbid")

    metric: Annotated[str, Field(pattern=r"(?s)^[^/]+/.+/[^/]+$")]
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: Count
    group: str
    random: float | None
    people: bool

    @model_validator(mode="after")
    def _has_both_ends(self) -> Self:
        if (self.ci_low is None) != (self.ci_high is None):
            raise ValueError("one end of the interval is missing")
        return self


class Metrics(Document):
    """Metrics in `evaluate/<run>/seed<k>/<set>.json`."""

    metrics: list[Metric]


class EvaluationOptions(Document):
    """Options of an evaluation that are shown; question answering and link prediction have no tasks."""

    name: Name
    resamples: Count
    model: str | None = None
    tasks: list[dict[str, Any]] = []


class Embedding(Document):
    """Precision and device with which a set was embedded."""

    precision: str
    device: str


class EvaluationManifest(StageManifest):
    """Manifest of an evaluation."""

    options: EvaluationOptions
    inputs: _with_inputs("dataset")
    n: Count
    model: str | None = None
    model_identity: dict[str, str] = {}
    embedding: Embedding | None = None


class Evaluation(Metrics):
    """`evaluate/<run>/seed<k>/<set>.json`, of `evenclip evaluate`, `vqa` or `links`."""

    manifest: EvaluationManifest


class StudyRun(Document):
    """A run of a study; ``rows`` is its number of rows in summary.csv."""

    run: Name
    strategy: Name
    seeds: Annotated[list[int], Field(min_length=1)]
    options: dict[str, Any]
    samples_seen: Count
    sets: list[str]
    rows: Count
    mark: str | None = None


class Study(Document):
    """`study.json`; ``files`` has the SHA-256 of each file that summarize read or wrote, by path."""

    study: Name
    runs: Annotated[list[StudyRun], Field(min_length=1)]
    files: dict[str, str]
    fingerprint: str


Verdict = Literal["supported", "refuted", "equivalent", "undecided", "not testable here", "not tested here"]


class ClaimEntry(Document):
    """A test of a claim, or a claim that was not tested with the reason (`evenclip.summarize.verdicts.judge`)."""

    id: Name
    name: str
    source: str
    statement: str
    kind: str
    margin: float
    metric: str
    verdict: Verdict
    claim_verdict: Verdict


class Claims(RootModel[list[ClaimEntry]]):
    """`claims.json`."""

    model_config = ConfigDict(allow_inf_nan=False, strict=True)


class GraphDegree(Document):
    """Number of triples per entity."""

    mean: float
    max: int


class GraphStatistics(Document):
    """`graph/graph.json`."""

    n_triples: Count
    n_entities: Count
    n_relations: Count
    n_negatives: Count = 0
    splits: dict[str, int]
    modalities: dict[str, int]
    sources: dict[str, dict[str, int]]
    degree: GraphDegree
    largest_component_share: float
    relations: dict[str, int]


class GraphManifest(StageManifest):
    """`graph/manifest.json`; ``sha256`` has the digest of each table."""

    sha256: dict[str, str]


class CardIdentity(Document):
    """`card/<run>/card.json`, as far as the tracker reads it."""

    fingerprint: Name


class Figures(Document):
    """`figures/figures.json`: SHA-256 of the report's page and of its figures."""

    page: str
    figures: dict[str, str]
