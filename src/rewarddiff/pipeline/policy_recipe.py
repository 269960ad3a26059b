"""What a recipe may say of a policy: how it is trained and with which columns, or where it lies or is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.config import positive, to_dict
from rewarddiff.designs import DesignConfig
from rewarddiff.policies.online.config import OnlineConfig, OnlineOptions
from rewarddiff.policies.online.group_rewards import RewardConfig
from rewarddiff.policies.online.semi_config import SemiOnlineConfig, SemiOnlineOptions
from rewarddiff.policies.policy import PolicyConfig
from rewarddiff.rankings import Method
from rewarddiff.sampling.served import ServedModel
from rewarddiff.scorers.protocol import Orders

COLUMNS = ("order", "coefficient", "strength")
"""Keys of a policy that only concern policies which have them."""


@dataclass(frozen=True)
class StrengthConfig:
    """Where an objective that reads strengths (an offset, a target, a soft label) takes them from.

    Attributes:
        source: the name of a scorer of the recipe, or `grades`, the data's own strengths.
        orders: ask a scorer that reads two responses together in one order, or average both.
        calibrated: divide differences by the scorer's temperature: they are then log-odds, the unit
            of soft labels and offsets.
        scale: what the differences are multiplied by; grades come in the data's own unit.
    """

    source: str | None = None
    orders: Orders = "both"
    calibrated: bool = False
    scale: float = 1.0

    replaced: ClassVar[Mapping[str, str]] = CoefficientConfig.replaced

    def __post_init__(self) -> None:
        positive(self, "scale")


@dataclass(frozen=True)
class OrderConfig:
    """A scorer that puts every group's responses in order, in place of the data.

    RRHF(diff) is that, with a difference model. Responses get scores, and the comparisons of the
    data (all pairs where it has none) are turned as the scores say. For a coefficient,
    `source: grades` is then the gap of the scores.

    Attributes:
        source: the name of a scorer of the recipe.
        method: from differences to scores; of a design that leaves comparisons out, potentials.
        design: the comparisons that a difference model reads.
    """

    source: str | None = None
    method: Method = "potentials"
    design: DesignConfig = field(default_factory=DesignConfig)

    replaced: ClassVar[Mapping[str, str]] = CoefficientConfig.replaced

    def __post_init__(self) -> None:
        if self.method != "potentials" and not self.design.complete:
            raise ValueError(
                f"method {self.method} needs every comparison, design {self.design.mode} leaves "
                "some out: use potentials"
            )


@dataclass(frozen=True)
class RewardSource(RewardConfig):
    """What becomes of what a scorer says of samples.

    The stored responses of a contrastive reward are scored by the same scorer. They are the data's
    own, unless `baseline` beside it says where they come from.

    Attributes:
        source: the name of a scorer of the recipe.
    """

    source: str | None = None


@dataclass(frozen=True)
class OnlineRecipe(OnlineOptions):
    """How a policy learns from its own samples. Prompts are those of the training split.

    Attributes:
        reward: who scores the samples, and what becomes of it.
        method: by policy gradients, `advantage` says of which estimator.
    """

    reward: RewardSource = field(default_factory=RewardSource)
    method: Literal["policy_gradient"] = "policy_gradient"

    def config(self, policy: PolicyConfig) -> OnlineConfig:
        """Return what trains the policy, with its adapters and the settings of its loop."""
        options = _as(OnlineOptions, self)
        options["reward"] = RewardConfig(**_as(RewardConfig, self.reward))
        return OnlineConfig(**options, lora=policy.lora, train=policy.train)


@dataclass(frozen=True)
class PairSource:
    """Who says which of two samples is better, and by how much.

    Attributes:
        source: the name of a scorer of the recipe. The policy's `coefficient` and `strength` are made
            of what it says as well.
    """

    source: str | None = None


@dataclass(frozen=True)
class SemiOnlineRecipe(SemiOnlineOptions):
    """How a policy learns from pairs of its own samples, which are drawn anew every few steps.

    Prompts are those of the training split. The loss is the policy's `objective`, with its
    `coefficient` and `strength`.

    Attributes:
        reward: who compares the samples.
        method: `semi_online`, to tell it from policy gradients.
    """

    reward: PairSource = field(default_factory=PairSource)
    method: Literal["semi_online"] = "semi_online"

    def config(self, policy: PolicyRecipe) -> SemiOnlineConfig:
        """Return what trains the policy."""
        strength = policy.strength or StrengthConfig()
        return SemiOnlineConfig(
            **_as(SemiOnlineOptions, self),
            objective=policy.objective,
            coefficient=policy.coefficient,
            strength_scale=strength.scale,
            lora=policy.lora,
            train=policy.train,
        )


if TYPE_CHECKING:
    AnyOnline = OnlineRecipe | SemiOnlineRecipe
else:
    AnyOnline = Annotated[OnlineRecipe | SemiOnlineRecipe, Field(discriminator="method")]
    """By policy gradients, as without `method`, or by pairs."""


def _as(base: Any, config: Any) -> dict[str, Any]:
    """Return the fields that a configuration has from a base of its class."""
    return {field.name: getattr(config, field.name) for field in fields(base)}


@dataclass(frozen=True)
class PolicyRecipe(PolicyConfig):
    """A policy to train and where its columns come from, or one that is trained already.

    Attributes:
        trained: a policy that was trained elsewhere: a folder of Hugging Face's or an adapter's, or a
            hub name. It is judged as it is, the same for all seeds: columns beside it are refused,
            and nothing else is heeded.
        served: a policy behind an OpenAI-compatible server; judged as one that was trained elsewhere.
        order: who says which response is better in training; None: the data.
        coefficient: what multiplies each comparison's loss; None is the baseline, every comparison
            at 1.
        strength: what an objective that reads strengths is given; the others leave it alone.
        online: learn from its own samples: in place of the objective and its columns, or with
            `method: semi_online` by them.
    """

    order: OrderConfig | None = None
    coefficient: CoefficientConfig | None = None
    strength: StrengthConfig | None = None
    online: AnyOnline | None = None
    trained: str | None = None
    served: ServedModel | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trained is not None and self.served is not None:
            raise ValueError("trained and served are two places; give one")
        if self.online is not None and self.train.sharding != "none":
            raise ValueError(
                "train.sharding: a policy that learns from its own samples is trained whole"
            )

    @property
    def elsewhere(self) -> str | None:
        """Where a policy lies that was trained elsewhere: its folder, or its server."""
        return self.trained if self.served is None else str(self.served)

    @property
    def settings(self) -> dict[str, Any]:
        """What it is trained with, as plain data."""
        settings: dict[str, Any] = to_dict(self)
        del settings["trained"], settings["served"]
        # Runs made before there were samples, or pairs of them, stay.
        if self.online is None:
            del settings["online"]
        elif isinstance(self.online, OnlineRecipe):
            del settings["objective"], settings["online"]["method"]
        return settings

    @property
    def heeded(self) -> dict[str, Any]:
        """The keys that something heeds, as plain data."""
        if self.trained is not None:
            return {"trained": self.trained}
        if self.served is not None:
            return {"served": to_dict(self.served)}
        return self.settings

    @property
    def method(self) -> str:
        """What trains it: the objective, or the estimator that learns from its own samples."""
        if isinstance(self.online, SemiOnlineRecipe):
            return f"semi-online-{self.objective.name}"
        if self.online is not None:
            return f"online-{self.online.advantage.estimator}"
        return self.objective.name

    @property
    def compares(self) -> bool:
        """Whether an objective trains it, of comparisons or demonstrations: no policy gradients."""
        return not isinstance(self.online, OnlineRecipe)

    @property
    def reads_strength(self) -> bool:
        return self.compares and "strength" in self.objective.reads

    @property
    def treated(self) -> bool:
        """Whether strengths change what it is trained with: not a baseline, nor a control.

        With policy gradients that is a reward other than the score.
        """
        if isinstance(self.online, OnlineRecipe):
            return self.online.reward.kind != "score"
        weighted = self.coefficient is not None and self.coefficient.control == "none"
        return weighted or self.order is not None

    @property
    def columns(self) -> dict[str, OrderConfig | CoefficientConfig | StrengthConfig]:
        """The columns it is trained with, by name; of samples they are by whom these are scored."""
        columns: dict[str, OrderConfig | CoefficientConfig | StrengthConfig] = {}
        if self.order is not None:
            columns["order"] = self.order
        if self.coefficient is not None:
            columns["coefficient"] = self.coefficient
        if self.strength is not None and self.reads_strength:
            columns["strength"] = self.strength
        if isinstance(self.online, SemiOnlineRecipe):
            for name, column in columns.items():
                columns[name] = replace(column, source=column.source or self.online.reward.source)
        return columns
