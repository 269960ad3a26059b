"""How a policy learns from pairs of its own samples: every option in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from rewarddiff.coefficients import COLUMN, CoefficientConfig
from rewarddiff.config import at_least, checked, positive
from rewarddiff.designs import DesignConfig
from rewarddiff.errors import UserError
from rewarddiff.loop.objective import TrainConfig, Turns
from rewarddiff.policies.alignment import AlignmentConfig
from rewarddiff.policies.objectives import AnyObjective
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.online.config import NOT_BY_VLLM
from rewarddiff.policies.online.group_rewards import RewardFunctions
from rewarddiff.policies.online.pairing import Choice
from rewarddiff.policies.policy import LoraConfig


@checked
@dataclass(frozen=True)
class SemiOnlineOptions:
    """How samples become pairs.

    Attributes:
        steps_per_generation: optimizer steps between two draws: of these, each of
            `train.batch_size` prompts, all responses are drawn at once, from the policy as it then
            is. 1 is online; as many as the training has, offline. TRL's name (there of
            micro-batches); the s of arXiv 2506.21495.
        num_iterations: how often all pairs of a draw are seen. TRL's name.
        num_generations: responses to each prompt. TRL's name.
        pairs: `best_worst` takes one pair of each group, `all` every one that was compared.
        design: which responses of a group are compared.
        temperature: responses are drawn at it. Log-probabilities are read at 1, as offline.
        max_new_tokens: a response is cut there.
        stop: texts that end a response, such as the next turn of a dialogue. Its tokens go up to the
            stop text's end; what is scored is the text before it.
        sampling_batch_size: responses that are drawn side by side.
        missing_eos_penalty: taken off the reward of a response that was cut off, and off its
            differences likewise. TRL's name.
        unscored: a response without a reward (NaN) is in no pair and counted (`leave_out`), or
            stops the training before an update (`stop`).

    Source: Lanchantin et al. 2025, arXiv 2506.21495; names as in TRL's OnlineDPO.
    """

    steps_per_generation: int = 8
    num_iterations: int = 1
    num_generations: int = 4
    pairs: Choice = "best_worst"
    design: DesignConfig = field(default_factory=DesignConfig)
    temperature: float = 1.0
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()
    sampling_batch_size: int = 64
    missing_eos_penalty: float | None = None
    unscored: Literal["stop", "leave_out"] = "leave_out"

    replaced: ClassVar[Mapping[str, str]] = {"engine": NOT_BY_VLLM, "use_vllm": NOT_BY_VLLM}

    def __post_init__(self) -> None:
        at_least(self, 1, "steps_per_generation", "num_iterations")
        at_least(self, 2, "num_generations")
        at_least(self, 1, "max_new_tokens", "sampling_batch_size")
        at_least(self, 0, "missing_eos_penalty")
        positive(self, "temperature")
        if "" in self.stop:
            raise UserError("stop: an empty text ends every response at once; leave it out")

    @property
    def turns(self) -> Turns:
        """How the samples of a draw are trained on."""
        return Turns(self.steps_per_generation, self.num_iterations)


@checked
@dataclass(frozen=True)
class SemiOnlineConfig(SemiOnlineOptions):
    """How a policy is trained on pairs of its own samples.

    Attributes:
        objective: the loss of a pair, by its name or with its options: any one that compares.
        coefficient: what multiplies each pair's loss, of the scorer's difference; its scales are
            those of all pairs of a draw. None: every pair at 1.
        strength_scale: what differences are multiplied by for an objective that reads strengths.
        lora: train adapters instead of all weights; the reference is then the base without them,
            and no copy of it is kept.
        train: the loop's settings.
    """

    objective: AnyObjective = field(default_factory=DPO)
    coefficient: CoefficientConfig | None = None
    strength_scale: float = 1.0
    lora: LoraConfig | None = None
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "strength_scale")
        if self.train.max_tokens is not None:
            raise UserError(
                "train.max_tokens: how long the samples are going to be is not known; use "
                "max_steps or epochs"
            )
        if not isinstance(self.objective, AlignmentConfig):
            raise UserError(
                f"objective {self.objective.name} does not learn from pairs; use dpo, or another one "
                "that compares"
            )
        if self.coefficient is not None:
            _check_coefficient(self.coefficient)

    @property
    def alignment(self) -> AlignmentConfig:
        """The objective, as one of comparisons."""
        assert isinstance(self.objective, AlignmentConfig)  # the constructor has refused others
        return self.objective

    @property
    def method(self) -> str:
        """What the model card calls it."""
        return f"semi-online-{self.objective.name}"

    @property
    def reads_spread(self) -> bool:
        """Whether coefficients ask for the spread of differences over heads."""
        return self.coefficient is not None and self.coefficient.lower > 0

    def check(self, functions: RewardFunctions) -> None:
        """Raise a UserError where the scorer has not what the coefficients ask for."""
        if self.reads_spread and functions.pointwise:
            raise UserError(
                "coefficient.lower: needs the spread of every difference; hand in differences of a "
                "scorer with several heads"
            )
        is_calibrated = self.coefficient is not None and self.coefficient.calibrated
        if is_calibrated and functions.temperature is None:
            raise UserError(
                "coefficient.calibrated: the scorer has no temperature; hand one in with its "
                "RewardFunctions, or leave it out"
            )


def _check_coefficient(coefficient: CoefficientConfig) -> None:
    """Refuse what samples do not have, or what says how a scorer is asked."""
    if coefficient.source == COLUMN:
        raise UserError(
            f"coefficient.source: {COLUMN}, and samples have no such column; name the scorer"
        )
    if coefficient.normalise == "std":
        raise UserError(
            "coefficient.normalise: std divides by the spread over the pairs of a draw, which is 0 "
            "where all are alike, as with one pair; use mean"
        )
    if coefficient.orders != "both":
        raise UserError(
            "coefficient.orders: pairs of samples are read as `design` says; use mode both or all"
        )
