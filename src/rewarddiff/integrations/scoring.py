"""Rewards of completions as trainers hand them over: rows of one prompt and one response each."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rewarddiff.data.formats.base import RowError
from rewarddiff.data.formats.conversations import last_turn, messages
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Message, Prompt
from rewarddiff.rewards import Baseline
from rewarddiff.rewards.stored import StoredBaseline, read_baseline
from rewarddiff.scorers import ranking
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.opening import fingerprint_of, open_scorer
from rewarddiff.scorers.over_baseline import OverBaseline
from rewarddiff.scorers.protocol import Pointwise, Scorer

Turns = Sequence[dict[str, object]]

TRIED = 3
"""Prompts that may fail one behind the other before the rest of a call count as failed too."""

ByPrompt = dict[Prompt, dict[int, str]]
"""The responses to each prompt, by their places among all completions."""


@dataclass(frozen=True)
class Completion:
    """One response to one prompt."""

    prompt: Prompt
    response: str


@dataclass(frozen=True)
class Rewards:
    """What a scorer said of completions.

    Attributes:
        scores: one per completion, higher is better; None where there is none.
        problems: why not, one line for each failure: a completion, or a prompt with several.
    """

    scores: list[float | None]
    problems: list[str]


def opened(scorer: Scorer | str | Path) -> Scorer:
    """Return the scorer that is meant: itself, or the one that a text or a URL names."""
    if not isinstance(scorer, str | Path):
        return scorer
    loaded = open_scorer(os.path.expanduser(scorer))
    return loaded.to(process_device()) if isinstance(loaded, NeuralScorer) else loaded


def opened_over(
    scorer: Scorer | str | Path, stored: StoredBaseline | str | Path, baseline: Baseline = "mean"
) -> OverBaseline:
    """Return the scorer that is meant, with rewards relative to stored responses.

    Args:
        stored: what `rewarddiff baseline` wrote, or its file.
        baseline: g, as in `rewards.contrastive`.
    """
    if not isinstance(stored, StoredBaseline):
        stored = read_baseline(os.path.expanduser(stored))
    fingerprint = ""
    if isinstance(scorer, str | Path):
        fingerprint = fingerprint_of(os.path.expanduser(scorer))
    return OverBaseline(opened(scorer), stored, baseline, fingerprint)


def process_device() -> torch.device:
    """Return the accelerator of this process, of several that were launched together."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def completion_of(prompt: str | Turns, completion: str | Turns) -> Completion:
    """Return a completion as trainers write one: two texts, or two lists of turns.

    Earlier turns of a completion, as calls of tools and their answers, belong to the prompt of its
    last one.

    Raises:
        RowError: it does not end with what an assistant says.
    """
    if isinstance(completion, str):
        before = prompt if isinstance(prompt, str) else messages(prompt, "prompt")
        return Completion(before, completion)
    asked = (Message("user", prompt),) if isinstance(prompt, str) else messages(prompt, "prompt")
    turns = messages(completion, "completion")
    whole_prompt = (*asked, *turns[:-1])
    return Completion(whole_prompt, last_turn(whole_prompt, turns[-1:], "completion"))


def rewards_of(
    scorer: Scorer, prompts: Sequence[str | Turns], completions: Sequence[str | Turns]
) -> Rewards:
    """Return one reward per completion. Completions of one prompt are read together.

    A scorer that has rewards gives r(x, y). Of any other it is the mean of d(y, y') over the other
    completions of the same prompt in this call, so a lone one has none.
    """
    scores: list[float | None] = [None] * len(completions)
    problems: list[str] = []
    responses_by_prompt = _by_prompt(prompts, completions, problems)
    if not isinstance(scorer, Pointwise):
        responses_by_prompt = _without_lone(responses_by_prompt, scorer.name, problems)
    groups = []
    for prompt, responses in responses_by_prompt.items():
        name = f"the prompt of completion {min(responses)}"
        groups.append(Group(name, prompt, tuple(responses.values())))
    read = _read(scorer, groups, problems)
    for responses, values in zip(responses_by_prompt.values(), read, strict=True):
        for place, value in zip(responses, values, strict=True):
            if value is not None and not math.isfinite(value):
                problems.append(f"completion {place}: {scorer.name} gives {value}, no reward")
                value = None
            scores[place] = value
    return Rewards(scores, problems)


def _by_prompt(
    prompts: Sequence[str | Turns], completions: Sequence[str | Turns], problems: list[str]
) -> ByPrompt:
    """Return the responses to each prompt; add what is no response to `problems`."""
    responses: ByPrompt = {}
    for place, (prompt, text) in enumerate(zip(prompts, completions, strict=True)):
        try:
            completion = completion_of(prompt, text)
        except RowError as problem:
            problems.append(f"completion {place}: {problem}")
        else:
            responses.setdefault(completion.prompt, {})[place] = completion.response
    return responses


def _without_lone(responses_by_prompt: ByPrompt, name: str, problems: list[str]) -> ByPrompt:
    """Return the prompts with several responses; add the others to `problems`."""
    several: ByPrompt = {}
    for prompt, responses in responses_by_prompt.items():
        if len(responses) > 1:
            several[prompt] = responses
        else:
            problems.append(
                f"completion {min(responses)}: {name} compares responses, and its prompt has no "
                "other one in this call"
            )
    return several


def _read(
    scorer: Scorer, groups: Sequence[Group], problems: list[str]
) -> list[list[float] | list[None]]:
    """Return the scores of each group: read together, or where that fails one by one.

    So one prompt that cannot be read costs only its own responses. Where several fail one behind the
    other, as behind a server that is down, the rest are not tried.
    """
    try:
        return [values.tolist() for values in ranking.scores(scorer, groups)]
    except UserError as problem:
        reason = str(problem)
    scores: list[list[float] | list[None]] = []
    failures = 0
    for group in groups:
        values = None
        if len(groups) > 1 and failures < TRIED:
            values, reason = _read_alone(scorer, group, reason)
        if values is None:
            failures += 1
            problems.append(reason)
            scores.append([None] * len(group.responses))
        else:
            failures = 0
            scores.append(values)
    return scores


def _read_alone(scorer: Scorer, group: Group, reason: str) -> tuple[list[float] | None, str]:
    """Return one group's scores (None: it fails), and the reason of the last failure."""
    try:
        (values,) = ranking.scores(scorer, [group])
    except UserError as problem:
        return None, str(problem)
    return values.tolist(), reason
