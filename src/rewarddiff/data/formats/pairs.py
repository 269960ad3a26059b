"""Formats in which a row is one labelled pair."""

from __future__ import annotations

from rewarddiff.data.formats.base import (
    Format,
    RowError,
    Values,
    by_row,
    in_context,
    is_foreign_conversation,
    items,
    last_turn,
    lists_of_answers,
    messages,
    number,
    optional_number,
    prompt,
    row_id,
    text,
    turns,
)
from rewarddiff.data.ledger import Reason
from rewarddiff.records import Comparison, Group, Message, Prompt

ASSISTANT, HUMAN = "\n\nAssistant:", "\n\nHuman:"


def _trl(values: Values) -> Group:
    """TRL's preference rows: prompt, chosen, rejected, as text or as conversations.

    A conversation may leave the prompt out: it is then what `chosen` and `rejected` share. The
    strength is `margin`, or else the gap of `score_chosen` and `score_rejected` (or `chosen_score`,
    `chosen_rating` …).
    """
    if turns(values["chosen"]) is not None:
        asked, chosen, rejected = _conversations(values)
    else:
        chosen, rejected, asked = text(values, "chosen"), text(values, "rejected"), prompt(values)
    high = optional_number(values, "score_chosen", "chosen_score", "chosen_rating")
    low = optional_number(values, "score_rejected", "rejected_score", "rejected_rating")
    scores = None if high is None or low is None else (high, low)
    strength = optional_number(values, "margin")
    if strength is None and scores is not None:
        strength = scores[0] - scores[1]
    if strength is not None and strength < 0:
        raise RowError(Reason.CONTRADICTORY, f"rejected is graded {-strength:g} above chosen")
    question = in_context(values, asked)
    return Group(
        row_id(values), question, (chosen, rejected), scores, (Comparison(0, 1, strength),)
    )


def _conversations(values: Values) -> tuple[Prompt, str, str]:
    chosen = messages(items(values, "chosen"), "chosen")
    rejected = messages(items(values, "rejected"), "rejected")
    given = values.get("prompt")
    if (asked_before := turns(given)) is not None:
        asked = messages(asked_before, "prompt")
    elif isinstance(given, str) and given and chosen[:1] and chosen[0].role == "assistant":
        asked = (Message("user", given),)
    else:
        asked = _shared(chosen, rejected)
    return asked, last_turn(asked, chosen, "chosen"), last_turn(asked, rejected, "rejected")


def _shared(a: tuple[Message, ...], b: tuple[Message, ...]) -> tuple[Message, ...]:
    """The turns both begin with, never the last of either: that is the response."""
    n = 0
    while n < min(len(a), len(b)) - 1 and a[n] == b[n]:
        n += 1
    return a[:n]


def _hh(values: Values) -> Group:
    """Anthropic HH: two whole dialogues that must agree up to the last answer.

    The prompt is the text up to and with the last "Assistant:", the response the rest, untouched.
    Dialogues of one conversation recur at several depths, so the topic is the opening turn.
    """
    before, chosen = _last_answer(values, "chosen")
    other, rejected = _last_answer(values, "rejected")
    if before != other:
        raise RowError(Reason.PROMPTS_DIFFER, "chosen and rejected differ before the last answer")
    topic = before.split(ASSISTANT, 1)[0].strip()
    return Group("", before + ASSISTANT, (chosen, rejected), None, (Comparison(0, 1),), topic=topic)


def _last_answer(values: Values, side: str) -> tuple[str, str]:
    """A dialogue cut at its last answer, which must be its end."""
    before, marker, response = text(values, side).rpartition(ASSISTANT)
    if not marker:
        raise RowError(Reason.MISSING_FIELD, f'{side} holds no "Assistant:" turn')
    if HUMAN in response:
        raise RowError(Reason.NO_ANSWER, f'{side} ends with a "Human:" turn')
    return before, response


def _hh_looks(values: Values) -> bool:
    return "prompt" not in values and all(
        isinstance(values[side], str) and ASSISTANT in values[side]
        for side in ("chosen", "rejected")
    )


def _tldr(values: Values) -> Group:
    """OpenAI's summary comparisons (2009.01325): a post or an article, two summaries, and which was
    chosen.

    `extra.confidence` runs from 1 (surely the first) to 9 (surely the second); the strength is its
    distance from 5. The prompt is in the form of the authors' own models.
    """
    info = values["info"]
    if info.get("post") is not None:
        asked = f"SUBREDDIT: r/{info.get('subreddit')}\n\nTITLE: {info.get('title')}\n\nPOST: {info['post']}\n\nTL;DR:"
    else:
        asked = f"Article: {text(info, 'article')}\n\nTL;DR:"
    summaries = tuple(text(summary, "text") for summary in items(values, "summaries"))
    choice = number(values, "choice")
    if len(summaries) != 2 or choice not in (0, 1):
        detail = f"choice {choice:g} among {len(summaries)} summaries, expected 0 or 1 of 2"
        raise RowError(Reason.MISSING_FIELD, detail)
    confidence = optional_number(values.get("extra") or {}, "confidence")
    if confidence is not None and (confidence - 5) * (choice - 0.5) < 0:
        raise RowError(Reason.CONTRADICTORY, f"choice {choice:g} with confidence {confidence:g}")
    strength = None if confidence is None else abs(confidence - 5)
    return Group("", asked, summaries, None, (Comparison(int(choice), 1 - int(choice), strength),))


def _implicit_looks(values: Values) -> bool:
    """Conversations without a prompt; also those in another writing, so that their rows are refused
    with a reason."""
    chosen = values["chosen"]
    return "prompt" not in values and (turns(chosen) is not None or is_foreign_conversation(chosen))


TRL = Format(
    "trl",
    ("prompt", "chosen", "rejected"),
    by_row(_trl),
    looks=lambda values: not lists_of_answers(values),
)
TRL_IMPLICIT = Format(
    "trl-implicit",
    ("chosen", "rejected"),
    by_row(_trl),
    looks=_implicit_looks,
)
HH = Format("hh", ("chosen", "rejected"), by_row(_hh), looks=_hh_looks)
TLDR = Format("tldr", ("info", "summaries", "choice"), by_row(_tldr))
