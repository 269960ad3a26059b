"""One head for each part of a collection, and a scorer that says their weighted sum."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import torch

from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.encoding import LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.evaluation.comparisons import compare
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.build import load_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.losses import Scaled
from rewarddiff.scorers.neural.objectives import objective
from rewarddiff.scorers.neural.train import train_scorer
from rewarddiff.scorers.ranking import scores

from .conftest import BACKBONES, KINDS, by_head, make, means, spreads

TWO = {"helpful": 0.75, "harmless": -2.0}


def pair(subset: str, n: int = 0, strength: float | None = None) -> Group:
    return Group(
        f"{subset}{n}",
        "p",
        (f"one{n}", "other"),
        comparisons=(Comparison(0, 1, strength),),
        subset=subset,
    )


@pytest.mark.parametrize(("kind", "head"), KINDS)
def test_a_comparison_trains_the_head_of_its_part_alone(folders, kind, head) -> None:
    scorer = make(folders["encoder"], kind=kind, head=head, aspects=TWO)
    width = scorer.config.head_width
    trained = objective(scorer.reader, scorer.config)
    for place, subset in enumerate(TWO):
        scorer.reader.zero_grad()
        trained.loss(
            scorer.reader, trained.items([pair(subset)], Ledger(), resample=True)
        ).loss.backward()
        gradient = scorer.reader.own_head.weight.grad.view(2, width, -1)
        assert gradient[place, 0].abs().sum() > 0
        assert gradient[1 - place].abs().sum() == 0


@pytest.mark.parametrize(("kind", "head"), KINDS[:-1])
def test_losses_and_what_the_log_tells_are_of_a_comparisons_own_head(folders, kind, head) -> None:
    """A gap d of the part's head: its loss is log(1 + e^−d); a right one is right whatever the
    weights are."""
    scorer = make(
        folders["encoder"],
        kind=kind,
        head=head,
        aspects=TWO,
        **({} if head == "general" else {"orders": "one"}),
    )
    trained = objective(scorer.reader, scorer.config)
    groups = [pair("harmless", 0), pair("helpful", 1), pair("harmless", 2)]
    output = trained.loss(scorer.reader, trained.items(groups, Ledger()))
    heads = [list(TWO).index(g.subset) for g in groups]
    read = [
        by_head(scorer, [g], [[(0, 1), (1, 0)]], orders="one")[0][:, k]
        for g, k in zip(groups, heads, strict=True)
    ]
    choices = [
        {forward, -backward} for forward, backward in read
    ]  # of a joint text one order is drawn
    totals = [sum(np.log1p(np.exp(-d)) for d in ds) for ds in product(*choices)]
    assert any(output.loss.item() == pytest.approx(total, rel=1e-4) for total in totals)
    told = {name: s / n for name, (s, n) in output.metrics.items() if name.startswith("accuracy")}
    assert told["accuracy"] == pytest.approx(
        (told["accuracy/helpful"] + 2 * told["accuracy/harmless"]) / 3
    )


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("kind", "head"), KINDS)
def test_a_scorer_says_the_weighted_sum(
    folders, groups, tmp_path: Path, backbone, kind, head
) -> None:
    scorer = make(folders[backbone], kind=kind, head=head, aspects=TWO)
    pairs = [list(combinations(range(len(g.responses)), 2)) for g in groups]
    for d, own in zip(means(scorer, groups, pairs), by_head(scorer, groups, pairs), strict=True):
        np.testing.assert_allclose(d, 0.75 * own[:, 0] - 2 * own[:, 1], rtol=1e-12)
    if kind == "reward":
        for r, d in zip(scores(scorer, groups), means(scorer, groups, pairs), strict=True):
            np.testing.assert_allclose(
                [r[a] - r[b] for a, b in combinations(range(len(r)), 2)], d, atol=1e-6
            )
    parts = [replace(g, subset=name) for g, name in zip(groups, [*reversed(TWO), ""], strict=True)]
    said = compare(scorer, parts)
    for g, k in zip(parts, (1, 0, None), strict=True):
        own = [c for c in said if c.group == g.id]
        (read,) = by_head(scorer, [g], [[c.pair for c in own]])
        expected = [None] * len(own) if k is None else pytest.approx(read[:, k].tolist(), abs=1e-6)
        assert [c.aspect for c in own] == expected
    scorer.trained, scorer.temperature = True, 1.5
    save_scorer(scorer, tmp_path / "model")
    loaded = load_scorer(tmp_path / "model")
    assert dict(loaded.config.aspects) == TWO
    for one, other in zip(means(scorer, groups, pairs), means(loaded, groups, pairs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_weights_without_new_training(folders, groups) -> None:
    scorer = make(folders["encoder"], aspects=TWO)
    before, read = scorer.fingerprint, by_head(scorer, groups, [[(0, 1)]] * 3)
    scorer.temperature = 1.5
    scorer.weigh(TWO)
    assert scorer.temperature == 1.5
    scorer.weigh({"harmless": 1.0, "helpful": 0.0})  # by name, not by place
    for (d,), own in zip(means(scorer, groups, [[(0, 1)]] * 3), read, strict=True):
        assert d == own[0, 1]
    assert scorer.temperature is None
    assert scorer.fingerprint == before  # what was read stays good
    with pytest.raises(
        UserError,
        match="weights for helpful, honest, but the scorer's aspects are: helpful, harmless",
    ):
        scorer.weigh({"helpful": 1.0, "honest": 1.0})
    with pytest.raises(UserError, match="the scorer's aspects are: none"):
        make(folders["encoder"]).weigh(TWO)
    with pytest.raises(UserError, match="a head for each aspect, and so no spread"):
        spreads(scorer, groups, [[(0, 1)]] * 3)


def test_other_parts_are_left_out_and_counted(folders) -> None:
    scorer, ledger = make(folders["encoder"], aspects=TWO), Ledger()
    trained = objective(scorer.reader, scorer.config)
    items = trained.items([pair("helpful"), pair("honest"), pair(""), pair("harmless")], ledger)
    assert [item.id for item in items] == ["helpful0", "harmless0"]
    assert (ledger.total, ledger.dropped, ledger.count(Reason.NO_ASPECT)) == (4, 0, 2)


def test_an_aspect_without_comparisons_is_refused(folders, tmp_path: Path) -> None:
    config = make(folders["encoder"], aspects=TWO).config
    for others, known in (([pair("honest")], "helpful, honest"), ([], "helpful")):
        with pytest.raises(UserError, match=f"is of part 'harmless' \\(the data names: {known}\\)"):
            train_scorer(config, [pair("helpful"), *others], output=tmp_path)
    with pytest.raises(UserError, match="the data names: none"):
        train_scorer(config, [pair("")], output=tmp_path)


def test_a_part_that_is_no_aspect_needs_no_strengths_and_gives_none(
    folders, tmp_path: Path, monkeypatch
) -> None:
    """Strengths 1 and 3 of the aspects have mean 2; the 50 of another part would change what a
    weight is."""
    config = replace(make(folders["encoder"], aspects=TWO).config, loss=Scaled())
    seen = []

    def loop(trained, items, **_):
        seen.append(trained.grades.mean)
        raise KeyboardInterrupt

    monkeypatch.setattr("rewarddiff.scorers.neural.train.train", loop)
    groups = [pair("helpful", strength=1.0), pair("harmless", strength=3.0)]
    for other in (pair("honest", strength=50.0), pair("honest")):
        with pytest.raises(KeyboardInterrupt):
            train_scorer(config, [*groups, other], [other], output=tmp_path)
    assert seen == [2, 2]


def test_two_parts_that_want_opposite_things_are_both_learnt(folders, tmp_path: Path) -> None:
    """What one part calls better the other calls worse: no single reward could be right on both."""

    def groups(n: int, start: int) -> list[Group]:
        return [
            Group(
                f"{s}{i}",
                "p",
                (f"{i % 7}+", f"{i % 7}-"),
                comparisons=(Comparison(*order),),
                subset=s,
            )
            for i in range(start, start + n)
            for s, order in (("helpful", (0, 1)), ("harmless", (1, 0)))
        ]

    settings = TrainConfig(lr=3e-3, head_lr=1e-2, epochs=8, batch_size=16, precision="fp32")
    config = ScorerConfig(
        backbone=str(folders["encoder"]), aspects={"helpful": 1, "harmless": 1}, train=settings,
        lengths=LengthConfig(max_response=16),
    )  # fmt: skip
    scorer, result = train_scorer(config, groups(40, 0), groups(7, 40), output=tmp_path)
    assert (result.dev["accuracy/helpful"], result.dev["accuracy/harmless"]) == (1, 1)
    held = groups(7, 40)
    scorer.weigh({"helpful": 1, "harmless": 0})
    helpful = np.concatenate(means(scorer, held, [[(0, 1)]] * 14))
    scorer.weigh({"helpful": 0, "harmless": 1})
    harmless = np.concatenate(means(scorer, held, [[(0, 1)]] * 14))
    assert (helpful > 0).all()
    assert (harmless < 0).all()


def test_warm_starts_keep_the_aspects(folders, tmp_path: Path) -> None:
    teacher = make(folders["encoder"], aspects=TWO)
    teacher.trained = True
    save_scorer(teacher, tmp_path / "teacher")
    known = teacher.reader.own_head.weight

    def start(**options) -> torch.Tensor:
        return make(
            folders["encoder"], warm_start=str(tmp_path / "teacher"), **options
        ).reader.own_head.weight

    assert torch.equal(start(aspects=TWO), known)
    torch.testing.assert_close(start()[0], 0.75 * known[0] - 2 * known[1])
    other = start(aspects={"honest": 1.0, "short": 1.0})
    assert not torch.equal(other[0], other[1])
    assert not torch.equal(other, known)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aspects": {"a": 1.0}}, "two or more"),
        ({"aspects": TWO, "heads": 2}, "leave heads at 1"),
        ({"aspects": {"a": 0.0, "b": 0.0}}, "not all 0"),
        ({"aspects": {"a": float("nan"), "b": 1.0}}, "finite"),
        ({"aspects": TWO, "pooling": "cls"}, "several heads need mean"),
    ],
)
def test_what_aspects_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, UserError), match=message):
        ScorerConfig(**options)  # type: ignore[arg-type]
