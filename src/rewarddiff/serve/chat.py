"""Texts that a chat template has written already, as trainers send them.

A trainer renders a conversation by its policy's template and sends text. Where the scorer's own
template writes the same around a reply, the text is read as the conversation would be: nothing is
put before it, no second BOS either, and it ends as the template ends a reply, whatever of that the
policy wrote. Any other text is read as plain text, and closed with EOS, as in offline scoring.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewarddiff.chat_template import ANSWER, ChatTemplate
from rewarddiff.errors import UserError
from rewarddiff.records import Message, Prompt, Rendered
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.neural.texts import DecoderTexts
from rewarddiff.scorers.protocol import Scorer

QUESTION = "Question"


@dataclass(frozen=True)
class Chat:
    """What a template writes between a question and its reply, and behind the reply."""

    before: str
    after: str

    def prompt(self, text: str) -> Prompt:
        """Return a text as a prompt: rendered, where it ends as the template opens a reply."""
        return Rendered(text) if text.endswith(self.before) else text

    def response(self, text: str) -> str:
        """Return a reply with the end that the template writes, once.

        A reply that was cut has none of it, and one that was sampled has it up to the end token.
        """
        for end in (self.after, self.after.strip()):
            if end and text.endswith(end):
                text = text.removesuffix(end)
                break
        return text + self.after

    def split(self, text: str) -> tuple[str, str]:
        """Return a conversation up to its last reply, and the reply; ("", text) where it has none."""
        opening, before, reply = text.rpartition(self.before)
        return (opening + before, reply)


def texts_of(scorer: Scorer) -> DecoderTexts | None:
    """Return how a decoder that reads responses by themselves makes tokens; None of any other."""
    texts = scorer.reader.texts if isinstance(scorer, NeuralScorer) else None
    return texts if isinstance(texts, DecoderTexts) and not texts.joint else None


def chat_of(scorer: Scorer) -> Chat | None:
    """Return how the scorer's template writes replies; None where it reads by none."""
    texts = texts_of(scorer)
    if texts is None or texts.way != "whole" or not texts.tokenizer.chat_template:
        return None
    template = ChatTemplate(texts.tokenizer)
    question = (Message("user", QUESTION),)
    try:
        (whole,) = template.wholes(question, [ANSWER])
        opening = template.opening(question)
    except UserError:
        return None
    before = opening.rpartition(QUESTION)[2]
    return Chat(before, whole.rpartition(ANSWER)[2]) if before.strip() else None


def exchange(chat: Chat | None, prompt: str, response: str) -> tuple[Prompt, str]:
    """Return prompt and response as the scorer is to read them."""
    if chat is None:
        return prompt, response
    read_as = chat.prompt(prompt)
    if isinstance(read_as, Rendered):
        return read_as, chat.response(response)
    return prompt, response
