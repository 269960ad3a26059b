"""Comparisons of a transformer's own responses, labelled with known noise, and training on them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from transformers import PreTrainedModel

from rewarddiff.config import at_least, checked, positive
from rewarddiff.differences import Array
from rewarddiff.encoding import Encoder
from rewarddiff.errors import UserError
from rewarddiff.lab.online.measuring import Measure, curve
from rewarddiff.lab.online.results import Point
from rewarddiff.lab.online.world import LONGEST, World, gold
from rewarddiff.lab.policy import Method, weights_and_signs
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.objectives import AnyObjective
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.objectives.strength import RDPO
from rewarddiff.policies.policy import PolicyConfig, train_policy
from rewarddiff.sampling.batches import Tokens, padding
from rewarddiff.sampling.generate import sample_tokens
from rewarddiff.trees import group_tree

DRAWS = 4
"""Responses drawn to a prompt at a time, of which two are compared."""
TURNS = 20
"""How often all prompts are gone through at most."""


@checked
@dataclass(frozen=True)
class PairsConfig:
    """The comparisons, and how policies are trained on them.

    Attributes:
        pairs: comparisons, spread over the prompts.
        equal: the share of comparisons whose responses are equally good; their label is a coin's.
        wrong: how often the label of the others prefers the worse response.
        beta: of DPO.
        steps, batch_size, lr: of every training.
    """

    pairs: int = 1024
    equal: float = 0.3
    wrong: float = 0.3
    beta: float = 0.1
    steps: int = 32
    batch_size: int = 64
    lr: float = 3e-4

    def __post_init__(self) -> None:
        at_least(self, 1, "pairs", "steps", "batch_size")
        positive(self, "beta", "lr")
        if not 0 <= self.wrong <= 0.5:
            raise ValueError(f"wrong is {self.wrong}, should be from 0 to 0.5")
        if not 0 <= self.equal < 1:
            raise ValueError(f"equal is {self.equal}, should be from 0 to below 1")


@dataclass(frozen=True)
class Graded:
    """A response with its true reward."""

    tokens: Tokens
    reward: float


@dataclass(frozen=True)
class Compared:
    """A prompt with two responses, as the label has them."""

    prompt: Tokens
    chosen: Graded
    rejected: Graded


@dataclass(frozen=True)
class Comparisons:
    """Labelled comparisons of one world."""

    pairs: tuple[Compared, ...]

    @property
    def truth(self) -> Array:
        """True differences oriented by the label, in standard deviations of the true reward."""
        chosen = np.array([pair.chosen.reward for pair in self.pairs])
        rejected = np.array([pair.rejected.reward for pair in self.pairs])
        spread = np.concatenate([chosen, rejected]).std()
        return np.asarray((chosen - rejected) / spread)


def compared(
    world: World, start: PreTrainedModel, encoder: Encoder, config: PairsConfig
) -> Comparisons:
    """Draw comparisons of the start's own responses, and label them.

    Responses are drawn to one prompt after the other, over and over. The first is compared with the
    next one that is as good, or not as good, as is wanted there; a prompt without such a one is
    passed over.

    Raises:
        UserError: the pairs asked for cannot be had.
    """
    luck = np.random.default_rng([world.seed, 3])
    pairs: list[Compared] = []
    equal_pairs = 0
    for turn in range(TURNS):
        for text, responses in _drawn(world, start, encoder, turn):
            first, *others = [
                Graded(tokens, gold(text, encoder.text(tokens))) for tokens in responses
            ]
            is_equal = equal_pairs < config.equal * len(pairs)
            fitting = [other for other in others if _fits(first, other, is_equal)]
            if fitting:
                chosen, rejected = _labelled(first, fitting[0], config.wrong, luck)
                pairs.append(Compared(encoder.prompt(text), chosen, rejected))
                equal_pairs += is_equal
            if len(pairs) == config.pairs:
                return Comparisons(tuple(pairs))
    raise UserError(
        f"{config.pairs} comparisons were asked for, and {len(pairs)} could be had: lower "
        "pairs.pairs, or let the transformer read more pretrain.texts"
    )


def _drawn(
    world: World, start: PreTrainedModel, encoder: Encoder, turn: int
) -> Iterator[tuple[str, list[Tokens]]]:
    """Yield every prompt with responses."""
    texts = [asked.text for asked in world.prompts]
    ends = encoder.ends(texts)
    prompts = [encoder.prompt(text) for text in texts for _ in range(DRAWS)]
    drawn = sample_tokens(
        start,
        prompts,
        [("compared", world.seed, turn, number) for number in range(len(prompts))],
        temperature=1.0,
        max_new_tokens=LONGEST,
        ends=ends,
        pad=padding(encoder.tokenizer, ends),
    )
    for place, text in enumerate(texts):
        yield text, drawn[DRAWS * place : DRAWS * (place + 1)]


def _fits(first: Graded, other: Graded, is_equal: bool) -> bool:
    """Tell whether the two differ, and are equally good or not, as is wanted."""
    return first.tokens != other.tokens and (first.reward == other.reward) == is_equal


def _labelled(
    first: Graded, second: Graded, wrong: float, luck: np.random.Generator
) -> tuple[Graded, Graded]:
    """Return two responses, the one that the label prefers first."""
    gap = first.reward - second.reward
    is_first_chosen = 0.5
    if gap:
        is_first_chosen = 1 - wrong if gap > 0 else wrong
    if luck.random() < is_first_chosen:
        return first, second
    return second, first


def items(comparisons: Comparisons, method: Method) -> list[PreferenceItem]:
    """Return what a policy is trained on: trees with the weight and the strength of each."""
    weights, signs = weights_and_signs(method)
    trained_on = []
    columns = zip(comparisons.pairs, weights, signs, method.differences, strict=True)
    for number, (pair, weight, sign, difference) in enumerate(columns):
        order = (0, 1) if sign > 0 else (1, 0)
        item = PreferenceItem(
            id=f"pair:{number}",
            tree=group_tree(pair.prompt, [pair.chosen.tokens, pair.rejected.tokens]),
            comparisons=(order,),
            coefficients=(float(weight),),
            strengths=(float(sign * difference),),
        )
        trained_on.append(item)
    return trained_on


def trained(
    start: PreTrainedModel,
    measure: Measure,
    comparisons: Comparisons,
    method: Method,
    config: PairsConfig,
    seed: int,
    points: int,
) -> list[Point]:
    """Train a copy of the start, and return what it is worth at so many places of its training."""
    policy = copy.deepcopy(start)
    settings = PolicyConfig(
        objective=_objective(method, config),
        train=TrainConfig(
            lr=config.lr,
            schedule="constant",
            warmup=0.0,
            epochs=float(config.steps),  # more than enough
            max_steps=config.steps,
            batch_size=config.batch_size,
            microbatch_tokens=16_384,
            max_grad_norm=0.0,
            precision="fp32",
            save_every=0,
            eval_every=None,
        ),
    )
    samples = [2 * config.batch_size * (step + 1) for step in range(config.steps)]
    with (
        TemporaryDirectory() as folder,
        curve(measure, policy, samples, points=points) as places,
    ):
        train_policy(
            policy,
            items(comparisons, method),
            settings,
            output=Path(folder),
            weights="",
            seed=seed,
            name="",
        )
    return places


def _objective(method: Method, config: PairsConfig) -> AnyObjective:
    if method.objective == "rdpo":
        # With β₁ = β the offset is the difference itself.
        return RDPO(beta=config.beta, beta1=config.beta)
    return DPO(beta=config.beta)
