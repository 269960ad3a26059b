"""The README's Python, run as it stands, on tiny models."""

import json
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy_folder: Path, encoder_folder: Path
) -> None:
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert code is not None
    rows = [
        {"prompt": f"Say it {i}", "chosen": f"yes {i}!", "rejected": f"no {i}"} for i in range(40)
    ]
    for row in rows[::3]:  # no scorer agrees with all of them
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    (tmp_path / "preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "model").symlink_to(policy_folder)
    monkeypatch.chdir(tmp_path)
    source = code.group(1).replace(
        'kind="difference"', f'kind="difference", backbone="{encoder_folder}"'
    )
    names: dict[str, object] = {}
    exec(source, names)
    assert (tmp_path / "my" / "policy" / "model" / "model.safetensors").exists()
    assert (tmp_path / "my" / "scorer" / "model" / "rewarddiff_scorer.json").exists()


def test_every_file_of_the_tree_exists() -> None:
    tree = README.read_text().split("## What lies where", 1)[1].split("```")[1]
    package = README.parent / "src" / "rewarddiff"
    for line in tree.strip().splitlines():
        for name in line[:20].split():
            base = package if line.startswith("  ") else README.parent
            assert (base / name).exists(), name
