"""How each server is asked for rewards, and where they stand in its answer.

Sources:
    vLLM: docs.vllm.ai, "Classification API" and "Pooling API"; vllm/entrypoints/pooling/base/
        protocol.py. A reward model's number passes a sigmoid unless use_activation is false.
    SGLang: docs.sglang.io, "Reward models"; python/sglang/srt/entrypoints/http_server.py (/classify
        takes and gives what /encode does) and its OpenAI-compatible /v1/embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rewarddiff.records import is_number, plain_prompt
from rewarddiff.scorers.remote.options import ApiName
from rewarddiff.scorers.remote.texts import Conversation, Sent, Split

Body = dict[str, Any]
Read = Callable[[Any, int], list[float]]
"""Takes the rewards of so many texts from an answer; a ValueError says what is amiss with it."""


@dataclass(frozen=True)
class Api:
    """One way to ask for rewards.

    Attributes:
        path: where it is asked.
        body: what is posted of texts, all of one kind; `model` is the name that the server has.
        read: see `Read`.
        takes: which kinds of texts it takes.
        alone: which of them are posted one by one.
    """

    path: str
    body: Callable[[str, Sequence[Any]], Body]
    read: Read
    takes: tuple[type, ...] = (str, tuple)
    alone: tuple[type, ...] = ()

    def batches(self, texts: Sequence[Sent], size: int) -> list[list[int]]:
        """Return the places of texts that are posted together: of one kind, in their order."""
        batches: list[list[int]] = []
        for kind, run in groupby(range(len(texts)), key=lambda i: type(texts[i])):
            places = list(run)
            step = 1 if kind in self.alone else size
            batches += [places[i : i + step] for i in range(0, len(places), step)]
        return batches


def _vllm(model: str, texts: Sequence[Sent]) -> Body:
    first = texts[0]
    body: Body = {"model": model, "use_activation": False}
    if isinstance(first, Conversation):
        return {**body, "messages": first.turns}
    return {**body, "input": list(texts)}


def _vllm_pooling(model: str, texts: Sequence[Sent]) -> Body:
    return {**_vllm(model, texts), "task": "classify"}


def _sglang(model: str, texts: Sequence[Sent]) -> Body:
    tokens = isinstance(texts[0], tuple)
    return {"model": model, "input_ids" if tokens else "text": list(texts)}


def _embeddings(model: str, texts: Sequence[Sent]) -> Body:
    return {"model": model, "input": list(texts)}


def _rows(model: str, texts: Sequence[Split]) -> Body:
    """Give a prompt once with all its responses that are neighbours."""
    rows = []
    for prompt, run in groupby(texts, key=lambda text: text.prompt):
        responses = [text.response for text in run]
        rows.append({"prompt": plain_prompt(prompt), "responses": responses})
    return {"rows": rows}


def _listed(key: str) -> Read:
    """Return what reads `{"data": [{"index": …, KEY: [number]}, …]}`, in any order."""

    def read(answer: Any, count: int) -> list[float]:
        entries = _entries(_at(answer, "data"), count)
        by_place = {}
        for place, entry in enumerate(entries):
            by_place[entry.get("index", place)] = _only_number(_at(entry, key))
        if sorted(by_place) != list(range(count)):
            raise ValueError("entries whose index is missing or twice there")
        return [by_place[place] for place in range(count)]

    return read


def _embedded(answer: Any, count: int) -> list[float]:
    """Read SGLang's `[{"embedding": [number], …}, …]`; of one text it may be no list."""
    entries = [answer] if isinstance(answer, dict) else answer
    return [_only_number(_at(entry, "embedding")) for entry in _entries(entries, count)]


def _scored(answer: Any, count: int) -> list[float]:
    """Read `{"scores": [[number, …], …]}` of `rewarddiff serve`."""
    rows = _at(answer, "scores")
    numbers = []
    for row in rows if isinstance(rows, list) else [rows]:
        numbers += [number(value) for value in row] if isinstance(row, list) else [number(row)]
    _require_count(len(numbers), count)
    return numbers


def _entries(entries: Any, count: int) -> list[Mapping[str, Any]]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("no list of entries")
    _require_count(len(entries), count)
    return entries


def _require_count(numbers: int, count: int) -> None:
    if numbers != count:
        raise ValueError(f"{numbers} numbers for {count} texts")


def _at(answer: Any, key: str) -> Any:
    if not isinstance(answer, dict) or key not in answer:
        raise ValueError(f"no {key}")
    return answer[key]


def _only_number(values: Any) -> float:
    """Return the one number of a list, which may stand in a list of one."""
    if isinstance(values, list) and len(values) == 1:
        inner = values[0]
        return _only_number(inner) if isinstance(inner, list) else number(inner)
    if isinstance(values, list):
        raise ValueError(f"{len(values)} numbers for a text, and a reward is one")
    return number(values)


def number(value: Any) -> float:
    """Return a finite number.

    Raises:
        ValueError: it is none.
    """
    if not is_number(value) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]}, which is no finite number")
    return float(value)


VLLM_KINDS = (str, tuple, Conversation)

APIS: dict[ApiName, Api] = {
    "vllm": Api("classify", _vllm, _listed("probs"), VLLM_KINDS, alone=(Conversation,)),
    "vllm-pooling": Api("pooling", _vllm_pooling, _listed("data"), VLLM_KINDS, (Conversation,)),
    "sglang": Api("classify", _sglang, _embedded),
    "sglang-embeddings": Api("v1/embeddings", _embeddings, _listed("embedding")),
    "rewarddiff": Api("score", _rows, _scored, takes=(Split,)),
}
"""Those that give rewards; `rewarddiff-compare` is asked by `scorer.RemoteComparer`."""
