"""λ, which brings rewards to the size that they had before a baseline was taken off. numpy only.

It is worked out from all rewards so far. The state is an immutable value of plain numbers: written
as JSON and read again it goes on to the bit.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from rewarddiff.config import checked, positive
from rewarddiff.errors import UserError


@checked
@dataclass(frozen=True, slots=True)
class ScaleConfig:
    """What λ is.

    Attributes:
        mode: `constant` is `value`. `absolute_mean` is the running mean of |r| over that of the
            relative reward, as in the paper; `std` is the ratio of their running standard
            deviations. Both need r, which a scorer of pairs has not. `unit_std` is 1 over the
            running standard deviation of the reward itself: what PPO's reward scaling does, and
            the paper takes away.
        value: λ > 0 of `constant`.

    Source: Shen et al. 2024, arXiv 2403.07708, section 3.
    """

    mode: Literal["constant", "absolute_mean", "std", "unit_std"] = "constant"
    value: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "value")

    @property
    def needs_original(self) -> bool:
        """Whether r of every response has to be there."""
        return self.mode in ("absolute_mean", "std")


@dataclass(frozen=True, slots=True)
class Moments:
    """Running moments of numbers that come in batches.

    Attributes:
        count: how many there were.
        absolute_sum: the sum of their sizes.
        mean: their mean.
        squares: the sum of their squared distances from the mean.

    >>> Moments().add([1.0, 3.0]).add([-4.0]).std
    2.943920288775949
    """

    count: int = 0
    absolute_sum: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: ArrayLike) -> Moments:
        """Return the moments with these numbers as well; those that are not finite are left out.

        Source: Chan, Golub and LeVeque 1983, The American Statistician 37, Eq. 1.5.
        """
        numbers = np.asarray(values, dtype=np.float64)
        numbers = numbers[np.isfinite(numbers)]
        if numbers.size == 0:
            return self
        count = self.count + numbers.size
        mean = float(numbers.mean())
        shift = mean - self.mean
        squares = float(np.square(numbers - mean).sum())
        between = shift * shift * self.count * numbers.size / count
        return Moments(
            count=count,
            absolute_sum=self.absolute_sum + float(np.abs(numbers).sum()),
            mean=self.mean + shift * numbers.size / count,
            squares=self.squares + squares + between,
        )

    @property
    def absolute_mean(self) -> float:
        """The mean of |v|; NaN of no number."""
        return self.absolute_sum / self.count if self.count else math.nan

    @property
    def std(self) -> float:
        """The population's standard deviation; NaN of no number."""
        return math.sqrt(self.squares / self.count) if self.count else math.nan


@dataclass(frozen=True, slots=True)
class RunningScale:
    """λ after the rewards so far.

    Attributes:
        config: what λ is.
        original: moments of r; empty where it is not needed.
        relative: moments of the reward that λ multiplies.

    >>> scale = RunningScale(ScaleConfig("absolute_mean"))
    >>> scale.update([1.0, -1.0], original=[2.0, 4.0]).factor
    3.0
    """

    config: ScaleConfig = field(default_factory=ScaleConfig)
    original: Moments = field(default_factory=Moments)
    relative: Moments = field(default_factory=Moments)

    def update(self, rewards: ArrayLike, *, original: ArrayLike | None = None) -> RunningScale:
        """Return λ with these rewards as well: update first, then multiply by `factor`.

        Args:
            rewards: of a whole global batch, before λ, any shape.
            original: r of the same responses, same shape; may be left out where it is not needed.

        Raises:
            UserError: r is needed and not there.
            ValueError: unequal shapes.
        """
        relative = self.relative.add(rewards)
        if not self.config.needs_original:
            return replace(self, relative=relative)
        if original is None:
            raise UserError(
                f"scale.mode: {self.config.mode} needs r of every response, and this scorer has "
                "differences only; use constant or unit_std"
            )
        if np.shape(rewards) != np.shape(original):
            raise ValueError(
                f"shapes differ: rewards {np.shape(rewards)}, original {np.shape(original)}"
            )
        return replace(self, relative=relative, original=self.original.add(original))

    @property
    def factor(self) -> float:
        """λ; 1 for as long as what it is worked out from is 0, as where all rewards are equal."""
        match self.config.mode:
            case "constant":
                return self.config.value
            case "absolute_mean":
                return _ratio(self.original.absolute_mean, self.relative.absolute_mean)
            case "std":
                return _ratio(self.original.std, self.relative.std)
            case "unit_std":
                return _ratio(1.0, self.relative.std)

    def state(self) -> dict[str, Any]:
        """Return what has to be kept, as plain numbers."""
        return {"original": asdict(self.original), "relative": asdict(self.relative)}

    def resumed(self, state: dict[str, Any]) -> RunningScale:
        """Return λ as it was when the state was kept; the config is this one's."""
        original = Moments(**state["original"])
        relative = Moments(**state["relative"])
        return replace(self, original=original, relative=relative)


def _ratio(above: float, below: float) -> float:
    is_known = above > 0 and below > 0  # neither 0 nor NaN
    return above / below if is_known else 1.0
