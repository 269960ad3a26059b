"""Floating-point operations of reading, training and writing: pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from rewarddiff.footprint.shapes import Shape


@dataclass(frozen=True)
class Tokens:
    """How much text there is.

    Attributes:
        read: tokens that the body reads.
        predicted: tokens whose logits are computed.
        attended: pairs of a token with one that it looks at, in each layer.
    """

    read: float = 0.0
    predicted: float = 0.0
    attended: float = 0.0

    def times(self, factor: float) -> Tokens:
        """Return so many times as much."""
        return Tokens(factor * self.read, factor * self.predicted, factor * self.attended)

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.read + other.read,
            self.predicted + other.predicted,
            self.attended + other.attended,
        )


NOTHING = Tokens()


def of_body(shape: Shape, tokens: Tokens) -> float:
    """Return the operations of one pass through the body: 2·N·tokens, and 4·width for each pair attended.

    Source: Kaplan et al. 2020, arXiv 2001.08361, table 1: C = 2N + 2·layers·context·width a token,
    where half of a causal context is seen; here the pairs that are seen are counted.
    """
    return 2 * shape.products * tokens.read + 4 * shape.layers * shape.queries * tokens.attended


def of_head(shape: Shape, tokens: Tokens) -> float:
    """Return the operations of the logits, 2·vocabulary·hidden for each token that is predicted."""
    return 2 * shape.head * tokens.predicted


def reading(shape: Shape, tokens: Tokens) -> float:
    """Return the operations of reading without training."""
    return of_body(shape, tokens) + of_head(shape, tokens)


def training(
    shape: Shape,
    tokens: Tokens,
    *,
    adapters: int | None = None,
    checkpointing: bool = False,
    logits_kept: bool = False,
) -> float:
    """Return the operations of a forward and a backward pass.

    With all weights the backward pass takes twice the forward pass: 6·N a token. Under adapters the base's
    weights have no gradient, and it takes once: 4·N a token, beside the 6 of each adapter's weight.
    Checkpointed layers are computed once more, and logits that are not kept.

    Args:
        adapters: their weights; None: all weights are trained.

    Source: Kaplan et al. 2020, arXiv 2001.08361, section 2.1; of checkpointing Chen et al. 2016,
    arXiv 1604.06174.
    """
    backward = 2 if adapters is None else 1
    body = of_body(shape, tokens) * (1 + backward + checkpointing)
    head = of_head(shape, tokens) * (1 + backward + (not logits_kept))
    return body + head + 6 * (adapters or 0) * tokens.read


def writing(shape: Shape, prompt: float, new: float, responses: float) -> float:
    """Return the operations of writing responses: each token passes the body and the head once.

    Args:
        prompt, new: tokens of one prompt and of one response.
    """
    attended = prompt * prompt / 2 + new * (prompt + new / 2)
    return reading(shape, Tokens(prompt + new, new, attended).times(responses))
