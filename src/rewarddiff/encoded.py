"""A group as tokens, and what the limits have cost it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.records import Comparison, Group


@dataclass(frozen=True)
class Encoded:
    """A group as token ids, responses in the order of `group.responses`; () does not fit."""

    group: Group
    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]

    def usable(self, comparison: Comparison) -> bool:
        """Tell whether both responses fit and differ in what is left of them."""
        chosen, rejected = self.responses[comparison.chosen], self.responses[comparison.rejected]
        return bool(chosen and rejected) and chosen != rejected

    def labelled(self) -> list[tuple[int, bool]]:
        """Return the index of every response that fits and has a label, with the label."""
        return [(i, label) for i, label in self.group.known_labels() if self.responses[i]]


def losses_of(
    encoded: Encoded, responses: Sequence[tuple[int, ...]], *, limit: int, context: int | None
) -> list[tuple[Reason, str]]:
    """Return what the limits cost: responses that do not fit, or are alike after the cut.

    Args:
        responses: cut, and also where they do not fit.
        limit: tokens to which they were cut. context: positions that the model has.
    """
    losses = []
    if not all(encoded.responses):
        most = max(map(len, responses))
        prompt = len(encoded.prompt)
        detail = f"{prompt} + {most} tokens, the model reads {context}: set max_prompt"
        losses.append((Reason.PROMPT_TOO_LONG, detail))
    if len(set(responses)) < len(set(encoded.group.responses)):
        detail = f"alike in the first {limit} tokens"
        losses.append((Reason.IDENTICAL_AFTER_TRUNCATION, detail))
    return losses


def count_losses(encoded: Encoded, losses: Sequence[tuple[Reason, str]], ledger: Ledger) -> bool:
    """Count what was lost of a group; tell whether enough is left to be used."""
    if not losses:
        return True
    group = encoded.group
    different = len(set(encoded.responses) - {()})
    usable = [encoded.usable(comparison) for comparison in group.known_comparisons()]
    can_be_compared = different >= 2 and (any(usable) or not usable)
    if not can_be_compared and not encoded.labelled():
        reason, detail = losses[0]
        ledger.drop(reason, group, detail)
        return False
    left = (
        f"{different} of {len(encoded.responses)} responses, "
        f"{sum(usable)} of {len(usable)} comparisons left"
    )
    for reason, detail in losses:
        ledger.change(reason, group, f"{detail}; {left}")
    return True
