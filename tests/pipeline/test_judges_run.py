"""Judges in a recipe: coefficients from their verdicts, and what they say of the policies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judging_examples import by_taste, good, responses_in
from scorers.chat_server import MODEL, ChatServer, serving

from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.results import LABELS, MAJORITY, Results, read_results

BETTER, WORSE = "good, good and good", "it is bad"
"""By the taste of the tests 4 points and 1: d = 3."""


def recipe(policy: Path, encoder: Path, folder: Path, url: str) -> dict[str, Any]:
    path = folder / "pairs.jsonl"
    rows = []
    for i in range(40):
        rows.append(json.dumps({"prompt": f"Say it {i}", "chosen": BETTER, "rejected": WORSE}))
    path.write_text("\n".join(rows))
    small = {"batch_size": 4, "max_steps": 2, "precision": "fp32", "lr": 0.05}
    judge = {"kind": "judge", "url": url, "model": MODEL, "max_tokens": 64}
    return {
        "name": "judged",
        "model": str(policy),
        "output": str(folder / "run"),
        "data": {"path": str(path), "splits": {"train": 0.4, "dev": 0.3, "test": 0.3}},
        "scorers": {
            "reward": {"backbone": str(encoder), "train": small},
            "first": judge,
            "second": {**judge, "form": "grades", "prompt": "helpful", "seed": 1},
            "panel": {"kind": "panel", "of": ["first", "second", "reward"]},
        },
        "policies": {
            "dpo": {"train": small},
            "dpo+judge": {"train": small, "coefficient": {"source": "first", "alpha": 1.0}},
        },
        "evaluation": {"prompts": 5, "sampling": {"max_new_tokens": 6, "stop": []}},
    }


def taste(text: str) -> float:
    """Like what is good, and of anything else what is long."""
    return good(text) + (0 if "good" in text or "bad" in text else len(text.encode()) % 5)


def reply(body: Any) -> str:
    """Answer in either form of verdict."""
    if "Scores:" in body["messages"][-1]["content"]:
        return by_taste(taste)(body)
    one, other = map(taste, responses_in(body))
    return f"So it is.\nVerdict: {4 - np.sign(one - other):.0f}"


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with serving(reply) as state:
        yield state


@pytest.fixture(scope="module")
def plan(
    policy_folder: Path,
    encoder_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    server: ChatServer,
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("judges")
    return recipe(policy_folder, encoder_folder, folder, server.url)


@pytest.fixture(scope="module")
def results(plan: dict[str, Any]) -> Results:
    return read_results(run_recipe(plan))


def test_verdicts_are_coefficients(plan: dict[str, Any], results: Results) -> None:
    (coefficients,) = results.coefficients
    assert coefficients.policy == "dpo+judge"
    # Every pair of the data is worth the same 3 points, so its weights are 1 after normalising.
    assert coefficients.report.before.mean == 3.0
    assert coefficients.report.share_dropped == 0


def test_judges_have_win_rates_and_no_rewards(results: Results) -> None:
    assert {reward.scorer for reward in results.rewards} == {"reward"}
    assert {contrast.scorer for contrast in results.contrasts} == {"reward"}
    rates = {(rate.judge, rate.a, rate.b) for rate in results.judges.win_rates}
    compared = [("dpo+judge", "dpo"), ("dpo", "base"), ("dpo+judge", "base")]
    assert rates == {(j, a, b) for j in ("first", "second", "panel") for a, b in compared}
    for rate in results.judges.win_rates:
        assert (rate.n, rate.scored) == (5, 5)
        if rate.judge == "panel":  # nothing turns on a panel, which is no merit of it
            assert rate.turned.n == 0


def test_a_judge_that_trained_a_policy_is_no_independent_one(results: Results) -> None:
    used = {(rate.judge, rate.a): rate.used_in_training for rate in results.judges.win_rates}
    assert used["first", "dpo+judge"]
    assert used["panel", "dpo+judge"]  # the judge sits on it
    assert used["second", "dpo+judge"]  # the same model, asked in another form
    assert not used["first", "dpo"]


def test_judges_agree_with_each_other_and_with_the_labels(results: Results) -> None:
    agreements = {(line.a, line.b): line for line in results.judges.agreements}
    # The two judges share a taste, and say it in other words.
    assert agreements["first", "second"].percent.value == 1.0
    assert agreements["first", LABELS].percent.value == 1.0
    assert agreements["first", LABELS].kappa.value == 1.0
    assert MAJORITY not in {rate.judge for rate in results.judges.win_rates}  # the panel is it


def test_what_judging_took_is_told(server: ChatServer, results: Results) -> None:
    uses = {use.judge: use for use in results.judges.uses}
    assert set(uses) == {"first", "second"}
    assert sum(use.calls for use in uses.values()) == server.calls
    assert all(use.prompt_tokens for use in uses.values())


def test_again_asks_nothing_and_says_the_same(
    server: ChatServer, plan: dict[str, Any], results: Results
) -> None:
    calls = server.calls
    again = read_results(run_recipe(plan))
    assert server.calls == calls
    assert again.judges == results.judges


@pytest.mark.parametrize(
    ("scorers", "cause"),
    [
        ({"panel": {"kind": "panel", "of": ["a", "b"]}}, "no scorer 'a' stands before it"),
        ({"panel": {"kind": "panel", "of": ["first", "late"]}}, "'late' does not stand before it"),
        ({"panel": {"kind": "panel", "of": ["nobody"]}}, "no scorer 'nobody' stands before it"),
        ({"panel": {"kind": "panel", "of": ["first"]}}, "scorers.panel.of: names fewer than two"),
    ],
)
def test_a_panel_of_scorers_that_are_not_there_is_refused(
    plan: dict[str, Any], scorers: dict[str, Any], cause: str
) -> None:
    first = {"kind": "length"}
    written = {**plan, "scorers": {"first": first, **scorers, "late": first}, "policies": {}}
    with pytest.raises(UserError, match=cause):
        load_recipe(written, [], Recipe).check()


def test_what_a_judge_lacks_is_said_before_anything_is_trained(
    plan: dict[str, Any], tmp_path: Path
) -> None:
    scorers = {**plan["scorers"], "first": {**plan["scorers"]["first"], "key_env": "NOT_SET_HERE"}}
    with pytest.raises(UserError, match="NOT_SET_HERE"):
        run_recipe({**plan, "scorers": scorers, "output": str(tmp_path / "run")})
    assert not (tmp_path / "run" / "scorers").exists()


def test_a_model_that_is_not_served_ends_the_run_before_another_judge_is_paid(
    plan: dict[str, Any], server: ChatServer, tmp_path: Path
) -> None:
    scorers = {**plan["scorers"], "second": {**plan["scorers"]["second"], "model": "org/nosuch"}}
    calls = server.calls
    with pytest.raises(UserError, match=r"status 404.*org/nosuch"):
        run_recipe({**plan, "scorers": scorers, "output": str(tmp_path / "run")})
    assert [body["model"] for body in server.posted[calls:]] == ["org/nosuch"]


def test_a_judge_that_is_down_ends_the_run_before_anything_is_trained(
    plan: dict[str, Any], tmp_path: Path
) -> None:
    down = {"url": "http://127.0.0.1:9", "attempts": 1}
    scorers = {**plan["scorers"]}
    for name in ("first", "second"):  # one model has one address
        scorers[name] = {**scorers[name], **down}
    written = {**plan, "scorers": scorers}
    with pytest.raises(UserError, match="cannot be reached"):
        run_recipe({**written, "output": str(tmp_path / "run")})
    assert not (tmp_path / "run" / "scorers" / "reward-0").exists()


@pytest.mark.parametrize("name", ["majority", "people", "labels"])
def test_names_that_results_have_for_others_are_refused(plan: dict[str, Any], name: str) -> None:
    scorers = {name: plan["scorers"]["first"]}
    with pytest.raises(UserError, match=rf"scorers\.{name}: .*give the scorer another"):
        load_recipe({**plan, "scorers": scorers, "policies": {}}, [], Recipe).check()


def test_people_may_be_called_people(plan: dict[str, Any]) -> None:
    people = {"kind": "people", "path": "votes.jsonl"}
    load_recipe({**plan, "scorers": {"people": people}, "policies": {}}, [], Recipe).check()


def test_what_is_unscored_is_asked_again_where_the_note_says_so(
    policy_folder: Path,
    encoder_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A finished stage asks nothing; the folder that the note names, deleted, asks for what lacks."""

    def silent_once(body: Any) -> str:
        return "I say nothing." if "Say it 3" in str(body) else reply(body)

    with serving(silent_once) as state:
        plan = recipe(policy_folder, encoder_folder, tmp_path, state.url)
        judge = {**plan["scorers"]["first"], "attempts": 1, "price_in": 1.0, "price_out": 1.0}
        plan |= {"scorers": {"first": judge}, "policies": {}}
        plan["data"]["splits"] = {"train": 0.2, "test": 0.8}
        results = read_results(run_recipe(plan))
        said = capsys.readouterr()
        (note,) = (line for line in (said.out + said.err).splitlines() if "are unscored" in line)
        (use,) = results.judges.uses
        assert use.estimated_price is not None
        # Half of 64 tokens is foreseen for a reply, and the stub's are shorter.
        assert use.price is not None
        assert use.estimated_price > use.price
        state.posted.clear()
        state.reply = reply
        run_recipe(plan)
        assert state.calls == 0
        folder = Path(note.rpartition("; delete ")[2].removesuffix(" to ask again"))
        shutil.rmtree(folder)
        run_recipe(plan)
        unscored = int(note.split(" on test: ")[1].split(" of ")[0])
        assert state.calls == 2 * unscored > 0
