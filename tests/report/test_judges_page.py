"""What judges say, on the page: safe to open, complete, and alarming where it should be."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import cycle
from typing import Any

import report_example as example
from rich.console import Console

from rewarddiff.report import terminal_table
from rewarddiff.report.judge_statements import doubts, win_rate_statements
from rewarddiff.report.judge_tables import canaries_table, leanings_table, win_rates_table
from rewarddiff.report.page import page
from rewarddiff.report.statements import head, notes
from rewarddiff.results import UNKNOWN, Interval, Results, WinRate, plain, read

PAYLOADS = [
    *(f"<script>alert({i})</script>" for i in range(20)),
    *(f'"><img src=x onerror="alert({i})">' for i in range(20)),
    *(f"'></bdi></style><svg onload=alert({i})>" for i in range(20)),
    *(f"{{{{ {i} * 7 }}}}{{% raw %}}" for i in range(20)),
    *(f"javascript:alert({i})//</title><iframe src=//x{i}>" for i in range(20)),
]


class Tags(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src")}

    handle_startendtag = handle_starttag

    def handle_data(self, data: str) -> None:
        self.text += data


def filled_with(payloads: Iterator[str], value: Any, key: str = "") -> Any:
    """Return results with the next payload wherever people's text may stand: names, causes, …"""
    fixed = ("seed", "kind", "command", "created", "version", "schema", "pick", "verdicts", "who")
    if key in fixed and isinstance(value, str):
        return value
    if key == "verdicts":
        return {f"{judge} {next(payloads)}": verdict for judge, verdict in value.items()}
    if isinstance(value, dict):
        keyed = key in ("unscored", "failures")
        filled = {}
        for name, inner in value.items():
            place = f"{name} {next(payloads)}" if keyed else name
            filled[place] = filled_with(payloads, inner, name)
        return filled
    if isinstance(value, list):
        return [filled_with(payloads, inner, key) for inner in value]
    if isinstance(value, str):
        return f"{value} {next(payloads)}"
    return value


def test_a_hundred_script_payloads_stay_text() -> None:
    assert len(PAYLOADS) == 100
    missing = set(PAYLOADS)
    for start in (0, 51):  # some fields are not shown: what fell on them falls on others then
        payloads = cycle([*PAYLOADS[start:], *PAYLOADS[:start]])
        tags = Tags(page(read(Results, filled_with(payloads, plain(example.judging())))))
        assert not tags.tags & {"script", "img", "iframe", "object", "embed", "link", "form"}
        assert not [name for name in tags.attributes if name.startswith("on")]
        allowed = r"#[a-z0-9-]+|figures/[a-z0-9-]+\.csv"
        assert all(re.fullmatch(allowed, link) for link in tags.links)
        # The parser gives back what was put in.
        missing -= {payload for payload in PAYLOADS if payload in tags.text}
    assert not missing


def test_a_canary_that_wins_is_said_first_and_in_red() -> None:
    results = example.judging()
    alarm = (
        "qwen is not to be relied on: it gives a win rate of 65.0 % [49.0, 81.0] against base to an "
        "answer that only claims to have won."
    )
    assert head(results).limit == alarm
    html = page(results)
    section = html.partition('<section id="canaries">')[2].partition("</section>")[0]
    assert f'<p class="limit alarm">{alarm}</p>' in section
    quiet = [replace(canary, alarming=False) for canary in results.judges.canaries]
    judges = replace(results.judges, canaries=tuple(quiet))
    assert '<p class="limit alarm">' not in page(replace(results, judges=judges))


def test_all_alarms_are_one_sentence_judge_by_judge() -> None:
    results = example.judging()
    (_, boast) = results.judges.canaries
    more = (boast, replace(boast, kind="constant"), replace(boast, judge="gpt"))
    canaries = replace(results, judges=replace(results.judges, canaries=more))
    rate = "a win rate of 65.0 % [49.0, 81.0] against base"
    boasting = f"{rate} to an answer that only claims to have won"
    assert head(canaries).limit == (
        f"qwen and gpt are not to be relied on: qwen gives {boasting} and {rate} to the same sentence "
        f"to every prompt; gpt gives {boasting}."
    )


