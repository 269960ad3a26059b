"""Losses of scorers as a recipe names them: values from the data's strengths, the batch's mean,
what is learned."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from rewarddiff.config import load_recipe
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.errors import UserError
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.train import train
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.build import load_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.losses import (
    BatchMargin,
    BradleyTerry,
    Gaps,
    Grades,
    Loss,
    Margin,
    Ordinal,
    Scaled,
    Soft,
    Ties,
)
from rewarddiff.scorers.neural.objectives import objective, shape
from rewarddiff.scorers.neural.train import train_scorer
from rewarddiff.scorers.ranking import scores

from .conftest import BACKBONES, make, told_by

FOUR = Grades.of([1, 2, 3, 4, 4])


def values(
    loss: Loss, gap: list[float], strength: list[float], grades: Grades = FOUR
) -> list[float]:
    learned = {name: parameter.double() for name, parameter in loss.parameters(grades).items()}
    tensors = (torch.tensor(column, dtype=torch.float64) for column in (gap, strength))
    return loss.losses(Gaps(*tensors, grades, learned)).tolist()


def minus_log_sigmoid(x: float) -> float:
    return math.log1p(math.exp(-x))


def test_grades_of_the_data() -> None:
    assert Grades.of([None, None]) == Grades()
    assert Grades.of([3, 1, 1, 0]) == Grades((1.0, 3.0), 3.0, 5 / 3, True)
    many = Grades.of(np.arange(1, 1201).tolist())  # quantiles: twelve grades of a hundred each
    assert len(many.edges) == 12
    levels = many.levels(torch.arange(1, 1201, dtype=torch.float64))
    assert torch.bincount(levels)[1:].tolist() == [100] * 12
    assert FOUR.levels(torch.tensor([0.0, 0.5, 1, 3.9, 9])).tolist() == [0, 1, 1, 3, 4]


def test_llama_2s_scales() -> None:
    """Four grades: margins 0, ⅓, ⅔, 1 and 0, 1, 2, 3 (arXiv 2307.09288, Table 27)."""
    gap, strength = [0.0] * 4, [1.0, 2.0, 3.0, 4.0]
    for margins, expected in (("small", [0, 1 / 3, 2 / 3, 1]), ("large", [0, 1, 2, 3])):
        found = values(Margin(margins=margins), gap, strength)
        assert found == pytest.approx([minus_log_sigmoid(-m) for m in expected])


def test_margins_by_strength_and_by_map() -> None:
    assert values(Margin(scale=0.5), [1.0], [3.0]) == pytest.approx([minus_log_sigmoid(1 - 1.5)])
    table = Margin(margins={1: 0.2, 3: 0.7})
    assert values(table, [1.0, 1.0], [3.0, 1.0]) == pytest.approx(
        [minus_log_sigmoid(0.3), minus_log_sigmoid(0.8)]
    )
    with pytest.raises(UserError, match="strength 2 is not in the map"):
        values(table, [1.0], [2.0])


def test_scaled_over_the_mean_of_the_data() -> None:
    # mean strength (1 + 2 + 3 + 4 + 4)/5 = 2.8
    assert values(Scaled(), [0.0], [4.0]) == pytest.approx([4 / 2.8 * math.log(2)])
    assert values(Scaled(normalise="none"), [0.0], [4.0]) == pytest.approx([4 * math.log(2)])


def test_soft_targets() -> None:
    # linear: strength 2 of 4 is z = ¾; sigmoid: σ(ln 3) = ¾; −¾ log σ(x) − ¼ log σ(−x) at x = ln 3,
    # σ = ¾
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    gap = [math.log(3)]
    assert values(Soft(), gap, [2.0]) == pytest.approx([entropy])
    assert values(Soft(scale=1.0, target="sigmoid"), gap, [math.log(3)]) == pytest.approx([entropy])
    assert values(Soft(scale=2.0), [0.3], [5.0]) == pytest.approx(
        [minus_log_sigmoid(0.3)]
    )  # certain


def test_ties_start_at_their_tau() -> None:
    found = values(Ties(tau=1.0), [0.0, 0.0], [0.0, 2.0])
    assert found == pytest.approx([-math.log(1 - 2 / (1 + math.e)), minus_log_sigmoid(-1)])


def test_ordinal_cut_points_start_even_and_hold_0_without_ties() -> None:
    assert Ordinal().learned_values(FOUR, Ordinal().parameters(FOUR)) == {
        "cuts": pytest.approx([0, 0.5, 1, 1.5])
    }
    tied = Grades.of([0, 1, 2])
    assert Ordinal().learned_values(tied, Ordinal().parameters(tied)) == {
        "cuts": pytest.approx([0.5, 1])
    }


def test_batch_margin_contexts() -> None:
    gaps = [3.0, 1.0, -1.0]
    state: dict[str, float] = {}
    found = BatchMargin().context(gaps, state, training=True)
    assert (found.mean, found.threshold, found.pull) == (1.0, 1.0, 0.0)
    assert found.shares == {"batch_margin": 1.0, "shifted": pytest.approx(1 / 3)}
    assert (
        BatchMargin(threshold="quantile", quantile=0.5)
        .context([5, 1, 0], {}, training=True)
        .threshold
        == 1
    )
    assert BatchMargin(clamp=True).context([-2.0, -4.0], {}, training=True).mean == 0
    running = BatchMargin(scope="ema", momentum=0.75)
    assert running.context([4.0], state, training=True).mean == 4  # the first batch's own
    assert running.context([0.0], state, training=False).mean == 3  # ¾·4, and not kept
    assert running.context([0.0], state, training=True).mean == 3
    assert running.context([0.0], state, training=True).mean == 2.25


def test_a_clamped_mean_gives_no_gradient() -> None:
    assert BatchMargin(detach=False, clamp=True).context([-2.0, -4.0], {}, training=True).pull == 0
    assert BatchMargin(detach=False, clamp=True).context([2.0, 4.0], {}, training=True).pull > 0


@pytest.mark.parametrize("threshold", ["batch_mean", "quantile", "none"])
def test_a_mean_that_is_not_detached(threshold) -> None:
    """In two parts the gradient is that of the loss written out for the whole batch."""
    loss = BatchMargin(detach=False, threshold=threshold)
    gaps = torch.tensor([2.0, 0.1, -1.3, 0.9, 4.0], dtype=torch.float64, requires_grad=True)
    context = loss.context(gaps.tolist(), {}, training=True)
    parts = (gaps[:2], gaps[2:])
    total = sum(
        loss.losses(Gaps(part, torch.ones_like(part), FOUR, {}, context)).sum() for part in parts
    )
    (found,) = torch.autograd.grad(total, gaps)
    below = (gaps < context.threshold).double()
    whole = -torch.nn.functional.logsigmoid(gaps - below * gaps.mean())
    torch.testing.assert_close(total, whole.sum())
    torch.testing.assert_close(found, torch.autograd.grad(whole.sum(), gaps)[0])


def test_the_shape_of_gaps_as_scipy_finds_it() -> None:
    x = np.random.default_rng(0).gamma(2.0, size=200)
    std, skew, kurtosis = shape(*((x**k).mean() for k in (1, 2, 3, 4)), n=200)
    assert (std, skew, kurtosis) == pytest.approx((x.std(), stats.skew(x), stats.kurtosis(x)))
    assert math.isnan(shape(2.0, 4.0, 8.0, 16.0, n=9)[1])
    assert all(map(math.isnan, shape(*[math.nan] * 4, n=9)))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_too_few_gaps_have_no_shape(n: int) -> None:
    """Two are symmetrical whatever they are, and three have a kurtosis of −1.5: that says nothing
    of gaps."""
    x = np.array([0.2, 1.0, 5.0, -3.0])[:n]
    found = shape(*((x**k).mean() if n else math.nan for k in (1, 2, 3, 4)), n=n)
    referee = [x.std(), stats.skew(x), stats.kurtosis(x)] if n else []
    for place, least in enumerate((2, 3, 4)):
        assert (
            math.isnan(found[place]) if n < least else found[place] == pytest.approx(referee[place])
        )


# --- in training ------------------------------------------------------------------------------------------------------


def graded(n: int = 8) -> list[Group]:
    """Strengths 0 (every fourth), 1, 2, 3."""
    return [
        Group(
            f"g{i}",
            "p" * (1 + i % 3),
            (f"yes{i}", f"no {i}" * (1 + i % 2)),
            comparisons=(Comparison(0, 1, i % 4),),
        )
        for i in range(n)
    ]


def configured(folders, loss: object, **more) -> ScorerConfig:
    settings = TrainConfig(
        lr=1e-3, head_lr=1e-2, epochs=2, batch_size=8, precision="fp32", dropout=False
    )
    config = {"backbone": str(folders["encoder"]), "loss": loss, **more}
    return load_recipe(
        config | {"train": vars(settings), "lengths": {"max_response": 16}}, [], ScorerConfig
    )


@pytest.mark.parametrize("kind", ["reward", "difference"])
@pytest.mark.parametrize(
    "loss", ["bradley-terry", "margin", "scaled", "soft", "ties", "ordinal", "batch-margin"]
)
def test_every_loss_trains_by_its_name(folders, tmp_path: Path, kind, loss) -> None:
    if kind == "difference" and loss == "batch-margin":
        with pytest.raises(UserError, match="loss batch-margin is for reward models"):
            configured(folders, loss, kind=kind, head="segments")
        return
    config, ledger = configured(folders, loss, kind=kind, head="segments"), Ledger()
    scorer, result = train_scorer(
        config, graded(), graded(4), output=tmp_path / "run", ledger=ledger
    )
    keeps_ties = loss in ("soft", "ties", "ordinal")
    assert ledger.count(Reason.NO_ORDER) == (0 if keeps_ties else 2)
    assert {
        "accuracy",
        "margin",
        "margin_std",
        "margin_skew",
        "margin_kurtosis",
    } <= result.dev.keys()
    assert set(scorer.learned) == {"ties": {"tau"}, "ordinal": {"cuts"}}.get(loss, set())
    save_scorer(scorer, tmp_path / "model")
    loaded = load_scorer(tmp_path / "model")
    assert loaded.learned == scorer.learned
    assert loaded.config.loss == config.loss
    assert loaded.fingerprint == scorer.fingerprint


def test_a_batch_of_ties_alone(folders, tmp_path: Path) -> None:
    """What is told of gaps is then nothing, and training goes on."""
    config = configured(folders, "ties")
    config = replace(config, train=replace(config.train, batch_size=1))
    _, result = train_scorer(config, graded(), [graded()[0]], output=tmp_path)
    assert math.isnan(result.dev["accuracy"])
    assert math.isfinite(result.dev["loss"])


def test_one_gap_has_no_shape(folders, tmp_path: Path) -> None:
    config = configured(folders, {"name": "batch-margin", "scope": "device"})
    config = replace(config, train=replace(config.train, batch_size=1))
    _, result = train_scorer(config, graded(), output=tmp_path)
    lines = [line for line in result.curve if line["split"] == "train"]
    assert all(math.isnan(line["margin_skew"]) for line in lines)
    assert all(line["batch_margin"] == pytest.approx(line["margin"], rel=1e-5) for line in lines)


@pytest.mark.parametrize("loss", ["margin", "scaled", "ordinal"])
def test_ties_alone_teach_nothing_of_how_much(folders, tmp_path: Path, loss) -> None:
    ties = [
        Group(f"g{i}", "p", ("one", "two"), comparisons=(Comparison(0, 1, 0.0),)) for i in range(3)
    ]
    with pytest.raises(UserError, match=f"loss {loss} needs comparisons with a better response"):
        train_scorer(configured(folders, loss), ties, output=tmp_path)


def test_a_tie_that_no_cut_point_holds_is_left_out(folders, tmp_path: Path) -> None:
    decided = [g for g in graded(16) if not g.comparisons[0].tie]
    _, result = train_scorer(configured(folders, "ordinal"), decided, graded(4), output=tmp_path)
    assert math.isfinite(result.dev["loss"])


def test_a_map_of_margins_is_looked_through_first(folders, tmp_path: Path) -> None:
    """16.7 passes through float32; a strength of the dev set alone is missed before training."""
    loss = {"name": "margin", "margins": {16.7: 1.0, 33.4: 2.0}}

    def groups(*strengths: float) -> list[Group]:
        return [
            Group(f"g{i}", "p", (f"one{i}", "two"), comparisons=(Comparison(0, 1, s),))
            for i, s in enumerate(strengths)
        ]

    train_scorer(configured(folders, loss), groups(16.7, 33.4), output=tmp_path)
    with pytest.raises(UserError, match="strength 5 is not in the map"):
        train_scorer(configured(folders, loss), groups(16.7), groups(5.0), output=tmp_path)


def test_differences_of_scores_are_the_same_grade() -> None:
    grades = Grades.of([4.2 - 3.9, 3.3 - 3.0, 1.0])
    assert len(grades.edges) == 2
    assert grades.levels(torch.tensor([4.2 - 3.9, 3.3 - 3.0, 1.0])).tolist() == [1, 1, 2]


def test_what_is_learned_moves(folders, tmp_path: Path) -> None:
    scorer, _ = train_scorer(configured(folders, "ties"), graded(), output=tmp_path)
    assert scorer.learned["tau"][0] != pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("loss", ["margin", "scaled", "soft", "ordinal"])
def test_strengths_are_asked_for(folders, tmp_path: Path, loss) -> None:
    group = Group("a", "p", ("one", "two"), comparisons=(Comparison(1, 0),), source="d.jsonl:7")
    with pytest.raises(UserError, match=rf"d\.jsonl:7: loss {loss} needs strengths"):
        train_scorer(configured(folders, loss), [group], output=tmp_path)


def test_centering_is_added_once_a_pair(folders) -> None:
    group = Group("a", "p", ("one", "two"), comparisons=(Comparison(1, 0),))
    plain, centred = (make(folders["encoder"], loss=BradleyTerry(center=c)) for c in (0.0, 0.5))
    found = []
    for scorer in (plain, centred):
        trained = objective(scorer.reader, scorer.config)
        with torch.no_grad():
            found.append(trained.loss(scorer.reader, trained.items([group], Ledger())).loss.item())
    total = sum(scores(plain, [group])[0])
    assert found[1] - found[0] == pytest.approx(0.5 * total**2, rel=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_batch_mean_is_of_eight_items_however_they_are_read(
    folders, monkeypatch, tmp_path: Path, backbone
) -> None:
    """One micro-batch of eight and four of two: μ is the mean of the gaps before the step, by
    single readings."""
    groups = [
        Group(f"g{i}", "why?", (f"yes{i}", f"no {i}."), comparisons=(Comparison(0, 1),))
        for i in range(8)
    ]
    found = {}
    for tokens in (4096, 48 if backbone == "encoder" else 30):
        scorer = make(folders[backbone], loss=BatchMargin())
        gaps = [s[0] - s[1] for s in scores(scorer, groups)]
        trained = objective(scorer.reader, scorer.config)
        sizes: list[int] = []
        loss = trained.loss
        monkeypatch.setattr(
            trained,
            "loss",
            lambda m, own, loss=loss, sizes=sizes: sizes.append(len(own)) or loss(m, own),
        )
        config = TrainConfig(
            lr=1e-3,
            max_steps=1,
            batch_size=8,
            precision="fp32",
            microbatch_tokens=tokens,
            eval_every=None,
        )
        train(
            trained, trained.items(groups, Ledger()), config=config, output=tmp_path / str(tokens)
        )
        (line,) = [
            json.loads(text)
            for text in (tmp_path / str(tokens) / "metrics.jsonl").read_text().splitlines()
        ]
        assert line["batch_margin"] == pytest.approx(float(np.mean(gaps)), rel=1e-5, abs=1e-6)
        found[tuple(sizes)] = line["batch_margin"]
    assert list(found) == [(8,), (2, 2, 2, 2)]
    whole, cut = found.values()
    assert cut == pytest.approx(whole, rel=1e-6, abs=1e-6)


def test_the_global_mean_is_one_for_any_cut_and_two_processes(folders, tmp_path: Path) -> None:
    """Eight items read at once, cut by a token budget, and by two processes: the same μ and
    gradient.

    The dev set has one item: one of two processes has none.
    """
    groups = [(f"g{i}", "p" * (1 + i % 3), (f"yes{i}", f"no {i}")) for i in range(8)]
    config = {"backbone": str(folders["encoder"]), "loss": "batch-margin"}
    lines = {}
    for name, tokens, processes in (("whole", 4096, 1), ("cut", 40, 1), ("two", 4096, 2)):
        lines[name] = told_by(tmp_path / name, config, groups, tokens=tokens, processes=processes)
        assert load_scorer(tmp_path / name / "model").trained
    assert len(lines["whole"]) == 3
    first = {
        name: told[0]["batch_margin"] for name, told in lines.items()
    }  # before any step: the same model
    assert first["cut"] == pytest.approx(first["whole"], rel=1e-6, abs=1e-7)
    assert first["two"] == pytest.approx(first["whole"], rel=1e-6, abs=1e-7)
    for key in ("batch_margin", "shifted", "loss", "margin", "margin_std", "grad_norm"):
        whole = [line[key] for line in lines["whole"]]
        assert [line[key] for line in lines["cut"]] == pytest.approx(whole, rel=1e-4, abs=1e-6), key
        assert [line[key] for line in lines["two"]] == pytest.approx(whole, rel=1e-4, abs=1e-6), key
