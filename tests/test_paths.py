import re
from pathlib import Path

import pytest

from rewarddiff.paths import as_name, as_names, user_path


def test_a_leading_tilde_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/rows.jsonl") == user_path(Path("~/rows.jsonl")) == tmp_path / "rows.jsonl"
    assert user_path("~") == tmp_path


@pytest.mark.parametrize("text", ["rows.jsonl", "/data/rows~", "a/~/b", "~no-such-user/rows.jsonl"])
def test_what_a_shell_leaves_alone_stays(text: str) -> None:
    assert user_path(text) == Path(text)


def test_a_name_is_one_that_file_systems_take_and_two_long_ones_differ() -> None:
    names = [as_name(text) for text in ("x" * 5000 + "1", "x" * 5000 + "2", "../" * 99 + "é")]
    assert all(re.fullmatch(r"[A-Za-z0-9._+-]{1,100}", name) for name in names)
    assert names[0] != names[1]
    assert as_name("x" * 100) == "x" * 100


def test_names_that_would_be_one_file_are_told_apart() -> None:
    names = as_names(["a/b", "a_b", "A b", "other"])
    assert len({name.casefold() for name in names}) == 4
    assert names[3] == "other"
    assert as_names(["a_b", "a/b"]) == [names[1], names[0]]
