"""Every page that is made, with a payload in every text of others: no element and no attribute comes of it.

    python tests/faults/pages.py 12              # twelve pages of each kind, a hundred payloads in turn
    python tests/faults/pages.py 2 --chromium    # in a browser too: nothing runs, nothing is fetched

Beside each page stands a twin whose payloads have letters in place of all that HTML or Markdown acts on. Both
have to have the same elements with the same attributes in the same order, and the page no script and no handler.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import beside

sys.path.insert(0, str(beside.FAULTS.parent / "report"))

ATTACKS = (
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "<svg onload=alert(1)><path/></svg>",
    "</script><script>alert(1)//",
    '"><b onmouseover="alert(1)">',
    "' onfocus='alert(1)' autofocus='",
    "</style><style>*{display:none}</style>",
    "</title></textarea><iframe src=javascript:alert(1)>",
    "--><!--<b>",
    "]]><![CDATA[<b>]]>",
    "<a href=javascript:alert(1)>x</a>",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/pixel.png)",
    "[x]: http://evil.example",
    "<http://evil.example>",
    "```\n<b>x</b>\n```",
    "`<b>`x**bold**_it_~~s~~",
    "| a | b |\n|---|---|\n| <b> | x |",
    "# heading\n- list\n> quote",
    "&lt;script&gt;alert(1)&lt;/script&gt;&#x3c;b&#62;",
    "{{ 7*7 }}{% raw %}{# c #}<b>",
    "<math><mtext><b>x</b></mtext></math>",
    "\u2028<b>\u202e\x00</b>\x1b[31m",
    "<base href=//evil.example><meta http-equiv=refresh content=0>",
    "<form action=//evil.example><button>x</button></form>",
)

SHAPES = ("{}", "x {} y", "</div></bdi></td>{}", "\"'>{}")

PAYLOADS = tuple(
    shape.replace("{}", f"{attack} n{i}") for i, attack in enumerate(ATTACKS) for shape in SHAPES
)


def harmless(payload: str) -> str:
    """Return a text of the same words and length in which nothing acts."""
    return "".join(" " if char.isspace() else char if char.isalnum() else "x" for char in payload)


class Page(HTMLParser):
    """Elements of a page with the names of their attributes, in order, its text, and what would act."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, ...]] = []
        self.drawn: set[str] = set()  # of figures: how many there are hangs on the width of texts
        self.text = ""
        self.acting: list[str] = []
        self._figures = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._figures:
            self.drawn.add(tag)
        else:
            self.elements.append((tag, *(name for name, _ in attrs)))
        for name, value in attrs:
            reaches_out = name in ("href", "src", "action") and not re.match(
                r"#|figures/|[\w./-]*(#|$)|/|https?://", value or ""
            )
            if name.startswith("on") or reaches_out:
                self.acting.append(f"{tag} {name}={value}")
        if tag in ("iframe", "object", "embed", "base"):
            self.acting.append(tag)

        if tag == "svg":
            self._figures += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "svg":
            self._figures -= 1

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.acting.append(f"comment {data[:40]}")


FIXED = (
    "seed",
    "kind",
    "command",
    "created",
    "version",
    "schema",
    "pick",
    "who",
    "reads",
    "basis",
    "status",
)


