import json

import pytest

from rewarddiff.data import Ledger, Reason
from rewarddiff.data.ledger import EXAMPLES
from rewarddiff.errors import UserError


def example() -> Ledger:
    ledger = Ledger()
    ledger.keep(90)
    ledger.drop(Reason.EMPTY_RESPONSE, "a.jsonl:3")
    for line in range(10, 19):
        ledger.drop("unreadable", f"a.jsonl:{line}", detail="not valid JSON")
    ledger.change(Reason.NO_ORDER, "a.jsonl:5", "only ties")
    return ledger


def test_counts_every_row_once_and_changes_beside() -> None:
    ledger = example()
    assert (ledger.total, ledger.kept, ledger.dropped) == (100, 90, 10)
    assert ledger.count("unreadable") == 9
    assert ledger.count(Reason.NO_ORDER) == 1


def test_counts_are_exact_and_examples_few() -> None:
    ledger = Ledger()
    for line in range(1000):
        ledger.drop(Reason.DUPLICATE, f"a:{line}", rows=2)
    written = ledger.to_dict()["dropped"]["duplicate"]
    assert written["count"] == 2000
    assert [e["source"] for e in written["examples"]] == [f"a:{line}" for line in range(EXAMPLES)]


def test_survives_json() -> None:
    ledger = example()
    again = Ledger.from_dict(json.loads(json.dumps(ledger.to_dict())))
    assert again.to_dict() == ledger.to_dict()
    assert again.table() == ledger.table()


def test_merge_adds_up() -> None:
    ledger = example()
    ledger.merge(example())
    assert (ledger.total, ledger.kept, ledger.dropped) == (200, 180, 20)
    assert ledger.count(Reason.NO_ORDER) == 2


def test_enforce_names_reason_place_and_mend() -> None:
    ledger = example()
    ledger.enforce(0.1)  # 10 of 100 is not more than 10 %
    with pytest.raises(
        UserError, match=r"^a\.jsonl:10: 10 of 100 rows .* unreadable \(not valid JSON\); repair"
    ) as e:
        ledger.enforce(0.099)
    assert "\n" not in str(e.value)


def test_repeats_are_counted_but_are_no_loss() -> None:
    ledger = Ledger()
    ledger.keep()
    for line in range(9):
        ledger.drop(Reason.DUPLICATE, f"a:{line}")
    assert ledger.dropped == 9
    ledger.enforce(0)


def test_nothing_read_is_nothing_dropped() -> None:
    Ledger().enforce(0)


def test_unknown_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="bad luck"):
        Ledger().drop("bad luck", "a:1")


def test_table_lists_the_commonest_first() -> None:
    lines = example().table().splitlines()
    assert lines[0] == "100 rows: 90 kept, 10 dropped"
    assert [line.split()[:3] for line in lines[1:]] == [
        ["dropped", "9", "unreadable"],
        ["dropped", "1", "empty_response"],
        ["changed", "1", "no_order"],
    ]
