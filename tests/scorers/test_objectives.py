"""What scorers are trained on: items, losses by hand from single readings, learning rates, and an
easy task learnt."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch

from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.encoding import LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.train import TrainResult
from rewarddiff.records import Comparison, Group, Message
from rewarddiff.scorers.neural.build import load_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.losses import Margin
from rewarddiff.scorers.neural.objectives import objective
from rewarddiff.scorers.neural.train import train_scorer
from rewarddiff.scorers.ranking import scores

from .conftest import BACKBONES, KINDS, make, means, readings


def loss_and_metrics(scorer, groups):
    trained = objective(scorer.reader, scorer.config)
    items = trained.items(groups, Ledger())
    with torch.no_grad():
        output = trained.loss(scorer.reader, items)
    return trained, items, output.loss.item(), {k: s / n for k, (s, n) in output.metrics.items()}


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_bradley_terry_over_all_pairs(folders, groups, backbone) -> None:
    """3 + 1 + 6 comparisons; −log σ of every gap of scores, chosen by the data's scores."""
    scorer = make(folders[backbone])
    trained, items, loss, metrics = loss_and_metrics(scorer, groups)
    assert sum(map(trained.count, items)) == 10
    gaps = [
        s[c.chosen] - s[c.rejected]
        for g, s in zip(groups, scores(scorer, groups), strict=True)
        for c in g.known_comparisons()
    ]
    assert loss == pytest.approx(-sum(map(log_sigmoid, gaps)), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(sum(g > 0 for g in gaps) / 10)
    assert metrics["margin"] == pytest.approx(sum(gaps) / 10, rel=1e-4)


def test_margin_shifts_by_the_strength(folders) -> None:
    scorer = make(folders["encoder"], loss=Margin())
    group = Group("a", "p", ("one", "two"), comparisons=(Comparison(1, 0, 2.0),))
    first, second = scores(scorer, [group])[0]
    _, _, loss, _ = loss_and_metrics(scorer, [group])
    assert loss == pytest.approx(-log_sigmoid(second - first - 2.0), rel=1e-5)


def test_a_scorer_is_trained_only_by_steps(folders, groups, tmp_path: Path, monkeypatch) -> None:
    config = ScorerConfig(backbone=str(folders["encoder"]), lengths=LengthConfig(max_response=64))
    monkeypatch.setattr(
        "rewarddiff.scorers.neural.train.train", lambda *_, **__: TrainResult(0, {}, {})
    )
    scorer, _ = train_scorer(config, groups, output=tmp_path)
    with pytest.raises(UserError, match="never trained"):
        save_scorer(scorer, tmp_path / "model")


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("head", ["segments", "last"])
@pytest.mark.parametrize("kind", ["square", "abs"])
def test_difference_losses(folders, backbone, head, kind) -> None:
    """One pair: L = ½(−log σ(d(w,l)) − log σ(−d(l,w))) + λ1·|d(y,y)|ᵖ + λ2·|d(w,l) + d(l,w)|ᵖ, y
    one of the two."""
    scorer = make(
        folders[backbone],
        kind="difference",
        head=head,
        duplication=0.3,
        reverse=0.7,
        regulariser=kind,
    )
    group = Group("a", "p", ("one", "other"), comparisons=(Comparison(0, 1),))
    (read,) = readings(scorer, [group], [[(0, 1), (0, 0), (1, 1)]])
    forward, backward = read[0]
    power = 2 if kind == "square" else 1
    _, _, loss, metrics = loss_and_metrics(scorer, [group])
    main = -0.5 * (log_sigmoid(forward) + log_sigmoid(-backward))
    assert metrics["main"] == pytest.approx(main, rel=1e-5)
    assert metrics["reverse"] == pytest.approx(abs(forward + backward) ** power, rel=1e-4, abs=1e-9)
    same = [abs(read[1][0]) ** power, abs(read[2][0]) ** power]
    assert any(metrics["duplication"] == pytest.approx(value, rel=1e-4, abs=1e-9) for value in same)
    assert loss == pytest.approx(
        main + 0.3 * metrics["duplication"] + 0.7 * metrics["reverse"], rel=1e-5
    )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_average_trains_the_mean_of_both_orders(folders, backbone) -> None:
    """−log σ(½(d(w, l) − d(l, w))), which is the same for whichever is read first."""
    scorer = make(folders[backbone], kind="difference", head="segments", orders="average")
    group = Group("a", "p", ("one", "other"), comparisons=(Comparison(1, 0),))
    forward, backward = readings(scorer, [group], [[(1, 0)]])[0][0]
    _, _, loss, metrics = loss_and_metrics(scorer, [group])
    assert loss == pytest.approx(-log_sigmoid((forward - backward) / 2), rel=1e-5)
    assert metrics["margin"] == pytest.approx((forward - backward) / 2, rel=1e-4)
    turned = Group("a", "p", ("one", "other"), comparisons=(Comparison(0, 1),))
    gap = math.log(
        math.expm1(loss_and_metrics(scorer, [turned])[2])
    )  # −d̄ of the other label: −log σ(d) = log(1 + e⁻ᵈ)
    assert -gap == pytest.approx(-(forward - backward) / 2, rel=1e-3)


def test_one_order_is_drawn_for_each_pair(folders) -> None:
    """With `orders: one` and no regulariser a pair costs one reading; over many pairs both orders
    come up."""
    scorer = make(folders["encoder"], kind="difference", head="segments", orders="one")
    pairs = [
        Group(f"g{n}", "p", ("one", "other"), comparisons=(Comparison(0, 1),)) for n in range(40)
    ]
    forward, backward = readings(scorer, pairs[:1], [[(0, 1)]])[0][0]
    expected = {round(-log_sigmoid(forward), 4), round(-log_sigmoid(-backward), 4)}
    losses = [round(loss_and_metrics(scorer, [pair])[2], 4) for pair in pairs]
    assert set(losses) == expected
    assert losses == [round(loss_and_metrics(scorer, [pair])[2], 4) for pair in pairs]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_loss_does_not_depend_on_how_items_meet(folders, groups, backbone) -> None:
    scorer = make(folders[backbone], kind="difference")
    scorer.reader.double()
    trained, items, loss, _ = loss_and_metrics(scorer, groups)
    with torch.no_grad():
        alone = sum(trained.loss(scorer.reader, [item]).loss.item() for item in items)
    assert loss == pytest.approx(alone, rel=1e-6)


def test_fewer_comparisons_are_among_more(folders, tmp_path: Path, monkeypatch) -> None:
    """The same seed draws the first ones first; another draws others."""
    pairs = [
        Group(f"g{n}", f"p{n}", ("one", "other"), comparisons=(Comparison(0, 1),))
        for n in range(30)
    ]
    seen: dict[tuple[int, int], set[str]] = {}

    def loop(objective, items, *, seed, **_):
        seen[seed, objective.config.comparisons] = {item.id for item in items}
        return TrainResult(0, {}, {})

    monkeypatch.setattr("rewarddiff.scorers.neural.train.train", loop)
    for seed, most in ((0, 5), (0, 12), (1, 5), (0, 100)):
        config = ScorerConfig(backbone=str(folders["encoder"]), comparisons=most)
        train_scorer(config, pairs, output=tmp_path, seed=seed)
    assert {key: len(ids) for key, ids in seen.items()} == {
        (0, 5): 5,
        (0, 12): 12,
        (1, 5): 5,
        (0, 100): 30,
    }
    assert seen[0, 5] < seen[0, 12]
    assert seen[0, 5] != seen[1, 5]


def test_ties_and_responses_alike_after_the_cut_are_counted(folders) -> None:
    scorer = make(folders["encoder"], lengths=LengthConfig(max_response=4))
    trained, ledger = objective(scorer.reader, scorer.config), Ledger()
    items = trained.items(
        [
            Group("tie", "p", ("one", "two"), (3, 3), source="f:1"),
            Group("alike", "p", ("same beginning", "same ending"), (3, 1), source="f:2"),
            Group("some", "p", ("same beginning", "same ending", "no"), (3, 2, 1), source="f:3"),
            Group("fine", "p", ("yes", "no"), (1, 0), source="f:4"),
        ],
        ledger,
    )
    assert [(item.id, [(c.chosen, c.rejected) for c in item.comparisons]) for item in items] == [
        ("some", [(0, 2), (1, 2)]),
        ("fine", [(0, 1)]),
    ]
    assert (ledger.total, ledger.kept, ledger.dropped) == (4, 3, 1)
    assert ledger.count(Reason.NO_ORDER) == 1
    assert (
        ledger.count(Reason.IDENTICAL_AFTER_TRUNCATION) == 2
    )  # one group dropped, one comparison left out
    assert ledger.count(Reason.RESPONSE_CUT) == 2


def test_cuts_to_the_context_are_counted(folders) -> None:
    """128 positions: a prompt of 200 letters is cut, for a short response only the prompt."""
    scorer = make(folders["encoder"])
    ledger = Ledger()
    objective(scorer.reader, scorer.config).items(
        [Group("a", "p" * 200, ("yes", "no"), (1, 0))], ledger
    )
    assert (ledger.count(Reason.PROMPT_CUT), ledger.count(Reason.RESPONSE_CUT)) == (1, 0)


def test_large_groups_are_cut_into_items(folders) -> None:
    """Six responses, 15 comparisons, at most 4 an item: 4 + 4 + 4 + 3, every comparison once."""
    scorer = make(folders["decoder"], item_comparisons=4)
    trained = objective(scorer.reader, scorer.config)
    items = trained.items([Group("a", "p", tuple("abcdef"), tuple(range(6)))], Ledger())
    assert sorted(len(item.comparisons) for item in items) == [3, 4, 4, 4]
    assert len({(c.chosen, c.rejected) for item in items for c in item.comparisons}) == 15


def test_decoder_items_count_shared_tokens_once(folders) -> None:
    """Prompt "pp" (with BOS of this tokenizer's: none), responses of 1 + EOS, 2 + EOS: 2 + 2 + 3
    tokens."""
    scorer = make(folders["decoder"])
    trained = objective(scorer.reader, scorer.config)
    (item,) = trained.items([Group("a", "pp", ("x", "yz"), (1, 0))], Ledger())
    assert trained.size(item) == 7


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_head_has_its_own_learning_rate(folders, backbone, pooling) -> None:
    scorer = make(folders[backbone], pooling=pooling)
    body, head = objective(scorer.reader, scorer.config).parameter_groups(
        TrainConfig(lr=1e-5, head_lr=1e-4)
    )
    assert (body["lr"], head["lr"]) == (1e-5, 1e-4)
    # a linear head without bias; BERT's own has a bias
    assert sum(p.numel() for p in head["params"]) == (
        33 if (backbone, pooling) == ("encoder", "cls") else 32
    )
    assert {id(p) for p in [*body["params"], *head["params"]]} == {
        id(p) for p in scorer.reader.parameters() if p.requires_grad
    }


def easy(count: int, seed: int) -> list[Group]:
    """The better response is the one that says "+"."""
    draw = random.Random(seed)
    groups = []
    for n in range(count):
        texts = ["".join(draw.choices("abcd", k=draw.randint(2, 6))) + sign for sign in "+-"]
        better = draw.randint(0, 1)
        responses = (texts[0], texts[1]) if better == 0 else (texts[1], texts[0])
        groups.append(
            Group(
                f"g{n}",
                draw.choice("xyz"),
                responses,
                comparisons=(Comparison(better, 1 - better),),
            )
        )
    return groups


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("reward", "segments"),
        ("difference", "segments"),
        ("difference", "last"),
        ("difference", "general"),
    ],
)
def test_an_easy_task_is_learnt(folders, tmp_path: Path, backbone, kind, head) -> None:
    settings = TrainConfig(
        lr=3e-3, head_lr=1e-2, epochs=12, batch_size=16, precision="fp32", microbatch_tokens=4096
    )
    config = ScorerConfig(
        kind=kind,
        head=head,
        backbone=str(folders[backbone]),
        train=settings,
        lengths=LengthConfig(max_response=16),
    )
    held_out = easy(60, 1)
    scorer, result = train_scorer(config, easy(120, 0), held_out[:20], output=tmp_path / "run")
    assert result.dev["accuracy"] > 0.95
    save_scorer(scorer, tmp_path / "model")
    pairs = [[(c.chosen, c.rejected) for c in group.known_comparisons()] for group in held_out]
    differences = means(load_scorer(tmp_path / "model"), held_out, pairs)
    assert sum(d[0] > 0 for d in differences) / len(differences) > 0.95


