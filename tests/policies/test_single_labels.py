"""Responses labelled by themselves, from groups to what the loop trains on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_objectives import loss_of, tiny_policy, token_logps, with_reference_of_another
from test_preference import EXACT, assert_same, tiny
from transformers import PreTrainedTokenizerFast

from rewarddiff.data import Ledger, Reason
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.forward import LogProbs
from rewarddiff.loop.schedule import batch_at
from rewarddiff.loop.train import train
from rewarddiff.policies.alignment import Alignment
from rewarddiff.policies.items import Pairs, PreferenceItem
from rewarddiff.policies.objective import PolicyObjective
from rewarddiff.policies.objectives.lists import KTO
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.objectives.sft import SFTConfig, best_response
from rewarddiff.policies.objectives.strength import ODPO
from rewarddiff.policies.policy import PolicyConfig, train_policy
from rewarddiff.policies.reference import with_mismatch, with_reference
from rewarddiff.records import Comparison, Group
from rewarddiff.trees import group_tree


def made_of(
    groups: Sequence[Group],
    tokenizer: PreTrainedTokenizerFast,
    objective: PolicyObjective | None = None,
    ledger: Ledger | None = None,
    lengths: LengthConfig | None = None,
    context: int | None = None,
) -> list[PreferenceItem]:
    encoder = Encoder(tokenizer, lengths or LengthConfig(), context)
    pairs = [(g, Pairs.unweighted([c for c in g.known_comparisons() if not c.tie])) for g in groups]
    return (objective or KTO()).items(pairs, encoder, ledger or Ledger())


def said(item: PreferenceItem, tokenizer: PreTrainedTokenizerFast) -> list[tuple[str, bool, float]]:
    """The labels of an item by the text they stand at."""
    texts = [
        tokenizer.decode(node.tokens, skip_special_tokens=True) for node in item.tree.nodes[1:]
    ]
    return [(texts[place], yes, weight) for place, yes, weight in item.labels]


# -- items -------------------------------------------------------------------------------------------------------------


def test_a_labelled_response_is_an_item(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    (item,) = made_of([Group("g", "Why?", ("No.",), labels=(False,))], tiny_tokenizer)
    assert item.comparisons == item.coefficients == item.scores == ()
    assert said(item, tiny_tokenizer) == [("No.", False, 1.0)]
    assert item.responses == 1


def test_only_what_something_is_said_of_is_read(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    group = Group("g", "Why?", ("a", "b", "c"), labels=(None, True, None))
    (item,) = made_of([group], tiny_tokenizer)
    assert said(item, tiny_tokenizer) == [("b", True, 1.0)]
    assert item.responses == 1


def test_comparisons_and_labels_of_a_group_are_both_trained_on(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    group = Group(
        "g", "Why?", ("a", "b", "c"), comparisons=(Comparison(2, 0),), labels=(None, False, True)
    )
    (item,) = made_of([group], tiny_tokenizer)
    assert item.comparisons == ((2, 0),)
    assert said(item, tiny_tokenizer) == [("b", False, 1.0), ("c", True, 1.0)]
    # the chosen and the rejected one of the pair, and two by themselves
    assert Alignment(LogProbs(tiny()), KTO()).count(item) == 4


def test_many_labels_are_cut_into_items_like_comparisons(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    names = "abcdefghijkl"
    group = Group(
        "g",
        "Why?",
        tuple(names),
        comparisons=(Comparison(0, 11),),
        labels=tuple(name in "aeiou" for name in names),
    )
    first, second = made_of([group], tiny_tokenizer)
    assert len(first.comparisons) == 1
    assert second.comparisons == ()
    every = said(first, tiny_tokenizer) + said(second, tiny_tokenizer)
    assert every == [(name, name in "aei", 1.0) for name in names]
    assert first.responses == 9  # a to h, and l for the comparison
    assert second.responses == 4


def test_a_labelled_response_has_only_to_fit(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    ledger = Ledger()
    groups = [
        Group("fits", "?", ("a",), labels=(True,), source="f:1"),
        Group("cut alike", "?", ("abcdefgh", "abcdefgx"), labels=(True, False), source="f:2"),
        Group("too long", "?" * 30, ("a",), labels=(True,), source="f:3"),
    ]
    items = made_of(
        groups, tiny_tokenizer, ledger=ledger, lengths=LengthConfig(max_response=4), context=16
    )
    assert [item.id for item in items] == ["fits", "cut alike"]
    assert [len(item.labels) for item in items] == [1, 2]
    assert (ledger.kept, ledger.dropped) == (2, 1)
    assert ledger.to_dict()["dropped"]["prompt_too_long"]["examples"][0]["source"] == "f:3"
    assert ledger.count(Reason.IDENTICAL_AFTER_TRUNCATION) == 1  # told, as for pairs


MIXED = [
    Group("pair", "1?", ("a", "b"), comparisons=(Comparison(0, 1),), source="f:1"),
    Group("label", "2?", ("a",), labels=(True,), source="f:2"),
    Group(
        "both",
        "3?",
        ("a", "b"),
        comparisons=(Comparison(0, 1),),
        labels=(True, False),
        source="f:3",
    ),
    Group("tie", "4?", ("a", "b"), comparisons=(Comparison(0, 1, 0.0),), source="f:4"),
]


def test_other_objectives_take_the_comparisons_and_count_the_rest(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    ledger = Ledger()
    items = made_of(MIXED, tiny_tokenizer, DPO(), ledger)
    assert [item.id for item in items] == ["pair", "both"]
    assert all(item.labels == () for item in items)
    told = ledger.to_dict()["changed"]["no_order"]["examples"]
    assert [(e["source"], e["detail"]) for e in told] == [
        ("f:2", "labelled, not compared: not trained on"),
        ("f:4", "no comparison, or only ties: not trained on"),
    ]
    DPO().check(MIXED)

    ledger = Ledger()
    items = made_of(MIXED, tiny_tokenizer, KTO(), ledger)
    assert [item.id for item in items] == ["pair", "label", "both"]
    assert ledger.count(Reason.NO_ORDER) == 1
    KTO().check(MIXED)


def test_a_group_without_strengths_is_named_where_they_are_read(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    encoder, known = Encoder(tiny_tokenizer, LengthConfig()), (Comparison(0, 1),)
    groups = [
        Group(f"g{i}", "a", ("yes", "no"), comparisons=known, source=f"d.jsonl:{i}") for i in (7, 8)
    ]
    pairs = [Pairs(known, (1.0,), (2.0,)), Pairs(known, (1.0,))]
    with pytest.raises(
        UserError, match=r"^d\.jsonl:8: objective odpo reads by how much .* no strength is given"
    ):
        ODPO().items(zip(groups, pairs, strict=True), encoder, Ledger())


def test_a_comparison_without_strength_is_counted_where_one_is_needed(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    ledger, encoder = Ledger(), Encoder(tiny_tokenizer, LengthConfig())
    group = Group("g", "?", ("a", "b", "c"), scores=(3.0, 2.0, 1.0))
    known = tuple(group.known_comparisons())
    pairs = Pairs(known, (1.0,) * 3, (1.0, -0.5, 1.0))
    (item,) = ODPO().items([(group, pairs)], encoder, ledger)
    assert item.strengths == (1.0, 1.0)
    assert ledger.count(Reason.NO_ORDER) == 1


@pytest.mark.parametrize("objective", [DPO(), ODPO()], ids=["dpo", "odpo"])
def test_labels_alone_are_refused_by_other_objectives(
    tiny_tokenizer: PreTrainedTokenizerFast, objective: PolicyObjective
) -> None:
    groups = [Group(str(i), f"{i}?", ("a",), labels=(i % 2 == 0,)) for i in range(4)]
    assert made_of(groups, tiny_tokenizer, objective) == []
    with pytest.raises(UserError) as error:
        objective.check(groups)
    assert str(error.value) == (
        f"objective {objective.name} needs comparisons, the data has single labelled responses: use objective kto"
    )


@pytest.mark.parametrize("label", [True, False])
def test_kto_needs_both_kinds(label: bool) -> None:
    groups = [Group(str(i), f"{i}?", ("a",), labels=(label,)) for i in range(3)]
    message = (
        "all are desirable: bring undesirable" if label else "all are undesirable: bring desirable"
    )
    with pytest.raises(UserError, match=message):
        KTO().check(groups)
    pair = Group("pair", "p?", ("a", "b"), comparisons=(Comparison(0, 1),))  # has one of each
    KTO().check([*groups, pair])
    other = Group("other", "o?", ("a",), labels=(not label,))
    KTO().check([*groups, other])


def test_demonstrations_are_not_what_is_labelled_undesirable(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    ledger = Ledger()
    groups = [
        Group("yes", "1?", ("a",), labels=(True,)),
        Group("no", "2?", ("a",), labels=(False,), source="f:2"),
        Group("unknown", "3?", ("a",)),
        Group("one of three", "4?", ("a", "b", "c"), labels=(None, True, False)),
        Group("two of three", "5?", ("a", "b", "c"), labels=(True, True, False)),
    ]
    items = made_of(groups, tiny_tokenizer, SFTConfig(), ledger)
    assert [item.id for item in items] == ["yes", "unknown", "one of three"]
    assert ledger.count(Reason.NO_ORDER) == 2
    assert best_response(groups[3]) == 1
    # what was compared says more than a label
    compared = Group("g", "p", ("a", "b"), comparisons=(Comparison(0, 1),), labels=(False, True))
    assert best_response(compared) == 0


# -- losses ------------------------------------------------------------------------------------------------------------


def singles(n: int, sorted_by_label: bool = True) -> list[PreferenceItem]:
    """One response a prompt: half desirable and short, half undesirable and long."""
    draw = torch.Generator().manual_seed(3)

    def text(length: int) -> list[int]:
        return torch.randint(3, 61, (length,), generator=draw).tolist()

    items = []
    for i in range(n):
        yes = i < n // 2 if sorted_by_label else i % 2 == 0
        tree = group_tree(text(4 + i % 3), [text(2 + i % 2 if yes else 12 + i % 3)])
        items.append(PreferenceItem(f"g{i}", tree, (), (), labels=((0, yes, 1.0),)))
    return items


@pytest.mark.parametrize("label", [True, False])
def test_a_batch_with_one_label_only_is_an_ordinary_step(label: bool) -> None:
    # Policy = reference: every ratio and z0 are 0, every loss is 1 − σ(0) = ½, and since σ'(0) = ¼
    # the gradient is that of ∓β/4 · log π: up for desirable, down for undesirable. Nothing is
    # divided by the number of either label.
    beta = 0.4
    own = [item for item in singles(8) if item.labels[0][1] == label]
    policy = tiny_policy()
    items = with_reference(with_mismatch(own), policy, EXACT, weights="itself")
    loss = loss_of(KTO(beta=beta), items, policy)
    assert loss.item() == pytest.approx(len(own) * 0.5, rel=1e-9)
    loss.backward()
    ours = {name: p.grad.clone() for name, p in policy.named_parameters()}
    policy.zero_grad()
    (
        sum(token_logps(policy, item)[0].sum() for item in own) * (-beta / 4 if label else beta / 4)
    ).backward()  # type: ignore[union-attr]
    for name, p in policy.named_parameters():
        torch.testing.assert_close(
            ours[name], p.grad, rtol=1e-6, atol=1e-8
        )  # norms are float32 inside Llama
    objective = Alignment(policy, KTO())
    with torch.no_grad():
        objective.begin(items, objective.probe(policy, items), training=False)
    metrics = objective.loss(policy, items).metrics
    assert ("rewards/chosen" in metrics, "rewards/rejected" in metrics) == (label, not label)
    assert all(math.isfinite(total) and count > 0 for total, count in metrics.values())


def test_the_likelihood_term_is_of_desirable_responses() -> None:
    policy, own = tiny_policy(), with_reference_of_another(with_mismatch(singles(6)))
    mean = [token_logps(policy, item)[0].mean().item() for item in own if item.labels[0][1]]
    assert len(mean) == 3
    expected = loss_of(KTO(), own, policy).item() - 0.5 * sum(mean)
    assert loss_of(KTO(nll=0.5), own, policy).item() == pytest.approx(expected, rel=1e-6)


# -- batches -----------------------------------------------------------------------------------------------------------


def test_micro_batches_of_one_label_each_add_up(tmp_path: Path) -> None:
    # Micro-batches hold items of similar length; here length and label go together.
    after, seen = [], []
    for tokens in (10_000, 30):
        policy = tiny_policy()
        goal = Alignment(policy, KTO(), tokens=tokens)
        original = goal.loss

        def watched(
            module: torch.nn.Module, items: Sequence[PreferenceItem], original: Any = original
        ) -> Any:
            seen.append({yes for item in items for _, yes, _ in item.labels})
            return original(module, items)

        goal.loss = watched  # type: ignore[method-assign]
        items = with_reference_of_another(with_mismatch(singles(16)))
        config = replace(EXACT, max_steps=2, microbatch_tokens=tokens, batch_size=8)
        train(goal, items, output=tmp_path / str(tokens), config=config)
        after.append({name: p.detach().clone() for name, p in policy.named_parameters()})
    assert seen[:2] == [{True, False}] * 2  # whole
    assert {True} in seen[2:]
    assert {False} in seen[2:]
    assert_same(*after, 1e-6)


def test_batches_mix_labels_that_the_data_has_sorted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[bool]] = []
    original = Alignment.begin

    def watched(
        self: Alignment, items: Sequence[PreferenceItem], *args: Any, **kwargs: Any
    ) -> None:
        batches.append([yes for item in items for _, yes, _ in item.labels])
        original(self, items, *args, **kwargs)

    monkeypatch.setattr(Alignment, "begin", watched)
    config = PolicyConfig(objective=KTO(), train=replace(EXACT, batch_size=8, max_steps=2))
    for seed in range(3):
        train_policy(
            tiny(), singles(64), config, output=tmp_path / str(seed), weights="tiny", seed=seed
        )
    assert len(batches) == 6
    assert all(0 < sum(batch) < 8 for batch in batches)


def test_the_first_batches_hold_as_many_of_a_label_as_chance_has_it() -> None:
    # Eight drawn out of 32 + 32: 4 of a label on average, with variance 8 · ½ · ½ · (64 − 8)/(64 −
    # 1) = 16/9. Over 400 seeds the mean lies within 4 · √(16/9 / 400) = 0.27 of that, and batches
    # of one label only, 0.5 % of all (2 · C(32, 8)/C(64, 8)), stay below 2 %.
    config = replace(EXACT, batch_size=8, max_steps=1)
    drawn = [sum(i < 32 for i in batch_at(64, 0, config, seed)) for seed in range(400)]
    assert abs(sum(drawn) / 400 - 4) < 0.27
    assert sum(n in (0, 8) for n in drawn) < 8


def test_batches_of_one_item_train(tmp_path: Path) -> None:
    """The worst luck of all: every batch holds one label, and losses stay finite."""
    config = PolicyConfig(
        objective=KTO(beta=0.5), train=replace(EXACT, batch_size=1, epochs=3, lr=2e-3)
    )
    items = singles(12)
    train_policy(tiny(), items, config, output=tmp_path, weights="tiny", dev=items)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["split"] == "train"]
    assert len(steps) == 36
    assert all(
        math.isfinite(value)
        for line in lines
        for value in line.values()
        if isinstance(value, float)
    )
    assert all(("rewards/chosen" in line) != ("rewards/rejected" in line) for line in steps)
    dev = [line for line in lines if line["split"] == "dev"]
    assert dev[0]["loss"] == pytest.approx(0.5)
    assert dev[-1]["loss"] < 0.45
    assert dev[-1]["rewards/chosen"] > dev[-1]["rewards/rejected"]
