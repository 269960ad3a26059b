"""Tables of what a run went through: data, ledger, cost, machine."""

from collections.abc import Mapping
from typing import Any

from rewarddiff.report.cells import Cell, Results, Table
from rewarddiff.report.values import (
    DASH,
    count,
    duration,
    entries,
    mapping,
    memory,
    number,
    real,
    word,
)


def data_table(results: Results) -> Table:
    splits = mapping(mapping(results.get("data")).get("splits"))
    columns = {"groups": "prompts", "comparisons": "comparisons"}
    if any("labels" in mapping(split) for split in splits.values()):
        columns["labels"] = "labelled responses"
    rows = tuple(
        (Cell(str(name)), *(Cell(count(number(mapping(split).get(key)))) for key in columns))
        for name, split in splits.items()
    )
    return Table("Splits", ("split", *columns.values()), rows)


def ledger_table(results: Results) -> Table:
    """Reasons with counts and the first place of each."""
    data = mapping(results.get("data"))
    ledger = mapping(data.get("ledger"))
    rows = _ledger_rows(ledger)
    for label, test_ledger in mapping(data.get("tests")).items():
        rows += _ledger_rows(mapping(test_ledger), f"{label}: ")
    total, kept = number(ledger.get("total")), number(ledger.get("kept"))
    size = (
        f"{count(total)} rows: {count(kept)} kept, {count(total - kept)} dropped."
        if total == total
        else ""
    )
    return Table(
        "Ledger",
        ("reason", "what happened", "rows", "first example"),
        tuple(rows),
        empty=f"{size} Nothing was dropped or changed.".strip() if ledger else "",
        notes=(size,) if size else (),
        words=frozenset({0, 1, 3}),
    )


def _ledger_rows(ledger: Results, data_name: str = "") -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for verb in ("dropped", "changed"):
        for reason, entry in _reasons(ledger, verb):
            examples = entry.get("examples")
            first = examples[0] if isinstance(examples, (list, tuple)) and examples else None
            reason_cell = Cell(data_name + reason.replace("_", " "))
            rows.append(
                (reason_cell, Cell(verb), Cell(count(number(entry.get("count")))), _place(first))
            )
    return rows


def costs_table(results: Results) -> Table:
    stages = [(word(entry.get("stage")), entry) for entry in entries(results.get("costs"))]
    if not stages:
        for kind in ("scorers", "policies"):
            for run in entries(results.get(kind)):
                if mapping(run.get("cost")):
                    stages.append(
                        (
                            f"train {word(run.get('name'))}, seed {word(run.get('seed'))}",
                            mapping(run["cost"]),
                        )
                    )
    rows = tuple(
        (
            Cell(stage),
            Cell(duration(number(cost.get("seconds")))),
            Cell(count(number(cost.get("tokens")))),
            Cell(count(number(cost.get("tokens_per_second")))),
            _memory(cost),
        )
        for stage, cost in stages
    )
    return Table("Cost per stage", ("stage", "time", "tokens", "tokens/s", "peak memory"), rows)


def _memory(cost: Results) -> Cell:
    gpu = number(cost.get("peak_gpu_memory_bytes"))
    return Cell(
        memory(number(cost.get("peak_memory_bytes"))), f"GPU {memory(gpu)}" if gpu == gpu else ""
    )


def machine_table(results: Results) -> Table:
    own = {
        key: results[key]
        for key in ("name", "version", "created", "schema")
        if results.get(key) is not None
    }
    rows = tuple(
        (Cell(key.replace("_", " ")), Cell(value))
        for key, value in [*_flatten(own), *_flatten(mapping(results.get("machine")))]
    )
    return Table("Machine and versions", ("what", "value"), rows, words=frozenset({0, 1}))


def _reasons(ledger: Results, verb: str) -> list[tuple[str, Results]]:
    """(reason, {count, examples}), most frequent first."""
    found = [
        (str(reason), mapping(entry) or {"count": entry})
        for reason, entry in mapping(ledger.get(verb)).items()
    ]
    return sorted(
        found, key=lambda item: -max(number(item[1].get("count")), 0) if item[1].get("count") else 0
    )


def _place(example: Any) -> Cell:
    """`file:row (id) detail` of a ledger's example."""
    found = mapping(example)
    if not found:
        return Cell(DASH if example is None else str(example))
    name, detail = (str(found.get(key) or "") for key in ("id", "detail"))
    return Cell(str(found.get("source") or DASH) + (f" ({name})" if name else ""), detail)


def _flatten(source: Results, prefix: str = "") -> list[tuple[str, str]]:
    """Nested figures as (name of the path, text)."""
    flat: list[tuple[str, str]] = []
    for key, value in source.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat += _flatten(value, f"{name}: ")
        elif isinstance(value, (list, tuple)):
            flat.append((name, ", ".join(_plain(item) for item in value)))
        else:
            flat.append((name, _plain(value, str(key))))
    return flat


def _plain(value: Any, key: str = "") -> str:
    if key.endswith("bytes") and number(value) == number(value):
        return memory(number(value))
    if isinstance(value, float):
        return real(value)
    return word(value)
