"""ODIN: a length head beside the reward in training, and an ordinary reward model afterwards (arXiv
2402.07319)."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rewarddiff.config import load_recipe
from rewarddiff.data.ledger import Ledger
from rewarddiff.encoding import LengthConfig
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.build import load_scorer, save_scorer
from rewarddiff.scorers.neural.config import OdinConfig, ScorerConfig
from rewarddiff.scorers.neural.losses import BatchMargin
from rewarddiff.scorers.neural.objectives import objective
from rewarddiff.scorers.neural.train import train_scorer
from rewarddiff.scorers.ranking import scores

from .conftest import BACKBONES, make, told_by


def ready(folders, backbone: str, groups: list[Group], **odin: float):
    """An objective that has looked at the whole batch, and its items."""
    scorer = make(folders[backbone], odin=OdinConfig(**odin))
    trained = objective(scorer.reader, scorer.config)
    items = trained.items(groups, Ledger())
    look(trained, items)
    return scorer, trained, items


def look(trained, items) -> None:
    with torch.no_grad():
        trained.begin(items, trained.probe(trained.module, items), training=True)


def gradient(reader) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in reader.parameters() if p.grad is not None])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_loss_and_its_gradient_are_the_papers_for_any_cut(folders, groups, backbone) -> None:
    """The referee writes the batch out whole, with torch's own corrcoef; lengths are counted from
    the texts."""
    scorer, trained, items = ready(folders, backbone, groups, correlation=0.7, orthogonal=0.3)
    reader, texts = scorer.reader, scorer.reader.texts
    found = []
    for parts in ([items], [[item] for item in items], [items[:2], items[2:]]):
        reader.zero_grad()
        total = sum(trained.loss(reader, part).loss for part in parts)
        total.backward()
        found.append((total.item(), gradient(reader)))

    reader.zero_grad()
    sides = [
        [
            texts.reading(texts.page(g), side)
            for g in groups
            for c in g.known_comparisons()
            for side in (getattr(c, way),)
        ]
        for way in ("chosen", "rejected")
    ]
    chosen, rejected = (reader(side) for side in sides)
    every = torch.cat([chosen, rejected])
    lengths = torch.tensor(
        [len(reading[-1]) for side in sides for reading in side], dtype=every.dtype
    )
    q, length = (torch.corrcoef(torch.stack([every[:, k], lengths]))[0, 1] for k in (0, 1))
    head, beside = reader.head.weight[0], reader.beside.weight[0]
    angle = (head @ beside / (head.norm() * beside.norm())).abs()
    pairs = -torch.nn.functional.logsigmoid((chosen - rejected).sum(1))
    (whole := pairs.sum() + len(pairs) * (0.7 * (q.abs() - length) + 0.3 * angle)).backward()
    assert abs(q.item()) > 0.01
    for loss, own in found:
        assert loss == pytest.approx(whole.item(), rel=1e-5)
        assert (own - gradient(reader)).norm() < 1e-4 * own.norm()


def test_the_log_tells_both_correlations_and_quality_alone(folders, groups) -> None:
    scorer, trained, items = ready(folders, "encoder", groups)
    metrics = {
        name: s / n for name, (s, n) in trained.loss(scorer.reader, items[:1]).metrics.items()
    }
    rows = np.array([row for item in trained.probe(scorer.reader, items) for row in item])
    assert metrics["correlation/quality"] == pytest.approx(
        np.corrcoef(rows[:, 1], rows[:, 0])[0, 1]
    )
    assert metrics["correlation/length"] == pytest.approx(np.corrcoef(rows[:, 2], rows[:, 0])[0, 1])
    quality = [chosen[1] - rejected[1] for item in trained.probe(scorer.reader, items[:1]) for chosen, rejected in
               zip(item[::2], item[1::2], strict=True)]  # fmt: skip
    assert metrics["margin"] == pytest.approx(np.mean(quality), rel=1e-4)


def test_equal_lengths_pull_at_nothing(folders) -> None:
    group = Group("a", "p", ("one", "two"), comparisons=(Comparison(0, 1),))
    scorer, trained, items = ready(folders, "encoder", [group], orthogonal=0.0)
    output = trained.loss(scorer.reader, items)
    ((chosen, rejected),) = trained.probe(scorer.reader, items)
    gap = sum(chosen[1:]) - sum(rejected[1:])
    assert output.loss.item() == pytest.approx(np.log1p(np.exp(-gap)), rel=1e-5)
    assert output.metrics["correlation/quality"] == (0.0, 0.0)
    output.loss.backward()
    assert torch.isfinite(gradient(scorer.reader)).all()


def wordy(count: int, seed: int) -> list[Group]:
    """The better response says "+", and is the longer one in four of five; length is a good half of
    the signal."""
    draw = random.Random(seed)
    groups = []
    for n in range(count):
        long, short = (
            "".join(draw.choices("ab", k=draw.randint(7, 11))),
            "".join(draw.choices("ab", k=draw.randint(1, 5))),
        )
        better, worse = (long, short) if draw.random() < 0.8 else (short, long)
        marks = "+-" if draw.random() < 0.9 else "-+"
        groups.append(
            Group(
                f"g{n}", "x", (marks[0] + better, marks[1] + worse), comparisons=(Comparison(0, 1),)
            )
        )
    return groups


@pytest.mark.parametrize("backbone", BACKBONES)
def test_rewards_no_longer_go_by_length_and_the_scorer_is_an_ordinary_one(
    folders, tmp_path: Path, backbone
) -> None:
    found = {}
    held_out = wordy(80, 1)
    for name, odin in (("plain", None), ("odin", OdinConfig())):
        settings = TrainConfig(
            lr=1e-3,
            head_lr=1e-2,
            epochs=12,
            batch_size=32,
            precision="fp32",
            microbatch_tokens=4096,
        )
        config = ScorerConfig(
            backbone=str(folders[backbone]),
            odin=odin,
            train=settings,
            lengths=LengthConfig(max_response=16),
        )
        scorer, result = train_scorer(config, wordy(160, 0), held_out, output=tmp_path / name)
        rewards = np.concatenate(scores(scorer, held_out))
        lengths = [len(r) for g in held_out for r in g.responses]
        found[name] = np.corrcoef(rewards, lengths)[0, 1]
    assert found["plain"] > 0.5
    assert abs(found["odin"]) < 0.2
    assert result.dev["correlation/length"] > 0.9
    assert result.dev["accuracy"] > 0.8  # of the reward that is kept
    save_scorer(scorer, tmp_path / "model")
    loaded = load_scorer(tmp_path / "model")
    assert loaded.config.odin == OdinConfig()
    assert loaded.fingerprint == scorer.fingerprint
    np.testing.assert_array_equal(np.concatenate(scores(loaded, held_out)), rewards)
    if backbone == "decoder":
        model, report = AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "model", output_loading_info=True
        )
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        assert model.num_labels == 1


def test_two_processes_see_one_batch(folders, tmp_path: Path) -> None:
    """Eight items read at once, and cut by a token budget and by two processes; the heads of both
    begin alike."""
    texts = [(f"y{i}" * (1 + i % 4), "no" * (1 + i % 3)) for i in range(8)]
    groups = [(f"g{i}", "p", text) for i, text in enumerate(texts)]
    config = {"backbone": str(folders["encoder"]), "odin": {}}
    assert load_recipe(config, [], ScorerConfig).odin == OdinConfig()
    whole, two = (
        told_by(tmp_path / name, config, groups, tokens=tokens, processes=processes)
        for name, tokens, processes in (("whole", 4096, 1), ("two", 40, 2))
    )
    for key in (
        "correlation/quality",
        "correlation/length",
        "cosine",
        "loss",
        "margin",
        "grad_norm",
    ):
        assert [line[key] for line in two] == pytest.approx(
            [line[key] for line in whole], rel=1e-3, abs=1e-5
        ), key


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "difference"}, "odin is for reward models"),
        ({"heads": 3}, "odin is for reward models with one head"),
        ({"aspects": {"a": 1.0, "b": 1.0}}, "odin is for reward models with one head"),
        ({"pooling": "cls"}, "odin needs pooling mean"),
        ({"loss": BatchMargin()}, "another loss than batch-margin"),
    ],
)
def test_what_it_cannot_be_joined_with(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScorerConfig(odin=OdinConfig(), **options)  # type: ignore[arg-type]
