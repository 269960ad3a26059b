"""Head mixed: one head reads responses alone and together; d is the mean of what both say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rewarddiff.data.ledger import Ledger
from rewarddiff.designs import DesignConfig
from rewarddiff.encoding import LengthConfig
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.objectives import MixedObjective, objective
from rewarddiff.scorers.ranking import rank, tokens

from .conftest import BACKBONES, make

FOUR = Group("f", "why?", ("one", "another", "a third", "four"), comparisons=tuple(
    Comparison(a, b) for a, b in ((0, 1), (2, 0), (1, 3), (3, 2))
))  # fmt: skip


def mixed(folder: Path, **more):
    return make(folder, kind="difference", head="mixed", **more)


def read(scorer, *responses: int) -> list[float]:
    """What the head gives for each of these, read together."""
    texts = scorer.reader.texts
    with torch.no_grad():
        return scorer.reader([texts.reading(texts.page(FOUR), *responses)], apart=True).tolist()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_difference_is_the_mean_of_the_pair_and_of_each_alone(folders, backbone) -> None:
    scorer = mixed(folders[backbone])
    (a,), (b,) = read(scorer, 0), read(scorer, 1)
    (first, second), (turned_b, turned_a) = read(scorer, 0, 1), read(scorer, 1, 0)
    together = 0.5 * ((first - second) - (turned_b - turned_a))
    ((d, back),) = scorer.differences([FOUR], [[(0, 1), (1, 0)]])
    assert d == pytest.approx(0.5 * (together + a - b), rel=1e-4, abs=1e-5)
    assert d == -back
    ((one,),) = scorer.differences([FOUR], [[(0, 1)]], orders="one")
    assert one == pytest.approx(0.5 * (first - second + a - b), rel=1e-4, abs=1e-5)


def test_a_decoder_reads_the_first_of_several_as_if_it_stood_alone(folders) -> None:
    scorer = mixed(folders["decoder"])
    assert read(scorer, 2, 0, 3)[0] == pytest.approx(read(scorer, 2)[0], rel=1e-5)
    assert read(scorer, 2, 0, 3)[1] != pytest.approx(read(scorer, 0)[0], rel=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("together", [1, 2, 3, 4])
def test_loss_by_hand(folders, backbone, together) -> None:
    """−log σ(f_w − f_l) of every comparison, also of responses that were not read together."""
    scorer = mixed(folders[backbone], together=(together,))
    trained = objective(scorer.reader, scorer.config)
    assert isinstance(trained, MixedObjective)
    (item,) = trained.items([FOUR], Ledger())
    parts = trained._parts(item)
    assert sorted(i for part in parts for i in part) == [0, 1, 2, 3]
    assert sorted(map(len, parts)) == {1: [1] * 4, 2: [2, 2], 3: [1, 3], 4: [4]}[together]
    f = {i: value for part in parts for i, value in zip(part, read(scorer, *part), strict=True)}
    expected = sum(math.log1p(math.exp(f[c.rejected] - f[c.chosen])) for c in item.comparisons)
    with torch.no_grad():
        output = trained.loss(scorer.reader, [item])
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)


def test_read_alone_it_is_a_reward_model(folders) -> None:
    """On an encoder, `together: [1]` is trained as a reward model of the same weights: same loss,
    same gradients."""
    found = []
    for more in ({}, {"kind": "difference", "head": "mixed", "together": (1,)}):
        scorer = make(folders["encoder"], **more)
        trained = objective(scorer.reader, scorer.config)
        items = trained.items([FOUR], Ledger())
        loss = trained.loss(scorer.reader, items).loss
        loss.backward()
        gradients = {
            name: p.grad for name, p in scorer.reader.named_parameters() if p.grad is not None
        }
        found.append((loss.item(), gradients, [item.tokens for item in items]))
    (reward, of_reward, size), (alone, of_alone, same_size) = found
    assert alone == pytest.approx(reward, rel=1e-6)
    assert size == same_size
    assert of_reward.keys() == of_alone.keys()
    for name, gradient in of_reward.items():
        torch.testing.assert_close(of_alone[name], gradient, rtol=1e-4, atol=1e-6)


def test_reading_together_costs_an_encoder_less(folders) -> None:
    """The prompt of p tokens is read once less for every response that joins: 4(p + 2) + r against
    (p + 2) + r."""
    sizes = []
    for together in (1, 2, 4):
        scorer = mixed(folders["encoder"], together=(together,))
        (item,) = objective(scorer.reader, scorer.config).items([FOUR], Ledger())
        sizes.append(item.tokens)
    prompt = len("why?") + 2  # [CLS] and [SEP]
    assert sizes == [sizes[2] + 3 * prompt, sizes[2] + prompt, sizes[2]]


def test_what_would_be_cut_is_read_alone(folders) -> None:
    """128 positions hold one response of 62 bytes with its prompt, not two."""
    scorer = mixed(
        folders["encoder"], together=(2,), lengths=LengthConfig(max_prompt=8, max_response=62)
    )
    group = Group("g", "why?", ("x" * 62, "y" * 62), comparisons=(Comparison(0, 1),))
    trained = objective(scorer.reader, scorer.config)
    (item,) = trained.items([group], Ledger())
    assert sorted(trained._parts(item)) == [[0], [1]]


def test_in_use_too_what_would_be_cut_is_read_alone(folders) -> None:
    """d is then f(a) − f(b); and two that differ at their end alone are no equals, as they are read
    whole."""
    scorer = mixed(folders["encoder"], lengths=LengthConfig(max_prompt=8, max_response=62))
    group = Group("g", "why?", ("x" * 62, "x" * 61 + "y"), comparisons=(Comparison(0, 1),))
    texts = scorer.reader.texts
    page = texts.page(group)
    assert texts.cut(page, 0, 1) == {"response"}
    with torch.no_grad():
        a, b = scorer.reader([texts.reading(page, 0), texts.reading(page, 1)]).tolist()
    assert a != b
    ((d,),) = scorer.differences([group], [[(0, 1)]])
    assert d == pytest.approx(a - b, rel=1e-2)
    ledger = Ledger()
    assert len(objective(scorer.reader, scorer.config).items([group], ledger)) == 1
    assert not ledger.dropped


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_draw_is_of_the_item_alone(folders, groups, backbone) -> None:
    """Losses of items add up however they meet, and sizes of 1 and 2 both come up over many."""
    scorer = mixed(folders[backbone], together=(1, 2))
    trained = objective(scorer.reader, scorer.config)
    pairs = [
        Group(f"g{n}", "p", ("one", "other"), comparisons=(Comparison(0, 1),)) for n in range(20)
    ]
    items = trained.items([*groups, *pairs], Ledger())
    assert {len(trained._parts(item)) for item in items[-20:]} == {1, 2}
    with torch.no_grad():
        apart = sum(trained.loss(scorer.reader, [item]).loss.item() for item in items)
        assert trained.loss(scorer.reader, items).loss.item() == pytest.approx(apart, rel=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_kept_and_started_from(folders, tmp_path: Path, backbone) -> None:
    scorer = mixed(folders[backbone])
    scorer.trained = True
    save_scorer(scorer, tmp_path / "m")
    pairs = [[(0, 1), (2, 3)]]
    kept = scorer.differences([FOUR], pairs)[0]
    np.testing.assert_allclose(
        load_scorer(tmp_path / "m").differences([FOUR], pairs)[0], kept, rtol=1e-5
    )
    warm = ScorerConfig(kind="difference", head="mixed", warm_start=str(tmp_path / "m"))
    np.testing.assert_allclose(new_scorer(warm).differences([FOUR], pairs)[0], kept, rtol=1e-5)


def test_a_ranking_counts_both_kinds_of_readings(folders) -> None:
    """Three comparisons with one response: three pairs read together, four responses alone."""
    scorer = mixed(folders["encoder"])
    (found,) = rank(scorer, [FOUR], DesignConfig(mode="anchor"))
    assert found.readings == 3 + 4
    alone = make(folders["encoder"])
    pairs = make(folders["encoder"], kind="difference", head="segments")
    own = list(found.pairs)
    assert tokens(scorer, FOUR, own) == tokens(pairs, FOUR, own) + tokens(alone, FOUR, own)


def test_regularisers_are_refused() -> None:
    with pytest.raises(ValueError, match="antisymmetric"):
        ScorerConfig(kind="difference", head="mixed", reverse=0.1)
    with pytest.raises(ValueError, match="leave out orders"):
        ScorerConfig(kind="difference", orders="one")
    with pytest.raises(ValueError, match="at least 1"):
        ScorerConfig(kind="difference", head="mixed", together=())
