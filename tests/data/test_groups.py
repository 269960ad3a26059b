import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewarddiff.data import Groups, Ledger, load_groups
from rewarddiff.data.groups import BATCH
from rewarddiff.errors import UserError
from rewarddiff.records import STYLES, Comparison, Group, Message

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def some_groups(draw: st.DrawFn) -> Group:
    responses = draw(st.lists(texts, min_size=2, max_size=5))
    places = st.integers(0, len(responses) - 1)
    orders = st.tuples(places, places).filter(lambda order: order[0] != order[1])
    compared = st.builds(
        lambda order, strength: Comparison(*order, strength),
        orders,
        st.none() | numbers.filter(lambda x: x >= 0),
    )
    turn = st.builds(Message, texts, texts, st.sampled_from(["", '{"name": "x"}']))
    conversation = st.lists(turn, max_size=3).map(tuple)
    return Group(
        id=draw(texts),
        prompt=draw(texts | conversation),
        responses=tuple(responses),
        scores=draw(st.none() | st.tuples(*(numbers for _ in responses))),
        styles=draw(st.just(()) | st.tuples(*(st.sampled_from(STYLES) for _ in responses))),
        comparisons=tuple(draw(st.lists(compared, max_size=4))),
        source=draw(texts),
        topic=draw(texts),
        labels=draw(st.just(()) | st.tuples(*(st.none() | st.booleans() for _ in responses))),
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(some_groups(), max_size=8))
def test_what_is_written_is_read(tmp_path: Path, groups: list[Group]) -> None:
    opened = Groups.write(groups, tmp_path / "groups.arrow")
    assert list(opened) == groups
    assert [opened[k] for k in range(len(opened))] == groups
    assert opened.text_bytes().tolist() == list(map(bytes_of, groups))
    assert opened.select([-1] * len(groups)).text_bytes().tolist() == [
        bytes_of(groups[-1]) for _ in groups
    ]


def bytes_of(group: Group) -> int:
    """Count the bytes of a group's texts."""
    prompt = group.prompt
    texts = [prompt] if isinstance(prompt, str) else [message.content for message in prompt]
    return sum(len(text.encode()) for text in [*texts, *group.responses])


def numbered(count: int) -> list[Group]:
    return [Group(str(n), f"prompt {n}", ("a", "b"), (float(n), 0.0)) for n in range(count)]


def test_indexing_over_batches_and_views(tmp_path: Path) -> None:
    groups = numbered(2 * BATCH + 3)
    opened = Groups.write(iter(groups), tmp_path / "groups.arrow")
    for k in (0, BATCH - 1, BATCH, 2 * BATCH, 2 * BATCH + 2, -1):
        assert opened[k] == groups[k]
    with pytest.raises(IndexError):
        opened[len(groups)]
    view = opened.select([5, -1, 5, BATCH])
    assert [g.id for g in view] == ["5", str(2 * BATCH + 2), "5", str(BATCH)]
    assert [g.id for g in view.select([3, 0])] == [str(BATCH), "5"]
    assert list(opened[2:5]) == groups[2:5]
    assert list(view[::-1]) == list(view)[::-1]
    with pytest.raises(IndexError):
        view.select([4])


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> object:
        yield from numbered(3)
        raise RuntimeError("stop")

    Groups.write(numbered(2), tmp_path / "groups.arrow")
    with pytest.raises(RuntimeError, match="stop"):
        Groups.write(failing(), tmp_path / "groups.arrow")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["groups.arrow"]
    assert len(Groups.open(tmp_path / "groups.arrow")) == 2


def test_opening_something_else(tmp_path: Path) -> None:
    (tmp_path / "x.arrow").write_text("no")
    for name in ("x.arrow", "none.arrow"):
        with pytest.raises(UserError, match="not a file of groups"):
            Groups.open(tmp_path / name)


def test_views_outlive_the_temporary_file() -> None:
    first = load_groups("demo").select([0])
    assert first[0].id == "demo-001"


def test_limit_and_ledger() -> None:
    ledger = Ledger()
    assert len(load_groups("demo", limit=7, ledger=ledger)) == 7
    assert ledger.kept == 7


def row(prompt: str) -> str:
    return json.dumps({"prompt": prompt, "chosen": "a", "rejected": "b"}) + "\n"


def test_cache_follows_the_content(tmp_path: Path) -> None:
    source, cache = tmp_path / "rows.jsonl", tmp_path / "cache"
    source.write_text(row("x") + "broken\n")
    first, second, third = Ledger(), Ledger(), Ledger()
    load_groups(source, cache=cache, ledger=first, max_drop=0.5)
    written = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    again = load_groups(source, cache=cache, ledger=second, max_drop=0.5)
    assert [g.prompt for g in again] == ["x"]
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == written
    assert second.to_dict() == first.to_dict()
    assert first.dropped == 1
    with pytest.raises(UserError, match="1 of 2 rows"):
        load_groups(source, cache=cache)
    source.write_text(row("y"))
    assert [g.prompt for g in load_groups(source, cache=cache, ledger=third)] == ["y"]
    assert third.dropped == 0


@pytest.mark.parametrize("how", ["flipped", "cut", "lost"])
@pytest.mark.parametrize("suffix", [".arrow", ".ledger.json"])
def test_a_damaged_cache_is_named_and_read_again(
    suffix: str, how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, cache = tmp_path / "rows.jsonl", tmp_path / "cache"
    source.write_text(row("a prompt") + "broken\n")
    counted = Ledger()
    whole = list(load_groups(source, cache=cache, ledger=counted, max_drop=0.5))
    (file,) = (path for path in cache.iterdir() if path.name.endswith(suffix))
    content = file.read_bytes()
    file.unlink()
    if how == "flipped":
        place = content.find(b"a prompt") if suffix == ".arrow" else len(content) // 2
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif how == "cut":
        file.write_bytes(content[:-20])
    again = Ledger()
    assert list(load_groups(source, cache=cache, ledger=again, max_drop=0.5)) == whole
    assert again.to_dict() == counted.to_dict()
    assert file.name in caplog.text
    assert "the data is read again" in caplog.text
