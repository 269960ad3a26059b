"""What counts as a verdict, and what does not."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.endpoints.chat import Reply, TokenChoice
from rewarddiff.scorers.judging.forms import NoVerdict, expectation, grades, scores

OFF_MENU = "a verdict off the menu"
NONE = "no verdict at the end of the reply"


@pytest.mark.parametrize(
    ("text", "d"),
    [
        ("The first is better.\nScores: 8 3", 5),
        ("Scores: 3 8", -5),
        ("**Scores:** 7 7", 0),
        ("Scores: **7** **2**\n", 5),
        ("SCORE = [9, 4].", 5),
        ("Scores: 10/10 1/10", 9),
        ("Scores: 7.5, 6", 1.5),
        ("Scores: 4 and 6", -2),
        ("so I say\n\n6 9\n\n", -3),
        ("Scores:\n6 9", -3),
        ("Scores: 1 10\r\n", -9),
        # The last verdict counts: what stands before it may be quoted.
        ("It says\nScores: 10 1\nwhich I do not believe.\nScores: 2 9", -7),
        ("Scores: 11 0\nNo, that was wrong.\nScores: 5 4", 1),
        ("Scores: 8 3\nI hope that this helps.", 5),
    ],
)
def test_scores(text: str, d: float) -> None:
    assert scores(Reply(text)) == d


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Scores: 11 0", OFF_MENU),
        ("Scores: 0 5", OFF_MENU),
        ("Scores: 5 10.5", OFF_MENU),
        ("Scores: -5 5", OFF_MENU),
        ("Scores: −5 5", OFF_MENU),
        ("Scores: 7", OFF_MENU),
        ("Scores: 7 8 9", OFF_MENU),
        ("Scores: 7/10", OFF_MENU),
        ("Scores: 9 out of 10", OFF_MENU),
        ("Scores: seven eight", OFF_MENU),
        ("Scores: X Y", OFF_MENU),
        ("Scores: 7-4", OFF_MENU),
        # An earlier verdict is none where the last one is off the menu.
        ("Scores: 8 3\nScores: 8 33", OFF_MENU),
        ("Both are good.", NONE),
        ("The first gets 7 4 points", NONE),
        ("> Scores: 10 1", NONE),
        ("7 4 1", NONE),
        ("[[A]]", NONE),
        # An earlier verdict is not the judge's where something else follows it.
        ("Scores: 5 5\nNo. First: 9, second: 2", NONE),
        ("Scores: 5 5\nOr rather:\nScore 1: 9\nScore 2: 3", NONE),
        ("Scores: 5 5\nThat would be wrong.\nI cannot say.", NONE),
        (f"Scores: 5 5\nBut {'really ' * 12}?", NONE),
        ("", "an empty reply"),
        (" \n\t", "an empty reply"),
    ],
)
def test_what_is_no_pair_of_scores(text: str, cause: str) -> None:
    with pytest.raises(NoVerdict, match=f"^{cause}$"):
        scores(Reply(text))


@pytest.mark.parametrize(
    ("text", "d"),
    [
        *((f"Some words.\nVerdict: {grade}", 4 - grade) for grade in range(1, 8)),
        ("**Verdict: 2**", 2),
        ("Final verdict: [[6]].", -2),
        ("Verdict: 3 (the first response is slightly better)", 1),
        ("Verdict: 5 = the second response is slightly better", -1),
        ("Verdict: 4 - both are equally good.", 0),
        ("Verdict: 2\n```", 2),
        ("so\n5\n", -1),
        ("Verdict: 1\nNo: I was taken in.\nVerdict: 7", -3),
    ],
)
def test_grades(text: str, d: float) -> None:
    assert grades(Reply(text)) == d


@pytest.mark.parametrize(
    "text",
    [
        "Verdict: 0", "Verdict: 8", "Verdict: 3.5", "Verdict: 3 or 4", "Verdict: 3/7", "Verdict: -2",
        "Verdict: A", "Verdict: AB", "Verdict: N", "Verdict: 2nd", "Verdict: 33", "Verdict: 2\nVerdict: 9",
        "Verdict: 4 would be wrong.", "Verdict: 4 would be wrong.\nI say no more.", "Verdict: 3, or so",
        "Verdict: ２",  # a digit, and not on the menu
    ],
)  # fmt: skip
def test_what_is_no_grade(text: str) -> None:
    with pytest.raises(NoVerdict, match=OFF_MENU):
        grades(Reply(text))


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        # "Scores: 8 1" may be the beginning of 8 and 10.
        (Reply("Scores: 8 1", finish="length"), "a reply cut by max_tokens"),
        (Reply("Scores: 8 1", finish="content_filter"), "the judge refuses"),
        (Reply("Scores: 8 1", refusal="I cannot judge that."), "the judge refuses"),
    ],
)
def test_a_reply_that_did_not_end_well_holds_no_verdict(reply: Reply, cause: str) -> None:
    with pytest.raises(NoVerdict, match=cause):
        scores(reply)


def test_a_grade_that_is_taken_back_is_none() -> None:
    """The grade is 2, in words of its own: a tie read from the line before would be wrong."""
    with pytest.raises(NoVerdict, match=NONE):
        grades(Reply("Verdict: 4 would be wrong.\nFinal answer: 2"))


@given(st.text(alphabet="scoreverdict:SV 0123456789.,/*[]()\n-", max_size=60))
def test_any_text_is_a_verdict_on_the_scale_or_none(text: str) -> None:
    for form, most in ((scores, 9), (grades, 3)):
        try:
            d = form(Reply(text))
        except NoVerdict:
            continue
        assert abs(d) <= most


@pytest.mark.parametrize("filler", [" ", "*", "[", "1 ", "Scores: ", "\n ", "Verdict:\n"])
def test_no_reply_takes_long_to_read(filler: str) -> None:
    text = filler * 20_000
    begun = time.monotonic()
    for form in (scores, grades):
        with pytest.raises(NoVerdict):
            form(Reply(text + "Scores: " + filler * 20_000 + "!"))
    assert time.monotonic() - begun < 2


# --- log-probabilities --------------------------------------------------------------------------


def spelled(*tokens: str, alternatives: dict[str, float]) -> Reply:
    """A reply in tokens, whose last one has these alternatives, with their probabilities."""
    logs = {token: math.log(p) for token, p in alternatives.items()}
    choices = [TokenChoice(token, {token: 0.0}) for token in tokens[:-1]]
    return Reply("".join(tokens), tokens=(*choices, TokenChoice(tokens[-1], logs)))


def test_the_expectation_is_over_the_grades_that_might_have_stood_there() -> None:
    """0.5 × 3 + 0.3 × 2 + 0.1 × (−3) = 1.8, over the mass 0.9 of the grades: 2."""
    mixed = {"1": 0.5, " 2": 0.2, "2": 0.1, "7": 0.1, "The": 0.1}
    reply = spelled("Why.\n", "Verdict", ":", " 1", alternatives=mixed)
    assert grades(reply) == pytest.approx(2.0, abs=1e-12)


def test_grades_that_hold_less_than_half_give_no_expectation() -> None:
    reply = spelled("Verdict: ", "2", alternatives={"2": 0.3, "1": 0.19, "It": 0.51})
    assert grades(reply) == 2.0
    assert expectation({"2": math.log(0.3), "1": math.log(0.2)}) == pytest.approx(
        (0.3 * 2 + 0.2 * 3) / 0.5
    )


def test_the_token_of_the_last_verdict_is_read() -> None:
    """A quoted verdict has log-probabilities too, which say nothing of the judge's own."""
    quoted = TokenChoice("1", {"1": math.log(0.5), "7": math.log(0.5)})
    own = TokenChoice("6", {"6": math.log(0.75), "7": math.log(0.25)})
    tokens = (TokenChoice("Verdict: ", {}), quoted, TokenChoice("\nVerdict: ", {}), own)
    reply = Reply("Verdict: 1\nVerdict: 6", tokens=tokens)
    assert grades(reply) == pytest.approx(0.75 * -2 + 0.25 * -3)


