"""Supervised fine-tuning on the best response of each group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from rewarddiff.config import checked
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.encoded import Encoded
from rewarddiff.encoding import Encoder
from rewarddiff.forward import LogProbs
from rewarddiff.loop.objective import LossOutput, TrainConfig, one_group
from rewarddiff.losses import pointwise
from rewarddiff.policies.batch import Column
from rewarddiff.policies.items import Pairs, PreferenceItem
from rewarddiff.records import Group
from rewarddiff.trees import group_tree


@checked
@dataclass(frozen=True)
class SFTConfig:
    """Learn the best response of each group."""

    name: Literal["sft"] = "sft"
    reads: ClassVar[frozenset[Column]] = frozenset()
    compares: ClassVar[bool] = False

    def check(self, groups: Iterable[Group]) -> None:
        """Accept any groups: those without a best response are counted by `items`."""

    def items(
        self, groups: Iterable[tuple[Group, Pairs]], encoder: Encoder, ledger: Ledger
    ) -> list[PreferenceItem]:
        """Return the items of `stream` in memory."""
        return list(self.stream(groups, encoder, ledger))

    def stream(
        self, groups: Iterable[tuple[Group, Pairs]], encoder: Encoder, ledger: Ledger
    ) -> Iterator[PreferenceItem]:
        """Yield the best response of every group that has one; the others are counted."""
        for encoded in encoder.groups((group for group, _ in groups), ledger):
            item = sft_item(encoded)
            if item is not None:
                yield item
                continue
            detail = "no single best response to learn from"
            ledger.change(Reason.NO_ORDER, encoded.group, detail)

    def over(self, policy: LogProbs, *, signed: bool, tokens: int) -> SFT:
        return SFT(policy)


class SFT:
    """−log π(token), averaged over the response tokens of the global batch.

    Prompts are not learned.
    """

    def __init__(self, policy: LogProbs) -> None:
        self.module = policy

    def size(self, item: PreferenceItem) -> int:
        return len(item.tree)

    def count(self, item: PreferenceItem) -> float:
        """Return the tokens of the response."""
        return len(item.tree.nodes[1].tokens)

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        return one_group(self.module, config)

    def loss(self, module: nn.Module, items: Sequence[PreferenceItem]) -> LossOutput:
        token_logps = module(self.module.pack([item.tree for item in items]))
        return LossOutput(pointwise.nll(token_logps).sum())


def sft_item(encoded: Encoded) -> PreferenceItem | None:
    """Return the best response as an item; None where none stands out, or it does not fit."""
    is_alone = len(encoded.responses) == 1 and not any(encoded.group.known_labels())
    best = 0 if is_alone else best_response(encoded.group)
    if best is None or not encoded.responses[best]:
        return None
    tree = group_tree(encoded.prompt, [encoded.responses[best]])
    return PreferenceItem(encoded.group.id, tree)


def best_response(group: Group) -> int | None:
    """Return the response to learn: of the highest score, never rejected, or alone desirable.

    Scores come first, then comparisons, then labels. None where no response stands out.
    """
    if group.scores is not None:
        scores = list(group.scores)
        return scores.index(max(scores))
    decided = [c for c in group.known_comparisons() if not c.tie]
    if decided:
        best = {c.chosen for c in decided} - {c.rejected for c in decided}
    else:
        best = {response for response, desirable in group.known_labels() if desirable}
    return best.pop() if len(best) == 1 else None
