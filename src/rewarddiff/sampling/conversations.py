"""Questions of several turns: each is asked when the one before it has its answer.

Source: MT-Bench (Zheng et al. 2023, arXiv 2306.05685), whose questions have two turns.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewarddiff.machine import Meter
from rewarddiff.records import Message
from rewarddiff.sampling.batches import Sample
from rewarddiff.sampling.engines import Engine
from rewarddiff.sampling.generate import SamplingConfig
from rewarddiff.store import Store


def conversations(
    engine: Engine,
    questions: Sequence[Sequence[str]],
    config: SamplingConfig,
    *,
    rows: Sequence[str] = (),
    store: Store | None = None,
    meter: Meter | None = None,
    name: str = "sampling",
) -> list[list[Sample]]:
    """Return a policy's answers to all turns of each question.

    Args:
        questions: what the user says at each turn; some may have more turns than others.
        rows: where the questions come from, for errors.
    """
    answers: list[list[Sample]] = [[] for _ in questions]
    most = max(map(len, questions), default=0)
    for turn in range(most):
        places = [place for place, turns in enumerate(questions) if turn < len(turns)]
        samples = engine.samples(
            [so_far(questions[place], answers[place]) for place in places],
            config,
            rows=[rows[place] for place in places] if rows else (),
            store=store,
            meter=meter,
            name=f"{name}, turn {turn + 1} of {most}",
        )
        for place, answer in zip(places, samples, strict=True):
            answers[place].append(answer)
    return answers


def so_far(turns: Sequence[str], answers: Sequence[Sample]) -> tuple[Message, ...]:
    """Return the conversation up to the first turn that has no answer."""
    messages = []
    for turn, answer in zip(turns, answers, strict=False):
        messages += [Message("user", turn), Message("assistant", answer.text)]
    return (*messages, Message("user", turns[len(answers)]))
