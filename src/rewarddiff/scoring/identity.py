"""What determines a scorer's answers, so that only what was made by the same one is gone on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from uuid import uuid4

from rewarddiff.scorers.opening import fingerprint_of
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.store import fingerprint


def identity_of(scorer: str | Scorer, options: Sequence[str] = ()) -> str:
    """Return a hash of all that determines what a scorer says.

    A scorer that does not tell is taken for another one each time.

    Args:
        options: of a language model that judges, and is named by a text.
    """
    if isinstance(scorer, str):
        return fingerprint_of(scorer, options)
    from rewarddiff.scorers.neural.scorer import NeuralScorer

    if isinstance(scorer, NeuralScorer):
        config = asdict(scorer.config)
        reading = scorer.reader.texts.fingerprint
        return fingerprint(
            scorer.fingerprint, config, reading, scorer.precision, scorer.temperature
        )
    if is_dataclass(scorer) and not isinstance(scorer, type):
        options = {field.name: getattr(scorer, field.name) for field in fields(scorer)}
        options["prompts"] = sorted(scorer.prompts or ())
        return fingerprint(type(scorer).__qualname__, options)
    return uuid4().hex