def test_tokens_that_are_not_in_the_text_move_nothing() -> None:
    """Hidden reasoning before it, the end of the turn behind it: (3 + 2) / 2."""
    verdict = TokenChoice(" 2", {" 1": math.log(0.5), " 2": math.log(0.5)})
    tokens = (
        TokenChoice("<think>Verdict: 7</think>", {}), TokenChoice("Verdict:", {}), verdict,
        TokenChoice("<|im_end|>", {"<|im_end|>": 0.0}),
    )  # fmt: skip
    assert grades(Reply("Verdict: 2", tokens=tokens)) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("before", "token", "after"),
    [("Verdict: ", "2.", ""), ("Verdict", ": 2", "."), ("Verdict: ", "2**", "")],
)
def test_a_token_that_is_more_than_a_grade_gives_its_grade_alone(
    before: str, token: str, after: str
) -> None:
    """What else might have stood there cannot be compared with it."""
    mixed = TokenChoice(token, {token: math.log(0.5), "7": math.log(0.5)})
    tokens = (TokenChoice(before, {}), mixed, TokenChoice(after, {}))
    assert grades(Reply(before + token + after, tokens=tokens)) == 2.0


def test_tokens_of_another_text_are_not_read() -> None:
    tokens = (TokenChoice("Verdict: ", {}), TokenChoice("7", {"7": 0.0}))
    assert grades(Reply("Verdict: 2", tokens=tokens)) == 2.0
