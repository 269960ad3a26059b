"""The README's Python, run as it stands, on tiny models."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from rewarddiff.cli.arguments import command_line
from rewarddiff.cli.parser import parsed
from rewarddiff.config import load_recipe
from rewarddiff.pipeline import Recipe

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    assert (tmp_path / "my" / "differences" / "model" / "rewarddiff_scorer.json").exists()


def test_every_file_of_the_tree_exists() -> None:
    architecture = ROOT / "docs" / "architecture.md"
    tree = architecture.read_text().split("## What lies where", 1)[1].split("```")[1]
    package = ROOT / "src" / "rewarddiff"
    for line in tree.strip().splitlines():
        for name in line[:20].split():
            base = package if line.startswith("  ") else ROOT
            assert (base / name).exists(), name


def test_the_recipe_is_one() -> None:
    text = re.search(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert text is not None
    recipe = load_recipe(yaml.safe_load(text.group(1)), [], Recipe)
    recipe.check()
    assert [policy.coefficient is not None for policy in recipe.policies.values()] == [
        False,
        True,
        True,
    ]


def test_every_command_is_one() -> None:
    """Of README and the pages that it leads to: options, choices and overrides are parsed."""
    parser = command_line()
    lines = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")  # a command may go on in the next line
        lines += re.findall(r"^(?: {4})?(rewarddiff [a-z].*)$", text, re.MULTILINE)
    assert len(lines) > 20
    for line in lines:
        if "COMMAND" not in line and "$" not in line:
            parsed(parser, shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target
