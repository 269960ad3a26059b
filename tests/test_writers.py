"""Every file of the house is written by `files`, or stands in a list here with the reason why not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "rewarddiff"

WRITERS = {
    "write_text", "write_bytes", "save_pretrained", "save_file", "save_to_disk", "savefig", "save", "savez",
    "savetxt", "tofile", "to_csv", "to_json", "to_parquet", "write_table", "ParquetWriter", "new_file",
    "new_stream", "dump", "copy", "copy2", "copyfile", "copytree", "move", "rename", "touch", "mkstemp",
    "symlink_to", "hardlink_to",
}  # fmt: skip
"""Names of calls that make or change a file, with whatever stands before their dot."""

NO_FILES = {
    ("copy", "copy"), ("files", "write_text"), ("files", "write_bytes"), ("shutil", "copyfileobj"),
}  # fmt: skip
"""Calls of such names that write no file, or are the helper itself."""

HELPER = "it is the helper"
FRESH = "into a fresh folder, which files.replace brings to the disk and renames"
TEMPORARY = "into a folder that goes when the work is done"
MEMORY = "into memory"
APPENDED = "a log: what stands there is taken from the checkpoint when a training goes on"
LOCK = "a lock: nobody reads it but to say who holds it"
DATABASE = "SQLite brings to the disk what it writes"
PUT = "aside under a name of its own, and then files.put"
HANDED = "into the file that files.written hands out"
NOTHING = "into nothing, or the system"

EXCEPTIONS = {
    "files.py: write_bytes": HANDED,
    "files.py: put": HELPER,
    "files.py: link": HELPER,
    "files.py: replace": HELPER,
    "files.py: recover": HELPER,
    "files.py: _discard": HELPER,
    "sums.py: seal": FRESH,
    "ragged.py: __init__": FRESH,
    "ragged.py: write": FRESH,
    "loop/checkpoint.py: save": FRESH,
    "loop/checkpoint.py: completed": FRESH,
    "loop/parts.py: write": FRESH,
    "loop/gathering.py: write": FRESH,
    "loop/gathering.py: _write_file": FRESH,
    "loop/gathering.py: _write_configuration": FRESH,
    "scorers/neural/build.py: _save": FRESH,
    "scorers/neural/about.py: write_about": FRESH,
    "scorers/neural/about.py: write_prompts": FRESH,
    "policies/policy.py: _written": FRESH,
    "policies/policy.py: _complete": FRESH,
    "policies/adapters.py: save": FRESH,
    "policies/adapters.py: stack": FRESH,
    "policies/adapters.py: _name_base": FRESH,
    "models/cards.py: put": FRESH,
    "lab/online/bench.py: bench": FRESH,
    "scoring/tables.py: _write_dataset": FRESH,
    "scoring/tables.py: _write_csv": HANDED,
    "scoring/tables.py: _write_parquet": HANDED,
    "models/conversion.py: convert": PUT,
    "models/conversion.py: _move": PUT,
    "data/groups.py: write": PUT,
    "annotate/project.py: _keep_tokens": PUT,
    "sampling/vllm.py: whole": TEMPORARY,
    "scoring/tables.py: encoded": MEMORY,
    "report/svg.py: draw": MEMORY,
    "config/written.py: dump_yaml": MEMORY,
    "loop/metrics.py: add": APPENDED,
    "cli/failing.py: _written": "a traceback of its own name, for a person",
    "outputs.py: _held": LOCK,
    "store.py: __init__": DATABASE,
    "annotate/votes.py: __init__": DATABASE,
    "data/vote_database.py: database_votes": DATABASE,
    "rendering.py: serve": NOTHING,
    "cli/failing.py: mute_stdout": NOTHING,
    "machine.py: reset_peak_memory": NOTHING,
    "lab/online/running.py: _work": NOTHING,
    "lab/online/offline.py: _silent": NOTHING,
}
"""Functions that write by themselves, and why they may."""


def writes(tree: ast.AST, function: str = "") -> Iterator[str]:
    """Yield, for every call that writes a file outside of `with files.written(…)`, the function around it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.With) and any(is_handed_out(item) for item in node.items):
            continue
        inner = function
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = node.name
        if isinstance(node, ast.Call) and is_write(node):
            yield inner
        yield from writes(node, inner)


def is_handed_out(item: ast.withitem) -> bool:
    return ast.unparse(item.context_expr).startswith("files.written(")


def is_write(call: ast.Call) -> bool:
    *before, name = ast.unparse(call.func).split(".")
    if tuple([*before, name][-2:]) in NO_FILES:
        return False
    if name in ("open", "fdopen") or (before[-1:] == ["sqlite3"] and name == "connect"):
        return name == "connect" or any(map(is_mode_of_writing, modes(call)))
    if name == "replace":  # texts have one too
        return before[-1:] == ["os"]
    return name in WRITERS and bool(before or name == "save_file")


def modes(call: ast.Call) -> list[str]:
    """Return the texts that may be the mode of a file that is opened, flags among them."""
    values = [*call.args[:2], *(key.value for key in call.keywords if key.arg == "mode")]
    texts = [value.value for value in values if isinstance(value, ast.Constant)]
    flags = [ast.unparse(value) for value in values if isinstance(value, ast.Attribute)]
    return [*(text for text in texts if isinstance(text, str) and len(text) <= 3), *flags]


def is_mode_of_writing(mode: str) -> bool:
    if mode.startswith("os."):
        return mode in ("os.O_WRONLY", "os.O_RDWR")
    return bool(set(mode) & set("wax+")) and set(mode) <= set("rwaxbt+")


def test_every_writer_goes_through_files_or_has_a_reason() -> None:
    found = set()
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = path.relative_to(SOURCE).as_posix()
        found |= {f"{name}: {function}" for function in writes(tree)}
    assert found - EXCEPTIONS.keys() == set(), "write through files, or say here why not"
    assert EXCEPTIONS.keys() - found == set(), "these write no more: take them out"


@pytest.mark.parametrize(
    "line",
    [
        "path.write_text('x')",
        "path.open('w')",
        "open(path, 'ab')",
        "open(path, mode='x')",
        "np.save(path, array)",
        "save_file(tensors, path)",
        "json.dump(x, file)",
        "os.replace(a, b)",
        "shutil.copy2(a, b)",
        "figure.savefig(path)",
        "sqlite3.connect(path)",
    ],
)
def test_a_write_is_found(line: str) -> None:
    assert list(writes(ast.parse(f"def f():\n    {line}\n"))) == ["f"]


@pytest.mark.parametrize(
    "line",
    [
        "files.write_text(path, 'x')",
        "path.open('rb')",
        "open(path)",
        "text.replace('a', 'w')",
        "replace(config, lr=1)",
        "with files.written(path) as fresh:\n        np.save(fresh, array)",
    ],
)
def test_what_is_no_write_or_goes_through_files_is_not(line: str) -> None:
    assert list(writes(ast.parse(f"def f():\n    {line}\n"))) == []
