"""What a recipe may say of judges and panels. Imports nothing heavy."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal
from urllib.parse import urlsplit

from rewarddiff.config import at_least, checked, positive
from rewarddiff.endpoints.addresses import normalised
from rewarddiff.errors import UserError
from rewarddiff.scorers.judging.texts import Template, instruction_of, template_of
from rewarddiff.scorers.protocol import Judge as JudgeProtocol
from rewarddiff.scorers.protocol import Orders, Scorer
from rewarddiff.store import fingerprint

FormName = Literal["scores", "grades"]

FORMAT = 2
"""Raised where a reply is read otherwise, or a judge is asked otherwise: earlier verdicts are not read."""

FEW = "names fewer than two scorers: one alone is no panel"
"""What is amiss with a panel of one; told after names that are none."""

KEYS_OF_HOSTS = {"api.openai.com": "OPENAI_API_KEY"}
"""The environment variable that holds the key of a server, where its users all call it so."""


@checked
@dataclass(frozen=True, kw_only=True)
class Judge:
    """A language model that reads a prompt with two responses and says which is better, and by how much.

    It stands behind an OpenAI-compatible server (`url`, `model`), or is read here (`local`). Verdicts are
    kept under all that determines them: a run that stopped goes on, and nothing is asked twice. The same
    `model` at another address is another judge. A pair without a verdict (the judge refuses, or what it
    says is off the menu) is unscored, and nothing of it is kept: `rewarddiff judge` asks again, a
    recipe where the folder of the stage is deleted.

    Attributes:
        url: of the API, as https://api.openai.com/v1 or http://host:8000.
        model: its name on the server.
        local: folder or hub name of a language model with a chat template, read here.
        form: of the verdict. scores: an explanation, then a score from 1 to 10 for each response; d is
            their difference. grades: an explanation, then one of seven grades; d is from −3 to 3.
        prompt: how it is asked: scores, pairwise, helpful, harmless, or a file of one's own with
            {prompt}, {response_1} and {response_2}.
        orders: both: every pair is read with either response first, and a verdict that turns with the
            order is a tie; one: which stands first is drawn by the pair and `seed`.
        logprobs: in form grades, ask for log-probabilities; where the server gives them, d is the
            expectation over the grades.
        max_tokens: of a reply. temperature: 0 is greedy.
        seed: of the order, and of sampling by servers that heed one.
        key_env: the environment variable that holds the server's key; null: it needs none, or
            OPENAI_API_KEY for api.openai.com. The key stands in no file, no error and no log.
        concurrency: requests under way together; of a local model, pairs read side by side.
        timeout: seconds that one answer may take.
        attempts: how often a pair is asked for a verdict before it is unscored, and how often a request
            that fails on its way is sent.
        price_in, price_out: of a million tokens read and written, for the estimate before and the sum
            after, in whatever money.
    """

    kind: Literal["judge"] = "judge"
    url: str | None = None
    model: str | None = None
    local: str | None = None
    form: FormName = "scores"
    prompt: str = "scores"
    orders: Orders = "both"
    logprobs: bool = True
    max_tokens: int = 1024
    temperature: float = 0.0
    seed: int = 0
    key_env: str | None = None
    concurrency: int = 8
    timeout: float = 120.0
    attempts: int = 6
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self) -> None:
        at_least(self, 1, "max_tokens", "concurrency", "attempts")
        at_least(self, 0, "temperature", "price_in", "price_out")
        positive(self, "timeout")
        if (self.url is None) == (self.local is None):
            raise ValueError("a judge needs either url and model, or local")
        if (self.url is None) != (self.model is None):
            raise ValueError("url and model belong together: name the model as its server does")

    @property
    def key_variable(self) -> str | None:
        """The environment variable that holds the key; None: there is none."""
        host = urlsplit(self.url or "").hostname or ""
        return self.key_env or KEYS_OF_HOSTS.get(host)

    @property
    def asks_logprobs(self) -> bool:
        """Whether log-probabilities are asked for: the other form has no grades to weigh."""
        return self.logprobs and self.form == "grades"

    @property
    def template(self) -> Template:
        """How it is asked.

        Raises:
            UserError: there is no such prompt file, or a placeholder is missing in it.
        """
        return template_of(self.prompt)

    @property
    def instruction(self) -> str:
        """What it is told to write at the end."""
        return instruction_of(self.form)

    def scorer(self, name: str) -> JudgeProtocol:
        """Return the judge. A server is asked when the judge is; a local model is read now.

        Raises:
            UserError: no key, no such model, or no such prompt file.
        """
        scorers = importlib.import_module("rewarddiff.scorers.judging.scorer")
        judge: JudgeProtocol = scorers.judge_of(self, name)
        return judge

    def fingerprint(self) -> str:
        """Return a hash of all that determines its verdicts: equal ones judge alike.

        Raises:
            UserError: see `scorer`.
        """
        return fingerprint("judge", self.answering(), self.template.text, self.orders)

    def answering(self) -> list[object]:
        """Return what determines the verdict on a text that is written for it."""
        sampling = [self.max_tokens, self.temperature, self.seed, self.asks_logprobs]
        return [FORMAT, self._model_key(), self.form, self.instruction, sampling]

    def _model_key(self) -> object:
        """Return which model it is: where it is served under which name, or its weights."""
        if self.url is not None:
            return [normalised(self.url), self.model]
        return importlib.import_module("rewarddiff.models").fingerprint(self.local)


OPTIONS = tuple(
    field.name for field in fields(Judge) if field.name not in ("kind", "url", "model", "local")
)
"""What a command may say of a judge, besides who it is."""


@checked
@dataclass(frozen=True, kw_only=True)
class Panel:
    """Scorers of the recipe that vote on each pair; the majority of the whole panel decides.

    A scorer votes for the response that its d favours, and abstains where it gives none. A response wins
    with more than half of all votes, abstentions counted; d is then the share of votes for a minus that
    for b. Otherwise it is a tie. Where more than half abstain, the pair is unscored.

    Attributes:
        of: names of two scorers of the recipe or more, that stand before it; of any kind.
    """

    kind: Literal["panel"] = "panel"
    of: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.of)) < len(self.of):
            raise ValueError("of names a scorer twice: each has one vote")

    def scorer(self, name: str) -> Scorer:
        """Raise a UserError: a panel is made of other scorers, by `panel_of`."""
        raise UserError(f"{name}: a panel needs its scorers; ask for it in a recipe, under scorers")

    def panel_of(self, name: str, members: Mapping[str, Scorer]) -> JudgeProtocol:
        """Return the panel.

        Args:
            name: what errors call it.
            members: every scorer that `of` names, by its name.
        """
        if len(self.of) < 2:
            raise UserError(f"{name}.of: {FEW}")
        panels = importlib.import_module("rewarddiff.scorers.judging.panel")
        panel: JudgeProtocol = panels.PanelScorer(name, {of: members[of] for of in self.of})
        return panel

    def fingerprint(self) -> str:
        """Return a hash of its own options: whoever makes the panel adds what its members are."""
        return fingerprint("panel", self.of)
