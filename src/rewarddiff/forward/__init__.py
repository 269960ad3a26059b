"""A Hugging Face decoder over packed token trees: hidden states and log-probabilities.

The attention of the model is replaced, through transformers' own registry, by one that works tree
by tree; every other layer sees one long row without padding. Whether a model can do this is not
looked up in a list: at load, one small tree is run both ways and compared, and a model that answers
differently (recurrent layers, ALiBi, code of its own) is run on plain padded rows from then on,
with a warning.

`attention` works block by block, `flex` in one fused kernel on a GPU; `trunk` is the model's body,
`logprobs` reads its head.
"""

from rewarddiff.forward.attention import ATTENTION, Layout, tree_attention
from rewarddiff.forward.logprobs import LogProbs, node_sums, recomputed
from rewarddiff.forward.trunk import Trunk, switch_dropout_off

__all__ = [
    "ATTENTION",
    "Layout",
    "LogProbs",
    "Trunk",
    "node_sums",
    "recomputed",
    "switch_dropout_off",
    "tree_attention",
]
