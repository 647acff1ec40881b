"""Adaptive hard negative mining (AHNM): negatives weigh more the harder they are, and increasingly so.

`mining` holds the mathematics of the weights, `candidates` the texts that may be negatives, `mined_negatives` puts both
together for each batch, and `examples` records a few mined negatives for the report.
"""

from evenclip.train.method_options import AhnmOptions
from evenclip.train.methods.ahnm.mined_negatives import HardNegatives
from evenclip.train.plugin import MethodContext, MethodParts


def build(context: MethodContext, options: AhnmOptions) -> MethodParts:
    """Negatives weighed by hardness."""
    return MethodParts(negatives=HardNegatives(context, options))
