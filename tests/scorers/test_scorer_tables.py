"""Scorers' items in files are the items in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rewarddiff.data import prompt_hashes
from rewarddiff.data.ledger import Ledger
from rewarddiff.encoding import LengthConfig
from rewarddiff.loop.items import digest
from rewarddiff.records import Comparison, Group, Message
from rewarddiff.scorers.neural.items import ScorerTable
from rewarddiff.scorers.neural.objectives import objective
from rewarddiff.scorers.neural.objectives.base import ScorerObjective, item_table
from rewarddiff.scorers.neural.train import train_scorer

from .conftest import BACKBONES, KINDS, make

LIST = tuple(f"answer {letter}" for letter in "abcdef")

GROUPS = [
    Group("list", "How tall?", LIST, scores=(2.0, 0.5, 1.0, 3.0, -1.0, 0.0)),
    Group("talk", (Message("user", "Hi"),), ("Hello", "Go"), comparisons=(Comparison(0, 1, 1.5),)),
    Group("cut", "p" * 40, ("a" * 40, "b" * 40), comparisons=(Comparison(1, 0, None, 0.5),)),
    Group("tie", "Alike?", ("a", "b"), comparisons=(Comparison(0, 1, 0.0),)),
    Group("same page", "Alike?", ("a", "b"), comparisons=(Comparison(0, 1),)),
    Group("same page too", "Alike?", ("a", "b"), comparisons=(Comparison(1, 0),)),
]
LENGTHS = LengthConfig(max_prompt=20, max_response=25)


def objective_of(folder: Path, kind: str, head: str, **options: object) -> ScorerObjective:
    scorer = make(folder, kind=kind, head=head, lengths=LENGTHS, item_comparisons=4, **options)
    return objective(scorer.reader, scorer.config, seed=3)


def tabled(
    trained: ScorerObjective, ledger: Ledger, cache: Path, groups: Sequence[Group] = GROUPS
) -> ScorerTable:
    return item_table(trained, groups, ledger, resample=True, cache=cache, made_from="these groups")


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("kind", "head"), KINDS)
def test_a_table_holds_the_items_and_counts_as_memory_does(
    folders, tmp_path: Path, backbone: str, kind: str, head: str
) -> None:
    trained = objective_of(folders[backbone], kind, head, heads=2)
    in_memory, first, second = Ledger(), Ledger(), Ledger()
    items = trained.items(GROUPS, in_memory, resample=True)
    assert [item.id for item in items][:4] == ["list"] * 4  # 15 comparisons, four to an item
    table = tabled(trained, first, tmp_path)
    assert list(table) == items
    assert list(table.sizes) == [trained.size(item) for item in items]
    assert [table.comparisons(place) for place in range(len(table))] == list(
        map(trained.count, items)
    )
    assert list(tabled(trained, second, tmp_path, groups=[])) == items  # found, no group was read
    assert first.to_dict() == second.to_dict() == in_memory.to_dict()


def test_texts_read_at_once_are_those_read_one_by_one(folders) -> None:
    for backbone in BACKBONES:
        for kind, head in KINDS:
            trained = objective_of(folders[backbone], kind, head)
            together = trained.items(GROUPS, Ledger())
            one_by_one = []
            trained = objective_of(folders[backbone], kind, head)
            for group in GROUPS:
                one_by_one += trained._items(group, Ledger(), None)
            assert together == one_by_one


@pytest.mark.parametrize("changed", ["lengths", "seed", "kind", "resample"])
def test_what_determines_items_makes_another_table(folders, tmp_path: Path, changed: str) -> None:
    trained = objective_of(folders["encoder"], "reward", "segments", heads=2)
    tabled(trained, Ledger(), tmp_path)
    scorer = make(folders["encoder"], kind="difference" if changed == "kind" else "reward", heads=2,
                  head="segments", item_comparisons=4, lengths=LENGTHS)  # fmt: skip
    if changed == "lengths":
        scorer.reader.texts.lengths = replace(LENGTHS, max_response=24)
    other = objective(scorer.reader, scorer.config, seed=4 if changed == "seed" else 3)
    resample = changed != "resample"
    item_table(other, GROUPS, Ledger(), resample=resample, cache=tmp_path, made_from="these groups")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_scorer_knows_the_prompts_that_it_was_trained_on(folders, tmp_path: Path) -> None:
    config = make(folders["encoder"], lengths=LENGTHS).config
    few = replace(
        config,
        comparisons=1,
        item_comparisons=1,
        train=replace(config.train, max_steps=1, precision="fp32"),
    )
    all_of_them, _ = train_scorer(replace(few, comparisons=None), GROUPS, output=tmp_path / "all")
    one, _ = train_scorer(few, GROUPS, output=tmp_path / "one")
    trained_on = [group for group in GROUPS if group.id != "tie"]  # of which no comparison is read
    assert all_of_them.prompts == prompt_hashes(trained_on)
    assert one.prompts is not None
    assert len(one.prompts) == 1
    assert one.prompts < all_of_them.prompts
    assert one.data != all_of_them.data


def test_a_table_is_known_by_its_content(folders, tmp_path: Path) -> None:
    trained = objective_of(folders["encoder"], "reward", "segments")
    table = tabled(trained, Ledger(), tmp_path / "a")
    assert digest(table) == digest(tabled(trained, Ledger(), tmp_path / "b"))
    fewer = tabled(trained, Ledger(), tmp_path / "c", GROUPS[1:])
    assert digest(table) != digest(fewer)
