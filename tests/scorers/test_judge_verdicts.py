"""A judge as a scorer: its verdicts in both orders, what is asked, and what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Message
from rewarddiff.scorers.judging.options import Judge, Panel
from rewarddiff.scorers.judging.scorer import JudgeScorer, judge_of
from rewarddiff.scorers.protocol import Judge as JudgeProtocol
from rewarddiff.scorers.protocol import Pointwise
from rewarddiff.store import Store

from .chat_server import MODEL, Body, ChatServer, asked_text, serving
from .judge_stubs import (
    always_first,
    every_pair,
    framed,
    groups,
    honest,
    quality,
    saying,
    values,
)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(saying(honest)) as served:
        yield served


def judge(server: ChatServer, **options: Any) -> JudgeScorer:
    settings = {"url": server.url, "model": MODEL, "timeout": 5.0, "attempts": 2, **options}
    return judge_of(Judge(**settings), "scorers.gpt")


def test_a_judge_is_a_scorer_that_compares_only(server) -> None:
    scorer = judge(server)
    assert isinstance(scorer, JudgeProtocol)
    assert not isinstance(scorer, Pointwise)


@pytest.mark.parametrize("form", ["scores", "grades"])
def test_verdicts_are_those_of_the_judge_in_both_orders(server, form) -> None:
    made = groups(60)
    of_groups = judge(server, form=form).verdicts(made, every_pair(made))
    expected = [float(quality(a) - quality(b)) for a, b in (group.responses for group in made)]
    assert [v.forward.tolist() for v in of_groups] == [[d] for d in expected]
    assert [v.backward.tolist() for v in of_groups] == [[-d] for d in expected]
    assert len(set(expected)) == 7
    assert server.calls == 120


def test_several_pairs_of_a_group_come_back_in_their_order(server) -> None:
    group = Group("a", "Why?", ("one", "two", "three"), source="x.jsonl:1")
    other = Group("b", "How?", ("one", "four"), source="x.jsonl:2")
    pairs = [[(2, 0), (0, 1), (1, 2), (1, 0)], []]
    first, second = judge(server).differences([group, other], pairs)
    qualities = [quality(text) for text in group.responses]
    assert first.mean.tolist() == [qualities[a] - qualities[b] for a, b in pairs[0]]
    assert second.mean.size == 0
    assert server.calls == 6  # (1, 0) asks what (0, 1) does


def test_a_judge_that_favours_what_comes_first_says_nothing() -> None:
    made = groups(40)
    with serving(saying(always_first)) as server:
        verdicts = judge(server).verdicts(made, every_pair(made))
    assert all(v.turned.all() for v in verdicts)
    assert values(verdicts) == [0.0] * 40


@pytest.mark.parametrize("orders", ["both", "one"])
def test_swapping_the_sides_negates_every_difference(orders) -> None:
    """Of a judge with a bias for the first place as well: exactly, and nothing is asked anew."""

    def biased(first: str, second: str) -> float:
        return max(min(honest(first, second) + 1, 3), -3)

    made = groups(60)
    swapped = [replace(group, responses=group.responses[::-1]) for group in made]
    with serving(saying(biased)) as server:
        scorer = judge(server)
        ahead = scorer.verdicts(made, every_pair(made), orders=orders)
        calls = server.calls
        assert calls == (120 if orders == "both" else 60)
        behind = judge(server).verdicts(swapped, every_pair(made), orders=orders)
        assert [v.values.tolist() for v in behind] == [(-v.values).tolist() for v in ahead]
        assert [v.turned.tolist() for v in behind] == [v.turned.tolist() for v in ahead]
        turned_pairs = scorer.verdicts(made, [[(1, 0)] for _ in made], orders=orders)
        assert [v.values.tolist() for v in turned_pairs] == [(-v.values).tolist() for v in ahead]
        # The same questions, in any of the three: each run without a store asks them again.
        distinct = {asked_text(body) for body in server.posted}
        assert len(distinct) == calls


def test_one_order_is_drawn_by_the_pair_and_the_seed(server) -> None:
    made = groups(200)
    (first,) = (judge(server, orders="one").verdicts(made, every_pair(made)),)
    assert server.calls == 200
    forward = np.array([v.asked[0, 0] for v in first])
    backward = np.array([v.asked[0, 1] for v in first])
    assert (forward != backward).all()
    # A fair draw: 100 of 200, and no further from it than 4 standard deviations of 7.1.
    assert 72 <= forward.sum() <= 128
    again = judge(server).verdicts(made, every_pair(made), orders="one")
    assert [v.asked[0, 0] for v in again] == forward.tolist()
    other = judge(server, seed=1).verdicts(made, every_pair(made), orders="one")
    assert [v.asked[0, 0] for v in other] != forward.tolist()
    # The judge is honest: either order says the same.
    expected = [float(quality(a) - quality(b)) for a, b in (group.responses for group in made)]
    assert values(first) == values(other) == expected


def test_two_responses_of_one_text_are_a_tie_and_nobody_is_asked() -> None:
    group = Group("a", "Why?", ("same", "same", "other"))
    with serving(saying(always_first)) as server:
        for orders in ("both", "one"):
            (verdicts,) = judge(server, orders=orders).verdicts([group], [[(0, 1)]])
            assert verdicts.values.tolist() == [0.0]
            assert not verdicts.turned.any()
            assert verdicts.causes == ("",)
        assert server.calls == 0


def test_equal_questions_are_asked_once(server) -> None:
    group = groups(1)[0]
    same = [group, replace(group, id="twin", source="y.jsonl:9")]
    first, second = judge(server).verdicts(same, [[(0, 1), (0, 1)], [(1, 0)]])
    assert first.values.tolist() == [-second.values[0]] * 2
    assert server.calls == 2


def test_log_probabilities_are_asked_for_in_form_grades_and_weigh_the_grades(server) -> None:
    """Of an even chance of 1 and 2 d is 2.5; of another server that gives none it is the grade."""
    half = math.log(0.5)
    server.reply = lambda body: "Verdict: 2"
    group = groups(1)
    pairs: list[list[tuple[int, int]]] = [[(0, 1)]]
    assert values(judge(server, form="grades", orders="one").verdicts(group, pairs))[0] ** 2 == 4
    assert server.posted[-1]["top_logprobs"] == 20
    server.tokens = lambda text: [("Verdict:", {}), (" 2", {" 2": half, " 1": half})]
    weighed = values(judge(server, form="grades", orders="one").verdicts(group, pairs))
    assert abs(weighed[0]) == pytest.approx(2.5)
    plain = judge(server, form="grades", orders="one", logprobs=False).verdicts(group, pairs)
    assert values(plain)[0] ** 2 == 4
    assert "logprobs" not in server.posted[-1]


# --- what is kept -------------------------------------------------------------------------------

GROUP = Group("g", "Prompt?", ("an answer", "another answer"), source="x.jsonl:1")


def ask(server: ChatServer, store: Path, group: Group = GROUP, **options: Any) -> None:
    with Store(store) as opened:
        judge(server, **options).verdicts([group], [[(0, 1)]], store=opened)


def test_what_was_asked_is_never_asked_again(server, tmp_path) -> None:
    """Neither by other names, nor from another place, nor with another patience or key."""
    store = tmp_path / "store.sqlite"
    ask(server, store)
    assert server.calls == 2
    ask(server, store)
    ask(server, store, replace(GROUP, id="other", source="y.jsonl:7", topic="tea"))
    ask(server, store, Group("g", GROUP.prompt, GROUP.responses[::-1]))
    ask(server, store, concurrency=1, timeout=9.0, attempts=3, price_in=1.0, price_out=2.0)
    ask(server, store, orders="one")
    ask(server, store, logprobs=False)  # form scores asks for none anyway
    ask(server, store, url=f"{server.url.upper().replace('HTTP', 'http')}/v1/")
    assert server.calls == 2


def test_the_same_name_at_another_address_is_asked_by_itself(server, tmp_path) -> None:
    """It may be another model: its verdicts are its own, and neither server's are the other's."""
    with serving(saying(always_first)) as elsewhere, Store(tmp_path / "store.sqlite") as store:
        for _ in range(2):
            (of_first,) = judge(server).verdicts([GROUP], [[(0, 1)]], store=store)
            (of_other,) = judge(elsewhere).verdicts([GROUP], [[(0, 1)]], store=store)
            assert not of_first.turned.any()
            assert of_other.turned.all()
        assert (server.calls, elsewhere.calls) == (2, 2)


CHANGES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "prompt": lambda _: {"group": replace(GROUP, prompt="Prompt? ")},
    "a conversation": lambda _: {"group": replace(GROUP, prompt=(Message("user", "Prompt?"),))},
    "response": lambda _: {"group": replace(GROUP, responses=("an answer", "another  answer"))},
    "model": lambda _: {"model": "org/other"},
    "form": lambda _: {"form": "grades"},
    "prompt file": lambda _: {"prompt": "helpful"},
    "own prompt file": lambda folder: {"prompt": str(folder / "mine.txt")},
    "max_tokens": lambda _: {"max_tokens": 1000},
    "temperature": lambda _: {"temperature": 0.5},
    "seed": lambda _: {"seed": 1},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_determines_an_answer_misses_the_store(server, tmp_path, change) -> None:
    server.models.append("org/other")
    (tmp_path / "mine.txt").write_text("Which?\n{prompt}\n{response_1}\n{response_2}")
    store = tmp_path / "store.sqlite"
    ask(server, store)
    ask(server, store, **CHANGES[change](tmp_path))
    assert server.calls == 4
    ask(server, store, **CHANGES[change](tmp_path))
    ask(server, store)
    assert server.calls == 4


def test_log_probabilities_miss_the_store_in_form_grades(server, tmp_path) -> None:
    ask(server, tmp_path / "s", form="grades")
    ask(server, tmp_path / "s", form="grades", logprobs=False)
    assert server.calls == 4


def test_a_prompt_file_that_is_edited_misses_the_store(server, tmp_path) -> None:
    path = tmp_path / "mine.txt"
    fingerprints = set()
    for text in (
        "Which?\n{prompt}\n{response_1}\n{response_2}",
        "Which?\n{prompt}\n\n{response_1}\n{response_2}",
    ):
        path.write_text(text)
        ask(server, tmp_path / "store.sqlite", prompt=str(path))
        fingerprints.add(Judge(url=server.url, model=MODEL, prompt=str(path)).fingerprint())
    assert server.calls == 4
    assert len(fingerprints) == 2


def test_fingerprints_hang_on_what_determines_answers_alone() -> None:
    plain = Judge(url="http://host:1", model=MODEL)
    alike = replace(
        plain, url="http://HOST:1/v1/", concurrency=1, timeout=1.0, attempts=1, price_in=1.0,
        key_env="KEY", logprobs=False,
    )  # fmt: skip
    assert alike.fingerprint() == plain.fingerprint()
    changed = [
        {"model": "b"}, {"url": "http://other:1"}, {"url": "https://host:1"}, {"form": "grades"},
        {"prompt": "helpful"}, {"orders": "one"}, {"seed": 1}, {"temperature": 0.1},
        {"max_tokens": 7},
    ]  # fmt: skip
    others = {replace(plain, **change).fingerprint() for change in changed}
    assert len(others | {plain.fingerprint()}) == len(changed) + 1


# --- what it takes ------------------------------------------------------------------------------


def test_what_it_will_take_is_said_before_and_what_it_took_after(server, tmp_path, capsys) -> None:
    made = groups(30)
    options = {"price_in": 1e3, "price_out": 2e3, "max_tokens": 100}
    with Store(tmp_path / "store.sqlite") as store:
        scorer = judge(server, **options)
        before = scorer.estimate(made, every_pair(made), store=store)
        assert server.calls == 0
        scorer.verdicts(made, every_pair(made), store=store, progress="judging")
        messages = [asked_text(body) for body in server.posted]
        read = sum(len(message) // 4 for message in messages)
        assert (before.calls, before.prompt_tokens, before.completion_tokens) == (60, read, 3000)
        # 1,000 and 2,000 of a million tokens each.
        assert before.price == pytest.approx(read / 1e3 + 3000 / 500)
        # The stub server counts as the estimate does, and its replies are short.
        written = sum(len(server.reply(body)) // 4 for body in server.posted)
        assert (scorer.usage.calls, scorer.usage.kept) == (60, 0)
        assert (scorer.usage.prompt_tokens, scorer.usage.completion_tokens) == (read, written)
        assert scorer.price == pytest.approx(read / 1e3 + written / 500)
        said = capsys.readouterr().err
        assert f"scorers.gpt: 60 calls, by estimate {read:,} tokens read and 3,000 written" in said
        assert f"scorers.gpt: 60 calls, {read:,} tokens read, {written:,} written, price" in said
        again = judge(server, **options)
        assert again.estimate(made, every_pair(made), store=store).calls == 0
        again.verdicts(made, every_pair(made), store=store, progress="judging")
        assert (again.usage.calls, again.usage.kept) == (0, 60)
        assert capsys.readouterr().err == ""


def test_a_handful_is_asked_without_a_word_of_cost(server, capsys) -> None:
    judge(server).verdicts(groups(5), every_pair(groups(5)), progress="judging")
    assert "calls" not in capsys.readouterr().err


def test_a_server_that_counts_no_tokens_leaves_the_price_unknown(server) -> None:
    def uncounted(handler: Any, number: int, answer: Any) -> bool:
        del answer["usage"]
        return False

    server.fault = uncounted
    scorer = judge(server, price_in=1.0, price_out=1.0)
    scorer.verdicts(groups(2), every_pair(groups(2)))
    assert (scorer.usage.calls, scorer.usage.prompt_tokens, scorer.price) == (4, None, None)


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "either url and model, or local"),
        ({"url": "http://h:1"}, "url and model belong together"),
        ({"model": "m"}, "either url and model, or local"),
        ({"local": "x", "model": "m"}, "url and model belong together"),
        ({"local": "x", "url": "http://h:1", "model": "m"}, "either url and model, or local"),
        ({"url": "http://h:1", "model": "m", "form": "score"}, "did you mean 'scores'"),
        ({"url": "http://h:1", "model": "m", "temperature": -1.0}, "temperature is -1.0"),
        ({"url": "http://h:1", "model": "m", "attempts": 0}, "attempts is 0"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(UserError, match=cause) as caught:
        load_recipe(options, [], Judge)
    assert "\n" not in str(caught.value)


def test_a_recipe_may_ask_for_judges_and_panels() -> None:
    from rewarddiff.pipeline.recipe import Recipe

    scorers = {
        "gpt": {"kind": "judge", "url": "http://host:8000", "model": "m", "form": "grades"},
        "panel": {"kind": "panel", "of": ["gpt", "grades", "length"]},
    }
    recipe = load_recipe({"name": "x", "data": {"path": "x"}, "scorers": scorers}, [], Recipe)
    assert recipe.scorers["gpt"] == Judge(url="http://host:8000", model="m", form="grades")
    assert recipe.scorers["panel"] == Panel(of=("gpt", "grades", "length"))


def test_what_is_sent_is_what_the_api_documents(server) -> None:
    judge(server, seed=3, max_tokens=77, temperature=0.25).verdicts([GROUP], [[(0, 1)]])
    posted: Body = server.posted[0]
    message = posted["messages"][0]["content"]
    assert posted == {
        "model": MODEL,
        "messages": [{"role": "user", "content": message}],
        "max_tokens": 77,
        "temperature": 0.25,
        "seed": 3,
    }
    assert framed(message)["prompt"] == "Prompt?"
