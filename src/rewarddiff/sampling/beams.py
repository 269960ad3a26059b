"""Diverse beam search: groups of beams that keep off each other's tokens, as transformers had it up
to 4.56.

Groups take their next token one after the other. A group that comes later pays `diversity_penalty`
for a token, once for every beam of an earlier group of the same prompt that has just taken it
(Hamming diversity); within itself, a group is plain beam search. An end token is free: groups can
end with the same response, and it comes back twice.

transformers 5 no longer has this search; the tests compare with outputs of 4.56.2. Versions of
RRHF's time (4.28) kept the finished beams of all groups together and counted the prompt in a
response's length: they find others.

Source: Vijayakumar et al. 2016, arXiv 1610.02424; RRHF (Yuan et al. 2023, arXiv 2304.05302) draws
its responses so, 4 beams in 4 groups. The temperature of 0.8 in RRHF's settings is no option here,
because it had no effect: group beam search refuses `do_sample`, and without it temperature was
never applied, in 4.28 as in 4.56.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rewarddiff.config import at_least

UNUSED = -1e9  # the total of a beam that does not exist yet: at first, the beams of a group would all be the same


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

    tokens: tuple[int, ...]
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
    """The best beams of each prompt, in the order of `prompts`, the best first.

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
    groups = [
        [_Group(config, end_tokens, pad) for _ in range(config.num_beam_groups)] for _ in prompts
    ]
    if not prompts:
        return []
    model.eval()
    with torch.no_grad():
        rows = _Rows(model, prompts, config.num_beams, pad)
        for left in reversed(range(config.max_new_tokens)):
            parents, tokens = _take(rows.logits, groups, config)
            if not left or all(group.done for one in groups for group in one):
                break
            rows.forward(parents, tokens)
    return [_best(one, config.num_return_sequences) for one in groups]