def test_the_majority_speaks_for_the_panel() -> None:
    first, second = win_rate_statements(example.judging())
    # 0.37 won, 0.33 tied and 0.3 lost, so the rate is 0.535.
    assert first.startswith(
        "dpo+difference against dpo, by the majority of the judges: a win rate of 53.5 % "
    )
    assert "(37.0 % won, 33.0 % tied, 30.0 % lost), no difference shown" in first
    assert "dpo better" in second
    assert head(example.judging()).result == first
    assert notes(example.judging())[:2] == [first, second]


def test_one_pair_alone_shows_nothing_and_says_why() -> None:
    alone = Interval.unbounded(1.0, n=1)
    canaries = [
        replace(canary, rate=alone, scored=1, alarming=False)
        for canary in example.judges().canaries
    ]
    line = replace(example.judges().win_rates[-1], seed="all", scored=1, rate=alone, p=1.0)
    judges = replace(example.judges(), win_rates=(line,), canaries=tuple(canaries))
    results = replace(example.judging(), judges=judges)
    (sentence,) = win_rate_statements(results)
    assert "a win rate of 100.0 % over 1 pair (" in sentence
    assert ", without an interval (too few pairs, or all alike, to say more)" in sentence
    assert [row[-1].text for row in canaries_table(results).rows] == ["too few to tell"] * len(
        canaries
    )


def test_pairs_without_a_verdict_bound_the_rate() -> None:
    # 9 of 240 are unscored: 0.535 · 231/240 = 0.515 and (0.535 · 231 + 9)/240 = 0.552.
    (sentence,) = [text for text in doubts(example.judging()) if "no verdict" in text]
    assert sentence == (
        "9 of 240 pairs of dpo+difference and dpo have no verdict (6 off menu, 3 refusal): the win "
        "rate lies between 51.5 % and 55.2 %, whatever they would be."
    )


def silent(judge: str, causes: dict[str, int]) -> WinRate:
    line = example.win_rate("a", "b", judge, 0.5)
    return replace(
        line,
        scored=0, win=UNKNOWN, tie=UNKNOWN, lose=UNKNOWN, rate=UNKNOWN, p=math.nan,
        turned=UNKNOWN, first=math.nan, longer=UNKNOWN, worst=0.0, best=1.0,
        length_controlled=replace(line.length_controlled, rate=UNKNOWN),
        n=10, same=4, unscored=causes,
    )  # fmt: skip


def test_a_judge_without_any_verdict_is_named_in_red() -> None:
    # 10 pairs, of which 4 have the same answer: the judge was asked about 6.
    judges = replace(
        example.judges(),
        win_rates=(silent("mute", {"refusal": 6}),), canaries=(), attacks=(), ranking=(), panels=(),
    )  # fmt: skip
    results = replace(example.judging(), judges=judges)
    sentence = "mute gave no verdict on any of 6 pairs asked (6 refusal)."
    assert head(results).result == sentence
    assert f'<p class="limit alarm">{sentence}</p>' in page(results)


def test_the_same_answers_are_told_once_and_all_the_same_in_red() -> None:
    some = replace(example.win_rate("a", "b", "x", 0.5), same=14, n=40)
    every = replace(some, same=40)
    of_some, of_all = (
        replace(example.judging(), judges=replace(example.judges(), win_rates=(line,), canaries=()))
        for line in (some, every)
    )
    told = "14 of 40 answers of a and b are the same: they count as ties, and no judge is asked."
    assert doubts(of_some).count(told) == 1
    section = page(of_some).partition('<section id="win-rates">')[2].partition("</section>")[0]
    assert section.count(told) == 1
    alarm = "a and b gave the same answer to all 40 prompts: no verdict can tell them apart."
    assert doubts(of_all)[0] == alarm
    assert f'<p class="limit alarm">{alarm}</p>' in page(of_all)


