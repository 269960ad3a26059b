"""No pickle is read by code of the house: nothing here calls what would; `faults/test_damage.py` watches a run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rewarddiff.config.written import _Loader

SOURCE = Path(__file__).parents[1] / "src" / "rewarddiff"

PICKLING = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
"""Modules that read pickles, or what is as dangerous."""

LOADERS = {
    "torch.load",
    "torch.jit.load",
    "pd.read_pickle",
    "pandas.read_pickle",
    "yaml.load",
    "yaml.unsafe_load",
}


def pickles(tree: ast.AST) -> Iterator[str]:
    """Yield what may read a pickle: an import, or a call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            modules = []
        yield from (name for name in modules if name.partition(".")[0] in PICKLING)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            allows = given.get("allow_pickle", "True" if name == "np.load" else "False")
            if name in LOADERS or allows != "False":
                yield ast.unparse(node)


def test_no_code_here_reads_a_pickle() -> None:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        of_file = list(pickles(ast.parse(path.read_text(encoding="utf-8"))))
        if of_file:
            found[path.relative_to(SOURCE).as_posix()] = of_file
    # yaml.load makes what its loader can make: this one only what is safe.
    assert found == {"config/written.py": ["yaml.load(text, Loader=_Loader)"]}
    assert issubclass(_Loader, yaml.SafeLoader)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=flag)",
        "np.save(path, array, allow_pickle=True)",
        "yaml.load(text)",
    ],
)
def test_what_reads_a_pickle_is_found(line: str) -> None:
    assert list(pickles(ast.parse(line)))


def test_what_reads_none_is_not() -> None:
    assert not list(pickles(ast.parse("np.load(path, allow_pickle=False)\nimport json\n")))
