"""Known vulnerabilities of the versions that are installed here, as pip-audit's service knows them.

    python .ci/audit.py requirements.lock torch==2.13.0

Each is named with its package, version, advisory and the versions without it, and the status is 1. Where no
service can be reached, that is said, and the status is 0.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ACCEPTED: dict[str, str] = {}
"""Advisories that do not touch this project, by their name: why."""

PIN = re.compile(r"^([\w.-]+)==([\w.!+-]+)", re.M)

NO_NETWORK = re.compile(
    r"connection ?(error|refused|reset|aborted)|could not connect|timed out|(connect|read)timeout|max retries"
    r"|unreachable|may be blocking|name resolution|resolve host|service unavailable|proxyerror|sslerror",
    re.I,
)
"""What errors say where a service cannot be reached; that a package cannot be resolved is none of these."""

PATIENCE_SECONDS = 5
"""For one answer."""
LONGEST_SECONDS = 300


def main(arguments: list[str]) -> str | None:
    """Audit lock files and single pins; return what is wrong, None: nothing."""
    texts = [Path(name).read_text() if Path(name).exists() else name for name in arguments]
    pins = PIN.findall("\n".join(texts))
    try:
        packages = asked(pins)
    except TimeoutError as error:
        print(f"no service of advisories can be reached, so nothing was audited ({error})")
        return None
    unknown = [package["name"] for package in packages if "vulns" not in package]
    if len(unknown) == len(packages):
        print("the service that was reached knows no advisories, so nothing was audited")
        return None
    problems = []
    for package in packages:
        problems += [told(package, found) for found in package.get("vulns", []) if is_new(found)]
    if problems:
        return "\n".join(problems)
    left_out = f", {len(unknown)} of them unknown there: {', '.join(unknown)}" if unknown else ""
    print(f"{len(packages)} packages, no vulnerability known{left_out}")
    return None


def asked(pins: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return what is known of each package.

    Raises:
        TimeoutError: no service can be reached.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{name}=={version}\n" for name, version in pins))
        file.flush()
        command = [
            *(sys.executable, "-m", "pip_audit", "-r", file.name, "--disable-pip", "--no-deps"),
            *("--format", "json", "--progress-spinner", "off"),
            *("--timeout", str(PATIENCE_SECONDS)),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"no end after {LONGEST_SECONDS} s") from None
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        cause = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        if NO_NETWORK.search(cause):
            raise TimeoutError(cause.partition(":")[0]) from None
        sys.exit(f"pip-audit failed: {cause}")
    return packages


def is_new(found: dict[str, Any]) -> bool:
    """Tell whether an advisory is none of those accepted."""
    return not {found["id"], *found["aliases"]} & ACCEPTED.keys()


def told(package: dict[str, Any], found: dict[str, Any]) -> str:
    """Return an advisory in one line."""
    names = " ".join([found["id"], *found["aliases"]])
    fixed = " or ".join(found["fix_versions"]) or "no version yet"
    return f"{package['name']} {package['version']}: {names}; fixed in {fixed}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
