"""Formats in which a row is one labelled pair."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from rewarddiff.data.formats.base import FieldError, Format, RowError, Values
from rewarddiff.data.formats.cells import (
    is_foreign_conversation,
    items,
    lists_of_answers,
    number,
    numbers,
    optional_number,
    row_id,
    text,
    turns,
)
from rewarddiff.data.formats.conversations import (
    answer,
    asked,
    in_context,
    last_turn,
    messages,
    prompt,
    spoken_prompt,
)
from rewarddiff.data.ledger import Reason
from rewarddiff.records import Comparison, Group, Message, Prompt

ASSISTANT = "\n\nAssistant:"
HUMAN = "\n\nHuman:"

GRADES = (
    "score_{}",
    "{}_score",
    "{}_rating",
    "{}-rating",
    "rating_{}",
    "{}_avg_rating",
    "{}-score",
)
"""What columns of grades are called, with chosen or rejected put in."""


def _trl(values: Values) -> Group:
    """Read TRL's preference rows: prompt, chosen, rejected, as text or as conversations.

    A conversation may leave the prompt out: it is then what `chosen` and `rejected` share. The
    strength is `margin`, or else the gap of `score_chosen` and `score_rejected` (or what Argilla
    and others call them, see `GRADES`).
    """
    return pair(values, *trl_texts(values))


def trl_texts(values: Values) -> tuple[Prompt, str, str]:
    """Return the prompt, the chosen and the rejected response of one of TRL's preference rows."""
    if turns(values["chosen"]) is not None:
        return _conversations(values)
    chosen = answer(values, "chosen")
    rejected = answer(values, "rejected")
    return prompt(values), chosen, rejected


def pair(values: Values, question: Prompt, chosen: str, rejected: str) -> Group:
    """Return the group of a row that names the better response, by how much as its columns say."""
    scores = _grades(values)
    strength = optional_number(values, "margin")
    if strength is None and scores is not None:
        strength = scores[0] - scores[1]
    if strength is not None and strength < 0:
        raise RowError(Reason.CONTRADICTORY, f"rejected is graded {-strength:g} above chosen")
    return Group(
        id=row_id(values),
        prompt=in_context(values, question),
        responses=(chosen, rejected),
        scores=scores,
        comparisons=(Comparison(0, 1, strength),),
    )


def _grades(values: Values) -> tuple[float, float] | None:
    """Return the grades of the chosen and the rejected response; None where one is missing."""
    high = optional_number(values, *(grade.format("chosen") for grade in GRADES))
    low = optional_number(values, *(grade.format("rejected") for grade in GRADES))
    if high is None or low is None:
        return None
    return high, low


def _distilabel(values: Values) -> Group:
    """Read Argilla's Orca pairs: `rating` holds both grades, in whichever order."""
    group = _asked_pair("input", values)
    if values.get("rating") is None:
        return group
    first, second = numbers(values, "rating", count=2)
    comparison = Comparison(0, 1, abs(first - second))
    return replace(group, comparisons=(comparison,))


def _asked_pair(question_column: str, values: Values) -> Group:
    """Read chosen and rejected beside a question under another name: what a user says."""
    question = spoken_prompt(prompt(values, question_column))
    return pair(values, question, answer(values, "chosen"), answer(values, "rejected"))


def _argilla(values: Values) -> Group:
    """Read Argilla's UltraFeedback: `chosen_response`, `rejected_response` and mean ratings."""
    question = spoken_prompt(prompt(values, "instruction"))
    return pair(
        values, question, answer(values, "chosen_response"), answer(values, "rejected_response")
    )


def _conversations(values: Values) -> tuple[Prompt, str, str]:
    """Return the prompt, the chosen and the rejected response."""
    chosen = messages(items(values, "chosen"), "chosen")
    rejected = messages(items(values, "rejected"), "rejected")
    given = values.get("prompt")
    prompt_turns = turns(given)
    if prompt_turns is not None:
        question = messages(prompt_turns, "prompt")
    elif isinstance(given, str) and given and chosen and chosen[0].role == "assistant":
        question = asked(given)
    else:
        question = _shared_turns(chosen, rejected)
    return (
        question,
        last_turn(question, chosen, "chosen"),
        last_turn(question, rejected, "rejected"),
    )


