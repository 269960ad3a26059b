"""What a policy learns from: the true reward, misread at known rates.

A reading is fixed: who asks twice for the reward of a response, or for the difference of two, is
told the same. So there is noise to be learned by heart, as there is in a reward model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from rewarddiff.config import checked
from rewarddiff.differences import Differences, Pair
from rewarddiff.lab.online.world import gold
from rewarddiff.policies.online.group_rewards import RewardFunctions
from rewarddiff.records import Group, prompt_text


@checked
@dataclass(frozen=True)
class NoiseConfig:
    """How often a true reward is misread, as arXiv 2403.07708 has it.

    Attributes:
        c0: how often 0 is read as 1. c1: how often 1 is read as 0. Both 0: the true reward.
    """

    c0: float = 0.3
    c1: float = 0.3

    def __post_init__(self) -> None:
        for name in ("c0", "c1"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"noise.{name} is {value}, should be from 0 to 1")


@dataclass(frozen=True)
class Reader:
    """Reads true rewards, and misreads some of them.

    Attributes:
        seed: of what is misread.
    """

    noise: NoiseConfig
    seed: int

    def reward(self, prompt: str, response: str, *beside: str) -> float:
        """Return the reward of a response as it is read, 0 or 1.

        Args:
            beside: what it is read beside; it is misread anew beside something else.
        """
        true = gold(prompt, response)
        rate = self.noise.c1 if true else self.noise.c0
        is_misread = _share(self.seed, prompt, response, *beside) < rate
        return 1 - true if is_misread else true

    def difference(self, prompt: str, first: str, second: str) -> float:
        """Return by how much the first response is better, as one who reads both says: −1, 0, 1.

        Each of the two is misread as often as alone, and anew beside every other one. Read the
        other way round, the same two differ by the same.
        """
        of_first = self.reward(prompt, first, "beside", second)
        return of_first - self.reward(prompt, second, "beside", first)

    def scores(self, groups: Sequence[Group]) -> list[list[float]]:
        """Return the reward of every response of each group."""
        rewards = []
        for group in groups:
            prompt = prompt_text(group.prompt)
            rewards.append([self.reward(prompt, response) for response in group.responses])
        return rewards

    def differences(
        self, groups: Sequence[Group], pairs: Sequence[Sequence[Pair]]
    ) -> list[Differences]:
        """Return the differences of the pairs of each group, by one who reads both together."""
        differences = []
        for group, of_group in zip(groups, pairs, strict=True):
            prompt = prompt_text(group.prompt)
            values = []
            for first, second in of_group:
                texts = group.responses[first], group.responses[second]
                values.append(self.difference(prompt, *texts))
            differences.append(Differences.of(values, list(of_group)))
        return differences

    @property
    def pointwise(self) -> RewardFunctions:
        """What scores responses by themselves."""
        return RewardFunctions(self.scores)

    @property
    def comparing(self) -> RewardFunctions:
        """What compares two responses; beside it stands what scores them, for the scale λ."""
        return RewardFunctions(self.scores, self.differences)


def _share(*parts: object) -> float:
    """Return a number from 0 to 1 that depends on the parts, and on nothing else."""
    key = "\0".join(map(str, parts)).encode()
    return int.from_bytes(blake2b(key, digest_size=7).digest()) / 2**56
