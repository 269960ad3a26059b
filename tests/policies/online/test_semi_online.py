"""Training on pairs of one's own samples: the offline loss on them, drawn anew every few steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from online_examples import PROMPTS, STEADY, learn, letters, llama, reader, semi, weights_of
from transformers import PreTrainedTokenizerFast

from rewarddiff import machine
from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.data.ledger import Ledger
from rewarddiff.designs import DesignConfig
from rewarddiff.differences import Differences
from rewarddiff.errors import UserError
from rewarddiff.forward import LogProbs
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.objectives import BY_NAME
from rewarddiff.policies.objectives.lists import KTO
from rewarddiff.policies.objectives.pairs import DPO, BetaDPO
from rewarddiff.policies.online.group_rewards import RewardFunctions
from rewarddiff.policies.online.rollouts import draw, online_prompts
from rewarddiff.policies.online.semi import SemiOnline
from rewarddiff.policies.online.semi_config import SemiOnlineConfig
from rewarddiff.policies.policy import LoraConfig, PolicyConfig, train_policy, with_adapter
from rewarddiff.records import Group
from rewarddiff.trees import group_tree


@pytest.fixture(autouse=True)
def _no_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting garbage before a measurement takes longer than these trainings."""
    monkeypatch.setattr(machine, "release_memory", lambda: None)


def d_of_letters(groups: Sequence[Group], pairs: Sequence[Sequence[tuple[int, int]]]) -> Any:
    """A scorer of pairs that knows no more than their rewards, cubed."""
    differences = []
    for rewards, of_group in zip(letters(groups), pairs, strict=True):
        values = [(rewards[a] - rewards[b]) ** 3 for a, b in of_group]
        differences.append(Differences.of(values, of_group))
    return differences


def pool_of(
    tokenizer: PreTrainedTokenizerFast, config: SemiOnlineConfig, reward: Any = letters
) -> list[PreferenceItem]:
    """The pairs of the first draw."""
    functions = reward if isinstance(reward, RewardFunctions) else RewardFunctions(reward)
    encoder = reader(tokenizer)
    objective = SemiOnline(LogProbs(llama(tokenizer)), encoder, functions, config)
    prompts = online_prompts(PROMPTS, encoder, config.max_new_tokens, Ledger())
    with torch.no_grad():
        return objective.renew(objective.module, prompts, 0)


def named(items: Sequence[PreferenceItem]) -> set[tuple[Any, ...]]:
    """Prompt, tokens chosen, tokens rejected of every pair."""
    pairs = set()
    for item in items:
        responses = [node.tokens for node in item.tree.nodes[1:]]
        for chosen, rejected in item.comparisons:
            pairs.add((item.id, responses[chosen], responses[rejected]))
    return pairs


# --- it is the offline objective -------------------------------------------------------------------


def drawn_by_hand(
    tokenizer: PreTrainedTokenizerFast, config: SemiOnlineConfig, alpha: float
) -> list[PreferenceItem]:
    """Best against worst of the first draw, with the coefficient Δ^α: put together by hand."""
    encoder = reader(tokenizer)
    prompts = online_prompts(PROMPTS, encoder, config.max_new_tokens, Ledger())
    model = llama(tokenizer, dtype=torch.float64).eval()
    items = []
    for prompt, rollout in zip(
        prompts, draw(model, encoder, prompts, config, seed=0, turn=0), strict=True
    ):
        texts = [encoder.text(tokens) for tokens in rollout.responses]
        (r,) = letters([prompt.group.with_responses(texts)])
        best, worst = r.index(max(r)), r.index(min(r))
        if r[best] > r[worst]:
            tree = group_tree(prompt.tokens, [rollout.responses[best], rollout.responses[worst]])
            weight = (r[best] - r[worst]) ** alpha
            items.append(PreferenceItem(prompt.id, tree, ((0, 1),), (weight,)))
    return items


