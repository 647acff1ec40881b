"""From options to the parts of a training: the one place that knows all methods (see `evenclip.train.plugin`)."""

from dataclasses import dataclass, field

import numpy as np

from evenclip.errors import InputError
from evenclip.train.batches import Batches, StagedBatches, WeightedBatches
from evenclip.train.group_labels import Audited, Perceived, read_perceived
from evenclip.train.methods.ahnm.mined_negatives import HardNegatives
from evenclip.train.methods.efficientcl import HiddenAugmentation
from evenclip.train.methods.false_negatives import MaskedNegatives
from evenclip.train.methods.fcl import FairContrast
from evenclip.train.methods.knowledge.distillation import Distillation
from evenclip.train.methods.knowledge.term import Knowledge
from evenclip.train.methods.knowledge.triple_captions import TripleCaptions
from evenclip.train.methods.simclip import SimClipBatches, caption_kinds
from evenclip.train.plugin import Augmentation, Negatives, Setting, Term


@dataclass(frozen=True)
class Parts:
    """The parts of one training."""

    batches: Batches
    augmentation: Augmentation | None = None
    negatives: Negatives | None = None
    terms: list[Term] = field(default_factory=list)


def make_parts(setting: Setting) -> Parts:
    """Build the parts whose options are on."""
    batches = _batches(setting)
    perceived = read_perceived(setting.labels, setting.pairs.keys) if setting.labels else None
    return Parts(
        batches=Audited(batches, perceived) if perceived else batches,
        augmentation=_augmentation(setting),
        negatives=_negatives(setting, perceived),
        terms=[*_knowledge_terms(setting), *_fairness_terms(setting, perceived)],
    )


def _fairness_terms(setting: Setting, perceived: Perceived | None) -> list[Term]:
    fcl = setting.options.fcl
    if fcl and perceived is None:
        raise InputError("fcl needs the perceived groups", "train.fcl", "give the labels table with --labels")
    return [FairContrast(setting, fcl, perceived)] if fcl else []


def _augmentation(setting: Setting) -> Augmentation | None:
    options = setting.options
    if options.efficientcl and options.compile:
        raise InputError("compiled towers cannot be disturbed", "train.efficientcl", "set compile: false")
    return HiddenAugmentation(options.efficientcl, setting.clip.module) if options.efficientcl else None


def _negatives(setting: Setting, perceived: Perceived | None) -> Negatives | None:
    options = setting.options
    if options.ahnm:
        return HardNegatives(setting, perceived)
    return MaskedNegatives(setting) if options.mask_true else None


def _batches(setting: Setting) -> Batches:
    stages, pairs = setting.options.stages, setting.pairs
    batches = _batches_of(setting, pairs.copies, setting.clock.n_steps)
    if stages is None:
        return batches
    switch = round(stages.share * setting.clock.n_steps)
    return StagedBatches(_batches_of(setting, pairs.first_copies, switch), batches, switch)


def _batches_of(setting: Setting, copies: np.ndarray, end: int) -> Batches:
    options, pairs = setting.options, setting.pairs
    if options.simclip:
        by_text = options.simclip.modality == "text"
        kind = caption_kinds(pairs.tokens)[pairs.captions[pairs.starts[:-1]]] if by_text else np.arange(len(pairs.keys))
        return SimClipBatches(copies, kind, options.batch_size, setting.seed, setting.clock, options.simclip, end)
    return WeightedBatches(copies, options.batch_size, setting.seed)


def _knowledge_terms(setting: Setting) -> list[Term]:
    knowledge = setting.options.knowledge
    if knowledge is None:
        return []
    if knowledge.as_captions:
        return [TripleCaptions(setting, knowledge)]
    terms: list[Term] = [Knowledge(setting, knowledge)] if knowledge.e2e or knowledge.e2r or knowledge.g2e else []
    kd = (setting.options.init != "random") if knowledge.kd is None else knowledge.kd
    return [*terms, Distillation(setting, float(kd), knowledge)] if kd else terms
