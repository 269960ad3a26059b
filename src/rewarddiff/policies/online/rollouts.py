"""Rollouts: responses drawn from the policy, in groups that share the prompt, and read as trees.

What an update reads of a rollout is plain numbers, so that a checkpoint in the middle of a turn
holds it to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rewarddiff.chat_template import TemplateRefused
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.encoding import Encoder
from rewarddiff.progress import task
from rewarddiff.records import Group
from rewarddiff.sampling.batches import Tokens, before_stop, has_stop, padding
from rewarddiff.sampling.generate import sample_tokens
from rewarddiff.tokenizing import text_of
from rewarddiff.trees import Packed, Tree, group_tree, microbatches


class Sampling(Protocol):
    """What drawing reads of a trainer's options."""

    @property
    def num_generations(self) -> int: ...

    @property
    def temperature(self) -> float: ...

    @property
    def max_new_tokens(self) -> int: ...

    @property
    def stop(self) -> tuple[str, ...]: ...

    @property
    def sampling_batch_size(self) -> int: ...


@dataclass(frozen=True)
class OnlinePrompt:
    """A prompt to sample responses to.

    Attributes:
        place: its number among all; with the turn it draws the responses.
        tokens: the prompt as the policy reads it.
        group: the prompt with its stored responses, which a baseline is made of.
    """

    place: int
    tokens: Tokens
    group: Group

    @property
    def id(self) -> str:
        return self.group.source or self.group.id


@dataclass(frozen=True)
class Rollout:
    """A prompt with sampled responses. Numbers of tokens are laid end to end, response by response.

    Attributes:
        id: what errors call it.
        tree: the prompt, and one branch for each response, with its end token if it has one.
        ended: whether each response ended by itself.
        logps: log π of every response token when it was sampled, nats.
        reference: log ρ of the same; () where it is not read.
        values: V of the same; () without a value head.
        trained: whether each response is trained on: it has a reward.
        advantages: A of every response token.
        returns: the value head's goals; () without one.
    """

    id: str
    tree: Tree
    ended: tuple[bool, ...]
    logps: tuple[float, ...] = ()
    reference: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    trained: tuple[bool, ...] = ()
    advantages: tuple[float, ...] = ()
    returns: tuple[float, ...] = ()

    @property
    def responses(self) -> list[Tokens]:
        """The tokens of each response."""
        return [node.tokens for node in self.tree.nodes[1:]]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each response."""
        return list(map(len, self.responses))

    def having(self, names: Sequence[str], columns: Sequence[tuple[Any, ...]]) -> Rollout:
        """Return the rollout with these columns as well."""
        more: dict[str, Any] = dict(zip(names, columns, strict=True))
        return replace(self, **more)

    def plain(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, ready for JSON."""
        return {**vars(self), "tree": [list(node.tokens) for node in self.tree.nodes]}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Rollout:
        """Return the rollout that `plain` was made of."""
        prompt, *responses = plain["tree"]
        values = {name: tuple(value) for name, value in plain.items() if name not in ("id", "tree")}
        return cls(id=plain["id"], tree=group_tree(prompt, responses), **values)


def online_prompts(
    groups: Iterable[Group], encoder: Encoder, max_new_tokens: int, ledger: Ledger
) -> list[OnlinePrompt]:
    """Return the prompts that responses can be sampled to; others are counted in the ledger."""
    prompts: list[OnlinePrompt] = []
    for group in groups:
        try:
            tokens = encoder.prompt(group.prompt)
        except TemplateRefused as error:
            ledger.drop(Reason.TEMPLATE_REFUSED, group, error.cause)
            continue
        longest = encoder.lengths.max_prompt
        if longest is not None and len(tokens) > longest:
            detail = f"{len(tokens)} tokens cut to the last {longest}"
            ledger.change(Reason.PROMPT_CUT, group, detail)
            tokens = tokens[-longest:]
        if encoder.context is not None and len(tokens) + max_new_tokens > encoder.context:
            detail = f"{len(tokens)} + {max_new_tokens} tokens, the model reads {encoder.context}"
            ledger.drop(Reason.PROMPT_TOO_LONG, group, detail)
            continue
        ledger.keep()
        prompts.append(OnlinePrompt(len(prompts), tokens, group))
    return prompts


