"""How long a first recipe takes on this machine, roughly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from rewarddiff import models
from rewarddiff.pipeline.data_look import DataLook

EFFICIENCY = 0.8
"""What training reaches of the speed of a square matrix product in fp32, as measured on two cores
(docs/results.md); on a GPU less, which has time to spare."""

DECODING = 5
"""How much longer a token takes that is written than one that is read, by the same measurement."""

PROMPTS = 32
"""Held-out prompts that are answered."""

NEW_TOKENS = 64
LARGE = 1e9
"""Weights of a model beyond which a smaller learning rate is the safer choice."""


@dataclass(frozen=True)
class Effort:
    """What the stages of a first recipe take.

    Attributes:
        scorer: weights of the scorers' model; 0: there are no scorers.
        policy: weights of the policy. policies: how many are trained.
        read: tokens of a prompt with its responses, read one by one. tree: the prompt once.
        prompt: its tokens alone.
        rate: FLOP/s of a matrix product.
    """

    scorer: float
    policy: float
    policies: int
    read: float
    tree: float
    prompt: float
    rate: float

    @classmethod
    def of(cls, model: str, backbone: str, seen: DataLook, objective: str, most: int) -> Effort:
        """Return the effort of policies with this objective on data like this.

        Args:
            most: comparisons of a prompt; responses that none of them reads are left out.
        """
        each = seen.responses / seen.groups
        if each * (each - 1) / 2 > most:
            each *= 1 - (1 - 2 / each) ** most  # so many are read by pairs drawn at random
        trains_scorers = objective != "kto"
        return cls(
            scorer=weights_of_body(backbone) if trains_scorers else 0,
            policy=weights(model),
            policies=3 + seen.graded + seen.has_coefficients if trains_scorers else 1,
            read=each * (seen.mean_prompt + seen.mean_response),
            tree=seen.mean_prompt + each * seen.mean_response,
            prompt=seen.mean_prompt,
            rate=_rate(),
        )

    @property
    def lr_scale(self) -> float:
        """What a small model's learning rate is multiplied by."""
        return 1.0 if self.policy < LARGE else 0.1

    def prompts(self, groups: int) -> int:
        """Return how many held-out prompts are answered."""
        return min(PROMPTS, max(1, groups // 5))

    def seconds(self, groups: int) -> float:
        """Return the time of a run on so many prompts."""
        return self.of_scorers(groups) + self.of_policies(groups) + self.of_samples(groups)

    def of_scorers(self, groups: int) -> float:
        """Return the time of three scorers, five epochs in all, and of their answers."""
        trained = 6 * 0.7 * 5
        asked = 2 * (3 * 0.3 + 0.7)
        return self._time(self.scorer * self.read * groups * (trained + asked))

    def of_policies(self, groups: int) -> float:
        """Return the time of an epoch of each policy, and of the reference."""
        trained = self.policies * (6 * 0.7 + 2 * 2 * 0.1)
        reference = 2 * 0.8
        return self._time(self.policy * self.tree * groups * (trained + reference))

    def of_samples(self, groups: int) -> float:
        """Return the time of the samples of each policy and of the base model."""
        if not self.scorer:
            return 0.0
        tokens = self.prompt + DECODING * NEW_TOKENS
        answers = (self.policies + 1) * self.prompts(groups)
        return self._time(2 * self.policy * answers * tokens)

    def sentences(self, groups: int) -> Iterator[str]:
        """Yield how long a run takes, and what of that."""
        parts = {
            "scorers": self.of_scorers(groups),
            "policies": self.of_policies(groups),
            "samples": self.of_samples(groups),
        }
        yield (
            f"A run takes about {guessed(parts)} on this machine, guessed from its "
            f"{self.rate / 1e9:,.0f} GFLOP/s."
        )

    def _time(self, operations: float) -> float:
        return operations / (EFFICIENCY * self.rate)


def guessed(parts: Mapping[str, float]) -> str:
    """Return seconds as one guesses them, in all and for each part, which add up.

    >>> guessed({"scorers": 20, "policies": 0})
    '1 minute'
    >>> guessed({"scorers": 260, "policies": 20, "samples": 25})
    '5 minutes (scorers 4, policies 1, samples under 1)'
    >>> guessed({"scorers": 3000, "policies": 6000})
    '2.5 hours (scorers 0.8, policies 1.7)'
    """
    total = sum(parts.values())
    in_hours = total >= 5400
    step = 360 if in_hours else 60
    if round(total / step) <= 1:
        return "1 minute"
    shown = []
    steps = 0
    seconds_so_far = 0.0
    for name, seconds in parts.items():
        # What is rounded is the sum so far, so that the last is the sum of all.
        seconds_so_far += seconds
        steps_of_part = round(seconds_so_far / step) - steps
        steps += steps_of_part
        if seconds:
            shown.append(f"{name} {_figure(steps_of_part, in_hours)}")
    unit = "hours" if in_hours else "minutes"
    return f"{_figure(steps, in_hours)} {unit} ({', '.join(shown)})"


def _figure(steps: int, in_hours: bool) -> str:
    """Return whole minutes, or tenths of hours."""
    if in_hours:
        return f"{steps / 10:.1f}"
    return str(steps) if steps else "under 1"


def weights(model: str) -> float:
    """Return about how many weights a model has, by the size of its files."""
    folder = models.lineage(model)[-1]
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    kept = str(getattr(models.load_config(model), "dtype", None))
    return size / (2 if "16" in kept else 4)


def weights_of_body(model: str) -> float:
    """Return the same without the embeddings, of which a token costs nothing."""
    config = models.load_config(model).get_text_config()
    embeddings: int = config.vocab_size * config.hidden_size
    return weights(model) - embeddings


@lru_cache(maxsize=1)
def _rate() -> float:
    import torch

    from rewarddiff.devices import matmul_rate

    return matmul_rate(torch.float32, str(models.device()))
