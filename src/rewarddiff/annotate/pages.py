"""The pages: templates, filled with what an annotator may know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rewarddiff.annotate.keys import Preferences
from rewarddiff.annotate.records import Progress, Shown
from rewarddiff.annotate.scale import labels
from rewarddiff.annotate.texts import as_written, formatted
from rewarddiff.records import Prompt

LONGEST_REASON = 4000
"""Characters."""


@dataclass(frozen=True)
class Choice:
    """A step of the scale, as it is shown.

    Attributes:
        value: counted from 1, from the first response's side.
        side: "A", "B", or "" for a tie.
        degree: steps from the tie.
    """

    value: int
    label: str
    side: str
    degree: int


@dataclass(frozen=True)
class Turn:
    """One turn of a prompt; a prompt that is a text has one, without a speaker."""

    speaker: str
    text: Markup
    further: str = ""


@dataclass(frozen=True)
class LastVote:
    """The vote that an undo takes back, in the words of the page that it was given on."""

    nonce: str
    label: str


@dataclass(frozen=True)
class Reader:
    """Who a page is for.

    Attributes:
        form_key: what their forms bear.
        steps: of the scale.
    """

    name: str
    form_key: str
    preferences: Preferences
    progress: Progress
    steps: int


def comparison_page(
    reader: Reader, shown: Shown, nonce: str, last: LastVote | None, note: str
) -> str:
    """Return the page that asks about one item."""
    show = as_written if reader.preferences.written else formatted
    responses = zip("AB", map(show, shown.responses), strict=True)
    return _page(
        "comparison.html",
        reader=reader,
        item=shown,
        turns=turns_of(shown.prompt, reader.preferences.written),
        responses=list(responses),
        choices=choices(reader.steps),
        nonce=nonce,
        last=last,
        note=note,
        longest=LONGEST_REASON,
    )


def done_page(reader: Reader, last: LastVote | None) -> str:
    """Return the page that says thank you."""
    return _page("done.html", reader=reader, last=last, note="")


def guidelines_page(reader: Reader, guidelines: str) -> str:
    """Return the page that says what is asked."""
    return _page(
        "guidelines.html",
        reader=reader,
        guidelines=formatted(guidelines, breaks=False),
        choices=choices(reader.steps),
    )


def settings_page(
    reader: Reader, chosen: Preferences, problems: dict[str, str], *, saved: bool = False
) -> str:
    """Return the page on which keys are chosen; `problems` are by action."""
    return _page(
        "settings.html",
        reader=reader,
        chosen=chosen,
        choices=choices(reader.steps),
        problems=problems,
        saved=saved,
    )


def message_page(title: str, message: str, *, goes_on: bool = False) -> str:
    """Return a page with one sentence; one that `goes_on` leads to the comparisons by itself."""
    return _page("message.html", reader=None, title=title, message=message, goes_on=goes_on)


def choices(steps: int) -> list[Choice]:
    """Return the steps of a scale, from the first response's side to the second's."""
    middle = (steps + 1) // 2
    shown = []
    for value, label in enumerate(labels(steps), start=1):
        side = "A" if value < middle else "B" if value > middle else ""
        shown.append(Choice(value, label, side, abs(value - middle)))
    return shown


def turns_of(prompt: Prompt, written: bool) -> list[Turn]:
    """Return the turns of a prompt; of an assistant's the text is formatted like a response.

    Empty lines around a turn are not shown: prompts as of HH begin with some.
    """
    if isinstance(prompt, str):
        return [Turn("", as_written(prompt.strip("\r\n")))]
    turns = []
    for message in prompt:
        is_response = message.role == "assistant" and not written
        show = formatted if is_response else as_written
        speaker = message.role if len(prompt) > 1 else ""
        turns.append(Turn(speaker, show(message.content.strip("\r\n")), message.extras))
    return turns


def _page(template: str, **values: Any) -> str:
    return _templates().get_template(template).render(values)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("rewarddiff.annotate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
