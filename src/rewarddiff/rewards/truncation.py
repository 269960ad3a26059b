"""What a response gets that was cut off before it ended. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rewarddiff.config import at_least, checked
from rewarddiff.differences import Array


@checked
@dataclass(frozen=True, slots=True)
class TruncationConfig:
    """How the reward of a truncated response changes; it is left as it is without either.

    Attributes:
        missing_eos_penalty: ≥ 0, taken off the reward, in its unit after λ. TRL's name.
        stop_properly_penalty_coef: in [0, 1], what the reward is multiplied by. OpenRLHF's name. It
            pulls rewards to 0, so it *raises* a negative one; about half of all relative rewards
            are. OpenRLHF also sets the reward to a negative coefficient; here that is refused.

    Source: OpenRLHF's `length_penalty.py`, TRL's `online_dpo_config.py`.
    """

    missing_eos_penalty: float | None = None
    stop_properly_penalty_coef: float | None = None

    def __post_init__(self) -> None:
        at_least(self, 0, "missing_eos_penalty", "stop_properly_penalty_coef")
        coefficient = self.stop_properly_penalty_coef
        if coefficient is not None and coefficient > 1:
            raise ValueError(f"stop_properly_penalty_coef is {coefficient}, should be at most 1")
        if coefficient is not None and self.missing_eos_penalty is not None:
            raise ValueError(
                "missing_eos_penalty and stop_properly_penalty_coef are two ways to treat the same "
                "responses; give one"
            )


def penalised(rewards: ArrayLike, truncated: ArrayLike, config: TruncationConfig) -> Array:
    """Return the rewards, changed where a response is truncated.

    Args:
        rewards: relative rewards after λ, any shape.
        truncated: boolean, same shape: the response reached the limit of tokens without an end.

    Raises:
        ValueError: unequal shapes, `truncated` not boolean.

    >>> penalised([2.0, 2.0], [False, True], TruncationConfig(missing_eos_penalty=3.0))
    array([ 2., -1.])
    """
    numbers = np.asarray(rewards, dtype=np.float64)
    is_truncated = np.asarray(truncated)
    if is_truncated.dtype != np.bool_:
        raise ValueError(f"truncated must be boolean, got {is_truncated.dtype}")
    if numbers.shape != is_truncated.shape:
        raise ValueError(f"shapes differ: rewards {numbers.shape}, truncated {is_truncated.shape}")
    if config.missing_eos_penalty is not None:
        return np.where(is_truncated, numbers - config.missing_eos_penalty, numbers)
    if config.stop_properly_penalty_coef is not None:
        return np.where(is_truncated, numbers * config.stop_properly_penalty_coef, numbers)
    return numbers
