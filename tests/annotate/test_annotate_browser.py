"""The page in a real browser: by keyboard, by pointer, without script, and as axe-core sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rewarddiff.annotate.records import Pair
from tests.annotate.conftest import (
    PHONE,
    Project,
    Serve,
    page_of,
    rated_pairs,
    wait_for,
    worth,
)
from tests.annotate.payloads import PAYLOADS

SETTLING = 300
"""Milliseconds in which a key answers nothing yet: one struck twice must not."""


def right_choice(page: Any) -> int:
    """The choice that the texts ask for: as many steps from the tie as they differ in worth."""
    left, right = page.locator(".response").all_inner_texts()
    return 4 - (worth(left) - worth(right))


def headings(count: int) -> Iterator[str]:
    """What stands above the pages that follow each of so many votes."""
    for number in range(2, count + 1):
        yield f"Comparison {number} of {count}"
    yield "Thank you"


def by_keyboard(page: Any) -> None:
    page.wait_for_timeout(SETTLING)
    page.keyboard.press(str(right_choice(page)))


def by_pointer(page: Any) -> None:
    page.locator(f'.scale button[value="{right_choice(page)}"]').click()


@pytest.mark.slow
def test_three_annotators_answer_thirty_items_by_keyboard_by_pointer_and_without_script(
    browser: Any, serve: Serve
) -> None:
    ways = [(by_keyboard, {}), (by_pointer, {"viewport": PHONE}), (by_pointer, {})]
    with serve(rated_pairs(30)) as project:
        for annotator, (answer, options) in enumerate(ways, start=1):
            has_script = annotator != 3
            with page_of(
                browser, project, annotator, java_script_enabled=has_script, **options
            ) as page:
                for heading in headings(30):
                    answer(page)
                    wait_for(page, heading)
        rows = project.rows()
    assert len(rows) == 90
    # The texts tell the grade: how much more a is worth, whichever stood left.
    for row in rows:
        assert row["grade"] == worth(row["a"]) - worth(row["b"])
        assert row["seconds"] > 0
    assert {row["grade"] for row in rows} == {-3, -2, -1, 0, 1, 2, 3}


def test_undo_skip_and_reason_by_keyboard(browser: Any, serve: Serve) -> None:
    with serve(rated_pairs(3)) as project, page_of(browser, project) as page:
        page.wait_for_timeout(SETTLING)
        page.get_by_text("Add a reason").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.type("1 and 7, u and s are only letters here\nso is Enter")
        assert project.rows() == []
        page.keyboard.press("Tab")  # out of the text: keys answer again
        page.keyboard.press("2")
        wait_for(page, "Comparison 2 of 3")
        [row] = project.rows()
        assert row["reason"].endswith("so is Enter")
        page.wait_for_timeout(SETTLING)
        page.keyboard.press("u")
        wait_for(page, "Comparison 1 of 3")
        assert page.get_by_text("taken back").is_visible()
        assert page.get_by_role("textbox").input_value() == row["reason"]
        assert project.rows() == []
        page.wait_for_timeout(SETTLING)
        page.keyboard.press("s")
        wait_for(page, "Comparison 2 of 3")
        [row] = project.rows()
        assert (row["skipped"], row["grade"]) == (1, None)
        # A new comparison is announced: its heading has the focus.
        assert page.evaluate("document.activeElement.tagName") == "H1"


def test_keys_struck_twice_held_or_with_ctrl_answer_once_or_never(
    browser: Any, serve: Serve
) -> None:
    with serve(rated_pairs(3)) as project, page_of(browser, project) as page:
        page.wait_for_timeout(SETTLING)
        for key in ("Control+1", "Alt+1", "Meta+1", "8", "x", "Escape"):
            page.keyboard.press(key)
        assert project.rows() == []
        page.evaluate(
            "for (let n = 0; n < 5; n++)"
            "  document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '1', bubbles: true}))"
        )
        wait_for(page, "Comparison 2 of 3")
        page.keyboard.press("1")  # at once: the second half of a double stroke
        page.wait_for_timeout(200)
        assert len(project.rows()) == 1


def test_keys_that_are_changed_and_switched_off(browser: Any, serve: Serve) -> None:
    with serve(rated_pairs(3)) as project, page_of(browser, project) as page:
        page.get_by_role("link", name="Settings").click()
        page.get_by_label("A is much better").fill("j")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("link", name="Compare").click()
        page.wait_for_timeout(SETTLING)
        page.keyboard.press("1")
        page.wait_for_timeout(200)
        assert project.rows() == []
        page.keyboard.press("j")
        wait_for(page, "Comparison 2 of 3")
        page.get_by_role("link", name="Settings").click()
        page.get_by_label("A single key answers").uncheck()
        page.get_by_role("button", name="Save").click()
        page.get_by_role("link", name="Compare").click()
        page.wait_for_timeout(SETTLING)
        for key in "j1234567su":
            page.keyboard.press(key)
        page.wait_for_timeout(200)
        assert len(project.rows()) == 1


def test_a_lost_connection_loses_no_vote_and_stores_none_twice(browser: Any, serve: Serve) -> None:
    with serve(rated_pairs(3)) as project, page_of(browser, project) as page:
        page.context.set_offline(True)
        by_pointer(page)
        page.get_by_text("not saved yet").wait_for()
        by_keyboard(page)  # nothing further is taken while one is under way
        assert project.rows() == []
        page.context.set_offline(False)
        wait_for(page, "Comparison 2 of 3")
        assert not page.locator("#sending").is_visible()
        assert len(project.rows()) == 1
        # The answer is lost on its way back: the vote is stored, and is sent once more.
        lost = []

        def lose(route: Any) -> None:
            if not lost:
                lost.append(route.fetch(max_redirects=0).status)
                route.abort()
            else:
                route.continue_()

        page.route("**/vote", lose)
        by_pointer(page)
        wait_for(page, "Comparison 3 of 3")
        assert lost == [303]
        rows = project.rows()
        assert len(rows) == 2
        assert all(row["grade"] == worth(row["a"]) - worth(row["b"]) for row in rows)


def test_what_the_server_refuses_is_said(browser: Any, serve: Serve) -> None:
    with serve(rated_pairs(2)) as project, page_of(browser, project) as page:
        page.context.clear_cookies()
        by_pointer(page)
        page.get_by_text("Your answer is not saved. This page is for annotators.").wait_for()
        assert project.rows() == []


def test_payloads_stay_text_in_the_browser(browser: Any, serve: Serve) -> None:
    """All hundred, five to a text: no dialog, no request elsewhere, no element with a script."""
    texts = ["\n\n".join(PAYLOADS[start : start + 5]) for start in range(0, 100, 5)]
    pairs = [Pair(texts[k], texts[k], texts[k + 1], {}) for k in range(0, 20, 2)]
    dialogs: list[str] = []
    requests: list[str] = []
    with (
        serve(pairs, annotators=1) as project,
        page_of(browser, project) as page,
    ):
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        for number in range(20):
            scripts = page.evaluate("[...document.scripts].map(script => script.src)")
            assert scripts == [f"{project.address}/static/annotate.js"]
            assert (
                page.locator(".text").locator("img, svg, iframe, form, style, button").count() == 0
            )
            assert page.locator('a[href^="javascript"], a[href^="data"]').count() == 0
            assert page.evaluate(
                "![...document.querySelectorAll('main *')].some("
                "  each => [...each.attributes].some(one => one.name.startsWith('on')))"
            )
            assert page.locator(".response").count() == 2
            assert "no " in page.locator(".response").first.inner_text()
            if number == 9:  # the same ten, as they are written
                page.goto(f"{project.address}/settings")
                page.get_by_label("as they are written").check()
                page.get_by_role("button", name="Save").click()
                _forget(project)
                page.goto(f"{project.address}/")
            elif number < 19:
                page.locator('.scale button[value="4"]').click()
                wait_for(page, f"Comparison {number % 10 + 2} of 10")
    assert dialogs == []
    assert requests
    assert all(url.startswith(project.address) for url in requests)


def _forget(project: Project) -> None:
    with project.votes.writing() as connection:
        connection.execute("DELETE FROM votes")
