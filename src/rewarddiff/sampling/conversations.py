"""Questions of several turns: each is asked when the one before it has its answer.

Source: MT-Bench (Zheng et al. 2023, arXiv 2306.05685), whose questions have two turns.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewarddiff.machine import Meter
from rewarddiff.records import Message, Prompt
from rewarddiff.sampling.batches import Sample
from rewarddiff.sampling.engines import Engine
from rewarddiff.sampling.generate import SamplingConfig
from rewarddiff.store import Store


def conversations(
    engine: Engine,
    prompts: Sequence[Prompt],
    later: Sequence[Sequence[str]],
    config: SamplingConfig,
    *,
    rows: Sequence[str] = (),
    store: Store | None = None,
    meter: Meter | None = None,
    name: str = "sampling",
) -> list[list[Sample]]:
    """Return a policy's answers to all turns of each question.

    Args:
        prompts: what is asked first, as it stands.
        later: what the user says after the first answer, the second, …; of each question its own
            number of turns.
        rows: where the questions come from, for errors.
    """
    answers: list[list[Sample]] = [[] for _ in prompts]
    for turn in range(1 + max(map(len, later), default=0)):
        places = [place for place, turns in enumerate(later) if turn <= len(turns)]
        samples = engine.samples(
            [so_far(prompts[place], later[place], answers[place]) for place in places],
            config,
            rows=[rows[place] for place in places] if rows else (),
            store=store,
            meter=meter,
            name=f"{name}, turn {turn + 1}" if turn else name,
        )
        for place, answer in zip(places, samples, strict=True):
            answers[place].append(answer)
    return answers


def so_far(prompt: Prompt, later: Sequence[str], answers: Sequence[Sample]) -> Prompt:
    """Return what is asked once these answers are there: behind them, the next turn."""
    if not answers:
        return prompt
    messages = [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)
    for answer, turn in zip(answers, later, strict=False):
        messages += [Message("assistant", answer.text), Message("user", turn)]
    return tuple(messages)
