"""A tokenizer's chat template: conversations as texts, and what it refuses or does not read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

from rewarddiff import rendering
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Message, Prompt, Rendered, turns_and_tools
from rewarddiff.writing import counted

ANSWER = "An answer in words"
"""A reply by which it is seen what the template writes behind one."""

LONGEST_CAUSE = 200
"""Characters of a template's own message that are shown."""


def untemplated(tokenizer: Any, prompts: Iterable[Prompt]) -> int:
    """Count the prompts that are texts, where the model has a template for conversations."""
    if not tokenizer.chat_template:
        return 0
    return sum(isinstance(prompt, str) and not isinstance(prompt, Rendered) for prompt in prompts)


def as_they_stand(count: int, what: str) -> str:
    """Say that so many prompts are read without the template; `what` each is of, as "row"."""
    return (
        f"The prompts of {counted(count, what)} are texts and were read as they stand, though the model has "
        "a chat template; write them as turns where that is meant."
    )


class TemplateRefused(UserError):
    """A conversation that the template does not render, as with a role that it does not know."""

    def __init__(self, cause: str, place: str = "") -> None:
        where = f"{place}: " if place else ""
        super().__init__(
            f"{where}the chat template refuses the conversation ({cause}); change or delete the row"
        )
        self.cause = cause


