"""Several heads on one body: what trains each of them, what they say together, and how far apart
they are."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from rewarddiff.data.ledger import Ledger
from rewarddiff.differences import joined
from rewarddiff.encoding import LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.evaluation.comparisons import compare
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.train import TrainResult
from rewarddiff.records import Comparison
from rewarddiff.scorers.neural import heads
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.losses import BatchMargin
from rewarddiff.scorers.neural.objectives import objective
from rewarddiff.scorers.neural.train import train_scorer
from rewarddiff.scorers.ranking import scores
from rewarddiff.store import Store

from .conftest import BACKBONES, KINDS, by_head, make, means, spreads
from .test_objectives import easy


def all_pairs(groups) -> list[list[tuple[int, int]]]:
    return [list(combinations(range(len(g.responses)), 2)) for g in groups]


def alone(scorer, head: int):
    """A scorer with one of its heads and nothing else: the rows of that head."""
    config, own = scorer.config, scorer.reader.own_head
    width = config.head_width
    single = new_scorer(replace(config, heads=1))
    single.reader.model.load_state_dict(scorer.reader.model.state_dict(), strict=False)
    weight = (
        single.reader.own_head.weight
        if single.reader.own_head is not None
        else single.reader.model.score.weight
    )
    weight.data.copy_(own.weight.data[head * width : (head + 1) * width])
    return single


# --- what they say ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("kind", "head"), KINDS)
def test_together_they_say_the_mean_of_what_each_says_alone(
    folders, groups, backbone, kind, head
) -> None:
    """Three scorers of one head each are the referee; the standard deviation is statistics' own,
    after both orders."""
    scorer = make(folders[backbone], kind=kind, head=head, heads=3)
    pairs = all_pairs(groups)
    singles = [alone(scorer, k) for k in range(3)]
    for orders in ("both", "one"):
        by_single = [means(single, groups, pairs, orders=orders) for single in singles]
        for i, d in enumerate(scorer.differences(groups, pairs, orders=orders)):
            three = np.stack([of_single[i] for of_single in by_single])
            np.testing.assert_allclose(d.mean, three.mean(0), rtol=1e-4, atol=1e-6)
            squares = ((three - three.mean(0)) ** 2).sum(0) / 2  # n − 1
            np.testing.assert_allclose(d.spread, np.sqrt(squares), rtol=1e-3, atol=1e-6)
            assert (d.spread > 0).all()
    if kind == "reward":
        rewards = np.mean([np.concatenate(scores(single, groups)) for single in singles], axis=0)
        np.testing.assert_allclose(
            np.concatenate(scores(scorer, groups)), rewards, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize(("kind", "head"), KINDS)
def test_both_orders_stay_antisymmetric_to_the_bit(folders, groups, kind, head) -> None:
    scorer = make(folders["encoder"], kind=kind, head=head, heads=4)
    pairs = all_pairs(groups)
    back = [[(b, a) for a, b in own] for own in pairs]
    same = [[(0, 0)] for _ in groups]
    for d, other in zip(means(scorer, groups, pairs), means(scorer, groups, back), strict=True):
        np.testing.assert_array_equal(d, -other)
    for s, other in zip(spreads(scorer, groups, pairs), spreads(scorer, groups, back), strict=True):
        np.testing.assert_array_equal(s, other)
    assert all(s == 0 for (s,) in spreads(scorer, groups, same))


def test_measured_comparisons_tell_the_spread(folders, groups) -> None:
    for kind in ("reward", "difference"):
        scorer = make(folders["encoder"], kind=kind, heads=3)
        known = [[(c.chosen, c.rejected) for c in g.known_comparisons()] for g in groups]
        told = compare(scorer, groups)
        assert [c.spread for c in told] == pytest.approx(
            np.concatenate(spreads(scorer, groups, known)).tolist()
        )
        if kind == "reward":
            gaps = [c.rewards[0] - c.rewards[1] for c in told]
            assert [c.d for c in told] == pytest.approx(gaps, rel=1e-5, abs=1e-7)
    assert {c.spread for c in compare(make(folders["encoder"]), groups)} == {None}


def test_one_reading_serves_them_all(folders, groups, tmp_path: Path, monkeypatch) -> None:
    scorer, pairs = make(folders["encoder"], kind="difference", heads=3), all_pairs(groups)
    with Store(tmp_path / "store.db") as store:
        found = means(scorer, groups, pairs, store=store)
        monkeypatch.setattr(scorer.reader, "values", lambda _: pytest.fail("read again"))
        spreads(scorer, groups, pairs, store=store)
        every_head = by_head(scorer, groups, pairs, store=store)
    for d, own in zip(found, every_head, strict=True):
        np.testing.assert_allclose(d, own.mean(1), rtol=1e-12)


def test_one_head_has_no_spread(folders, groups) -> None:
    with pytest.raises(
        UserError, match="one head, and so no spread: train one with heads, as in heads: 5"
    ):
        spreads(make(folders["encoder"]), groups, all_pairs(groups))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("kind", "head"), KINDS)
def test_saved_and_loaded_with_equal_scores_and_spreads(
    folders, groups, tmp_path: Path, backbone, kind, head
) -> None:
    scorer, pairs = make(folders[backbone], kind=kind, head=head, heads=3), all_pairs(groups)
    scorer.trained = True
    save_scorer(scorer, tmp_path / "model")
    loaded = load_scorer(tmp_path / "model")
    assert loaded.config == scorer.config
    assert loaded.fingerprint == scorer.fingerprint
    for ask in (by_head, means, spreads):
        for one, other in zip(ask(scorer, groups, pairs), ask(loaded, groups, pairs), strict=True):
            np.testing.assert_array_equal(one, other)


# --- what they begin with ---------------------------------------------------------------------------------------------


def rows(scorer) -> torch.Tensor:
    own = scorer.reader.own_head
    return (own if own is not None else scorer.reader.model.score).weight.data


def test_each_head_begins_by_itself(folders) -> None:
    for backbone in BACKBONES:
        first = rows(make(folders[backbone], heads=4))
        assert torch.equal(first, rows(make(folders[backbone], heads=4)))
        assert all(not torch.equal(a, b) for a, b in combinations(first, 2))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_warm_starts_between_one_head_and_several(
    folders, groups, tmp_path: Path, backbone
) -> None:
    def start(teacher, **options) -> object:
        teacher.trained = True
        save_scorer(teacher, tmp_path / "teacher")
        return make(folders[backbone], warm_start=str(tmp_path / "teacher"), **options)

    one, three = make(folders[backbone]), make(folders[backbone], heads=3)
    several = rows(start(one, heads=5))
    assert all(not torch.equal(a, b) for a, b in combinations(several, 2))
    # each is the teacher's row and a fresh draw, of the fresh heads' standard deviation 0.2 over 5
    # · 32 numbers
    assert 0.15 < (several - rows(one)).std() < 0.25
    assert torch.equal(rows(start(three, heads=3)), rows(three))
    pupil = start(three)
    for own, known in zip(scores(pupil, groups), scores(three, groups), strict=True):
        np.testing.assert_allclose(own, known, rtol=1e-4, atol=1e-5)


# --- what trains them -------------------------------------------------------------------------------------------------


def test_resamples_are_poisson_of_mean_one_and_apart() -> None:
    """P(0) = P(1) = 1/e, P(2) = 1/2e, P(3) = 1/6e; over 20,000 draws the standard error of a share
    is below 0.0035."""
    draws = np.array(
        [
            [heads.resampled(7, f"g{i}", Comparison(0, 1), h) for h in range(2)]
            for i in range(20_000)
        ],
        dtype=float,
    )
    for k, expected in ((0, 1 / np.e), (1, 1 / np.e), (2, 1 / (2 * np.e)), (3, 1 / (6 * np.e))):
        assert (draws == k).mean(0) == pytest.approx([expected] * 2, abs=0.014)
    assert draws.mean(0) == pytest.approx([1, 1], abs=0.03)
    assert draws.var(0) == pytest.approx([1, 1], abs=0.06)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.03


def test_a_resample_is_of_seed_group_comparison_and_head_alone() -> None:
    def draw(seed: int = 0, head: int = 0, a: int = 0, b: int = 1) -> list[int]:
        return [heads.resampled(seed, f"g{i}", Comparison(a, b), head) for i in range(40)]

    assert draw() == draw()
    for other in (draw(seed=1), draw(head=1), draw(a=1, b=0), draw(b=2)):
        assert other != draw()


def test_only_training_is_resampled(folders, groups) -> None:
    scorer = make(folders["encoder"], heads=4)
    trained = objective(scorer.reader, scorer.config, seed=5)
    plain, drawn = (
        trained.items(groups, Ledger(), resample=resample) for resample in (False, True)
    )
    assert {share for item in plain for share in item.shares} == {(0.25,) * 4}
    for item in drawn:
        for c, own in zip(item.comparisons, item.shares, strict=True):
            assert own == tuple(heads.resampled(5, item.id, c, h) / 4 for h in range(4))
    single = make(folders["encoder"])
    items = objective(single.reader, single.config).items(groups, Ledger(), resample=True)
    assert {share for item in items for share in item.shares} == {(1.0,)}


def test_training_resamples_its_own_data_and_no_other(
    folders, groups, tmp_path: Path, monkeypatch
) -> None:
    seen = {}

    def loop(trained, items, *, dev, **_):
        seen.update(
            train={s for item in items for s in item.shares},
            dev={s for item in dev for s in item.shares},
        )
        return TrainResult(0, {}, {})

    monkeypatch.setattr("rewarddiff.scorers.neural.train.train", loop)
    train_scorer(make(folders["encoder"], heads=4).config, groups, groups, output=tmp_path)
    assert len(seen["train"]) > 5
    assert seen["dev"] == {(0.25,) * 4}


@pytest.mark.parametrize(("kind", "head"), KINDS[:-1])
def test_the_loss_is_the_mean_of_the_heads_own_weighted_losses(folders, groups, kind, head) -> None:
    """Each head alone on one comparison at a time; its loss there times how often it is in the
    resample, over three."""
    more = {"duplication": 0.3, "reverse": 0.2} if (kind, head) in KINDS[1:3] else {}
    scorer = make(folders["encoder"], kind=kind, head=head, heads=3, **more)
    trained = objective(scorer.reader, scorer.config, seed=2)
    items = trained.items(groups, Ledger(), resample=True)
    expected = 0.0
    for k in range(3):
        single = alone(scorer, k)
        own = objective(single.reader, single.config, seed=2)
        for group in groups:
            for c in group.known_comparisons():
                item = own.items([replace(group, comparisons=(c,))], Ledger())
                with torch.no_grad():
                    times = heads.resampled(2, group.id, c, k)
                    expected += times * own.loss(single.reader, item).loss.item() / 3
    with torch.no_grad():
        assert trained.loss(scorer.reader, items).loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_loss_and_gradient_do_not_depend_on_the_cut(folders, groups, backbone) -> None:
    scorer = make(folders[backbone], kind="difference", heads=3, item_comparisons=2)
    scorer.reader.double()
    trained = objective(scorer.reader, scorer.config)
    items = trained.items(groups, Ledger(), resample=True)
    found = []
    for parts in ([items], [[item] for item in items], [items[3:], items[:3]]):
        scorer.reader.zero_grad()
        losses = [trained.loss(scorer.reader, part).loss for part in parts]
        sum(losses).backward()
        found.append(
            (
                sum(losses).item(),
                [p.grad.clone() for p in scorer.reader.parameters() if p.grad is not None],
            )
        )
    for loss, gradients in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        for one, other in zip(found[0][1], gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_head_learns_nothing_from_what_its_resample_lacks(folders) -> None:
    scorer = make(folders["encoder"], heads=3)
    trained = objective(scorer.reader, scorer.config)
    pairs = easy(40, 0)
    for group in pairs:
        (item,) = trained.items([group], Ledger(), resample=True)
        if 0 in item.shares[0] and any(item.shares[0]):
            trained.loss(scorer.reader, [item]).loss.backward()
            moved = scorer.reader.own_head.weight.grad.abs().sum(1) > 0
            assert moved.tolist() == [share > 0 for share in item.shares[0]]
            return
    pytest.fail("no comparison is in some resamples and not in others")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_easy_task_is_learnt_and_doubt_is_where_no_example_was(
    folders, tmp_path: Path, backbone
) -> None:
    """Of responses that differ in what the task is about the heads are surer, in units of d, than
    of others."""
    settings = TrainConfig(
        lr=3e-3, head_lr=1e-2, epochs=8, batch_size=16, precision="fp32", microbatch_tokens=4096
    )
    config = ScorerConfig(
        backbone=str(folders[backbone]),
        heads=4,
        train=settings,
        lengths=LengthConfig(max_response=16),
    )
    held_out = easy(40, 1)
    scorer, result = train_scorer(config, easy(120, 0), held_out[:20], output=tmp_path / "run")
    assert result.dev["accuracy"] > 0.95
    known = [[(c.chosen, c.rejected) for c in g.known_comparisons()] for g in held_out]
    stated = joined(scorer.differences(held_out, known))
    d, s = stated.mean, stated.spread
    assert (d > 0).mean() > 0.95
    signs = [
        replace(g, responses=tuple(r[:-1] + "+" for r in g.responses)) for g in held_out
    ]  # both end alike
    doubted = joined(scorer.differences(signs, known))
    assert np.median(s / np.abs(d)) < 0.5 * np.median(doubted.spread / np.abs(doubted.mean))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0}, "heads is 0, should be at least 1"),
        ({"heads": 2, "pooling": "cls"}, "several heads need mean"),
        ({"heads": 2, "loss": BatchMargin()}, "one mean gap, for one head"),
    ],
)
def test_what_several_heads_have_no_use_for(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScorerConfig(**options)  # type: ignore[arg-type]
