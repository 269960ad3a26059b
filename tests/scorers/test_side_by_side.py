"""The benchmarks on groups of responses: all ways compute the same values. Nothing is timed
here."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from benchmarks import groups, lists, rrhf, scoring
from benchmarks.contest import GroupOutcome, Task, require_same_values
from rewarddiff.encoded import Encoded
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.models import load_causal_lm
from rewarddiff.records import Group

FEW = [
    Group(
        "0",
        "Why?",
        ("So.", "Because it is.", "No", "Who asks?", "Yes", "Perhaps not"),
        (3, 5, 0, 4, 1, 2),
    ),
    Group(
        "1",
        "Name a tree",
        ("Oak", "An elm", "Fir", "A rose", "Seven", "Birch!"),
        (5, 4, 3, 1, 0, 2),
    ),
    Group(
        "2",
        "Two and two",
        ("4", "Four, I think", "5", "Twenty-two", "None", "2 + 2"),
        (5, 4, 3, 2, 0, 1),
    ),
]


@pytest.mark.parametrize(
    ("trees", "rows"), [("differences-trees", "differences-rows"), ("reward-trees", "reward-rows")]
)
def test_trees_and_rows_read_the_same(folders, trees, rows) -> None:
    counted: list[int] = []
    ours = scoring.in_trees(
        scoring.make_scorer(Task(str(folders["decoder"]), Path(), "fp32", way=trees)), trees
    )(FEW)
    scorer = scoring.make_scorer(Task(str(folders["decoder"]), Path(), "fp32", way=rows))
    assert scoring.in_rows(scorer, counted)(FEW) == pytest.approx(ours, rel=1e-4, abs=1e-5)
    assert len(ours) == (45 if trees.startswith("differences") else 18)
    assert sum(counted) > scoring.tree_tokens(scorer, trees, FEW)


def test_rrhf_in_trees_and_in_rows_trains_the_same(folders) -> None:
    """Loss by loss and, after the last step, weight by weight."""
    trained, losses = [], []
    for train in (rrhf.train_trees, rrhf.train_rows):
        model, tokenizer = load_causal_lm(folders["decoder"])
        encoder = Encoder(tokenizer, LengthConfig())
        own = [
            Encoded(
                g,
                encoder.prompt(g.prompt),
                tuple(encoder.response(g.prompt, text) for text in g.responses),
            )
            for g in FEW * 3
        ]
        ends, found, tokens = train(model, own, Task(str(folders["decoder"]), Path(), "fp32"))
        assert len(ends) == len(found) == 3  # steps of 4, 4 and 1
        assert tokens > 0
        losses.append(found)
        trained.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert len(set(losses[0])) == 3
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-4, atol=1e-6)


def test_rrhf_of_rows_by_hand() -> None:
    """A vocabulary of two; the second token has logit 0 and the first that of the row, so log p =
    −log(1 + e^∓logit).

    Two responses of one and two tokens after a prompt of one. The better one, row 0, has p = log ½;
    in row 1 both tokens have chance ¾ each: p = log ¾. Hinge: log ¾ − log ½ = log 1.5. Likelihood
    of the best: −log ½ = log 2.
    """
    high = math.log(3)
    logits = torch.tensor(
        [[[0.0, 0.0], [9.0, 0.0], [9.0, 0.0]], [[high, 0.0], [-high, 0.0], [9.0, 0.0]]]
    )
    labels = torch.tensor([[-100, 1, -100], [-100, 0, 1]])
    assert rrhf.rrhf(logits, labels, torch.tensor([2.0, 1.0])).item() == pytest.approx(
        math.log(1.5) + math.log(2)
    )
    # turned round, the better one leads: no hinge, and the likelihood of row 1 is 2·log ¾
    assert rrhf.rrhf(logits, labels, torch.tensor([1.0, 2.0])).item() == pytest.approx(
        -2 * math.log(0.75)
    )


@pytest.mark.parametrize("n", [7, 11, 16])
def test_groups_have_the_papers_lengths(n: int) -> None:
    """Each word, with the space before it, is one token, and so is the full stop; a prompt has 9 of
    markup besides."""
    for lengths in ("equal", "hh"):
        made = groups.make_groups(n, lengths)
        assert made == groups.make_groups(n, lengths)
        responses = [text.count(" ") + 1 for group in made for text in group.responses]
        prompts = [group.prompt.count(" ") + 1 + 9 for group in made]
        slack = 0 if lengths == "equal" else 0.05
        assert sum(responses) / len(responses) == pytest.approx(145, rel=slack)
        assert sum(prompts) / len(prompts) == pytest.approx(164, rel=slack)
        assert all(sorted(group.scores) == list(range(6)) for group in made)


def test_groups_survive_the_file(tmp_path: Path) -> None:
    made = groups.make_groups(3, "hh")
    groups.write_groups(made, tmp_path / "groups.jsonl")
    assert groups.read_groups(tmp_path / "groups.jsonl") == made


def outcome(seconds: float, *values: float) -> GroupOutcome:
    return GroupOutcome(
        groups=4, seconds=seconds, tokens=100, values=values, model_bytes=100, peak_bytes=500
    )


def test_contestants_must_compute_the_same() -> None:
    require_same_values(outcome(1, 3.0, 4.0), outcome(2, 3.0, 4.004), 1e-3)
    for other in (outcome(2, 3.0, 4.1), outcome(2, 3.0), outcome(2, 3.0, math.nan)):
        with pytest.raises(RuntimeError, match="different values"):
            require_same_values(outcome(1, 3.0, 4.0), other, 1e-3)


def test_what_is_compared() -> None:
    """Speed against unshared reading (more is better), time against the reward model (less is
    better)."""
    seconds = {
        "differences-trees": 4,
        "differences-rows": 8,
        "anchor-trees": 1,
        "reward-trees": 2,
        "reward-rows": 16,
    }
    found = lists.CONTESTS["differences"].compare(
        "x", {way: [outcome(t)] for way, t in seconds.items()}
    )
    assert [line.line() for line in found] == [
        "bench x-unshared ours=1 peer=0.5 ratio=2 unit=groups/s",
        "bench x-reward ours=1 peer=4 ratio=0.25 unit=seconds/group",
        "bench x-anchor ours=0.25 peer=0.5 ratio=0.5 unit=seconds/group",
    ]
    found = lists.CONTESTS["rrhf"].compare("x", {"trees": [outcome(1)], "rows": [outcome(3)]})
    assert [line.line() for line in found] == [
        "bench x-rows ours=4 peer=1.333 ratio=3 unit=groups/s",
        "bench x-rows-memory ours=400 peer=400 ratio=1 unit=bytes-above-model",
    ]
