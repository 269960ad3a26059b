"""Chat templates in a process of their own; the referee is transformers, in this one."""

from __future__ import annotations

import signal
from types import FrameType

import pytest
from real_templates import CHATS, SPACED, with_chat
from transformers import PreTrainedTokenizerFast

from rewarddiff import rendering
from rewarddiff.rendering import Refusal, Renderer, RenderingError, render

TALK = [
    {"role": "user", "content": "Is 2 < 3? \ud800 — ja"},
    {"role": "assistant", "content": " It is. "},
]


@pytest.mark.parametrize("chat", CHATS)
def test_texts_are_those_of_transformers(
    tiny_tokenizer: PreTrainedTokenizerFast, chat: str
) -> None:
    tokenizer = with_chat(tiny_tokenizer, chat)
    ways = [{}, {"add_generation_prompt": True}, {"continue_final_message": True}]
    texts = render(
        CHATS[chat].template,
        [{"messages": TALK, **way} for way in ways],
        tokenizer.special_tokens_map,
    )
    assert texts == [tokenizer.apply_chat_template(TALK, tokenize=False, **way) for way in ways]


def test_a_template_says_no_or_fails() -> None:
    """By `raise_exception`, or by a mistake; the others of the same question are rendered."""
    system, user = ({"messages": [{"role": role, "content": "Hi"}]} for role in ("system", "user"))
    assert render(SPACED["mistral"], [user, system], {"bos_token": "<s>", "eos_token": "</s>"}) == [
        "<s>[INST] Hi [/INST]",
        Refusal("Conversation roles must alternate user/assistant/user/assistant/...", meant=True),
    ]
    (refusal,) = render("{{ messages[0].text.upper() }}", [user], {})
    assert refusal == Refusal("UndefinedError: 'dict object' has no attribute 'text'", meant=False)


def test_a_template_that_goes_on_or_swells_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 0.1)
    monkeypatch.setattr(rendering, "MEGABYTES", 64)
    long = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    doubling = "{% set n = namespace(x='x') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
    renderer = Renderer()
    try:
        for template in (doubling, long):  # the process is started again after the first
            with pytest.raises(RenderingError, match=r"more than 0\.1 s or 64 MB"):
                renderer.render(template, [{"messages": TALK}], {})
    finally:
        renderer.close()


def test_a_template_may_not_write_without_measure() -> None:
    """Ten million characters are little memory, and much work for all that comes after."""
    with pytest.raises(MemoryError):
        rendering._text("{{ messages[0].content[:1] * 10000000 }}", {"messages": TALK}, {})


USER = [{"messages": [{"role": "user", "content": "Hi"}]}]


def test_an_answer_that_nobody_read_is_not_that_of_the_next_question() -> None:
    """Ctrl-C while a template is rendered: who goes on asking gets the text of what is asked."""
    slow = "{% for i in range(99) %}{% for j in range(99999) %}{% endfor %}{% endfor %}slow"
    # The process is there: it is rendering that is interrupted.
    render("{{ messages[0].content }}", USER, {})
    before = signal.signal(signal.SIGALRM, _interrupted)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            render(slow, USER, {})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert render("{{ messages[0].content }}!", USER, {}) == ["Hi!"]


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def test_an_empty_template_is_not_the_one_before() -> None:
    assert render("{{ messages[0].content }}", USER, {}) == ["Hi"]
    assert render("", USER, {}) == [""]
