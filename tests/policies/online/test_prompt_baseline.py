"""When a baseline per prompt changes what a policy learns from: a table, each line tried out."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from rewarddiff.differences import Differences
from rewarddiff.errors import UserError
from rewarddiff.policies.online.advantages import grpo, rloo
from rewarddiff.policies.online.estimators import (
    AdvantageConfig,
    baseline_effect,
    estimate,
)
from rewarddiff.rewards import (
    TruncationConfig,
    contrastive,
    contrastive_difference,
    group_difference,
    penalised,
)

PROMPTS, GENERATIONS, TOKENS = 3, 4, 5

SUBTRACTED = TruncationConfig(missing_eos_penalty=2.0)
MULTIPLIED = TruncationConfig(stop_properly_penalty_coef=0.5)
LEFT = TruncationConfig()

CANCELS = [
    (AdvantageConfig("rloo"), LEFT),
    (AdvantageConfig("rloo"), SUBTRACTED),
    (AdvantageConfig("rloo", normalize_advantages=True), LEFT),
    (AdvantageConfig("grpo"), LEFT),
    (AdvantageConfig("grpo"), SUBTRACTED),
    (AdvantageConfig("grpo", scale_rewards="none"), LEFT),
    (AdvantageConfig("grpo", normalize_advantages=True), LEFT),
]
ACTS = [
    (AdvantageConfig("gae"), LEFT),
    (AdvantageConfig("gae", lam=1.0), SUBTRACTED),
    (AdvantageConfig("gae", normalize_advantages=False), LEFT),
    (AdvantageConfig("reinforce"), LEFT),
    (AdvantageConfig("reinforce", normalize_advantages=True), LEFT),
    # The exceptions.
    (AdvantageConfig("rloo", reward_clip_range=(-2.0, 2.0)), LEFT),
    (AdvantageConfig("grpo", reward_clip_range=(-2.0, 2.0)), LEFT),
    (AdvantageConfig("grpo", scale_rewards="batch"), LEFT),
    (AdvantageConfig("rloo"), MULTIPLIED),
    (AdvantageConfig("grpo"), MULTIPLIED),
]


def whole_numbers(seed: int = 0, below: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(-below, below, (PROMPTS, GENERATIONS)) * 1.0


def learned(config: AdvantageConfig, truncation: TruncationConfig, rewards: np.ndarray) -> Tensor:
    """Return the advantages of these rewards, by the way that a trainer goes, with a KL in them."""
    draw = torch.Generator().manual_seed(1)
    shape = (PROMPTS * GENERATIONS, TOKENS)
    lengths = torch.randint(1, TOKENS + 1, (len(rewards.flatten()), 1), generator=draw)
    mask = torch.arange(TOKENS) < lengths
    truncated = np.zeros_like(rewards, dtype=bool)
    truncated[:, 0] = True
    numbers = torch.from_numpy(penalised(rewards, truncated, truncation))
    kl = torch.randint(-4, 5, shape, generator=draw).double()
    values = torch.randn(shape, generator=draw, dtype=torch.float64)
    return estimate(config, numbers, mask, kl=kl, kl_coef=0.25, values=values).advantages


BASELINE = np.array([[8.0], [-16.0], [4.0]])


@pytest.mark.parametrize(("config", "truncation"), CANCELS)
def test_where_a_baseline_cancels(config: AdvantageConfig, truncation: TruncationConfig) -> None:
    assert not baseline_effect(config, truncation).acts
    rewards = whole_numbers()
    plain = learned(config, truncation, rewards)
    assert bool((plain != 0).any())
    # Whole rewards, quarters of KL and groups of four: every sum and mean of GRPO is exact, and the
    # same to the bit. RLOO divides by n − 1 = 3, once with the baseline and once without: there it
    # is the same to a unit of rounding.
    shifted = learned(config, truncation, rewards - BASELINE)
    if config.estimator == "grpo":
        assert torch.equal(plain, shifted)
    torch.testing.assert_close(plain, shifted, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("config", "truncation"), CANCELS)
def test_with_any_numbers_it_cancels_to_rounding(
    config: AdvantageConfig, truncation: TruncationConfig
) -> None:
    # Not to the bit: r − b has lost digits of r, as many as |b| is larger. Of numbers up to 10³
    # in float64 that is about 10⁻¹³.
    draw = np.random.default_rng(5)
    rewards = draw.normal(size=(PROMPTS, GENERATIONS))
    baseline = draw.normal(size=(PROMPTS, 1)) * 1e3
    plain, shifted = (learned(config, truncation, r) for r in (rewards, rewards - baseline))
    torch.testing.assert_close(plain, shifted, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("config", "truncation"), ACTS)
def test_where_a_baseline_acts(config: AdvantageConfig, truncation: TruncationConfig) -> None:
    assert baseline_effect(config, truncation).acts
    rewards = whole_numbers()
    plain, shifted = (learned(config, truncation, r) for r in (rewards, rewards - BASELINE))
    assert (plain - shifted).abs().max().item() > 0.1


def test_in_reinforce_prompts_move_against_each_other_by_their_baselines() -> None:
    # A_i changes by −b_x + mean of b: baselines 8, −16 and 4 have mean −4/3.
    rewards = whole_numbers()
    config = AdvantageConfig("reinforce")
    moved = learned(config, LEFT, rewards - BASELINE) - learned(config, LEFT, rewards)
    first_tokens = moved[:, 0].reshape(PROMPTS, GENERATIONS)
    expected = torch.from_numpy(np.broadcast_to(-BASELINE - 4 / 3, first_tokens.shape).copy())
    torch.testing.assert_close(first_tokens, expected)


def test_in_gae_the_last_token_moves_by_the_baseline() -> None:
    # A_T = r − V_T, and before it (γλ)^(T−t) of that; V is what it was when the rollout was read.
    rewards = whole_numbers()
    config = AdvantageConfig("gae", lam=0.5, normalize_advantages=False)
    plain, shifted = (learned(config, LEFT, r) for r in (rewards, rewards - BASELINE))
    moved = (plain - shifted).reshape(PROMPTS, GENERATIONS, TOKENS)
    for prompt, off in enumerate(BASELINE.flatten()):
        for response in moved[prompt]:
            steps = int((response != 0).sum())
            expected = [off * 0.5 ** (steps - 1 - t) for t in range(steps)]
            assert response[:steps].tolist() == pytest.approx(expected)


def test_the_batch_scale_leaves_the_numerator() -> None:
    # Advantages stay proportional: only the divisor knows of the baseline.
    config = AdvantageConfig("grpo", scale_rewards="batch")
    rewards = whole_numbers()
    plain, shifted = (learned(config, LEFT, r) for r in (rewards, rewards - BASELINE))
    ratios = (shifted / plain)[plain != 0]
    torch.testing.assert_close(ratios, ratios[0].expand_as(ratios))


def test_a_clip_that_does_not_bite_changes_nothing() -> None:
    wide = AdvantageConfig("rloo", reward_clip_range=(-1e3, 1e3))
    rewards = whole_numbers()
    torch.testing.assert_close(
        learned(wide, LEFT, rewards - BASELINE), learned(AdvantageConfig("rloo"), LEFT, rewards)
    )
    assert baseline_effect(
        wide, LEFT
    ).acts  # it may bite: nobody knows before the rewards are there


def test_a_factor_on_truncated_responses_scales_reward_less_baseline() -> None:
    # RLOO without a KL: with the factor ½ on the first of four, A_0 = (r_0 − b)/2 − mean of the
    # others less b, so taking b off moves it by +b/2, and each of the others by −b/6.
    rewards, flags = whole_numbers()[:1], np.array([[True, False, False, False]])
    plain = rloo(torch.from_numpy(penalised(rewards, flags, MULTIPLIED)))
    shifted = rloo(torch.from_numpy(penalised(rewards - 6.0, flags, MULTIPLIED)))
    torch.testing.assert_close(
        shifted - plain, torch.tensor([[3.0, -1.0, -1.0, -1.0]], dtype=torch.float64)
    )


# The four rewards in estimators that take off a group's mean.


def joint_d(seed: int = 0, size: int = GENERATIONS + 3) -> dict[tuple[int, int], float]:
    """d of a scorer that reads two responses together, with no rewards behind it."""
    draw = np.random.default_rng(seed)
    table = {}
    for a, b in permutations(range(size), 2):
        if a < b:
            table[(a, b)] = float(draw.normal())
            table[(b, a)] = -table[(a, b)]
    return table


@pytest.mark.parametrize("estimator", [rloo, grpo])
def test_the_rewards_of_a_pointwise_scorer_all_teach_the_same(estimator) -> None:  # type: ignore[no-untyped-def]
    draw = np.random.default_rng(2)
    r, stored = draw.normal(size=GENERATIONS), draw.normal(size=3)
    across = [(i, GENERATIONS + j) for i in range(GENERATIONS) for j in range(3)]
    within = list(permutations(range(GENERATIONS), 2))
    both = [*r, *stored]
    relative = {
        "contrastive": contrastive(r, stored),
        "contrastive_difference": contrastive_difference(
            Differences.of_rewards(both, across), GENERATIONS
        ),
        "group_difference": group_difference(Differences.of_rewards(r, within), GENERATIONS),
    }
    goal = estimator(torch.from_numpy(r)[None])
    for name, reward in relative.items():
        advantages = estimator(torch.from_numpy(reward)[None])
        if name == "group_difference" and estimator is rloo:
            # r_i − mean of the others is n/(n − 1)·(r_i − mean) already, and is so once more.
            advantages = advantages * (GENERATIONS - 1) / GENERATIONS
        # GRPO's 10⁻⁴ under the fraction is the same for a larger standard deviation.
        torch.testing.assert_close(advantages, goal, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("estimator", [rloo, grpo])
def test_the_rewards_of_a_joint_scorer_do_not_cancel(estimator) -> None:  # type: ignore[no-untyped-def]
    # What it says within the group is not what it says against the baseline. A group estimator keeps
    # both, so neither is the other one and a number: of a pointwise scorer they are one (above).
    table = joint_d()
    across = [(i, GENERATIONS + j) for i in range(GENERATIONS) for j in range(3)]
    within = list(permutations(range(GENERATIONS), 2))
    against_stored = contrastive_difference(
        Differences.of([table[pair] for pair in across], across, apart=False), GENERATIONS
    )
    against_group = group_difference(
        Differences.of([table[pair] for pair in within], within, apart=False), GENERATIONS
    )
    first, second = (
        estimator(torch.from_numpy(reward)[None]) for reward in (against_stored, against_group)
    )
    assert bool((first != 0).any() and (second != 0).any())
    correlation = float(np.corrcoef(first.numpy(), second.numpy())[0, 1])
    assert abs(correlation) < 0.95


def test_other_baselines_of_a_joint_scorer_teach_otherwise() -> None:
    # Of pointwise rewards any stored responses give the same advantages; of a joint scorer those of
    # b_0 and of b_1 differ by more than a number.
    table = joint_d()
    advantages = []
    for stored in (GENERATIONS, GENERATIONS + 1):
        pairs = [(i, stored) for i in range(GENERATIONS)]
        reward = contrastive_difference(
            Differences.of([table[pair] for pair in pairs], pairs, apart=False), GENERATIONS
        )
        advantages.append(rloo(torch.from_numpy(reward)[None]))
    assert (advantages[0] - advantages[1]).abs().max().item() > 0.1


# The way from rewards to advantages.


def test_a_response_without_a_reward_is_not_trained_on() -> None:
    rewards = torch.tensor([[1.0, float("nan")], [2.0, 3.0]])
    mask = torch.ones(4, 3, dtype=torch.bool)
    for name in ("gae", "reinforce", "rloo", "grpo"):
        result = estimate(AdvantageConfig(name), rewards, mask, values=torch.zeros(4, 3))  # type: ignore[arg-type]
        assert bool(result.advantages.isfinite().all())
        assert result.mask.any(-1).tolist() == [True, False, True, True]
        assert bool((result.advantages[1] == 0).all())


def test_a_clip_does_not_make_a_reward_of_an_infinite_one() -> None:
    config = AdvantageConfig("rloo", reward_clip_range=(-1.0, 1.0))
    rewards = torch.tensor([[float("inf"), 1.0, -5.0]])
    result = estimate(config, rewards, torch.ones(3, 1, dtype=torch.bool))
    assert result.advantages.flatten().tolist() == [0.0, 2.0, -2.0]


def test_kl_in_the_reward_by_hand() -> None:
    # RLOO of two responses: 5 − ½·(1 + 1) = 4 and 1 − ½·2 = 0, the masked 100 aside: ±4.
    kl = torch.tensor([[1.0, 1.0], [2.0, 100.0]])
    mask = torch.tensor([[True, True], [True, False]])
    rewards = torch.tensor([[5.0, 1.0]])
    result = estimate(AdvantageConfig("rloo"), rewards, mask, kl=kl, kl_coef=0.5)
    assert result.advantages.tolist() == [[4.0, 4.0], [-4.0, 0.0]]
    assert result.returns is None


def test_gae_whitens_as_peers_do_and_returns_are_not_whitened() -> None:
    rewards, mask = torch.tensor([[4.0, 8.0]]), torch.ones(2, 1, dtype=torch.bool)
    result = estimate(AdvantageConfig("gae"), rewards, mask, values=torch.zeros(2, 1))
    assert result.returns is not None
    assert result.returns.flatten().tolist() == [4.0, 8.0]
    # 4, 8: mean 6, deviation √8.
    assert result.advantages.flatten().tolist() == pytest.approx([-2 / 8**0.5, 2 / 8**0.5])


def test_what_estimate_refuses() -> None:
    mask = torch.ones(4, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="value head"):
        estimate(AdvantageConfig("gae"), torch.zeros(2, 2), mask)
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(4, 3\)"):
        estimate(AdvantageConfig("rloo"), torch.zeros(2, 3), mask)
    with pytest.raises(ValueError, match=r"\(1, 1\) and \(4, 3\)"):
        estimate(AdvantageConfig("rloo"), torch.zeros(1, 1), mask)
    with pytest.raises(ValueError, match="boolean"):
        estimate(AdvantageConfig("rloo"), torch.zeros(2, 2), mask.float())


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "rloo", "lam": 0.5},
        {"estimator": "gae", "scale_rewards": "none"},
        {"estimator": "gae", "gamma": 1.5},
        {"estimator": "rloo", "reward_clip_range": (1.0, -1.0)},
        {"estimator": "ppo"},
    ],
)
def test_options_that_are_refused(options: dict[str, object]) -> None:
    with pytest.raises((ValueError, UserError)):
        AdvantageConfig(**options)  # type: ignore[arg-type]
