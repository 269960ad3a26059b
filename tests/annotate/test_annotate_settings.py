"""What annotators choose for themselves: keys, and how texts are shown."""

from __future__ import annotations

import re

import httpx2
import pytest

from tests.annotate.conftest import Project, Serve, fields, rated_pairs


def keys(client: httpx2.Client) -> list[str]:
    return re.findall(r'data-key="(.)"', client.get("/").text)


def chosen(client: httpx2.Client, **form: str) -> httpx2.Response:
    letters = dict(zip("1234567", "qwertyi", strict=True))
    sent = {"key": fields(client.get("/").text)["key"], "with_keys": "on", "view": "formatted"}
    sent |= {f"key-{action}": letter for action, letter in letters.items()}
    sent |= {"key-skip": "x", "key-undo": "z"}
    return client.post("/settings", data={**sent, **form})


def test_keys_are_changed_switched_off_and_back_for_one_annotator(project: Project) -> None:
    with project.visitor() as client, project.visitor(2) as other:
        assert keys(client) == [*"1234567s"]
        assert "Saved." in chosen(client).text
        assert keys(client) == [*"qwertyix"]
        assert keys(other) == [*"1234567s"]
        form = {"key": fields(client.get("/").text)["key"], "standard": "yes"}
        client.post("/settings", data=form)
        assert keys(client) == [*"1234567s"]
        form = {f"key-{action}": action for action in "1234567"}
        form |= {"key-skip": "s", "key-undo": "u", "key": fields(client.get("/").text)["key"]}
        client.post("/settings", data=form)
        assert keys(client) == []
        assert "<kbd" not in client.get("/").text


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"key-2": "q"}, "“q” is already the key of another answer."),
        ({"key-2": "Q"}, "“q” is already the key of another answer."),
        ({"key-2": ""}, "Give one letter"),
        ({"key-2": "ab"}, "Give one letter"),
        ({"key-2": "\x07"}, "Give one letter"),
    ],
)
def test_keys_that_cannot_be_are_refused_with_their_place(
    project: Project, form: dict[str, str], problem: str
) -> None:
    with project.visitor() as client:
        answer = chosen(client, **form)
        assert answer.status_code == 422
        assert problem in answer.text
        assert 'aria-describedby="problem-2"' in answer.text
        assert keys(client) == [*"1234567s"]


def test_responses_as_they_are_written(serve: Serve) -> None:
    pairs = rated_pairs(1)
    with serve(pairs) as project, project.visitor() as client:
        assert "<p>answer" in client.get("/").text
        chosen(client, view="written")
        assert "<p>answer" not in client.get("/").text
        assert 'class="text written" dir="auto">answer' in client.get("/").text
