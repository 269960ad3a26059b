"""`rewarddiff baseline`: what is drawn and scored, once, and what is said of the prompts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import pytest
from answering_server import AnsweringServer, answering

from rewarddiff.cli import main
from rewarddiff.data import load_groups
from rewarddiff.differences import Array
from rewarddiff.errors import UserError
from rewarddiff.pipeline.baseline import BaselineConfig, draw_baseline
from rewarddiff.records import Group, Message
from rewarddiff.rewards.stored import read_baseline
from rewarddiff.sampling import served
from rewarddiff.scorers.length import LengthScorer
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig

SHORT = BaselineConfig(max_new_tokens=6)


@pytest.fixture(scope="module")
def reward_folder(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("reward", policy_folder, tmp_path_factory.mktemp("scorer") / "reward")


def saved(kind: Any, backbone: Path, folder: Path) -> Path:
    """A scorer's folder, as if it had been trained."""
    scorer = new_scorer(ScorerConfig(kind=kind, backbone=str(backbone)), seed=1)
    scorer.trained = True
    save_scorer(scorer, folder)
    return folder


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows: list[dict[str, Any]] = [{"prompt": f"Question {i}?"} for i in range(7)]
    rows.append({"prompt": [{"role": "user", "content": "Why?"}]})
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_k_responses_of_the_policy_with_the_scores_of_the_scorer(
    prompts: Path, policy_folder: Path, reward_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "baseline.jsonl"
    summary = draw_baseline(prompts, policy_folder, reward_folder, output, SHORT)
    rows = lines(output)
    assert len(rows) == summary.prompts == 8  # the repeated prompt stands once
    stored = read_baseline(output)
    assert (Message("user", "Why?"),) in stored.by_prompt
    scorer = load_scorer(reward_folder)
    for row, (prompt, of_prompt) in zip(rows, stored.by_prompt.items(), strict=True):
        assert len(row["responses"]) == len(row["ended"]) == 3
        (direct,) = scorer.rewards([Group("", prompt, of_prompt.responses)])  # type: ignore[attr-defined]
        assert row["scores"] == direct.tolist()  # to the bit, through the file
        assert row["mean"] == pytest.approx(mean(row["scores"]))
        assert row["median"] == median(row["scores"])
        assert row["max"] == max(row["scores"])
        assert row["std"] == pytest.approx(stdev(row["scores"]))
    different = {tuple(row["responses"]) for row in rows}
    assert len(different) == 8
    assert summary.cut == sum(row["ended"].count(False) for row in rows)
    # Seven of the eight prompts are texts, and the model has a chat template.
    said = "The prompts of 7 rows are texts and were read as they stand"
    assert said in output.with_suffix(".html").read_text()


def test_prompts_under_another_name_are_read_as_the_refusal_says(
    policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = tmp_path / "asked.jsonl", tmp_path / "out" / "baseline.jsonl"
    data.write_text('{"asked": "Why?", "n": 1}\n{"asked": "How?", "n": 2}\n')
    command = ["baseline", str(data), "--model", str(policy_folder), "--scorer", "length"]
    command += ["--output", str(output), "k=2", "max_new_tokens=4"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "prompts (prompt)" in said
    assert "--columns prompt=COLUMN" in said
    assert main([*command, "--columns", "prompt=asked"]) == 0
    assert [row["prompt"] for row in lines(output)] == ["Why?", "How?"]
    (tmp_path / "empty.jsonl").touch()
    command[1] = str(tmp_path / "empty.jsonl")
    assert main(command) == 2
    assert "empty.jsonl: is empty" in capsys.readouterr().err


def test_a_larger_k_begins_with_the_responses_of_a_smaller_one(
    prompts: Path, policy_folder: Path, tmp_path: Path
) -> None:
    for k in (1, 3):
        config = BaselineConfig(k=k, max_new_tokens=6, limit=4)
        draw_baseline(prompts, policy_folder, "length", tmp_path / f"{k}.jsonl", config)
    one, three = lines(tmp_path / "1.jsonl"), lines(tmp_path / "3.jsonl")
    assert [row["responses"] for row in one] == [row["responses"][:1] for row in three]
    assert {row["std"] for row in one} == {None}
    assert "nothing is known of the spread" in (tmp_path / "1.html").read_text()


def test_an_interrupted_one_goes_on_and_another_model_is_another_key(
    prompts: Path, policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "baseline.jsonl"
    arguments = (prompts, policy_folder, "length", output, SHORT)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LengthScorer, "rewards", interrupted)
        with pytest.raises(KeyboardInterrupt):
            draw_baseline(*arguments)
    assert not output.exists()
    with monkeypatch.context() as patch:
        nothing = "rewarddiff.sampling.generate._continue"
        patch.setattr(nothing, lambda *_: pytest.fail("drawn again"))
        draw_baseline(*arguments)
        whole = output.read_bytes()
        draw_baseline(*arguments)
        assert output.read_bytes() == whole
    other = retrained(policy_folder, tmp_path / "retrained")
    draw_baseline(prompts, other, "length", output, SHORT)
    first, refreshed = [json.loads(line) for line in whole.splitlines()], lines(output)
    assert [row["prompt"] for row in refreshed] == [row["prompt"] for row in first]
    assert all(a["responses"] != b["responses"] for a, b in zip(first, refreshed, strict=True))


def retrained(folder: Path, copy: Path) -> Path:
    """The policy a training later: other weights, the same tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(30)
    model.save_pretrained(copy)
    AutoTokenizer.from_pretrained(folder).save_pretrained(copy)
    return copy


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnsweringServer]:
    monkeypatch.setattr(served, "FIRST_WAIT", 0.001)
    with answering(lambda body: f"seed {body['seed']}") as server:
        yield server


def test_a_policy_behind_a_server_that_dies_goes_on(
    prompts: Path, server: AnsweringServer, tmp_path: Path
) -> None:
    output = tmp_path / "baseline.jsonl"
    arguments = (prompts, f"org/sft@{server.url}", "length", output)
    answer = server.rule
    server.rule = lambda body: answer(body) if len(server.posted) < 10 else (500, {"error": "down"})
    with pytest.raises(UserError, match="500"):
        draw_baseline(*arguments)
    assert not output.exists()
    asked = len(server.posted)
    server.rule = answer
    draw_baseline(*arguments)
    # 24 answers in all. It was up for the first round, one answer to each of 8 prompts, and these were
    # not asked for again. (Of later requests, which come together, any may see it go down.)
    assert len(server.posted) - asked <= 24 - 8
    assert all(len(set(row["responses"])) == 3 for row in lines(output))
    with pytest.raises(UserError, match=r"max_prompt: .* is behind a server"):
        draw_baseline(*arguments, BaselineConfig(max_prompt=5))


def test_who_compares_gives_responses_without_scores(
    prompts: Path,
    policy_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scorer = saved("difference", policy_folder, tmp_path / "difference")
    output = tmp_path / "baseline.jsonl"
    command = ["baseline", str(prompts), "--model", str(policy_folder), "--scorer", str(scorer)]
    assert main([*command, "--output", str(output), "max_new_tokens=4", "limit=3", "k=2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "scores no response by itself" in said
    assert "2 responses of" in said
    for row in lines(output):
        assert set(row) == {"prompt", "responses", "ended", "model", "scorer"}
    assert read_baseline(output).of("Question 0?").scores is None


class Patchy(LengthScorer):
    """Says nothing of a part of the responses, or of all."""

    share = 0.5

    def rewards(self, groups: Sequence[Group], **_: Any) -> list[Array]:
        scores = super().rewards(groups)
        for number, of_group in enumerate(scores):
            of_group[: round(len(of_group) * self.share)] = math.nan if number else math.inf
        return scores


def test_scores_that_are_not_finite_are_null_and_counted(
    prompts: Path, policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "baseline.jsonl"
    patchy = Patchy("patchy")
    monkeypatch.setattr("rewarddiff.pipeline.baseline.open_scorer", lambda _: patchy)
    config = BaselineConfig(k=4, max_new_tokens=6)
    summary = draw_baseline(prompts, policy_folder, "length", output, config)
    assert summary.unscored == 8 * 2
    for row in lines(output):
        assert row["scores"][:2] == [None, None]
        assert row["mean"] == pytest.approx(mean(row["scores"][2:]))
    assert "left out of every mean: 16 of 32 responses" in (tmp_path / "baseline.html").read_text()
    whole = output.read_bytes()
    patchy.share = 1.0
    with pytest.raises(UserError, match="gives none of 32 responses a finite score"):
        draw_baseline(prompts, policy_folder, "length", output, config)
    assert output.read_bytes() == whole


def test_the_page_shows_the_hardest_prompts_and_the_figures(
    prompts: Path, policy_folder: Path, reward_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "baseline.jsonl"
    summary = draw_baseline(prompts, policy_folder, reward_folder, output, SHORT)
    by_mean = sorted(lines(output), key=lambda row: row["mean"])
    assert [example.mean for example in summary.hardest] == [row["mean"] for row in by_mean[:4]]
    assert [example.mean for example in summary.easiest] == [
        row["mean"] for row in by_mean[::-1][:4]
    ]
    scores = np.array([row["scores"] for row in by_mean])
    assert summary.means is not None
    assert summary.means.mean == pytest.approx(scores.mean())
    page = (tmp_path / "baseline.html").read_text()
    assert "Hardest prompts" in page
    for figure in ("means-of-prompts", "spreads-within-prompts"):
        table = tmp_path / "baseline-figures" / f"difficulty-{figure}.csv"
        counts = [int(line.split(",")[2]) for line in table.read_text().splitlines()[1:]]
        assert sum(counts) == 8


def test_prompts_of_preference_data_are_those_that_training_reads(
    policy_folder: Path, tmp_path: Path
) -> None:
    """So that a prompt of training is found again in the baseline, whatever form the data has."""
    turn = {"role": "user", "content": "Name one."}
    answers = [[{"role": "assistant", "content": text}] for text in ("yes", "no")]
    dialogue = "\n\nHuman: Hi\n\nAssistant:"
    for number, row in enumerate(
        (
            {"prompt": "Name one.", "chosen": "yes", "rejected": "no"},
            {"prompt": [turn], "chosen": answers[0], "rejected": answers[1]},
            {"chosen": [turn, *answers[0]], "rejected": [turn, *answers[1]]},
            {"chosen": f"{dialogue} yes", "rejected": f"{dialogue} no"},
        )
    ):
        data, output = tmp_path / f"{number}.data.jsonl", tmp_path / f"{number}.jsonl"
        data.write_text(json.dumps(row) + "\n")
        draw_baseline(data, policy_folder, "length", output, SHORT)
        (group,) = load_groups(data)
        assert len(read_baseline(output).of(group.prompt).responses) == 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--output", "b.csv"], "b.csv: a baseline is JSON Lines"),
        (["--output", "b.jsonl", "--scorer", "grades"], "grades are the data's own"),
        (["--output", "b.jsonl", "k=0"], "k is 0, should be at least 1"),
        (["--output", "b.jsonl", "temperature=0"], "temperature is 0"),
        (["--output", "b.jsonl", "kk=3"], "did you mean 'k'"),
        (["--output", "prompts.jsonl"], "would replace what is read"),
        (["--output", "b.jsonl", "--scorer", "nowhere"], "nowhere"),
        (["--output", "b.jsonl", "--model", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    arguments: list[str],
    line: str,
    policy_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text('{"prompt": "Why?"}\n')
    before = Path("prompts.jsonl").read_bytes()
    given = ["baseline", "prompts.jsonl", "--model", str(policy_folder), "--scorer", "length"]
    assert main([*given, *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert line in error[0]
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.jsonl"]
    assert Path("prompts.jsonl").read_bytes() == before


def test_questions_of_several_turns_are_refused(policy_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question_id": 1, "turns": ["Why?", "And then?"]}\n')
    with pytest.raises(UserError, match=r"questions\.jsonl:1: a question of several turns"):
        draw_baseline(path, policy_folder, "length", tmp_path / "b.jsonl")