@pytest.mark.parametrize(("backbone", "left_out"), [("decoder", 1), ("encoder", 0)])
def test_calls_of_tools_are_read_or_counted(folders, backbone: str, left_out: int) -> None:
    """The decoder's template does not write them. The encoder's text is no template's: they stand
    there as JSON."""
    call = Message.of("assistant", "", {"tool_calls": [{"function": {"name": "weather"}}]})
    prompt = (Message("user", "Weather?"), call, Message("tool", "sunny"))
    scorer, ledger = make(folders[backbone]), Ledger()
    (item,) = objective(scorer.reader, scorer.config).items(
        [Group("a", prompt, ("Sun", "Rain"), (1, 0))], ledger
    )
    assert ledger.count(Reason.TOOLS_LEFT_OUT) == left_out
    read = scorer.reader.texts.tokenizer.decode(item.page.prompts[0])
    assert ("weather" in read) is not bool(left_out)


@pytest.mark.parametrize(("kind", "head"), KINDS)
def test_a_gpus_kernel_reads_what_blocks_read(folders, groups, kind, head) -> None:
    """Loss and gradient of readings in trees of depth two, whose comparisons come in any order."""
    scorer = make(folders["decoder"], kind=kind, head=head)
    results = []
    for attention in ("blocks", "fused"):
        scorer.reader._trunk[0].attention = attention
        trained = objective(scorer.reader, scorer.config)
        items = trained.items(groups, Ledger())
        scorer.reader.zero_grad()
        loss = trained.loss(scorer.reader, items).loss
        loss.backward()
        gradients = {
            name: weight.grad.clone()
            for name, weight in scorer.reader.named_parameters()
            if weight.grad is not None
        }
        results.append((loss.detach(), gradients))
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-4)