def filled(payloads: Iterator[str], value: Any, key: str = "") -> Any:
    """Return results with the next payload behind every text of theirs."""
    if key in FIXED and isinstance(value, str):
        return value
    if isinstance(value, dict):
        keyed = key in ("unscored", "failures", "verdicts")
        return {
            (f"{name} {next(payloads)}" if keyed else name): (
                inner if key == "verdicts" else filled(payloads, inner, name)
            )
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [filled(payloads, inner, key) for inner in value]
    return f"{value} {next(payloads)}" if isinstance(value, str) else value


# --- pages -------------------------------------------------------------------------------------------


def renamed(payloads: Iterator[str]) -> Any:
    """Return results of policies with payloads for the names that stand in several places."""
    from test_report import renamed

    results = renamed(next(payloads))
    return replace(results, name=next(payloads), notes=(next(payloads), next(payloads)))


def report(payloads: Iterator[str]) -> str:
    from rewarddiff.report.page import page

    return page(renamed(payloads))


def judges(payloads: Iterator[str]) -> str:
    import report_example as example

    from rewarddiff.report.page import page
    from rewarddiff.results import Results, plain, read

    return page(read(Results, filled(payloads, plain(example.judging()))))


def samples(payloads: Iterator[str]) -> str:
    from rewarddiff.report.page import document

    return document(renamed(payloads)).samples_alone().html()


def comparison(payloads: Iterator[str]) -> str:
    from rewarddiff.report.compare import page
    from rewarddiff.report.side_by_side import NamedRun

    runs = []
    for _ in range(2):
        results = replace(renamed(payloads), recipe={"note": next(payloads)})
        runs.append(NamedRun(next(payloads), results))
    return page(runs)


def a_sweep(payloads: Iterator[str]) -> Any:
    from test_sweep_page import KEY, against, point

    from rewarddiff.results import SweepAxis, SweepCombination, SweepResults

    judged = (("judge", False, 0.5), ("reward", True, 1.0))
    names = [f"p{i} {next(payloads)}" for i in range(3)]
    others = tuple((f"{name} {next(payloads)}", used, gap) for name, used, gap in judged)
    points = (
        point("dpo", None, against("base", *others)),
        point("weighted", 0.0, None),
        point("weighted", 2.0, against(names[0], *others)),
        point("shuffled", 2.0, against(names[0], *others)),
    )
    called = dict(zip(("dpo", "weighted", "shuffled"), names, strict=True))
    return SweepResults(
        name=next(payloads), version="0", created="now",
        axes=(SweepAxis(KEY, next(payloads), (0.0, 2.0)),), seeds=(0, 1),
        combinations=(SweepCombination(f"combinations/{next(payloads)}", {KEY: 0.0}),),
        points=tuple(replace(one, policy=called[one.policy]) for one in points),
        scorers=(), seconds=1.0,
    )  # fmt: skip


def sweep(payloads: Iterator[str]) -> str:
    from rewarddiff.report.sweep import page

    return page(a_sweep(payloads))


def baseline(payloads: Iterator[str]) -> str:
    from rewarddiff.report import baseline as module
    from rewarddiff.results import Distribution, Interval

    example = [
        module.PromptExample(
            next(payloads), (next(payloads), next(payloads)), (0.1, 0.2), (True, False), 0.1, 0.2
        )
        for _ in range(3)
    ]
    summary = module.BaselineSummary(
        data=next(payloads), model=next(payloads), scorer=next(payloads), prompts=24, k=2,
        cut=0, empty=0, unscored=0,
        
        means=Distribution(0.0, 1.0, dict.fromkeys(module.QUANTILES, 0.5)), spreads=None,
        histograms=(), between=Interval(0.2, 0.1, 0.4, 24),
        hardest=tuple(example), easiest=tuple(example),
    )  # fmt: skip
    pages: list[Any] = []
    write = module.write
    module.write = lambda path, page, **options: pages.append(page)  # type: ignore[assignment]
    try:
        module.render_baseline(Path("x.html"), summary)
    finally:
        module.write = write
    return str(pages[0].html())


def suspicious(payloads: Iterator[str]) -> str:
    from rewarddiff.report.suspicious import page

    rows = []
    for number in range(4):
        row = {
            name: next(payloads) for name in ("prompt", "chosen", "rejected", "subset", "row", "id")
        }
        turns = [{"role": next(payloads), "content": next(payloads)} for _ in range(2)]
        rows.append(
            {**row, "difference": -1.0, "probability": 0.1, **({"prompt": turns} if number else {})}
        )
    parts = {row["subset"]: (1, 4) for row in rows}
    return page(next(payloads), [next(payloads)], rows, parts, [next(payloads)])


def annotated(payloads: Iterator[str]) -> list[str]:
    """Return the annotators' pages; responses are Markdown, so that here only what acts is looked for."""
    from rewarddiff.annotate import pages
    from rewarddiff.annotate.keys import Preferences
    from rewarddiff.annotate.records import Progress, Shown
    from rewarddiff.records import Message

    made = []
    for written in (True, False):
        preferences = replace(Preferences.stored({}, 7), written=written)
        reader = pages.Reader(next(payloads), "key", preferences, Progress(1, 0, 3), 7)
        turns = (Message("user", next(payloads)), Message(next(payloads), next(payloads)))
        shown = Shown(next(payloads), turns, (next(payloads), next(payloads)), next(payloads))
        last = pages.LastVote(next(payloads), next(payloads))
        made.append(pages.comparison_page(reader, shown, next(payloads), last, next(payloads)))
    made.append(pages.done_page(reader, last))
    made.append(
        pages.settings_page(reader, preferences, {"skip": next(payloads), "undo": next(payloads)})
    )
    made.append(pages.message_page(next(payloads), next(payloads)))
    made.append(pages.guidelines_page(reader, next(payloads)))
    return made


def in_markdown(text: str) -> str:
    """Return Markdown as a viewer shows it that lets HTML through."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return str(markdown.render(re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)))


def sweep_in_markdown(payloads: Iterator[str]) -> str:
    from rewarddiff.report.sweep import markdown

    return in_markdown(markdown(a_sweep(payloads)))


def card(payloads: Iterator[str]) -> str:
    from rewarddiff.models.cards import Facts
    from rewarddiff.policies.card import policy_card

    class Tokenizer:
        chat_template = None
        eos_token = next(payloads)

    facts = Facts(
        base=f"/none/{next(payloads).replace('/', '')}", data=next(payloads), counts={"prompts": 3},
        settings={"samples": next(payloads), "reward": f"r, by {next(payloads)}"},
    )  # fmt: skip
    return in_markdown(policy_card(Tokenizer(), facts, next(payloads), adapter=True))


KINDS: dict[str, Callable[[Iterator[str]], str | list[str]]] = {
    "report": report, "judges": judges, "samples": samples, "compare": comparison, "sweep": sweep,
    "baseline": baseline, "suspicious": suspicious, "annotate": annotated, "sweep.md": sweep_in_markdown,
    "model card": card,
}  # fmt: skip

FORMATTED = ("annotate",)
"""Texts of these are formatted: bold letters may come of a payload, and nothing else."""

PLAIN = {
    *("div", "p", "br", "strong", "em", "s", "ul", "ol", "li", "blockquote", "pre", "code", "hr"),
    *("h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}


def faults(kind: str, html: str, twin: str) -> list[str]:
    """Return what a page has that its twin has not."""
    page, harmless_page = Page(html), Page(twin)
    wrong = [f"acts: {one}" for one in page.acting if one not in harmless_page.acting]
    if kind in FORMATTED:
        known = set(harmless_page.elements)
        new = {element for element in page.elements if element not in known}
        wrong += [f"new: {one}" for one in new if one[0] not in PLAIN and one[0] != "a"]
        return wrong
    wrong += [f"drawn: {tag}" for tag in page.drawn - harmless_page.drawn - {"clippath", "rect"}]
    if page.elements != harmless_page.elements:
        more = Counter(page.elements) - Counter(harmless_page.elements)
        wrong.append(f"other elements: {dict(list(more.items())[:5]) or 'in another order'}")
    return wrong


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    in_browser = "--chromium" in sys.argv
    made = 0
    wrong: Counter[str] = Counter()
    reached: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for kind, make in KINDS.items():
        for number in range(count):
            start = number * len(PAYLOADS) // count
            payloads = [*PAYLOADS[start:], *PAYLOADS[:start]]
            pages = make(cycle(payloads))
            twins = make(cycle(map(harmless, payloads)))
            pages = [pages] if isinstance(pages, str) else pages
            twins = [twins] if isinstance(twins, str) else twins
            for html, twin in zip(pages, twins, strict=True):
                made += 1
                text = " ".join(Page(html).text.split())
                reached[kind] |= {one for one in PAYLOADS if " ".join(one.split()) in text}
                for fault in faults(kind, html, twin):
                    wrong[kind] += 1
                    print(f"{kind} {number}: {fault}", flush=True)
                if in_browser:
                    for fault in in_chromium(html):
                        wrong[kind] += 1
                        print(f"{kind} {number} in a browser: {fault}", flush=True)
        print(
            f"{kind}: {count} times, {wrong[kind]} faults, {len(reached[kind])} payloads read back",
            flush=True,
        )
    of_all = set().union(*reached.values())
    print(
        f"{made} pages, {len(PAYLOADS)} payloads, {len(of_all)} of them read back as text, faults: {dict(wrong)}"
    )
    # A page that shows none of them was not shown to be right.
    unread = [one for one in PAYLOADS if one not in of_all]
    unread += [kind for kind, of_kind in reached.items() if not of_kind]
    print("".join(f"not read back: {one!r}\n" for one in unread), end="")
    sys.exit(bool(wrong or unread))


def in_chromium(html: str) -> list[str]:
    """Open a page in a browser, and return what it ran or asked for."""
    from playwright.sync_api import sync_playwright

    seen: list[str] = []
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.on(
            "dialog", lambda dialog: (seen.append(f"dialog {dialog.message}"), dialog.dismiss())
        )
        page.on("request", lambda request: seen.append(f"request {request.url[:80]}"))
        page.set_content(html)
        page.wait_for_timeout(200)
        browser.close()
    return [one for one in seen if "about:blank" not in one]


def some(kind: str, count: int) -> list[str]:
    """Return the faults of a page of a kind, with so many payloads."""
    payloads = list(islice(PAYLOADS, 0, None, max(1, len(PAYLOADS) // count)))
    pages, twins = KINDS[kind](cycle(payloads)), KINDS[kind](cycle(map(harmless, payloads)))
    if isinstance(pages, str) and isinstance(twins, str):
        return faults(kind, pages, twins)
    return [
        fault for one, twin in zip(pages, twins, strict=True) for fault in faults(kind, one, twin)
    ]


if __name__ == "__main__":
    main()