class Conversation(NamedTuple):
    """A text that is asked of a template.

    Attributes:
        reply: None: the conversation up to the reply.
        continues: see `Encoder.prompt`.
    """

    prompt: tuple[Message, ...]
    reply: str | None = None
    continues: bool = True

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `rendering.render`."""
        if self.reply is None:
            return _opening(self.prompt, self.continues)
        return _closed(self.prompt, self.reply)


Rendering = Mapping[Conversation, str | rendering.Refusal]
"""Conversations with their texts, or why there is none."""


class ChatTemplate:
    """Renders conversations by the template of a tokenizer.

    Raises:
        UserError: from any method: there is no template, or it fails with every conversation.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._kept: Rendering = {}

    @property
    def name(self) -> str:
        """What messages call the model."""
        return self._tokenizer.name_or_path or "the model"

    def opening(self, prompt: Sequence[Message], continues: bool = True) -> str:
        """Return a conversation up to the reply; see `Encoder.prompt`.

        The last one is kept, as its responses are asked for next.
        """
        asked = Conversation(tuple(prompt), continues=continues)
        if asked not in self._kept:
            self._kept = self._texts([asked])
        (text,) = self._render([asked])
        return text

    def wholes(self, prompt: Sequence[Message], replies: Iterable[str]) -> list[str]:
        """Return the conversation with each of the replies."""
        return self._render([Conversation(tuple(prompt), reply) for reply in replies])

    def render_ahead(self, groups: Iterable[Group]) -> Rendering:
        """Render all that is going to be asked of these groups at once, hold it, and return it.

        Groups with plain text for a prompt have nothing to render.
        """
        asked: list[Conversation] = []
        for group in groups:
            prompt = group.prompt
            if not isinstance(prompt, str):
                asked.append(Conversation(prompt))
                asked += [Conversation(prompt, reply) for reply in group.responses]
        self.hold(self._texts(asked))
        return self._kept

    def hold(self, rendered: Rendering) -> None:
        """Take these conversations as rendered, until others are."""
        self._kept = rendered

    def refusals(self, prompts: Iterable[Prompt]) -> dict[Prompt, str]:
        """Return the conversations that the template refuses, and what it says."""
        conversations = [prompt for prompt in prompts if not isinstance(prompt, str)]
        if not conversations:
            return {}
        texts = self._texts_or_refusals([_opening(prompt) for prompt in conversations])
        refusals: dict[Prompt, str] = {}
        for prompt, text in zip(conversations, texts, strict=True):
            if isinstance(text, rendering.Refusal):
                refusals[prompt] = self._refused(text).cause
        return refusals

    def left_out(self, prompt: Prompt) -> str:
        """Say whether tools, or calls of tools, make no difference to the text; empty: they do."""
        if isinstance(prompt, str) or not any(message.extras for message in prompt):
            return ""
        whole = self._texts_or_refusals([_opening(prompt)])
        unread = []
        for key in ("tools", "tool_calls"):
            if any(key in message.turn() for message in prompt):
                bare = [message.without(key) for message in prompt]
                if self._texts_or_refusals([_opening(bare)]) == whole:
                    unread.append(key)
        return f"the chat template does not read {' and '.join(unread)}" if unread else ""

    @cached_property
    def end_of_turn(self) -> int | None:
        """The special token that the template puts after a reply; None where it puts none."""
        if self._example is None:
            return None
        tail = self._example.rpartition(ANSWER)[2]
        special = set(self._tokenizer.all_special_ids)
        # Some special tokens carry no name such as "eos_token", and are only here.
        for token_id, token in self._tokenizer.added_tokens_decoder.items():
            if token.special:
                special.add(token_id)
        for token_id in self._tokenizer(tail, add_special_tokens=False).input_ids:
            if token_id in special:
                end: int = token_id
                return end
        return None

    @cached_property
    def _example(self) -> str | None:
        """A question with `ANSWER` as the template writes it; None where it refuses even them."""
        question = (Message("user", "Question"),)
        texts = self._texts_or_refusals([_closed(question, ANSWER), _opening(question)])
        for text in texts:
            if isinstance(text, rendering.Refusal) and not text.meant:
                raise self._broken(text.cause)
        whole = texts[0]
        return whole if isinstance(whole, str) else None

    def _render(self, asked: Sequence[Conversation]) -> list[str]:
        """Return texts; raise `TemplateRefused` where one is refused."""
        texts = self._kept
        missing = [one for one in asked if one not in texts]
        if missing:
            texts = {**texts, **self._texts(missing)}
        rendered = []
        for one in asked:
            text = texts[one]
            if isinstance(text, rendering.Refusal):
                raise self._refused(text)
            rendered.append(text)
        return rendered

    def _texts(self, asked: Sequence[Conversation]) -> Rendering:
        """Return the text of each, or why it is refused."""
        if not asked:
            return {}
        texts = self._texts_or_refusals([one.arguments for one in asked])
        return dict(zip(asked, texts, strict=True))

    def _refused(self, refusal: rendering.Refusal) -> TemplateRefused:
        """Return the error for a conversation; raise another where the template fails with any."""
        _ = self._example
        return TemplateRefused(_one_line(refusal.cause))

    def _texts_or_refusals(
        self, conversations: Sequence[dict[str, Any]]
    ) -> list[str | rendering.Refusal]:
        if self._tokenizer.chat_template is None:
            raise UserError(
                "the data holds conversations but the tokenizer has no chat template: "
                "use an instruction-tuned model, set tokenizer.chat_template, "
                "or give plain-text prompts"
            )
        texts: list[str | rendering.Refusal] = []
        try:
            for template, run in groupby(conversations, key=self._template_for):
                variables = self._tokenizer.special_tokens_map
                texts += rendering.render(template, list(run), variables)
        except (rendering.RenderingError, ValueError) as error:
            raise self._broken(str(error)) from error
        return texts

    def _template_for(self, conversation: dict[str, Any]) -> str:
        """Return the chat template; some tokenizers have one of their own for tools."""
        template: str = self._tokenizer.get_chat_template(tools=conversation.get("tools"))
        return template

    def _broken(self, cause: str) -> UserError:
        return UserError(
            f"{self.name}: its chat template does not work ({_one_line(cause)}); "
            "mend the template, or take another"
        )


def _one_line(cause: str) -> str:
    return " ".join(cause.split())[:LONGEST_CAUSE].rstrip(".")


def _opening(prompt: Sequence[Message], continues: bool = True) -> dict[str, Any]:
    """Return a conversation up to the reply, as arguments of `rendering.render`.

    An assistant's turn at its end is the beginning of the reply, as TRL has it.
    """
    turns, tools = turns_and_tools(prompt)
    reply_begun = continues and _reply_begun(prompt)
    return {
        "messages": turns,
        "tools": tools,
        "add_generation_prompt": not reply_begun,
        "continue_final_message": reply_begun,
    }


def _closed(prompt: Sequence[Message], reply: str) -> dict[str, Any]:
    """Return a conversation with its reply, as arguments of `rendering.render`."""
    turns, tools = turns_and_tools(prompt)
    if _reply_begun(prompt):
        turns[-1]["content"] += reply
    else:
        turns.append({"role": "assistant", "content": reply})
    return {"messages": turns, "tools": tools}


def _reply_begun(prompt: Sequence[Message]) -> bool:
    """Tell whether a conversation ends with the beginning of the reply."""
    if not prompt or prompt[-1].role != "assistant":
        return False
    return "tool_calls" not in prompt[-1].turn()