def _take(
    logits: Tensor, groups: list[list[_Group]], config: BeamConfig
) -> tuple[list[int], list[int]]:
    """One more token for every beam: the row that each row continues, and its token. `logits` are
    (rows, vocabulary).

    A prompt's beams are consecutive rows, group by group.
    """
    log_probs = (
        logits.float()
        .log_softmax(-1)
        .view(len(groups), config.num_beam_groups, config.group_size, -1)
    )
    counts = log_probs.new_zeros(
        len(groups), log_probs.shape[-1]
    )  # of the tokens taken at this step
    width = config.group_size * max(
        2, 1 + len(groups[0][0].end_tokens)
    )  # enough that beams go on if others end
    parents, tokens = [0] * len(logits), [0] * len(logits)
    for g in range(config.num_beam_groups):
        totals = torch.tensor(
            [one[g].totals for one in groups], dtype=log_probs.dtype, device=logits.device
        )
        totals = (log_probs[:, g] - config.diversity_penalty * counts[:, None]) + totals[..., None]
        best, at = totals.flatten(1).topk(width)
        found = zip(
            best.tolist(),
            (at // totals.shape[-1]).tolist(),
            (at % totals.shape[-1]).tolist(),
            strict=True,
        )
        for i, candidates in enumerate(found):
            if math.isnan(candidates[0][0]):
                raise ValueError(
                    f"the model's logits are NaN for prompt {i}: look at its weights and its dtype"
                )
            start = i * config.num_beams + g * config.group_size
            end = start + config.group_size
            beams, tokens[start:end] = groups[i][g].advance(list(zip(*candidates, strict=True)))
            parents[start:end] = [start + beam for beam in beams]
        new = torch.tensor(tokens, device=logits.device).view(
            len(groups), config.num_beam_groups, -1
        )[:, g]
        counts.scatter_add_(1, new, torch.ones_like(new, dtype=counts.dtype))
    return parents, tokens


def _best(groups: Iterable[_Group], count: int) -> list[Beam]:
    """The best of all groups; among equals, what was found last comes first, as in transformers."""
    beams = [beam for group in groups for beam in group.close()]
    return sorted(beams, key=lambda beam: beam.score)[::-1][:count]


class _Group:
    """Beam search of one group of one prompt: its open beams, and the best of its finished ones."""

    def __init__(self, config: BeamConfig, end_tokens: Collection[int], pad: int) -> None:
        self.config = config
        self.end_tokens = frozenset(end_tokens)
        self.pad = pad
        self.open: list[tuple[int, ...]] = [()] * config.group_size
        self.totals = [0.0] + [UNUSED] * (config.group_size - 1)
        self.finished: list[Beam] = []
        self.done = False

    def advance(self, candidates: Sequence[tuple[float, int, int]]) -> tuple[list[int], list[int]]:
        """The beam that each beam continues, and its token, from candidates (total, beam, token),
        the best first."""
        size = self.config.group_size
        if self.done:
            return list(range(size)), [self.pad] * size
        for total, beam, token in candidates[:size]:
            if token in self.end_tokens:
                self._finish(self.open[beam], total, ended=True)
        goes_on = [candidate for candidate in candidates if candidate[2] not in self.end_tokens][
            :size
        ]
        self.open = [(*self.open[beam], token) for _, beam, token in goes_on]
        self.totals = [total for total, _, _ in goes_on]
        self.done = self._settled(candidates[0][0])
        return [beam for _, beam, _ in goes_on], [token for _, _, token in goes_on]

    def close(self) -> list[Beam]:
        """All beams to choose from: where tokens ran out before the group was done, open ones are
        among them."""
        if not self.done:
            for tokens, total in zip(self.open, self.totals, strict=True):
                self._finish(tokens, total, ended=False)
            self.done = True
        return self.finished

    def _finish(self, tokens: tuple[int, ...], total: float, *, ended: bool) -> None:
        """Keep it if there is room, or in place of the worst."""
        beam = Beam(tokens, total / (len(tokens) + ended) ** self.config.length_penalty, ended)
        if len(self.finished) == self.config.group_size:
            worst = min(self.finished, key=lambda beam: beam.score)
            if beam.score <= worst.score:
                return
            self.finished.remove(worst)
        self.finished.append(beam)

    def _settled(self, total: float) -> bool:
        """Whether to stop, where the best candidate of this step, ended or not, has this total."""
        if len(self.finished) < self.config.group_size or self.config.early_stopping is True:
            return len(self.finished) == self.config.group_size
        longest = self.config.early_stopping == "never" and self.config.length_penalty > 0
        length = self.config.max_new_tokens if longest else len(self.open[0])
        attainable: float = total / length**self.config.length_penalty
        return min(beam.score for beam in self.finished) >= attainable


class _Rows:
    """The model over all beams of all prompts, one row each, padded on the left: each token is read
    once."""

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], beams: int, pad: int
    ) -> None:
        self.model: Any = model
        accepted = inspect.signature(model.forward).parameters
        self.positioned = "position_ids" in accepted
        self.only_last = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self.cache: Any = None
        width = max(map(len, prompts))
        ids = [[pad] * (width - len(p)) + list(p) for p in prompts]
        self.mask = torch.tensor(
            [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device
        )
        self._read(torch.tensor(ids, device=model.device))
        self._select(torch.arange(len(prompts), device=model.device).repeat_interleave(beams))

    def forward(self, parents: list[int], tokens: list[int]) -> None:
        """Each row becomes row `parents` and one token more; `logits` are those of what comes
        next."""
        self._select(torch.tensor(parents, device=self.mask.device))
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        self._read(torch.tensor(tokens, device=self.mask.device)[:, None])

    def _read(self, ids: Tensor) -> None:
        positions = (self.mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
            **({"position_ids": positions} if self.positioned else {}),
            **self.only_last,
        )
        self.cache = output.past_key_values
        self.logits: Tensor = output.logits[:, -1]

    def _select(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)
        self.mask, self.logits = self.mask[rows], self.logits[rows]
