"""The pull to the reference: where its KL is counted, by which estimate, and how strongly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from rewarddiff.config import at_least, checked, positive
from rewarddiff.errors import UserError
from rewarddiff.losses.online import Estimator

LARGEST_ERROR = 0.2
"""The relative error that Ziegler's controller reacts to at most."""


@checked
@dataclass(frozen=True, slots=True)
class KLConfig:
    """How far the policy is let go from the reference.

    Attributes:
        kl_coef: β ≥ 0, rewards per nat; where it is adaptive, the first one.
        placement: `reward` takes β·k off the reward of every token, `loss` adds it to its loss.
        kl_estimator: k. In the reward k1, whose sum over a response estimates KL(π ‖ ρ) without
            bias. In the loss k2 or k3: the gradient of k1 is 0 on average, and is refused.
        target_kl: nats per response to hold the KL at, by an adaptive β; None: β is fixed.
        horizon: samples over which β follows the target.

    Source: names as in verl and OpenRLHF; adaptive β: Ziegler et al. 2019, arXiv 1909.08593,
        section 2.2.
    """

    kl_coef: float = 0.05
    placement: Literal["reward", "loss"] = "reward"
    kl_estimator: Estimator = "k1"
    target_kl: float | None = None
    horizon: int = 10_000

    def __post_init__(self) -> None:
        at_least(self, 0, "kl_coef")
        positive(self, "target_kl", "horizon")
        if self.kl_coef == 0 and self.target_kl is not None:
            raise UserError(
                "kl.target_kl: with kl_coef 0 there is no reference, and β stays at 0; give it a value "
                "to begin with"
            )
        if self.placement == "loss" and self.kl_estimator == "k1":
            raise UserError(
                "kl.kl_estimator: k1 in the loss has no gradient on average, so nothing would hold "
                "the policy; use k2 or k3, or placement: reward"
            )

    def check_horizon(self, responses: int) -> None:
        """Raise a UserError where β could reach 0 within one turn of so many responses."""
        least = responses * LARGEST_ERROR
        if self.target_kl is not None and self.horizon <= least:
            raise UserError(
                f"kl.horizon is {self.horizon}, and a turn has {responses} responses, after which β "
                f"could be 0; give it more than {least:g}, {10 * responses} for instance"
            )


@dataclass(frozen=True, slots=True)
class KLController:
    """β as it is now. What has to be kept of it is its value.

    >>> controller = KLController.begin(KLConfig(kl_coef=0.1, target_kl=6.0, horizon=1000))
    >>> round(controller.update(9.0, n_steps=100).value, 9)  # the error of ½ counts as 0.2
    0.102
    """

    config: KLConfig
    value: float

    @classmethod
    def begin(cls, config: KLConfig) -> KLController:
        """Return β before the first update."""
        return cls(config, config.kl_coef)

    def update(self, kl: float, *, n_steps: int) -> KLController:
        r"""Return β·(1 + e·n/horizon), e = clip(KL/target − 1, −0.2, 0.2); a fixed β as it is.

        Args:
            kl: the mean KL of a whole global batch, nats per response: the one that is trained on,
                by the same estimate.
            n_steps: n ≥ 0, responses in that batch.

        Raises:
            ValueError: KL not finite, or so many responses at once that β could reach 0.
        """
        target = self.config.target_kl
        if target is None:
            return self
        if not math.isfinite(kl):
            raise ValueError(f"the KL is {kl}; leave out responses whose reward is not finite")
        share = n_steps / self.config.horizon
        if not 0 <= share * LARGEST_ERROR < 1:
            raise ValueError(
                f"n_steps is {n_steps}, should be below {self.config.horizon / LARGEST_ERROR:g}"
            )
        error = min(max(kl / target - 1, -LARGEST_ERROR), LARGEST_ERROR)
        return replace(self, value=self.value * (1 + error * share))
