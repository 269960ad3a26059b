"""What other programs can do with a saved scorer, and why not more."""

from __future__ import annotations

from rewarddiff.scorers.neural.readers import RowReader
from rewarddiff.scorers.neural.scorer import NeuralScorer


def obstacle(scorer: NeuralScorer) -> str | None:
    """Say why AutoModelForSequenceClassification does not give this scorer's scores.

    And what to use instead; None where it gives them.
    """
    cause = _cause(scorer)
    if cause is None:
        return None
    return f"loads with rewarddiff alone: {cause}"


def _cause(scorer: NeuralScorer) -> str | None:
    config = scorer.config
    reader = scorer.reader
    if config.kind == "difference":
        return (
            "a difference model compares two responses, and transformers' classifiers score one; "
            "train a kind: reward for them"
        )
    if reader.own_head is None:
        return None
    if config.head_count > 1:
        return (
            "it has several heads, and transformers' classifiers one; "
            "train one without heads and aspects for them"
        )
    if isinstance(reader, RowReader):
        return (
            "an encoder with pooling mean reads the response's tokens alone, which no classifier of "
            "transformers does; train with pooling: cls, or a decoder, for them"
        )
    return (
        "its head stands beside the model, in head.safetensors, and transformers' classifier of "
        "this architecture has no such head"
    )