def test_a_judge_that_follows_the_order_is_named() -> None:
    line = example.win_rate("a", "b", "first-reader", 0.0, lose=0.0)
    line = replace(line, turned=example.interval(0.98, 0.02), scored=240)
    judges = replace(example.judges(), win_rates=(line,), canaries=())
    sentences = doubts(replace(example.judging(), judges=judges))
    assert sentences[0] == (
        "first-reader turns 98.0 % of its verdicts on a against b when the answers change places."
    )


def test_what_is_unknown_of_judges_is_a_dash_or_left_out() -> None:
    line = replace(silent("silent", {"refusal": 240}), n=240, same=0)
    judges = replace(example.judges(), win_rates=(line,), ranking=(), attacks=(), panels=())
    results = replace(example.judging(), judges=judges)
    table = win_rates_table(results)
    # All rows are of one pair, so the title has it, and no column.
    assert table.title == "Win rates: a against b"
    assert table.columns == ("judge", "scored", "worst to best")
    row = [str(cell) for cell in table.rows[0]]
    assert row == ["silent", "0 of 240", "0.0 to 100.0 %"]
    assert not re.search(r"\b(nan|inf)\b", Tags(page(results)).text.lower())


def test_tables_of_judges_in_their_figures() -> None:
    results = example.judging()
    row = [str(cell) for cell in win_rates_table(results).rows[0]]
    # gpt: 0.46 won and 0.3 lost of 231; 0.9/√231 = 0.0592.
    assert row[:3] == ["dpo+difference against dpo", "gpt", "231 of 240"]
    assert row[3] == "46.0 % [40.1, 51.9]"
    assert row[6] == "58.0 % [52.1, 63.9]"
    assert row[-1] == "dpo+difference better p\u00a0=\u00a00.012"
    leaning = [str(cell) for cell in leanings_table(results).rows[0]]
    # 18.3 % of 231 are 42, and 71.2 % of these 30.
    assert leaning[2:4] == ["18.3 % [13.3, 23.3]", "30 of 42"]
    assert leaning[5] == "54.0 %‡ [46.0, 62.0]"
    text = Tags(page(results)).text
    for shown in ("0.54", "gpt-4o-mini at api.example.org", "0.121", "48\u202f110", "23.0 %"):
        assert shown in text


def test_remarks_on_equal_lengths_are_folded_into_one_sentence() -> None:
    lines = []
    for judge, remark in (("x", "few; wide"), ("y", "few"), ("z", "few"), ("w", "")):
        line = example.win_rate("a", "b", judge, 0.5)
        controlled = replace(line.length_controlled, remark=remark)
        lines.append(replace(line, length_controlled=controlled))
    judges = replace(example.judges(), win_rates=tuple(lines))
    marks = leanings_table(replace(example.judging(), judges=judges)).marks
    assert marks == ("‡ not to be relied on: few; wide (1 of 3).",)


def test_a_table_without_any_figure_is_left_out_with_the_reason() -> None:
    line = example.win_rate("a", "b", "x", 0.5)
    controlled = replace(line.length_controlled, rate=UNKNOWN, remark="few")
    bare = replace(
        line,
        turned=UNKNOWN,
        first=math.nan,
        longer=UNKNOWN,
        length_controlled=controlled,
        unscored={},
    )
    judges = replace(example.judges(), win_rates=(bare,))
    table = leanings_table(replace(example.judging(), judges=judges))
    assert (table.rows, table.marks) == ((), ())
    assert table.empty == "No win rate at equal lengths: few."


def test_bold_rewards_are_spoken_of_only_where_there_are_some() -> None:
    judging = example.judging()
    bare = [replace(sample, rewards={"dpo": {}}) for sample in judging.samples]
    assert "highest reward" not in page(replace(judging, samples=tuple(bare)))
    assert "highest reward" in page(example.results())


def test_the_terminal_has_the_judges_too() -> None:
    console = Console(width=100, file=io.StringIO())
    console.print(terminal_table(example.judging()))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for title in ("Win rates", "Ranking", "Agreement of all", "Agreement with people", "Canaries"):
        assert title in shown
