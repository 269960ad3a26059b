from pathlib import Path

import pytest

from rewarddiff.paths import user_path


def test_a_leading_tilde_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/rows.jsonl") == user_path(Path("~/rows.jsonl")) == tmp_path / "rows.jsonl"
    assert user_path("~") == tmp_path


@pytest.mark.parametrize("text", ["rows.jsonl", "/data/rows~", "a/~/b", "~no-such-user/rows.jsonl"])
def test_what_a_shell_leaves_alone_stays(text: str) -> None:
    assert user_path(text) == Path(text)