@pytest.mark.parametrize(
    ("iterations", "objective"),
    # KTO's z0 is 0 in the first step. Later it depends on which prompts lend each other responses.
    [(1, DPO(beta=0.5)), (2, DPO(beta=0.5)), (1, KTO(beta=0.5))],
)
def test_it_trains_as_offline_on_the_very_same_pairs(
    iterations: int, objective: Any, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    # One draw of all prompts, seen once or twice as a whole. Offline the same pairs are put together
    # by hand, the reference is read by the offline code, and an epoch is a batch.
    train = replace(STEADY, batch_size=len(PROMPTS), max_steps=iterations)
    config = semi(
        objective=objective, coefficient=CoefficientConfig(alpha=0.5),
        steps_per_generation=1, num_iterations=iterations, train=train,
    )  # fmt: skip
    start = llama(tiny_tokenizer, dtype=torch.float64)
    online, result = learn(tiny_tokenizer, tmp_path / "online", config, model=start)
    items = drawn_by_hand(tiny_tokenizer, config, alpha=0.5)
    assert len(items) >= 3  # groups that are ties have none
    offline = llama(tiny_tokenizer, dtype=torch.float64)
    policy = PolicyConfig(objective=objective, train=train)
    expected = train_policy(offline, items, policy, output=tmp_path / "offline", weights="start")
    for ours, theirs in zip(result.curve, expected.curve, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-9)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-9)
        assert ours["logps/chosen"] == pytest.approx(theirs["logps/chosen"], rel=1e-9)
    for name, weight in weights_of(online).items():
        torch.testing.assert_close(weight, weights_of(offline)[name], rtol=1e-6, atol=1e-8)


