"""What a recipe may say of a reward model behind HTTP. Imports nothing heavy."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

from rewarddiff.config import at_least, checked, positive
from rewarddiff.errors import UserError
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.store import fingerprint

ApiName = Literal[
    "rewarddiff", "rewarddiff-compare", "vllm", "vllm-pooling", "sglang", "sglang-embeddings"
]

OF_PATHS: dict[str, ApiName | None] = {
    "/v1/embeddings": "sglang-embeddings",
    "/pooling": "vllm-pooling",
    "/score": "rewarddiff",
    "/compare": "rewarddiff-compare",
    "/classify": None,
    "/v1": None,
}
"""What an address may end with, and the api that is then meant; None: the server tells."""


@checked
@dataclass(frozen=True, kw_only=True)
class Remote:
    """A reward model that a server reads: vLLM, SGLang, or `rewarddiff serve`.

    Answers are kept under what determines them, so that a run that stopped goes on, and asks for
    nothing twice: `model` where it is given, wherever it is served, and otherwise the address with
    the name that the server gives its model. Weights that are changed behind a name are not noticed,
    but for those of `rewarddiff serve`, which tells them apart.

    Attributes:
        url: where the server is, as http://host:8000.
        api: how it is asked. vllm: POST /classify with use_activation: false; vllm-pooling: POST
            /pooling; sglang: POST /classify; sglang-embeddings: POST /v1/embeddings; rewarddiff: POST
            /score; rewarddiff-compare: POST /compare, for a difference model. null: what the server
            says of itself.
        model: its name on the server; null: that of the only one.
        template: folder or hub name of the model that is served: texts are written and tokenised
            here, by its chat template and tokenizer, exactly as in training, and sent as tokens.
            null: vllm gets conversations as messages, plain prompts are sent as prompt and response
            in one text as they stand, and without an end token.
        key_env: the environment variable that holds the server's key; null: it needs none. The key
            stands in no file, no error and no log.
        batch: texts of one request.
        concurrency: requests under way together.
        timeout: seconds that one answer may take.
        attempts: how often a request is sent before the run ends, with waits that double from half
            a second on, or as long as the server asks for.
    """

    kind: Literal["remote"] = "remote"
    url: str
    api: ApiName | None = None
    model: str | None = None
    template: str | None = None
    key_env: str | None = None
    batch: int = 16
    concurrency: int = 8
    timeout: float = 60.0
    attempts: int = 6

    def __post_init__(self) -> None:
        at_least(self, 1, "batch", "concurrency", "attempts")
        positive(self, "timeout")
        if self.template is not None and (self.api or "").startswith("rewarddiff"):
            raise ValueError("template is for vllm and sglang: rewarddiff serve has its own")

    @property
    def address(self) -> str:
        """The server's address, without what `OF_PATHS` lists.

        Raises:
            UserError: it names an endpoint that gives no rewards.
        """
        url = self.url.rstrip("/")
        if url.endswith("/v1/classify"):
            raise UserError(
                f"{self.url}: SGLang's /v1/classify answers 1.0 whatever it reads, since it puts the "
                "one number of a reward model through a softmax; give the address without "
                "/v1/classify, and its /classify is asked"
            )
        for path in OF_PATHS:
            if url.endswith(path):
                return url.removesuffix(path)
        return url

    @property
    def api_of_url(self) -> ApiName | None:
        """The api that is asked for, or that the address ends with."""
        if self.api is not None:
            return self.api
        for path, api in OF_PATHS.items():
            if self.url.rstrip("/").endswith(path):
                return api
        return None

    def scorer(self, name: str) -> Scorer:
        """Return the scorer. The server is asked when the scorer is."""
        scorers = importlib.import_module("rewarddiff.scorers.remote.scorer")
        scorer: Scorer = scorers.remote_scorer(self, name)
        return scorer

    def fingerprint(self) -> str:
        served = self.model or self.url
        return fingerprint("remote", self.api_of_url, served, self.template)
