"""What docs/serve.md shows is what the server answers."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rewarddiff.scorers.opening import fingerprint_of, open_scorer
from rewarddiff.serve.config import ServeConfig
from rewarddiff.serve.protocols import PROTOCOLS
from rewarddiff.serve.served import Served
from tests.serve.conftest import running

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"
EXAMPLES = re.findall(r"```console\n\$ (curl .*)\n(.*)\n```", PAGE.read_text(encoding="utf-8"))

OF_EACH = ("id", "created")


@pytest.fixture(scope="module")
def lengths() -> Iterator[httpx2.Client]:
    served = Served(open_scorer("length"), fingerprint=fingerprint_of("length"))
    with running(served) as client:
        yield client


def lasting(answer: Any) -> Any:
    """Return an answer without what each has for itself, and without the last digits of solving."""
    if isinstance(answer, dict):
        return {key: lasting(value) for key, value in answer.items() if key not in OF_EACH}
    if isinstance(answer, list):
        return [lasting(value) for value in answer]
    return round(answer, 9) if isinstance(answer, float) else answer


@pytest.mark.parametrize(("command", "shown"), EXAMPLES)
def test_examples(lengths, command: str, shown: str) -> None:
    _, _, address, _, body = shlex.split(command)
    answer = lengths.post(address.removeprefix("localhost:8000"), content=body)
    assert lasting(answer.json()) == lasting(json.loads(shown))


def test_every_route_and_limit_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown = {shlex.split(command)[2] for command, _ in EXAMPLES}
    assert shown == {f"localhost:8000{protocol.route}" for protocol in PROTOCOLS}
    config = ServeConfig()
    for name, value in vars(config).items():
        default = "none" if value is None else f"{value:g}" if value < 1e6 else str(value)
        assert f"| `{name}` | {default} |" in page