def _shared_turns(a: tuple[Message, ...], b: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the turns both begin with, never the last of either: that is the response."""
    n = 0
    while n < min(len(a), len(b)) - 1 and a[n] == b[n]:
        n += 1
    return a[:n]


def _hh(values: Values) -> Group:
    """Read Anthropic HH: two whole dialogues that must agree up to the last answer.

    The prompt is the text up to and with the last "Assistant:", the response the rest, untouched.
    Dialogues of one conversation recur at several depths, so the topic is the opening turn.
    """
    dialogue, chosen = _last_answer(values, "chosen")
    dialogue_of_rejected, rejected = _last_answer(values, "rejected")
    if dialogue != dialogue_of_rejected:
        raise RowError(Reason.PROMPTS_DIFFER, "chosen and rejected differ before the last answer")
    return Group(
        id="",
        prompt=dialogue + ASSISTANT,
        responses=(chosen, rejected),
        comparisons=(Comparison(0, 1),),
        topic=dialogue.split(ASSISTANT, 1)[0].strip(),
    )


def _last_answer(values: Values, side: str) -> tuple[str, str]:
    """Cut a dialogue at its last answer, which must be its end."""
    dialogue, marker, response = text(values, side).rpartition(ASSISTANT)
    if not marker:
        raise FieldError(f'{side} holds no "Assistant:" turn')
    if HUMAN in response:
        raise RowError(Reason.NO_ANSWER, f'{side} ends with a "Human:" turn')
    return dialogue, response


def _hh_looks(values: Values) -> bool:
    if "prompt" in values:
        return False
    for side in ("chosen", "rejected"):
        if not isinstance(values[side], str) or ASSISTANT not in values[side]:
            return False
    return True


def _tldr(values: Values) -> Group:
    """Read OpenAI's summary comparisons (2009.01325): a post or an article, and two summaries.

    `choice` says which is better. `extra.confidence` runs from 1 (surely the first) to 9 (surely
    the second); the strength is its distance from 5. The prompt is in the form of the authors' own
    models.
    """
    info = values["info"]
    if info.get("post") is not None:
        question = (
            f"SUBREDDIT: r/{text(info, 'subreddit')}\n\nTITLE: {text(info, 'title')}\n\n"
            f"POST: {text(info, 'post')}\n\nTL;DR:"
        )
    else:
        question = f"Article: {text(info, 'article')}\n\nTL;DR:"
    summaries = tuple(text(summary, "text") for summary in items(values, "summaries"))
    choice = number(values, "choice")
    if len(summaries) != 2 or choice not in (0, 1):
        detail = f"choice {choice:g} among {len(summaries)} summaries, expected 0 or 1 of 2"
        raise FieldError(detail)
    strength = None
    confidence = optional_number(values.get("extra") or {}, "confidence")
    if confidence is not None:
        if (confidence - 5) * (choice - 0.5) < 0:
            raise RowError(
                Reason.CONTRADICTORY, f"choice {choice:g} with confidence {confidence:g}"
            )
        strength = abs(confidence - 5)
    comparison = Comparison(int(choice), 1 - int(choice), strength)
    return Group("", question, summaries, comparisons=(comparison,))


def _implicit_looks(values: Values) -> bool:
    """Tell conversations without a prompt.

    Those in another writing count as well, so that their rows are refused with a reason.
    """
    if "prompt" in values:
        return False
    return turns(values["chosen"]) is not None or is_foreign_conversation(values["chosen"])


def _trl_looks(values: Values) -> bool:
    return not lists_of_answers(values)


TRL = Format("trl", ("prompt", "chosen", "rejected"), _trl, looks=_trl_looks)
TRL_IMPLICIT = Format("trl-implicit", ("chosen", "rejected"), _trl, looks=_implicit_looks)
HH = Format("hh", ("chosen", "rejected"), _hh, looks=_hh_looks)
ORCA = Format("orca", ("question", "chosen", "rejected"), partial(_asked_pair, "question"))
DISTILABEL = Format("distilabel", ("input", "chosen", "rejected"), _distilabel)
ARGILLA = Format("argilla", ("instruction", "chosen_response", "rejected_response"), _argilla)
TLDR = Format("tldr", ("info", "summaries", "choice"), _tldr)
