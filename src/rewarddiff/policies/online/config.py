"""How a policy learns from its own samples: every option in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from rewarddiff.config import at_least, checked, positive
from rewarddiff.errors import UserError
from rewarddiff.loop.objective import TrainConfig, Turns
from rewarddiff.losses.online import Aggregation
from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.policies.online.group_rewards import RewardConfig, Unscored, check_baseline
from rewarddiff.policies.online.kl import KLConfig
from rewarddiff.policies.policy import LoraConfig

LossType = Literal["grpo", "bnpo", "dapo", "dr_grpo"]

AGGREGATIONS: dict[str, Aggregation] = {
    "grpo": "seq-mean-token-mean",
    "bnpo": "token-mean",
    "dapo": "token-mean",
    "dr_grpo": "seq-mean-token-sum-norm",
}
"""What TRL's `loss_type` takes the mean over; bnpo's batch is here always the global one."""

NOT_BY_VLLM = (
    "samples are drawn here from the policy while it is trained, and vLLM would need its new weights in every "
    "turn, which is not built; leave it out (evaluation.sampling.engine takes vllm)"
)
"""What is said of keys that ask for vLLM."""


class Drawing(NamedTuple):
    """How responses are drawn, by the names of `OnlineOptions`."""

    num_generations: int
    temperature: float
    max_new_tokens: int
    sampling_batch_size: int
    stop: tuple[str, ...]


@checked
@dataclass(frozen=True)
class StoredConfig:
    """Where the stored responses come from that a contrastive reward compares with.

    Attributes:
        file: as `rewarddiff baseline` writes it. None: they are drawn from the policy that training
            starts from, with `max_new_tokens` and `stop` of the rollouts.
        k: responses that are drawn to each prompt.
        temperature: they are drawn at it.
        refresh: turns after which they are drawn anew, from the policy as it is then; None: never.
    """

    file: str | None = None
    k: int = 3
    temperature: float = 1.0
    refresh: int | None = None

    def __post_init__(self) -> None:
        at_least(self, 1, "k", "refresh")
        positive(self, "temperature")


@checked
@dataclass(frozen=True)
class OnlineOptions:
    """How samples become a loss.

    Attributes:
        reward: what becomes of the scores of a group's responses.
        baseline: where the stored responses come from that a contrastive reward compares with. None:
            they are those that the prompts bring.
        advantage: the estimator of advantages.
        kl: the pull to the reference.
        num_generations: responses to each prompt. TRL's name.
        temperature: responses are drawn, and log-probabilities read, at it.
        max_new_tokens: a response is cut there.
        stop: texts that end a response, such as the next turn of a dialogue. Its tokens go up to the
            stop text's end; what is scored is the text before it.
        sampling_batch_size: responses that are drawn side by side.
        num_mini_batches: optimizer steps in which all samples of a rollout are seen once. A rollout
            is of `train.batch_size` · num_mini_batches prompts. TRL's name.
        num_iterations: how often all of them are seen. TRL's name (num_ppo_epochs in its PPO).
        epsilon, epsilon_high, delta: bounds of the probability ratio, see `clipped_surrogate`.
        importance_sampling_level: whose ratio it is: each `token`'s, or that of the `sequence`, per
            token, which every one of its tokens then has (GSPO). TRL's name.
        vf_coef: weight of the value loss, with `gae`. TRL's name.
        cliprange_value: how far a value may move from that of the rollout; None: any.
        value_head: a file that `save_value_head` wrote: the head starts as it is there. None: at 0.
        save_value_head: keep the head, as value_head.safetensors in the output.
        loss_agg_mode: what the losses of tokens are a mean over, by verl's name or TRL's `loss_type`:
            grpo is seq-mean-token-mean, dapo and bnpo token-mean, dr_grpo seq-mean-token-sum-norm.
        unscored: what a response without a reward (NaN) does: `stop` the training before an update,
            or be left out (`leave_out`), and counted.
        allow_cancelling: let a baseline per prompt through that changes no advantage.
    """

    reward: RewardConfig = field(default_factory=RewardConfig)
    baseline: StoredConfig | None = None
    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    kl: KLConfig = field(default_factory=KLConfig)
    num_generations: int = 4
    temperature: float = 1.0
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()
    sampling_batch_size: int = 64
    num_mini_batches: int = 1
    num_iterations: int = 1
    epsilon: float = 0.2
    epsilon_high: float | None = None
    delta: float | None = None
    importance_sampling_level: Literal["token", "sequence"] = "token"
    vf_coef: float = 0.1
    cliprange_value: float | None = 0.2
    value_head: str | None = None
    save_value_head: bool = False
    loss_agg_mode: Aggregation | LossType = "token-mean"
    unscored: Unscored = "stop"
    allow_cancelling: bool = False

    replaced: ClassVar[Mapping[str, str]] = {"engine": NOT_BY_VLLM, "use_vllm": NOT_BY_VLLM}

    def __post_init__(self) -> None:
        at_least(self, 1, "num_generations", "max_new_tokens", "sampling_batch_size")
        at_least(self, 1, "num_mini_batches", "num_iterations")
        at_least(self, 0, "epsilon", "epsilon_high", "vf_coef")
        positive(self, "temperature", "cliprange_value")
        if self.num_generations < 2 and self.needs_groups:
            raise UserError(
                f"num_generations is 1, and {self.needs_groups} compares the responses to a prompt "
                "with each other; give at least 2"
            )
        if self.importance_sampling_level == "sequence" and self.has_values:
            raise UserError(
                "importance_sampling_level: sequence has one ratio a response, and estimator gae an "
                "advantage for each token; use reinforce, rloo or grpo"
            )
        for name in ("value_head", "save_value_head"):
            if getattr(self, name) and not self.has_values:
                raise UserError(
                    f"{name}: an option of gae, and estimator is {self.advantage.estimator}; "
                    "leave it out"
                )
        if self.baseline is not None and not self.reward.reads_baseline:
            raise UserError(
                f"baseline: reward {self.reward.kind} compares with no stored responses; leave it "
                "out, or use contrastive or contrastive_difference"
            )
        if "" in self.stop:
            raise UserError("stop: an empty text ends every response at once; leave it out")

    @property
    def needs_groups(self) -> str:
        """What compares the responses to a prompt with each other; empty: nothing."""
        if self.reward.kind == "group_difference":
            return "reward group_difference"
        if self.advantage.estimator in ("rloo", "grpo"):
            return f"estimator {self.advantage.estimator}"
        return ""

    @property
    def turns(self) -> Turns:
        """How a rollout is trained on."""
        return Turns(self.num_mini_batches, self.num_iterations)

    @property
    def aggregation(self) -> Aggregation:
        """What the losses of tokens are a mean over, by verl's name."""
        mode: Any = self.loss_agg_mode
        aggregation: Aggregation = AGGREGATIONS.get(mode, mode)
        return aggregation

    @property
    def drawing_of_baseline(self) -> Drawing:
        """How stored responses are drawn."""
        baseline = self.baseline or StoredConfig()
        return Drawing(
            baseline.k,
            baseline.temperature,
            self.max_new_tokens,
            self.sampling_batch_size,
            self.stop,
        )

    @property
    def has_values(self) -> bool:
        """Whether there is a value head."""
        return self.advantage.estimator == "gae"

    def check(self, *, pointwise: bool, has_r: bool = True) -> None:
        """Raise a UserError where the scorer has no r to give, or the baseline would change nothing.

        Args:
            pointwise: every difference is one of rewards.
            has_r: responses are scored by themselves.
        """
        if self.reward.needs_r and not has_r:
            raise UserError(
                f"reward {self.reward.kind}, with a scale of mode {self.reward.scale.mode}, needs a score "
                "of every response, and this scorer scores no response by itself; use "
                "contrastive_difference or group_difference, with mode constant or unit_std"
            )
        if not self.allow_cancelling:
            check_baseline(self.reward, self.advantage, pointwise=pointwise)


@checked
@dataclass(frozen=True)
class OnlineConfig(OnlineOptions):
    """How a policy is trained on what it samples.

    Attributes:
        lora: train adapters instead of all weights; the reference is then the base without them,
            and no copy of it is kept.
        train: the loop's settings; its head_lr is that of the value head.
    """

    lora: LoraConfig | None = None
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train.max_tokens is not None:
            raise UserError(
                "train.max_tokens: how long the samples are going to be is not known; use "
                "max_steps or epochs"
            )
        self.kl.check_horizon(self.train.batch_size * self.num_mini_batches * self.num_generations)

    @property
    def method(self) -> str:
        """What the model card calls it."""
        return f"online-{self.advantage.estimator}"
