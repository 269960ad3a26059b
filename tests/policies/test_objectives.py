"""Every objective as the loop runs it: its equation on plain sequences, and identities."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from process_groups import on_processes
from test_preference import EXACT, assert_same, made, tiny

from rewarddiff.errors import UserError
from rewarddiff.forward import LogProbs
from rewarddiff.loop.train import train
from rewarddiff.policies.alignment import Alignment, AlignmentConfig
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.objectives import BY_NAME
from rewarddiff.policies.objectives.lists import KTO, PRO, RRHF
from rewarddiff.policies.objectives.pairs import DPO, IPO, ORPO, WPO, BetaDPO, Robust, SimPO, SLiC
from rewarddiff.policies.objectives.strength import MLRDPO, MMPO, ODPO, RDPO, RPO, UniDPO
from rewarddiff.policies.policy import PolicyConfig, train_policy
from rewarddiff.policies.reference import with_mismatch, with_reference
from rewarddiff.trees import group_tree

NAMES = [name for name in BY_NAME if name != "sft"]
EVERY: list[type[Any]] = [BY_NAME[name] for name in NAMES]


def items(n: int = 6, coefficient: float | None = None) -> list[PreferenceItem]:
    """`made`, with strengths (none 0) and scores, and a response to another prompt beside each."""
    found = []
    for i, item in enumerate(made(n, coefficient)):
        strengths = tuple(0.5 + 0.25 * ((i + 2 * j) % 4) for j in range(len(item.comparisons)))
        scores = tuple(float(item.responses - place) for place in range(item.responses))
        found.append(replace(item, strengths=strengths, scores=scores))
    return with_mismatch(found)


def with_reference_of_another(own: list[PreferenceItem], seed: int = 7) -> list[PreferenceItem]:
    """With log ρ of another model, so that policy and reference differ."""
    return with_reference(own, LogProbs(tiny(seed)), EXACT, weights="another")


def tiny_policy(seed: int = 0) -> LogProbs:
    return LogProbs(tiny(seed)).eval()


def loss_of(config: AlignmentConfig, own: list[PreferenceItem], policy: LogProbs) -> torch.Tensor:
    goal = Alignment(policy, config)
    policy.eval()
    if goal.probes:
        with torch.no_grad():
            goal.begin(own, goal.probe(policy, own), training=False)
    return goal.loss(policy, own).loss


def gradients(config: AlignmentConfig, own: list[PreferenceItem]) -> dict[str, torch.Tensor]:
    policy = tiny_policy()
    loss_of(config, with_reference_of_another(own), policy).backward()
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


def logps_of_all_tokens(policy: LogProbs, item: PreferenceItem) -> list[torch.Tensor]:
    """Log-probabilities over the vocabulary at every response token, by transformers alone."""
    prompt, *responses = (node.tokens for node in item.tree.nodes)
    found = []
    for response in responses:
        ids = torch.tensor([prompt + response])
        logits = policy.model(ids).logits[0, len(prompt) - 1 : -1]
        found.append(logits.log_softmax(-1))
    return found


def token_logps(policy: LogProbs, item: PreferenceItem) -> list[torch.Tensor]:
    responses = [torch.tensor(node.tokens) for node in item.tree.nodes[1:]]
    return [
        all_.gather(1, r[:, None])[:, 0]
        for all_, r in zip(logps_of_all_tokens(policy, item), responses, strict=True)
    ]


def test_names_are_one_each_and_none_is_forgotten() -> None:
    assert [cls().name for cls in BY_NAME.values()] == list(BY_NAME)


@pytest.mark.parametrize("cls", EVERY, ids=NAMES)
def test_a_constant_coefficient_multiplies_the_gradient(cls: type[Any]) -> None:
    config = cls(nll=0.0) if cls is not UniDPO else cls(nll=0.0, anchored=False)
    one, three, none = (gradients(config, items(coefficient=c)) for c in (1.0, 3.0, 0.0))
    assert max(g.abs().max().item() for g in one.values()) > 0
    for name, g in one.items():
        torch.testing.assert_close(
            three[name], 3 * g, rtol=1e-4, atol=1e-6
        )  # norms are float32 inside Llama
        assert not none[name].any()


@pytest.mark.parametrize("cls", EVERY, ids=NAMES)
def test_micro_batches_add_up(cls: type[Any], tmp_path: Path) -> None:
    """Two steps of training in one micro-batch or in many: the same weights."""
    after = []
    for tokens in (10_000, 30):
        policy = tiny_policy()
        config = replace(EXACT, max_steps=2, microbatch_tokens=tokens, lr=1e-3)
        goal = Alignment(policy, cls(), tokens=tokens)
        train(
            goal,
            with_reference_of_another(items(8)),
            output=tmp_path / str(tokens),
            config=replace(config, batch_size=4),
        )
        after.append({name: p.detach().clone() for name, p in policy.named_parameters()})
    assert_same(*after, 1e-6)


def by_hand(config: AlignmentConfig, own: list[PreferenceItem], policy: LogProbs) -> float:
    """The summed loss by its equation, from plain forward passes."""
    total = 0.0
    for item in own:
        token = token_logps(policy, item)
        s = [t.sum().item() for t in token]
        p = [t.mean().item() for t in token]
        n = [len(t) for t in token]
        rho = item.reference
        for (w, l), c, m in zip(item.comparisons, item.coefficients, item.strengths, strict=True):  # noqa: E741
            h = (s[w] - rho[w]) - (s[l] - rho[l])
            odds = [math.log(math.exp(x) / (1 - math.exp(x))) for x in (p[w], p[l])]
            match config.name:
                case "dpo":
                    value = -log_sigmoid(0.1 * h)
                case "robust":
                    value = (-0.9 * log_sigmoid(0.1 * h) + 0.1 * log_sigmoid(-0.1 * h)) / 0.8
                case "ipo":
                    value = ((s[w] - rho[w]) / n[w] - (s[l] - rho[l]) / n[l] - 5.0) ** 2
                case "simpo":
                    value = -log_sigmoid(2.5 * (p[w] - p[l]) - 1.375)
                case "orpo":
                    value = -p[w] - 0.1 * log_sigmoid(odds[0] - odds[1])
                case "slic":
                    value = max(0.0, 1 - s[w] + s[l]) - 0.1 * s[w]
                case "odpo":
                    value = -log_sigmoid(0.1 * h - math.log(m))
                case "rpo":
                    value = (0.2 * h - m) ** 2
                case "mmpo":
                    chance = 1 / (1 + math.exp(-m))
                    value = -chance * log_sigmoid(0.1 * h) - (1 - chance) * log_sigmoid(-0.1 * h)
                case "rdpo":
                    value = -log_sigmoid(0.1 * h - 0.1 * m)
                case "ml-rdpo":
                    value = -log_sigmoid(0.1 * h) + (0.1 * h - m) ** 2 / 2
                case "rrhf":
                    value = max(0.0, p[l] - p[w])
                case _:
                    raise AssertionError(config.name)
            total += c * value
    return total


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


HAND = [DPO, Robust, IPO, SimPO, ORPO, SLiC, ODPO, RPO, MMPO, RDPO, MLRDPO, RRHF]


@pytest.mark.parametrize("cls", HAND, ids=[cls().name for cls in HAND])
def test_the_equation_on_plain_sequences(cls: type[Any]) -> None:
    policy, config = tiny_policy(), cls(nll=0.0)
    own = with_reference_of_another(items())
    ours = loss_of(config, own, policy).item()
    assert ours == pytest.approx(by_hand(config, own, policy), rel=1e-6)


def test_wpo_weighs_by_the_policys_own_likelihood() -> None:
    # w(y) = exp(mean_t[log π(y_t) − log Σ_v π(v)²]); the product of both, at most 1.
    policy = tiny_policy()
    own = with_reference_of_another(items(2, 1.0))
    total, weights = 0.0, []
    for item in own:
        every, token = logps_of_all_tokens(policy, item), token_logps(policy, item)
        own_weight = [
            (t - (2 * e).logsumexp(-1)).mean().exp().item()
            for t, e in zip(token, every, strict=True)
        ]
        s = [t.sum().item() for t in token]
        for w, l in item.comparisons:  # noqa: E741
            weights.append(min(1.0, own_weight[w] * own_weight[l]))
            h = s[w] - item.reference[w] - s[l] + item.reference[l]
            total += weights[-1] * -log_sigmoid(0.1 * h)
    assert min(weights) < 1
    assert loss_of(WPO(), own, policy).item() == pytest.approx(total, rel=1e-6)


def test_uni_dpo_by_hand() -> None:
    policy = tiny_policy()
    (item,) = with_reference_of_another(items(2, 1.0))[:1]
    assert item.comparisons == ((0, 1),)
    token = token_logps(policy, item)
    p, s = [t.mean().item() for t in token], [t.sum().item() for t in token]
    ratio = [(s[i] - item.reference[i]) / len(token[i]) for i in (0, 1)]
    quality = 1 / (1 + math.exp(-0.1 * item.strengths[0]))
    focal = 1 - 1 / (1 + math.exp(-(2 * (p[0] - p[1]) - 0.8)))
    likelihood = 0.01 * -p[0] if s[0] < item.reference[0] else 0.0
    value = quality * focal * -log_sigmoid(2 * (ratio[0] - ratio[1])) + likelihood
    assert loss_of(UniDPO(), [item], policy).item() == pytest.approx(value, rel=1e-6)


def test_rrhf_adds_the_likelihood_of_the_best_and_can_average() -> None:
    policy = tiny_policy()
    own = with_reference_of_another(items())
    rank = loss_of(RRHF(nll=0.0), own, policy).item()
    best = sum(
        token_logps(policy, item)[0].sum().item() for item in own
    )  # scores fall with the place: the first is best
    assert loss_of(RRHF(), own, policy).item() == pytest.approx(rank - best, rel=1e-6)
    means = sum(by_hand(RRHF(nll=0.0), [item], policy) / len(item.comparisons) for item in own)
    assert loss_of(RRHF(nll=0.0, reduction="mean"), own, policy).item() == pytest.approx(
        means, rel=1e-6
    )


def test_pro_on_plain_sequences() -> None:
    # A list of three with scores 3, 2, 1: T_1 = (1, 2), T_2 = (1). Step 1: −log e^{2p1}/(e^{2p1} +
    # e^{p2} + e^{2p3}); step 2: −log e^{p2}/(e^{p2} + e^{p3}). Their coefficients: the mean over
    # the pairs a response wins.
    policy = tiny_policy()
    item = with_reference_of_another(items(3))[1]
    assert (item.responses, item.scores, item.comparisons) == (
        3,
        (3.0, 2.0, 1.0),
        ((0, 1), (0, 2), (1, 2)),
    )
    p = [t.mean().item() for t in token_logps(policy, item)]
    first = -math.log(
        math.exp(2 * p[0]) / (math.exp(2 * p[0]) + math.exp(p[1]) + math.exp(2 * p[2]))
    )
    second = -math.log(math.exp(p[1]) / (math.exp(p[1]) + math.exp(p[2])))
    a, b, c = item.coefficients
    hand = (a + b) / 2 * first + c * second
    assert loss_of(PRO(nll=0.0), [item], policy).item() == pytest.approx(hand, rel=1e-6)


def test_kto_reads_z0_on_responses_to_other_prompts() -> None:
    policy, own = tiny_policy(7), with_reference_of_another(items(), 0)
    other = [float(token_logps(policy, replace(item, tree=item.mismatch))[0].sum()) for item in own]
    z0 = max(
        0.0, sum(v - item.mismatch_reference for v, item in zip(other, own, strict=True)) / len(own)
    )
    total = 0.0
    for item in own:
        s = [t.sum().item() for t in token_logps(policy, item)]
        for (w, l), c in zip(item.comparisons, item.coefficients, strict=True):  # noqa: E741
            up, down = (1 / (1 + math.exp(-0.1 * (s[i] - item.reference[i] - z0))) for i in (w, l))
            total += c * ((1 - up) + (1 - 1 / (1 + (down / (1 - down)))))  # σ(−x) = 1/(1 + e^x)
    assert z0 > 0
    assert loss_of(KTO(), own, policy).item() == pytest.approx(total, rel=1e-6)


def test_kto_takes_single_responses_and_z0_has_no_gradient() -> None:
    policy = tiny_policy()
    pair = with_reference_of_another(items(2, 2.0))
    single = [
        replace(
            i,
            comparisons=(),
            coefficients=(),
            strengths=(),
            labels=((0, True, 2.0), (1, False, 2.0)),
        )
        for i in pair
    ]
    single = [replace(i, labels=tuple((w, yes, 2.0) for a, b in p.comparisons for w, yes in ((a, True), (b, False))))
              for i, p in zip(single, pair, strict=True)]  # fmt: skip
    assert loss_of(KTO(), single, policy).item() == pytest.approx(
        loss_of(KTO(), pair, policy).item(), rel=1e-9
    )
    goal = Alignment(policy, KTO())
    assert [goal.count(i) for i in single] == [goal.count(i) for i in pair]
    with torch.no_grad():
        goal.begin(single, goal.probe(policy, single), training=False)
    metrics = goal.loss(policy, single).metrics
    assert "rewards/margins" not in metrics
    assert metrics["rewards/chosen"][1] == sum(len(i.comparisons) for i in pair)


def test_mismatched_responses_are_of_other_prompts() -> None:
    own = made(5)
    for item, found in zip(own, with_mismatch(own), strict=True):
        prompt, response = found.mismatch.nodes
        assert prompt.tokens == item.tree.nodes[0].tokens
        assert response.tokens not in [node.tokens for node in item.tree.nodes[1:]]
    alike = [replace(item, tree=group_tree([3, 4], [[5], [6]])) for item in own]
    with pytest.raises(UserError, match="all prompts are alike"):
        with_mismatch(alike)


def test_beta_dpo_follows_the_batch() -> None:
    # With all pairs kept and M the running mean (of the first batch: its own), β = β0·(1 + 0) in
    # the first batch; in a second whose mean is 10 higher M has moved by a tenth: β = 0.1·(1 +
    # 0.6·(mean − M)), M = m + 0.1·10.
    config, state = BetaDPO(keep=1.0), {}
    first = config.begin([[1.0, 2.0], [3.0]], state, True)
    assert first.values["beta"] == pytest.approx(0.1)
    second = config.begin([[11.0, 12.0], [13.0]], state, True)
    assert second.values["beta"] == pytest.approx(0.1 * (1 + 0.6 * (12 - 3)))
    assert second.keep == ((1.0, 1.0), (1.0,))
    assert config.begin([[5.0]], state, False).values["beta"] == 0.1
    kept = BetaDPO(keep=0.5).begin([[0.0, 0.1], [0.2, 50.0]], {}, True).keep
    assert sorted(k for own in kept for k in own) == [
        0.0,
        0.0,
        2.0,
        2.0,
    ]  # the mean over those kept


def test_beta_dpo_stops_and_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(EXACT, batch_size=2, save_every=2)

    def run(output: Path, own: Alignment) -> dict[str, torch.Tensor]:
        train(own, with_reference_of_another(items(8)), output=output, config=config)
        return {name: p.detach().clone() for name, p in own.module.named_parameters()}

    straight = run(tmp_path / "a", Alignment(tiny_policy(), BetaDPO()))
    goal = Alignment(tiny_policy(), BetaDPO())
    original, calls = Alignment.begin, []

    def failing(self: Alignment, *args: Any, **kwargs: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("power cut")
        original(self, *args, **kwargs)

    monkeypatch.setattr(Alignment, "begin", failing)
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "b", goal)
    monkeypatch.setattr(Alignment, "begin", original)
    again = Alignment(tiny_policy(), BetaDPO())
    assert_same(run(tmp_path / "b", again), straight, 0)
    assert again.state["batches"] == 4


@pytest.mark.parametrize(
    ("module", "name"), [("lists", "KTO"), ("pairs", "BetaDPO"), ("lists", "RRHF")]
)
def test_two_processes_train_the_same(module: str, name: str, tmp_path: Path) -> None:
    """z0 and β are those of the global batch, whoever holds its items."""
    code = f"""