def test_unweighted_is_alpha_0_to_the_bit(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    models = []
    for number, coefficient in enumerate([None, CoefficientConfig(alpha=0), CoefficientConfig()]):
        config = semi(coefficient=coefficient)
        model, _ = learn(tiny_tokenizer, tmp_path / str(number), config)
        models.append(weights_of(model))
    plain, at_zero, weighted = models
    assert all(torch.equal(weight, at_zero[name]) for name, weight in plain.items())
    assert not all(torch.equal(weight, weighted[name]) for name, weight in plain.items())


def test_scales_of_coefficients_are_those_of_a_draw(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    config = semi(coefficient=CoefficientConfig(normalise="mean"))
    coefficients = [c for item in pool_of(tiny_tokenizer, config) for c in item.coefficients]
    assert len(coefficients) > 2
    assert np.mean(coefficients) == pytest.approx(1)
    assert np.std(coefficients) > 0.1


# --- which pairs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["best_worst", "all"])
def test_the_opposite_reward_swaps_every_pair(
    choice: Any, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    def opposite(groups: Sequence[Group]) -> list[Any]:
        return [-np.array(r) for r in letters(groups)]

    config = semi(pairs=choice, coefficient=CoefficientConfig())
    pairs = named(pool_of(tiny_tokenizer, config))
    swapped = named(pool_of(tiny_tokenizer, config, opposite))
    assert pairs
    assert swapped == {(prompt, rejected, chosen) for prompt, chosen, rejected in pairs}


@pytest.mark.parametrize("mode", ["both", "all"])
@pytest.mark.parametrize("choice", ["best_worst", "all"])
def test_a_scorer_of_pairs_finds_the_same_pairs(
    choice: Any, mode: Any, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    # d(a, b) = (r(a) − r(b))³ has the order of r, so the pairs are the same, and Δ is cubed.
    config = semi(pairs=choice, design=DesignConfig(mode), coefficient=CoefficientConfig())
    by_rewards = pool_of(tiny_tokenizer, config)
    by_pairs = pool_of(tiny_tokenizer, config, RewardFunctions(differences=d_of_letters))
    assert named(by_pairs) == named(by_rewards)
    cubed = sorted(c for item in by_pairs for c in item.coefficients)
    assert cubed == pytest.approx(sorted(c**3 for i in by_rewards for c in i.coefficients))


def test_all_pairs_of_a_design(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    everything = named(pool_of(tiny_tokenizer, semi(pairs="all")))
    anchored = named(pool_of(tiny_tokenizer, semi(pairs="all", design=DesignConfig("anchor"))))
    assert anchored < everything
    of_prompt = [prompt for prompt, _, _ in anchored]
    assert max(map(of_prompt.count, of_prompt)) <= 3  # of four responses, against one of them


def test_what_was_cut_off_is_rejected(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    end = tiny_tokenizer.eos_token_id
    model = llama(tiny_tokenizer, ends_often=4.0)
    encoder = reader(tiny_tokenizer)
    prompts = online_prompts(PROMPTS, encoder, 6, Ledger())
    for functions in (RewardFunctions(letters), RewardFunctions(differences=d_of_letters)):
        config = semi(missing_eos_penalty=10.0, pairs="all")
        objective = SemiOnline(LogProbs(model), encoder, functions, config)
        pairs = named(objective.renew(objective.module, prompts, 0))
        ends = {(chosen[-1] == end, rejected[-1] == end) for _, chosen, rejected in pairs}
        # No response that was cut off is ever better than one that ended.
        assert (True, False) in ends
        assert (False, True) not in ends


def test_what_is_scored_is_the_text_before_a_stop(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    seen: list[str] = []

    def watched(groups: Sequence[Group]) -> Any:
        seen.extend(response for group in groups for response in group.responses)
        return letters(groups)

    stops = tuple("etaoinshr")
    items = pool_of(tiny_tokenizer, semi(stop=stops, max_new_tokens=20), watched)
    assert not any(stop in text for text in seen for stop in stops)
    texts = [tiny_tokenizer.decode(n.tokens) for item in items for n in item.tree.nodes[1:]]
    assert any(text.endswith(stops) for text in texts)  # it is trained on all the same


# --- it learns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps_per_generation", [1, 4])
@pytest.mark.parametrize("alpha", [None, 1.0])
def test_the_reward_rises(
    alpha: float | None,
    steps_per_generation: int,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    coefficient = None if alpha is None else CoefficientConfig(alpha=alpha, normalise="mean")
    config = semi(steps_per_generation=steps_per_generation, coefficient=coefficient)
    _, result = learn(tiny_tokenizer, tmp_path, config, max_steps=60)
    rewards = [line["reward"] for line in result.curve]
    # Drawn at random, a tenth of all 262 tokens are small letters.
    assert rewards[0] < 0.2
    assert np.mean(rewards[-5:]) > 0.6
    first = result.curve[0]
    # The policy still is the reference: the margin is 0, the loss log 2 times the coefficients' mean.
    assert first["objective/kl"] == 0
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-6)
    assert first["loss"] > 0
    if coefficient is None:
        assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    peers = {"rewards/chosen", "rewards/accuracies", "logps/rejected", "completions/mean_length"}
    assert peers <= set(first)


@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - {"sft"}))
def test_any_objective_that_compares_takes_steps(
    name: Any, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    config = semi(objective=name, pairs="all", coefficient=CoefficientConfig(alpha=0.5))
    before = weights_of(llama(tiny_tokenizer))
    model, result = learn(tiny_tokenizer, tmp_path, config)
    assert all(math.isfinite(line["loss"]) for line in result.curve)
    assert any(not torch.equal(weight, before[n]) for n, weight in weights_of(model).items())


def test_adapters_read_the_reference_without_a_copy(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    config = semi(lora=LoraConfig(r=4))
    adapted: Any = with_adapter(
        llama(tiny_tokenizer), PolicyConfig(lora=config.lora, train=config.train)
    )
    before = weights_of(adapted)
    _, result = learn(tiny_tokenizer, tmp_path, config, model=adapted)
    assert [line["objective/kl"] == 0 for line in result.curve] == [True, True, False, False]
    for name, weight in weights_of(adapted).items():
        assert torch.equal(weight, before[name]) == ("lora" not in name), name


# --- what cannot be learned from ----------------------------------------------------------------------


def test_equal_rewards_skip_the_turn_and_change_no_weight(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    calls = itertools.count()

    def at_times(groups: Sequence[Group]) -> Any:
        """All responses are alike in the second and in the last of three draws."""
        if next(calls) in (1, 2):
            return [[0.7] * len(group.responses) for group in groups]
        return letters(groups)

    once, _ = learn(tiny_tokenizer, tmp_path / "once", semi(), max_steps=2)
    thrice, result = learn(tiny_tokenizer, tmp_path / "3", semi(), reward=at_times, max_steps=6)
    for name, weight in weights_of(thrice).items():
        assert torch.equal(weight, weights_of(once)[name]), name
    assert [line.get("skipped", 0) for line in result.curve] == [0, 0, 1, 1, 1, 1]
    assert [line["objective/pairs"] for line in result.curve[2:]] == [0.0] * 4
    assert [line["objective/ties"] for line in result.curve[2:]] == [4.0] * 4
    assert all(math.isnan(line["loss"]) for line in result.curve[2:])


def test_a_training_without_any_pair_is_none(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def same(groups: Sequence[Group]) -> Any:
        return [[0.7] * len(group.responses) for group in groups]

    with pytest.raises(UserError, match="policy: no draw gave pairs to train on"):
        learn(tiny_tokenizer, tmp_path, semi(), reward=same)


def test_fewer_pairs_than_steps_skip_those_that_are_left_without(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def only_one(groups: Sequence[Group]) -> Any:
        equal = [[0.0] * len(group.responses) for group in groups[1:]]
        return [range(len(groups[0].responses)), *equal]

    config = semi(steps_per_generation=4, train=replace(STEADY, batch_size=1))
    for objective in (DPO(), BetaDPO()):
        _, result = learn(
            tiny_tokenizer, tmp_path / objective.name, replace(config, objective=objective),
            reward=only_one,
        )  # fmt: skip
        assert sum(line.get("skipped", 0) for line in result.curve) == 3
        assert sum(math.isfinite(line["loss"]) for line in result.curve) == 1
    # KTO's z0 is read on responses to other prompts: on pairs of one prompt it cannot be trained.
    alone = replace(config, objective=KTO())
    with pytest.raises(UserError, match="no draw gave pairs"):
        learn(tiny_tokenizer, tmp_path / "kto", alone, reward=only_one)


def test_unscored_responses_are_in_no_pair_and_are_counted(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def sparing(groups: Sequence[Group]) -> Any:
        """The best response of every group is not scored."""
        rewards = letters(groups)
        for r in rewards:
            r[r.index(max(r))] = math.nan
        return rewards

    everything = named(pool_of(tiny_tokenizer, semi(pairs="all")))
    without = named(pool_of(tiny_tokenizer, semi(pairs="all"), sparing))
    assert without < everything
    _, result = learn(tiny_tokenizer, tmp_path, semi(), reward=sparing)
    assert [line["objective/unscored"] for line in result.curve] == [4.0] * 4
    model = llama(tiny_tokenizer)
    before = weights_of(model)
    config = semi(unscored="stop")
    with pytest.raises(UserError, match=r"g\d: its rewards are .*stopped before an update"):
        learn(tiny_tokenizer, tmp_path / "stop", config, reward=sparing, model=model)
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(model).items())


def test_a_judge_that_says_nothing_ends_it_and_one_that_says_little_does_not(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def silent(groups: Any, pairs: Sequence[Sequence[tuple[int, int]]]) -> Any:
        return [Differences.of([math.nan] * len(of_group), of_group) for of_group in pairs]

    def says_little(groups: Any, pairs: Sequence[Sequence[tuple[int, int]]]) -> Any:
        first, *others = pairs
        values = [1.0, *[math.nan] * (len(first) - 1)]
        return [Differences.of(values, first), *silent(groups[1:], others)]

    for reward in (RewardFunctions(differences=silent), lambda gs: [[math.nan] * 4 for _ in gs]):
        with pytest.raises(UserError, match="known which is better; stopped before an update"):
            learn(tiny_tokenizer, tmp_path / "silent", semi(), reward=reward)
    config = semi(design=DesignConfig("all"))
    little = RewardFunctions(differences=says_little)
    _, result = learn(tiny_tokenizer, tmp_path / "little", config, reward=little)
    assert [line["objective/pairs"] for line in result.curve] == [1.0] * 4
    assert [line["objective/unscored"] for line in result.curve] == [14.0] * 4
    assert [line["objective/ties"] for line in result.curve] == [0.0] * 4
    assert "reward" not in result.curve[0]  # there is no r


def test_an_infinite_reward_stops_before_an_update(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def broken(groups: Sequence[Group]) -> Any:
        rewards = letters(groups)
        rewards[1][2] = math.inf
        return rewards

    model = llama(tiny_tokenizer)
    before = weights_of(model)
    with pytest.raises(UserError, match=r"g\d: its rewards are \[.*inf"):
        learn(tiny_tokenizer, tmp_path, semi(), reward=broken, model=model)
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(model).items())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_generations": 1}, "num_generations is 1, should be at least 2"),
        ({"steps_per_generation": 0}, "steps_per_generation is 0"),
        ({"objective": "sft"}, "objective sft does not learn from pairs"),
        ({"coefficient": CoefficientConfig(source="column")}, "samples have no such column"),
        ({"coefficient": CoefficientConfig(orders="one")}, "read as `design` says"),
        ({"train": replace(STEADY, max_tokens=100)}, "use max_steps or epochs"),
        ({"pairs": "worst"}, "pairs"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises((UserError, ValueError), match=complaint):
        semi(**options)


@pytest.mark.parametrize(
    ("coefficient", "complaint"),
    [
        (CoefficientConfig(lower=1.0), "lower: needs the spread"),
        (CoefficientConfig(calibrated=True), "calibrated: the scorer has no temperature"),
    ],
)
def test_what_the_scorer_has_not_is_said_at_once(
    coefficient: CoefficientConfig,
    complaint: str,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match=complaint):
        learn(tiny_tokenizer, tmp_path, semi(coefficient=coefficient))


def test_a_temperature_divides_differences_and_a_spread_lowers_them(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    def of_two_heads(groups: Sequence[Group], pairs: Sequence[Sequence[tuple[int, int]]]) -> Any:
        """Heads that say d − 0.1 and d + 0.1 of a pair: their spread is 0.1 · √2."""
        result = []
        for rewards, of_group in zip(letters(groups), pairs, strict=True):
            d = np.array([rewards[a] - rewards[b] for a, b in of_group])
            heads = np.stack([d - 0.1, d + 0.1], axis=1)
            result.append(Differences(tuple(of_group), heads, weights=(0.5, 0.5), ensemble=True))
        return result

    def coefficients(functions: RewardFunctions, **options: Any) -> list[float]:
        config = semi(coefficient=CoefficientConfig(**options), design=DesignConfig("all"))
        return [c for item in pool_of(tiny_tokenizer, config, functions) for c in item.coefficients]

    plain = coefficients(RewardFunctions(letters))
    half = coefficients(RewardFunctions(letters, temperature=2.0), calibrated=True)
    assert half == pytest.approx([c / 2 for c in plain])
    # 0.2 is 2 · 0.1 · √2 · 0.7071: what is left is clipped at 0.
    lowered = coefficients(RewardFunctions(differences=of_two_heads), lower=2**0.5)
    assert lowered == pytest.approx([max(c - 0.2, 0) for c in plain])
    # Where every pair is doubted there is none, and the step is skipped.
    assert coefficients(RewardFunctions(differences=of_two_heads), lower=20.0) == []


def test_weights_over_the_spread_of_a_draw_are_refused() -> None:
    with pytest.raises(UserError, match=r"coefficient\.normalise: std .*use mean"):
        semi(coefficient=CoefficientConfig(normalise="std"))
