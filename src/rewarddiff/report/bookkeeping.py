"""Tables of what a run went through: data, ledger, cost, machine."""

from collections.abc import Iterator, Mapping

from rewarddiff.report.cells import Cell, Table, texts
from rewarddiff.report.values import DASH, count, duration, memory, setting
from rewarddiff.results import Cost, LedgerCounts, Place, Results, Tally
from rewarddiff.writing import counted


def data_table(results: Results) -> Table:
    splits = results.data.splits
    has_labels = any(split.labels for split in splits.values())
    rows = []
    for name, split in splits.items():
        row = texts(name, count(split.groups), count(split.comparisons))
        if has_labels:
            row = (*row, Cell(count(split.labels)))
        rows.append(row)
    columns: tuple[str, ...] = ("split", "prompts", "comparisons")
    if has_labels:
        columns = (*columns, "labelled responses")
    return Table("Splits", columns, tuple(rows))


def ledger_table(results: Results) -> Table:
    """Return reasons with counts and the first place of each."""
    ledger = results.data.ledger
    rows = list(_ledger_rows(ledger))
    for label, of_test in results.data.tests.items():
        rows += _ledger_rows(of_test, f"{label}: ")
    dropped = count(ledger.total - ledger.kept)
    size = f"{counted(ledger.total, 'row', count)}: {count(ledger.kept)} kept, {dropped} dropped."
    return Table(
        "Ledger",
        ("reason", "what happened", "rows", "first example"),
        tuple(rows),
        empty=f"{size} Nothing was dropped or changed.",
        notes=(size,),
        words=frozenset({0, 1, 3}),
    )


def _ledger_rows(ledger: LedgerCounts, data_name: str = "") -> Iterator[tuple[Cell, ...]]:
    for verb, tallies in (("dropped", ledger.dropped), ("changed", ledger.changed)):
        for reason, tally in _most_frequent_first(tallies):
            name = data_name + reason.replace("_", " ")
            yield (*texts(name, verb, count(tally.count)), _place(tally.examples[0]))


def _most_frequent_first(tallies: Mapping[str, Tally]) -> list[tuple[str, Tally]]:
    return sorted(tallies.items(), key=lambda item: -item[1].count)


def _place(place: Place) -> Cell:
    """Return `file:row (id)`, and what happened there."""
    where = place.source or DASH
    if place.id:
        where += f" ({place.id})"
    return Cell(where, place.detail)


def costs_table(results: Results) -> Table:
    rows = []
    for cost in results.costs:
        amounts = (duration(cost.seconds), count(cost.tokens), count(cost.tokens_per_second))
        rows.append((*texts(cost.stage, *amounts), _memory(cost)))
    columns = ("stage", "time", "tokens", "tokens/s", "peak memory")
    return Table("Cost per stage", columns, tuple(rows))


def _memory(cost: Cost) -> Cell:
    gpu = ""
    if cost.peak_gpu_memory_bytes is not None:
        gpu = f"GPU {memory(cost.peak_gpu_memory_bytes)}"
    return Cell(memory(cost.peak_memory_bytes), gpu)


def machine_table(results: Results) -> Table:
    rows = [
        texts("name", results.name),
        texts("version", results.version),
        texts("created", results.created),
        texts("schema", str(results.schema)),
    ]
    for key, value in results.machine.items():
        rows.append(texts(key.replace("_", " "), DASH if value is None else setting(value)))
    return Table("Machine and versions", ("what", "value"), tuple(rows), words=frozenset({0, 1}))
