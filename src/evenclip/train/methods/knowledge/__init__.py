"""Knowledge-CLIP: learning from the triples of a knowledge graph.

Source: Pan et al., "Contrastive language-image pre-training with knowledge graphs", NeurIPS 2022. `term` holds its
losses on triples, `distillation` the one that keeps the initial model's distribution, `triple_captions` the control
that shows the same triples as captions. `triple_batches` draws the triples of a step, `triple_encoding` encodes them.
"""

from evenclip.train.method_options import KnowledgeOptions
from evenclip.train.methods.knowledge.distillation import Distillation
from evenclip.train.methods.knowledge.triple_captions import TripleCaptions
from evenclip.train.methods.knowledge.triple_losses import KnowledgeTerm
from evenclip.train.plugin import MethodContext, MethodParts, Term


def build(context: MethodContext, options: KnowledgeOptions) -> MethodParts:
    """The losses whose weight is above 0, or the control in their place."""
    if options.as_captions:
        return MethodParts(terms=[TripleCaptions(context, options)])
    terms: list[Term] = []
    if options.e2e or options.e2r or options.g2e:
        terms.append(KnowledgeTerm(context, options))
    starts_trained = context.options.init != "random"
    weight = float(starts_trained) if options.kd is None else options.kd
    if weight:
        terms.append(Distillation(context, weight, options))
    return MethodParts(terms=terms)
