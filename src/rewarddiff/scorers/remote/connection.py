"""A server and what it serves, found out when it is first asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from rewarddiff.endpoints.answers import Failed
from rewarddiff.endpoints.client import Client, Patience
from rewarddiff.errors import UserError
from rewarddiff.progress import task
from rewarddiff.scorers.remote.options import ApiName, Remote

Asked = TypeVar("Asked")

FIRST_WAIT = 0.5
"""Seconds before a request is sent again."""

APIS_OF_OWNERS: dict[str, ApiName] = {"vllm": "vllm", "sglang": "sglang"}
"""How a server is asked, by what its list of models says owns them."""


@dataclass(frozen=True)
class Served:
    """What a server has.

    Attributes:
        api: how it is asked.
        model: the name of its model there.
        identity: what its answers are kept under.
    """

    api: ApiName
    model: str
    identity: str


class Connection:
    """A server, found out about when it is first asked.

    Args:
        name: what errors call the scorer.
    """

    def __init__(self, options: Remote, name: str) -> None:
        self.options = options
        self.name = name
        patience = Patience(options.timeout, options.attempts, FIRST_WAIT)
        self.client = Client(options.address, key_env=options.key_env, patience=patience)

    @cached_property
    def served(self) -> Served:
        """What the server has.

        Raises:
            UserError: it cannot be reached, or does not tell how to ask it.
        """
        try:
            return _served(self.client, self.options)
        except Failed as error:
            raise self.client.explained(error) from error

    def ask_all(
        self,
        jobs: Sequence[Asked],
        ask: Callable[[Asked], Any],
        row: Callable[[Asked], str],
        progress: str | None,
        count: Callable[[Asked], int] = lambda _: 1,
    ) -> Iterator[tuple[int, Any]]:
        """Yield place and answer of every job.

        Args:
            row: where a job comes from, for errors.
            count: how many texts it has, for the progress line.

        Raises:
            UserError: one of them got none.
        """

        def named(job: Asked) -> Any:
            try:
                return ask(job)
            except Failed as error:
                raise self.client.explained(error, row=row(job)) from error

        total = sum(map(count, jobs))
        with task(progress, total) if progress else nullcontext() as line:
            for place, answer in self.client.each(jobs, named, self.options.concurrency):
                yield place, answer
                if line is not None:
                    line.advance(count(jobs[place]))


def _served(client: Client, options: Remote) -> Served:
    """Find out how a server is asked, and what its model is called."""
    api = options.api_of_url
    if api in ("rewarddiff", "rewarddiff-compare"):
        return _served_here(client, options, api)
    if api is not None and options.model is not None:
        return Served(api, options.model, options.model)
    names, owner = _models(client)
    if api is None and owner not in APIS_OF_OWNERS:
        return _served_here(client, options, "rewarddiff")
    if options.model is None and len(names) != 1:
        raise UserError(
            f"{options.url}: serves {', '.join(names) or 'no model'}; name one as model"
        )
    model = options.model or names[0]
    identity = options.model or f"{options.address} {model}"
    return Served(api or APIS_OF_OWNERS[owner], model, identity)


def _served_here(client: Client, options: Remote, api: ApiName) -> Served:
    """Return what `rewarddiff serve` says of itself."""
    try:
        health = client.get("health", insist=False)
    except Failed as error:
        if error.status is None:
            raise
        health = None
    if not isinstance(health, dict) or "fingerprint" not in health:
        raise UserError(
            f"{options.url}: neither vLLM nor SGLang nor `rewarddiff serve` says that it is there; "
            "correct url, or name its api (vllm, vllm-pooling, sglang, sglang-embeddings)"
        )
    model = str(health.get("model"))
    if options.model not in (None, model):
        raise UserError(f"{options.url}: serves {model}, and not {options.model}; correct model")
    if options.template is not None:
        raise UserError(
            f"{options.url}: `rewarddiff serve` writes texts itself; leave out template"
        )
    identity = str(health["fingerprint"]) or f"{options.address} {model}"
    return Served(api, model, identity)


def _models(client: Client) -> tuple[list[str], str]:
    """Return the models that an OpenAI-compatible server lists, and who it says it is."""
    try:
        listed = client.get("v1/models")
    except Failed as error:
        if error.status != 404:
            raise
        return [], ""
    entries = listed.get("data") if isinstance(listed, dict) else None
    names: list[str] = []
    owner = ""
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            names.append(entry["id"])
            owner = str(entry.get("owned_by", ""))
    return names, owner
