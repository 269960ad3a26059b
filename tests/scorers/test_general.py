"""Head general: each response read by itself, differences that may go round (arXiv 2410.02197)."""

from __future__ import annotations

from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from rewarddiff.data.ledger import Ledger
from rewarddiff.encoding import LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.evaluation.comparisons import compare
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.losses.scoring import general_gap
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.objectives import objective
from rewarddiff.scorers.neural.train import train_scorer
from rewarddiff.scorers.ranking import rank, scores

from .conftest import BACKBONES, make, means


def test_three_vectors_go_round() -> None:
    """Unit vectors 120° apart and equal rewards: each beats the next by sin 120° = √3/2."""
    angle = torch.arange(3, dtype=torch.float64) * 2 * torch.pi / 3
    read = torch.stack([torch.zeros(3, dtype=torch.float64), angle.cos(), angle.sin()], dim=1)
    found = general_gap(read, read.roll(-1, 0))
    torch.testing.assert_close(found, torch.full((3,), 3**0.5 / 2, dtype=torch.float64))


def test_rewards_alone_are_their_gap() -> None:
    r = torch.tensor([1.0, -2.0])
    assert general_gap(r, r.flip(0)).tolist() == [3, -3]
    wide = torch.tensor([[1.0, 0.0, 0.0], [-2.0, 0.0, 0.0]])
    assert general_gap(wide, wide.flip(0)).tolist() == [3, -3]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_antisymmetric_to_the_bit_at_the_price_of_rewards(folders, groups, backbone) -> None:
    scorer = make(folders[backbone], kind="difference", head="general", rank=3)
    reward = make(folders[backbone], kind="reward")
    pairs = [[*permutations(range(len(g.responses)), 2), (0, 0)] for g in groups]
    for group, own, d in zip(groups, pairs, means(scorer, groups, pairs), strict=True):
        known = dict(zip(own, d.tolist(), strict=True))
        assert known[0, 0] == 0
        assert all(known[a, b] == -known[b, a] for a, b in own)
        assert any(d != 0)
        every = list(combinations(range(len(group.responses)), 2))
        assert scorer.tokens(group, every) == reward.tokens(group, every)
        assert [c.d_swapped for c in compare(scorer, [group])] == [None] * len(every)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_difference_is_what_the_head_says_of_two_texts_read_alone(
    folders, groups, backbone
) -> None:
    scorer = make(folders[backbone], kind="difference", head="general")
    texts, group = scorer.reader.texts, groups[0]
    page = texts.page(group)
    with torch.no_grad():
        a, b = (scorer.reader([texts.reading(page, i)])[0].double().numpy() for i in (0, 1))
    by_hand = a[0] - b[0] + a[1] * b[2] - a[2] * b[1] + a[3] * b[4] - a[4] * b[3]
    assert means(scorer, [group], [[(0, 1)]])[0][0] == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_saved_and_loaded(folders, groups, tmp_path: Path, backbone) -> None:
    scorer = make(folders[backbone], kind="difference", head="general")
    scorer.trained = True
    save_scorer(scorer, tmp_path / "model")
    again = load_scorer(tmp_path / "model")
    for one, other in zip(scores(scorer, groups), scores(again, groups), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    assert again.fingerprint == scorer.fingerprint


@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_starts_from_a_reward_model(folders, groups, tmp_path: Path, backbone) -> None:
    """Its reward is the teacher's; with the vectors at 0 it is the teacher."""
    teacher = make(folders[backbone], kind="reward")
    teacher.trained = True
    save_scorer(teacher, tmp_path / "model")
    config = ScorerConfig(
        kind="difference",
        head="general",
        backbone=str(folders[backbone]),
        warm_start=str(tmp_path / "model"),
    )
    scorer = new_scorer(config)
    assert scorer.reader.own_head is not None
    scorer.reader.own_head.weight.data[1:] = 0
    pairs = [[(0, 1)] for _ in groups]
    for own, known in zip(means(scorer, groups, pairs), means(teacher, groups, pairs), strict=True):
        assert own == pytest.approx(known, rel=1e-4, abs=1e-6)


def rounds() -> list[Group]:
    """Stone blunts scissors, scissors cut paper, paper wraps stone."""
    names = ("stone", "scissors", "paper")
    wins = [Comparison(i, (i + 1) % 3) for i in range(3)]
    return [Group(f"g{i}", "Which wins?", names, comparisons=(c,)) for c in wins for i in range(4)]


def test_what_goes_round_is_learnt_where_no_reward_can(folders, tmp_path: Path) -> None:
    settings = TrainConfig(lr=3e-3, head_lr=3e-2, epochs=40, batch_size=12, precision="fp32")
    found = {}
    for name, more in (
        ("reward", {"kind": "reward"}),
        ("general", {"kind": "difference", "head": "general"}),
    ):
        config = ScorerConfig(
            backbone=str(folders["encoder"]),
            train=settings,
            lengths=LengthConfig(max_response=16),
            **more,
        )
        scorer, _ = train_scorer(config, rounds(), output=tmp_path / name)
        pairs = [[(c.chosen, c.rejected) for c in g.known_comparisons()] for g in rounds()]
        found[name] = np.mean([d[0] > 0 for d in means(scorer, rounds(), pairs)])
    assert found["reward"] < 0.7
    assert found["general"] == 1
    (ranking,) = rank(scorer, rounds()[:1])
    assert ranking.cyclic == (1, 1)


def test_a_loss_is_of_its_differences(folders) -> None:
    scorer = make(folders["encoder"], kind="difference", head="general")
    group = Group("a", "p", ("one", "other"), comparisons=(Comparison(0, 1),))
    ((d,),) = means(scorer, [group], [[(0, 1)]])
    trained = objective(scorer.reader, scorer.config)
    with torch.no_grad():
        loss = trained.loss(scorer.reader, trained.items([group], Ledger())).loss.item()
    assert loss == pytest.approx(np.log1p(np.exp(-d)), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "cls"}, "head general needs mean"),
        ({"head": {"name": "general", "reverse": 0.1}}, "reverse"),
        ({"head": {"name": "general", "rank": 0}}, "rank is 0, should be at least 1"),
    ],
)
def test_what_it_has_no_use_for(options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, UserError), match=message):
        ScorerConfig(kind="difference", **options)  # type: ignore[arg-type]
