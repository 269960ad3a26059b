"""Diverse beam search: groups of beams that keep off each other's tokens.

It is that of transformers up to 4.56. Groups take their next token one after the other. A group that
comes later pays `diversity_penalty` for a token, once for every beam of an earlier group of the
same prompt that has just taken it (Hamming diversity); within itself, a group is plain beam search.
An end token is free: groups can end with the same response, and it comes back twice.

transformers 5 no longer has this search; the tests compare with outputs of 4.56.2. Versions of
RRHF's time (4.28) kept the finished beams of all groups together and counted the prompt in a
response's length: they find others.

Source: Vijayakumar et al. 2016, arXiv 1610.02424; RRHF (Yuan et al. 2023, arXiv 2304.05302) draws
its responses so, 4 beams in 4 groups. The temperature of 0.8 in RRHF's settings is no option here,
because it had no effect: group beam search refuses `do_sample`, and without it temperature was
never applied, in 4.28 as in 4.56.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rewarddiff.config import at_least
from rewarddiff.sampling.batches import Tokens
from rewarddiff.sampling.rows import Rows

UNUSED = -1e9
"""The total of a beam that does not exist yet: at first, the beams of a group would be the same."""

Candidate = tuple[float, int, int]
"""How a beam may go on: the total of its log-probabilities then, the beam, the token."""


@dataclass(frozen=True)
class BeamConfig:
    """How beams are searched; the defaults are RRHF's.

    Attributes:
        num_beams: beams of a prompt, in `num_beam_groups` groups of equal size. One group is plain
            beam search, as transformers had it up to 4.48 (since then, all but "never" stop by
            slightly different rules).
        diversity_penalty: nats that a token costs for each beam of an earlier group that took it at
            the same step.
        num_return_sequences: how many of a prompt's beams come back, the best first.
        length_penalty: p in score = total / lengthᵖ; above 0 favours long responses, below 0 short
            ones.
        early_stopping: when a group that has finished as many beams as it is large stops. True: at
            once. False: when their worst scores no less than the best candidate of the present
            step. "never": when none can score more.
    """

    num_beams: int = 4
    num_beam_groups: int = 4
    diversity_penalty: float = 1.0
    max_new_tokens: int = 128
    num_return_sequences: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        at_least(self, 1, "num_beams", "num_beam_groups", "max_new_tokens", "num_return_sequences")
        at_least(self, 0, "diversity_penalty")
        if not (math.isfinite(self.diversity_penalty) and math.isfinite(self.length_penalty)):
            raise ValueError("diversity_penalty and length_penalty should be finite")
        if self.num_beams % self.num_beam_groups:
            raise ValueError(
                f"num_beams is {self.num_beams}, should be a multiple of num_beam_groups"
            )
        if self.num_return_sequences > self.num_beams:
            raise ValueError(
                f"num_return_sequences is {self.num_return_sequences}, should be at most num_beams"
            )

    @property
    def group_size(self) -> int:
        return self.num_beams // self.num_beam_groups


@dataclass(frozen=True)
class Beam:
    """A response that was found.

    Attributes:
        tokens: without the end token.
        score: the summed log-probability, less the penalties paid for diversity, over lengthᵖ, p
            the length penalty. The end token counts in both.
        ended: whether an end token was reached, and not `max_new_tokens`.
    """

    tokens: Tokens
    score: float
    ended: bool


def diverse_beams(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    config: BeamConfig,
    *,
    end_tokens: Collection[int],
    pad: int,
) -> list[list[Beam]]:
    """Return the best beams of each prompt, in the order of `prompts`, the best first.

    A prompt's beams do not depend on the prompts beside it, up to the rounding of floating-point
    sums.

    Args:
        model: a causal language model that keeps a cache; it is left in eval mode.
        prompts: token ids, at least one each.
        end_tokens: the tokens that end a response; none at all is allowed.
        pad: fills rows up. As in transformers, a group that is done counts as one that goes on
            taking this token: where it is also an end token, later groups pay for ending after an
            earlier one is done.

    Raises:
        ValueError: a prompt has no tokens, or the model answers one with NaN.
    """
    if not all(prompts):
        raise ValueError("a prompt has no tokens: begin it with the tokenizer's BOS token")
    if not prompts:
        return []
    searches = [_search(config, end_tokens, pad) for _ in prompts]
    model.eval()
    with torch.no_grad():
        rows = Rows(model, prompts, pad)
        rows.select([i for i in range(len(prompts)) for _ in range(config.num_beams)])
        for step in range(1, config.max_new_tokens + 1):
            parents, tokens = _take(rows.logits, searches, config)
            is_last = step == config.max_new_tokens
            if is_last or all(map(_is_done, searches)):
                break
            rows.select(parents)
            rows.append(tokens)
    return [_best(groups, config.num_return_sequences) for groups in searches]


def _search(config: BeamConfig, end_tokens: Collection[int], pad: int) -> list[_Group]:
    """Return the groups of one prompt."""
    return [_Group(config, end_tokens, pad) for _ in range(config.num_beam_groups)]


def _is_done(groups: Iterable[_Group]) -> bool:
    return all(group.done for group in groups)


def _take(
    logits: Tensor, searches: Sequence[Sequence[_Group]], config: BeamConfig
) -> tuple[list[int], list[int]]:
    """Take one more token for every beam: return the row that each row continues, and its token.

    Args:
        logits: (rows, vocabulary); a prompt's beams are consecutive rows, group by group.
        searches: the groups of every prompt.
    """
    size = config.group_size
    shape = (len(searches), config.num_beam_groups, size, -1)
    log_probs = logits.float().log_softmax(-1).view(shape)
    # How many beams of earlier groups took each token at this step, (prompts, vocabulary).
    counts = log_probs.new_zeros(len(searches), log_probs.shape[-1])
    parents = [0] * len(logits)
    tokens = [0] * len(logits)
    for g in range(config.num_beam_groups):
        groups = [search[g] for search in searches]
        penalised = log_probs[:, g] - config.diversity_penalty * counts[:, None]
        for i, candidates in enumerate(_candidates(penalised, groups)):
            if math.isnan(candidates[0][0]):
                raise ValueError(
                    f"the model's logits are NaN for prompt {i}: look at its weights and its dtype"
                )
            start = i * config.num_beams + g * size
            beams, tokens[start : start + size] = groups[i].advance(candidates)
            parents[start : start + size] = [start + beam for beam in beams]
        taken = torch.tensor(tokens, device=logits.device).view(shape[:-1])[:, g]
        counts.scatter_add_(1, taken, torch.ones_like(taken, dtype=counts.dtype))
    return parents, tokens


def _candidates(log_probs: Tensor, groups: Sequence[_Group]) -> Iterator[list[Candidate]]:
    """Yield for each prompt how its beams of one group may go on, the best first.

    Args:
        log_probs: of the next token, less penalties, (prompts, beams, vocabulary).
        groups: one for each prompt.
    """
    _, size, vocabulary = log_probs.shape
    # Enough that beams go on if others end.
    width = size * max(2, 1 + len(groups[0].end_tokens))
    open_totals = torch.tensor(
        [group.totals for group in groups], dtype=log_probs.dtype, device=log_probs.device
    )
    totals, places = (log_probs + open_totals[..., None]).flatten(1).topk(width)
    beams = places // vocabulary
    tokens = places % vocabulary
    for columns in zip(totals.tolist(), beams.tolist(), tokens.tolist(), strict=True):
        yield list(zip(*columns, strict=True))


def _best(groups: Iterable[_Group], count: int) -> list[Beam]:
    """Return the best of all groups; among equals the last found, as in transformers."""
    beams = [beam for group in groups for beam in group.close()]
    return sorted(beams, key=lambda beam: beam.score)[::-1][:count]


class _Group:
    """Beam search of one group of one prompt: its open beams, and the best of its finished ones."""

    def __init__(self, config: BeamConfig, end_tokens: Collection[int], pad: int) -> None:
        self.config = config
        self.end_tokens = frozenset(end_tokens)
        self.pad = pad
        self.open: list[Tokens] = [()] * config.group_size
        self.totals = [0.0] + [UNUSED] * (config.group_size - 1)
        self.finished: list[Beam] = []
        self.done = False

    def advance(self, candidates: Sequence[Candidate]) -> tuple[list[int], list[int]]:
        """Return the beam that each beam continues, and its token, from the best candidates."""
        size = self.config.group_size
        if self.done:
            return list(range(size)), [self.pad] * size
        for total, beam, token in candidates[:size]:
            if token in self.end_tokens:
                self._finish(self.open[beam], total, ended=True)
        going_on = [candidate for candidate in candidates if candidate[2] not in self.end_tokens]
        going_on = going_on[:size]
        self.totals = [total for total, _, _ in going_on]
        beams = [beam for _, beam, _ in going_on]
        tokens = [token for _, _, token in going_on]
        self.open = [(*self.open[beam], token) for beam, token in zip(beams, tokens, strict=True)]
        self.done = self._settled(candidates[0][0])
        return beams, tokens

    def close(self) -> list[Beam]:
        """Return all beams to choose from: open ones too where tokens ran out before the end."""
        if not self.done:
            for tokens, total in zip(self.open, self.totals, strict=True):
                self._finish(tokens, total, ended=False)
            self.done = True
        return self.finished

    def _finish(self, tokens: Tokens, total: float, *, ended: bool) -> None:
        """Keep a finished beam if there is room, or in place of the worst."""
        length = len(tokens) + int(ended)
        beam = Beam(tokens, total / length**self.config.length_penalty, ended)
        if len(self.finished) == self.config.group_size:
            worst = min(self.finished, key=lambda beam: beam.score)
            if beam.score <= worst.score:
                return
            self.finished.remove(worst)
        self.finished.append(beam)

    def _settled(self, total: float) -> bool:
        """Return whether to stop, where the best candidate of this step has this total."""
        if len(self.finished) < self.config.group_size:
            return False
        if self.config.early_stopping is True:
            return True
        longest = self.config.early_stopping == "never" and self.config.length_penalty > 0
        length = self.config.max_new_tokens if longest else len(self.open[0])
        attainable: float = total / length**self.config.length_penalty
        return min(beam.score for beam in self.finished) >= attainable
