"""The page as axe-core sees it, and at every size: nothing is unnamed, faint, cut or covered."""

from __future__ import annotations

from typing import Any

import pytest

from rewarddiff.annotate.records import Pair
from rewarddiff.records import Message
from tests.annotate.conftest import DESK, PHONE, Serve, page_of, wait_for

LOOKS = [(scheme, size) for scheme in ("light", "dark") for size in (DESK, PHONE)]

LONG = "\n\n".join(
    [
        "# A heading\n\nA [link](https://example.org) and `code`.",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "```python\nprint('a very long line of code that is wider than a phone' * 3)\n```",
        "> quoted\n\n1. one\n2. two",
        *(["A paragraph of ordinary text."] * 12),
    ]
)


def faults(page: Any) -> list[str]:
    """What axe-core finds serious or critical on a page, told in a line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    options = {"resultTypes": ["violations"]}
    found = axe.Axe().run(page, options=options).response["violations"]
    lines = []
    for violation in found:
        if violation["impact"] in ("serious", "critical"):
            places = [node["html"] for node in violation["nodes"]]
            lines.append(f"{page.url} {violation['id']}: {places}")
    return lines


def stay(route: Any) -> None:
    """Let a page that leads on by itself stay, so that it can be looked at."""
    answer = route.fetch()
    route.fulfill(response=answer, body=answer.text().replace('http-equiv="refresh"', ""))


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "size"), LOOKS, ids=lambda value: str(value)[:14])
def test_axe_finds_nothing_serious_on_any_page(
    browser: Any, serve: Serve, scheme: str, size: dict[str, int]
) -> None:
    turns = (
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message.of("assistant", "**Hello**", {"tool_calls": [{"name": "clock"}]}),
        Message("user", "What now?"),
    )
    pairs = [Pair(turns, LONG, "Short.", {})]
    found = []
    with (
        serve(pairs) as project,
        page_of(browser, project, viewport=size, color_scheme=scheme) as page,
    ):
        found += faults(page)
        page.get_by_text("Add a reason").click()
        found += faults(page)
        for path in ("/guidelines", "/settings", "/settings?saved", "/none", "/enter/wrong"):
            page.goto(project.address + path)
            found += faults(page)
        page.goto(f"{project.address}/settings")
        page.get_by_label("A is much better").fill("7")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("already the key").wait_for()
        found += faults(page)
        page.goto(project.address)
        page.locator('.scale button[value="4"]').click()
        wait_for(page, "Thank you")
        found += faults(page)
        page.get_by_role("button", name="Undo").click()
        page.get_by_text("taken back").wait_for()
        found += faults(page)
        page.context.set_offline(True)
        page.locator('.scale button[value="4"]').click()
        page.get_by_text("not saved yet").wait_for()
        found += faults(page)
        page.context.set_offline(False)
        wait_for(page, "Thank you")
        page.context.clear_cookies()
        page.route("**/welcome", stay)
        page.goto(f"{project.address}/welcome")
        page.get_by_text("is accepted").wait_for()
        found += faults(page)
    assert found == []


@pytest.mark.parametrize("size", [DESK, PHONE, {"width": 320, "height": 568}], ids=str)
def test_nothing_is_cut_or_covered(browser: Any, serve: Serve, size: dict[str, int]) -> None:
    pairs = [Pair("W" * 400, LONG, "x" * 3000, {})]
    with serve(pairs) as project, page_of(browser, project, viewport=size) as page:
        # Nothing is wider than the window.
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0
        assert page.locator(".scale button").count() == 7
        for button in page.locator(".scale button").all():
            box = button.bounding_box()
            assert box["height"] >= 44 or size is DESK
            assert box["width"] >= 36
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= size["width"]
            assert box["y"] + box["height"] <= size["height"]  # in sight without scrolling
        # The end of the last response can be scrolled out from under the bar.
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        response = page.locator(".response").last.bounding_box()
        bar = page.locator(".vote").bounding_box()
        assert response["y"] + response["height"] <= bar["y"] + 1
