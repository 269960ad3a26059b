"""Items in files are the items in memory, and a training on them is the same training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from preference_examples import EXACT, made, tiny
from transformers import PreTrainedTokenizerFast

from rewarddiff.data.ledger import Ledger
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.loop.items import digest
from rewarddiff.policies import reference
from rewarddiff.policies.items import Pairs, PreferenceItem
from rewarddiff.policies.objective import PolicyObjective
from rewarddiff.policies.objectives.lists import KTO, RRHF
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.objectives.sft import SFTConfig
from rewarddiff.policies.policy import PolicyConfig, train_policy
from rewarddiff.policies.table import PreferenceTable, item_table, write_items
from rewarddiff.records import Comparison, Group, Message
from rewarddiff.store import Store

LENGTHS = LengthConfig(max_prompt=12, max_response=8)

GROUPS = [
    Group("a", "How tall?", ("Very tall indeed", "No", "It is"), scores=(2.0, 0.5, 1.0)),
    Group(
        "b", (Message("user", "Hi"),), ("Hello", "Go away"), comparisons=(Comparison(0, 1, 1.5),)
    ),
    Group("c", "Is it?", ("Yes", "Yes."), comparisons=(Comparison(1, 0),), labels=(False, True)),
    Group("d", "Alike?", ("a long answer, yes", "a long answer, no"), (1.0, 0.0)),
    Group("é\udc80", "Surrogate?", ("ja", "nein"), (0.0, 1.0)),
]


def pairs(groups: Sequence[Group] = GROUPS) -> list[tuple[Group, Pairs]]:
    with_pairs = []
    for place, group in enumerate(groups):
        comparisons = tuple(group.known_comparisons())
        weights = tuple(0.1 * place + 1 / (3 + i) for i in range(len(comparisons)))
        with_pairs.append((group, Pairs(comparisons, weights)))
    return with_pairs


@pytest.mark.parametrize("objective", [DPO(), KTO(), RRHF(), SFTConfig()])
def test_a_table_holds_the_items_and_counts_as_memory_does(
    objective: PolicyObjective, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    encoder = Encoder(tiny_tokenizer, LENGTHS)
    in_memory, first, second = Ledger(), Ledger(), Ledger()
    items = objective.items(pairs(), encoder, in_memory)
    cached: dict[str, Any] = {"cache": tmp_path, "made_from": "these groups"}
    table = item_table(objective, pairs(), encoder, first, **cached)
    assert len(items) > 2
    assert list(table) == items
    assert table[-1] == items[-1]
    assert table[1:3] == items[1:3]
    assert list(table.sizes) == [len(item.tree) for item in items]
    assert list(item_table(objective, [], encoder, second, **cached)) == items  # read no group
    assert first.to_dict() == second.to_dict() == in_memory.to_dict()


@pytest.mark.parametrize("vocabulary", [1 << 16, (1 << 16) + 1])
def test_any_token_fits(tmp_path: Path, vocabulary: int) -> None:
    last = vocabulary - 1
    item = made(1)[0]
    root, *branches = item.tree.nodes
    tree = replace(item.tree, nodes=(replace(root, tokens=(0, last)), *branches))
    write_items([replace(item, tree=tree)], tmp_path, vocabulary)
    assert PreferenceTable(tmp_path)[0].tree == tree


def changed(name: str, encoder: Encoder) -> tuple[PolicyObjective, Encoder, str]:
    objective: PolicyObjective = KTO() if name == "objective" else DPO()
    if name == "limits":
        encoder = Encoder(encoder.tokenizer, replace(LENGTHS, max_response=7))
    if name == "template":
        encoder = Encoder(encoder.tokenizer, LENGTHS)
        encoder.tokenizer.chat_template = "{{ messages[0].content }}"
    return objective, encoder, "others" if name == "groups" else "these groups"


@pytest.mark.parametrize("name", ["objective", "limits", "template", "groups"])
def test_what_determines_tokens_makes_another_table(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, name: str
) -> None:
    import copy

    encoder = Encoder(copy.deepcopy(tiny_tokenizer), LENGTHS)
    item_table(DPO(), pairs(), encoder, Ledger(), cache=tmp_path, made_from="these groups")
    objective, other, groups = changed(name, encoder)
    item_table(objective, pairs(), other, Ledger(), cache=tmp_path, made_from=groups)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_error_leaves_no_table_behind(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    broken = [*pairs(), None]  # no group
    with pytest.raises(TypeError):
        item_table(DPO(), broken, Encoder(tiny_tokenizer, LENGTHS), Ledger(), cache=tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def lines_of(output: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("objective", [DPO(), KTO(), RRHF(nll=0.1)], ids=lambda one: one.name)
def test_training_on_a_table_is_training_on_its_items(
    objective: PolicyObjective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, dev = scored(made(12)), scored(made(15)[12:])
    monkeypatch.setattr(reference, "WINDOW", 5)  # the reference is read in three parts
    config = PolicyConfig(objective, train=replace(EXACT, batch_size=4, max_steps=2))
    for name, (train_items, dev_items) in {
        "memory": (items, dev),
        "files": (tabled(items, tmp_path / "a"), tabled(dev, tmp_path / "b")),
    }.items():
        model: Any = tiny()
        train_policy(
            model, train_items, config, dev=dev_items, output=tmp_path / name, weights="tiny"
        )
    assert lines_of(tmp_path / "files") == lines_of(tmp_path / "memory")


def scored(items: Sequence[PreferenceItem]) -> list[PreferenceItem]:
    """Items with scores that agree with their comparisons: the first response is the best."""
    return [replace(i, scores=tuple(-float(k) for k in range(i.responses))) for i in items]


def tabled(items: Sequence[PreferenceItem], folder: Path) -> PreferenceTable:
    folder.mkdir()
    write_items(items, folder, vocabulary=61)
    return PreferenceTable(folder)


def test_a_table_is_known_by_its_content(tmp_path: Path) -> None:
    items = made(6)
    table = tabled(items, tmp_path / "a")
    assert digest(table) == digest(tabled(items, tmp_path / "b"))
    assert digest(table) != digest(tabled(items[::-1], tmp_path / "c"))
    heavier = [replace(items[0], coefficients=(2.0,)), *items[1:]]
    assert digest(table) != digest(tabled(heavier, tmp_path / "d"))


def test_the_tokens_of_a_reference_in_parts_count_once_whatever_interrupts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = made(12)
    monkeypatch.setattr(reference, "WINDOW", 5)
    original = reference._reference_pass
    calls = 0

    def stops_in_the_second_part(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        for count, value in enumerate(original(*args)):
            if calls == 2 and count == 1:
                raise KeyboardInterrupt
            yield value

    monkeypatch.setattr(reference, "_reference_pass", stops_in_the_second_part)
    from rewarddiff.forward import LogProbs

    def read() -> int:
        with Store(tmp_path / "store") as store:
            meter = reference.ReferenceMeter(store, "cost")
            policy = LogProbs(tiny())
            reference.read_reference(items, policy, EXACT, weights="tiny", store=store, meter=meter)
            return meter.tokens

    with pytest.raises(KeyboardInterrupt):
        read()
    assert read() == sum(len(item.tree) for item in items)