from dataclasses import replace
from pathlib import Path
from rewarddiff.policies.alignment import Alignment
from rewarddiff.loop.train import train
from rewarddiff.policies.objectives.{module} import {name}
from test_objectives import EXACT, items, with_reference_of_another, tiny_policy
def run(output):
    config = replace(EXACT, max_steps=2, batch_size=4)
    objective = Alignment(tiny_policy(), {name}())
    train_items, dev = (with_reference_of_another(items(n)) for n in (8, 3))
    return train(objective, train_items, output=Path(output), config=config, dev=dev)
if __name__ == "__main__":
    run("together")
"""
    ended = on_processes(tmp_path, code)
    assert [status for status, _ in ended] == [0, 0], ended
    alone: dict[str, Any] = {}
    exec(compile(code.replace("__main__", "elsewhere"), "alone", "exec"), alone)
    curve = alone["run"](tmp_path / "alone").curve
    lines = [
        json.loads(line) for line in (tmp_path / "together/metrics.jsonl").read_text().splitlines()
    ]
    for one, both in zip(curve, lines, strict=True):
        for key in one.keys() & {
            "loss",
            "kl",
            "beta",
            "grad_norm",
            "rewards/accuracies",
            "logps/chosen",
        }:
            assert both[key] == pytest.approx(one[key], rel=1e-6), key


def test_a_list_beyond_the_budget_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(3)
    responses = [torch.randint(3, 61, (6,), generator=draw).tolist() for _ in range(9)]
    pairs = tuple((a, b) for a in range(9) for b in range(a + 1, 9))
    item = PreferenceItem(
        "list", group_tree([5, 6, 7], responses), pairs, (1.0,) * 36, scores=tuple(range(9, 0, -1))
    )
    sizes: list[int] = []
    original = LogProbs.pack
    monkeypatch.setattr(
        LogProbs,
        "pack",
        lambda self, trees: sizes.append(sum(map(len, trees))) or original(self, trees),
    )
    found = []
    for tokens in (None, 20):
        policy = tiny_policy()
        sizes.clear()
        loss = Alignment(policy, RRHF(), tokens=tokens).loss(policy, [item]).loss
        loss.backward()
        found.append(
            (
                loss.item(),
                {name: p.grad for name, p in policy.named_parameters() if p.grad is not None},
            )
        )
    assert max(sizes) <= 20
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    assert_same(found[0][1], found[1][1], 1e-6)


@pytest.mark.parametrize("name", ["per_token", "nll", "anchored"])
def test_terms_any_objective_can_take(name: str) -> None:
    policy = tiny_policy()
    own = with_reference_of_another(items(4, 1.0))
    base = loss_of(DPO(), own, policy).item()
    token = [token_logps(policy, item) for item in own]
    chosen = [(t[w].mean().item(), t[w].sum().item(), item.reference[w])
              for t, item in zip(token, own, strict=True) for w, _ in item.comparisons]  # fmt: skip
    if name == "nll":
        expected = base - 0.5 * sum(mean for mean, _, _ in chosen)
        assert loss_of(DPO(nll=0.5), own, policy).item() == pytest.approx(expected, rel=1e-6)
        expected = base - 0.5 * sum(total for _, total, _ in chosen)
        assert loss_of(DPO(nll=0.5, nll_reduction="sum"), own, policy).item() == pytest.approx(
            expected, rel=1e-6
        )
    elif name == "anchored":
        below = [mean for mean, total, reference in chosen if total < reference]
        assert 0 < len(below) < len(chosen)
        anchored = loss_of(DPO(nll=0.5, anchored=True), own, policy).item()
        assert anchored == pytest.approx(base - 0.5 * sum(below), rel=1e-6)
    else:
        total = 0.0
        for t, item in zip(token, own, strict=True):
            ratio = [(x.sum().item() - r) / len(x) for x, r in zip(t, item.reference, strict=True)]
            total += sum(-log_sigmoid(0.1 * (ratio[w] - ratio[l])) for w, l in item.comparisons)  # noqa: E741
        assert loss_of(DPO(per_token=True), own, policy).item() == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("cls", EVERY, ids=NAMES)
def test_trained_by_name_with_what_it_reads(cls: type[Any], tmp_path: Path) -> None:
    """The reference is read only where it is needed; training lowers the loss."""
    policy = tiny(0)
    config = PolicyConfig(objective=cls(), train=replace(EXACT, epochs=8, lr=3e-3))
    own = [replace(item, mismatch=None) for item in items(8)]
    result = train_policy(policy, own, config, output=tmp_path, weights="tiny", dev=own)
    dev = [line["loss"] for line in result.curve if line["split"] == "dev"]
    assert dev[-1] < dev[0]
    assert bool(result.cost["reference_tokens"]) == ("reference" in cls().reads)


def test_only_items_that_come_to_be_trained_on_are_read_by_the_reference(tmp_path: Path) -> None:
    config = PolicyConfig(train=replace(EXACT, batch_size=2, max_steps=1))
    result = train_policy(tiny(0), made(8), config, output=tmp_path, weights="tiny")
    assert result.cost["reference_tokens"] < sum(len(item.tree) for item in made(8)) / 2
    assert result.cost["reference_tokens"] > 0


RANGED = (
    "nll",
    "beta",
    "eta",
    "weight",
    "delta",
    "alpha",
    "variance",
    "beta1",
    "desirable_weight",
    "keep",
)


@pytest.mark.parametrize("cls", EVERY, ids=NAMES)
def test_numbers_out_of_range_are_refused(cls: type[Any]) -> None:
    for name in {field.name for field in fields(cls)} & set(RANGED):
        with pytest.raises(ValueError, match=f"{name} is -1"):
            cls(**{name: -1.0})