def draw(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[OnlinePrompt],
    config: Sampling,
    *,
    seed: object,
    turn: int,
) -> list[Rollout]:
    """Return responses to each prompt, drawn by the seed, the turn and the prompt's place.

    Args:
        seed: a number, or anything else that is ready for JSON.
    """
    if not prompts:
        return []
    ends = encoder.ends(prompt.group.prompt for prompt in prompts)
    stops = partial(_is_stopped, encoder, config.stop) if config.stop else None
    rows: list[tuple[int, int]] = []  # prompt and number of the response
    for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i].tokens)):
        rows += [(i, j) for j in range(config.num_generations)]
    responses: dict[tuple[int, int], Tokens] = {}
    with task("rollout", len(rows), inner=True) as progress:
        for start in range(0, len(rows), config.sampling_batch_size):
            batch = rows[start : start + config.sampling_batch_size]
            drawn = sample_tokens(
                model,
                [prompts[i].tokens for i, _ in batch],
                [(seed, turn, prompts[i].place, j) for i, j in batch],
                temperature=config.temperature,
                max_new_tokens=config.max_new_tokens,
                ends=ends,
                pad=padding(encoder.tokenizer, ends),
                stops=stops,
            )
            responses.update(zip(batch, drawn, strict=True))
            progress.advance(len(batch))
    rollouts = []
    for i, prompt in enumerate(prompts):
        group = [responses[i, j] for j in range(config.num_generations)]
        ended = tuple(
            tokens[-1] in ends or _is_stopped(encoder, config.stop, tokens) for tokens in group
        )
        rollouts.append(Rollout(prompt.id, group_tree(prompt.tokens, group), ended))
    return rollouts


def _is_stopped(encoder: Encoder, stops: Sequence[str], tokens: Sequence[int]) -> bool:
    """Tell whether a stop text stands in a response; special tokens may be a part of it."""
    text = text_of(encoder.tokenizer, tokens, special=True) if stops else ""
    return has_stop(text, stops)


def with_texts(
    encoder: Encoder, prompt: OnlinePrompt, rollout: Rollout, stops: Sequence[str] = ()
) -> Group:
    """Return the prompt with the sampled responses as a scorer reads them: up to a stop text."""
    texts = []
    for tokens in rollout.responses:
        text = encoder.text(tokens)
        if has_stop(text, stops):
            text = before_stop(text, stops)
        texts.append(text)
    return prompt.group.with_responses(texts)


def groups_with_texts(
    encoder: Encoder,
    prompts: Sequence[OnlinePrompt],
    rollouts: Sequence[Rollout],
    stops: Sequence[str] = (),
) -> list[Group]:
    """Return prompts with their sampled responses, each as `with_texts` has it."""
    groups = []
    for prompt, rollout in zip(prompts, rollouts, strict=True):
        groups.append(with_texts(encoder, prompt, rollout, stops))
    return groups


def read(
    rollouts: Sequence[Rollout],
    pack: Callable[[list[Tree]], Packed],
    forward: Callable[[Packed], Sequence[Tensor]],
    tokens: int,
) -> list[list[tuple[float, ...]]]:
    """Return what forward passes say of each rollout: one number per response token, by column.

    Args:
        pack: lays trees out.
        forward: gives columns of one value per response token.
        tokens: of one forward pass.
    """
    shortest_first = sorted(range(len(rollouts)), key=lambda i: len(rollouts[i].tree))
    sizes = [len(rollouts[i].tree) for i in shortest_first]
    columns_of: dict[int, list[tuple[float, ...]]] = {}
    for cut in microbatches(sizes, tokens):
        places = [shortest_first[k] for k in cut]
        columns = forward(pack([rollouts[i].tree for i in places]))
        lengths = [sum(rollouts[i].lengths) for i in places]
        for column in columns:
            for i, part in zip(places, column.split(lengths), strict=True):
                columns_of.setdefault(i, []).append(tuple(part.tolist()))
    return [columns_of[i] for i in range(len(rollouts))]


def with_columns(
    rollouts: Sequence[Rollout], names: Sequence[str], columns: Sequence[Sequence[Any]]
) -> list[Rollout]:
    """Return rollouts with columns that were read of them (`read`) under these names."""
    complete = []
    for rollout, values in zip(rollouts, columns, strict=True):
        complete.append(rollout.having(names, values))
    return complete


def rows_of(flat: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return numbers of tokens laid end to end as one padded row a response, (responses, tokens)."""
    return pad_sequence(list(flat.split(list(lengths))), batch_first=True)


def flat_of(rows: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the rows' tokens laid end to end: the reverse of `rows_of`."""
    parts = [row[:length] for row, length in zip(rows, lengths, strict=True)]
    return torch.cat(parts)
