"""Names that lead elsewhere, wherever a name becomes a path: nothing is written outside the output.

    python tests/faults/paths.py                 # every payload in every place, and links in a run's folder
    python tests/faults/paths.py names links     # of these kinds alone
    python tests/faults/paths.py names 5         # one in five, and all where a name becomes that of a file

Each command runs in a folder of its own, beside which lie files that it is not to touch. Before and after, every
file and folder around the outputs is listed with its hash.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from itertools import islice, product
from pathlib import Path
from typing import Any

import compare
import tiny

PAYLOADS = (
    "../evil", "../../evil", "..", "../", ".", "./..", "...", "....//evil", "{OUT}/evil", "/{OUT}/evil", "~", "~/evil",
    "~root/evil", "$HOME/evil", "${HOME}/evil", "a/../../evil", "a/./../../evil", "a\\..\\..\\evil", "..\\evil",
    "C:\\evil", "C:evil", "\\\\server\\share", "file://{OUT}/evil", "evil\0", "evil\0/../x", "evil\n", "evil\r\nx",
    "\x1b]0;x\x07", "a" * 300, "a/" * 2000 + "x", "é" * 200, "CON", "NUL", "aux.txt", "com1", "LPT1", "evil.", "evil ",
    " evil", "evil..", "．．／evil", "‥/evil", "∕evil", "..⁄evil", "%2e%2e%2fevil", "%2e%2e/evil", "..%2fevil",
    "..%c0%afevil", "..;/evil", "-rf", "--output={OUT}/evil", "-", "", "|touch {OUT}/evil", "`touch {OUT}/evil`",
    "$(touch {OUT}/evil)", "*", "?", "evil;x", "<evil>", "evil:stream", "@evil", "@{OUT}/evil", ".git/hooks/x",
    ".bashrc", "x/../../home/.bashrc", "results.json/../../../evil", ".rewarddiff-lock", "manifest.json", "\ud800evil",
)  # fmt: skip
"""{OUT} is the absolute path of a folder that nothing is to be written to."""


class World:
    """A folder with an output, and what lies around it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work, self.home, self.out = (
            root / "a" / "work",
            root / "a" / "home",
            root / "a" / "out",
        )
        self.reset()

    def reset(self) -> None:
        """Make it anew."""
        shutil.rmtree(self.root, ignore_errors=True)
        for folder in (self.work, self.home, self.out / "inner", self.root / "b"):
            folder.mkdir(parents=True)
        for path in (self.home / ".bashrc", self.out / "file.txt", self.out / "inner" / "file.txt",
                     self.root / "a" / "file.txt", self.root / "file.txt", self.out / "store.sqlite"):  # fmt: skip
            path.write_text(f"mine: {path.name}\n")
        os.environ.update(
            HOME=str(self.home), HF_HOME=str(self.work / "runs" / "hf"), TMPDIR=str(self.work / "tmp"),
            XDG_CACHE_HOME=str(self.work / "tmp"), MPLCONFIGDIR=str(self.work / "tmp"),
        )  # fmt: skip
        (self.work / "tmp").mkdir()
        tempfile.tempdir = str(self.work / "tmp")

    def rows(self, **more: str) -> str:
        rows = [
            {"prompt": f"q{i}", "chosen": f"good {i}", "rejected": f"b{i}", **more}
            for i in range(12)
        ]
        return tiny.lines(self.work / "rows.jsonl", rows).name

    def outputs(self, name: str, generator: str) -> str:
        return tiny.outputs(self.work / f"{name}.json", name, generator).name

    def recipe(self, **content: Any) -> str:
        (self.work / "recipe.json").write_text(
            json.dumps({"name": "x", "data": {"path": self.rows()}, **content})
        )
        return "recipe.json"

    def around(self) -> dict[str, str]:
        """Return what lies around the outputs: of every file its hash."""
        contents = {}
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if name.startswith(
                ("a/work/runs", "a/work/tmp", "a/work/o", "a/work/.rewarddiff-new-o")
            ):
                continue
            if path.is_symlink():
                contents[name] = f"a link to {os.readlink(path)}"
            elif path.is_file():
                contents[name] = compare.hashed(path)
            else:
                contents[name] = "a folder"
        return contents


Place = Callable[[World, str], list[str]]

LENGTH = {"length": {"kind": "length"}}

NOBODY = "http://127.0.0.1:9"
"""Where no server is."""


def with_scorer(world: World, **scorer: Any) -> list[str]:
    return ["run", world.recipe(scorers={"s": scorer})]


def contest(world: World, *more: str) -> list[str]:
    return ["judge", world.outputs("a", "a"), world.outputs("b", "b"), *more]


def voted(world: World, name: str) -> str:
    rows = [{"prompt": f"q{i}", "response_a": "x", "response_b": "y", "grade": 1, "annotator": name, "scale": 7}
            for i in range(4)]  # fmt: skip
    return tiny.lines(world.work / "votes.jsonl", rows).name


def described(world: World, name: str) -> str:
    folder = world.work / "described"
    folder.mkdir(exist_ok=True)
    content = {
        "rows": {"file_name": name, "ranking": True},
        name: {"file_name": "rows.json", "ranking": True},
    }
    (folder / "dataset_info.json").write_text(json.dumps(content))
    (folder / "rows.json").write_text(
        json.dumps([{"instruction": "q", "chosen": "a", "rejected": "b"}])
    )
    return "described"


PLACES: dict[str, Place] = {
    "name of a recipe": lambda w, p: ["run", w.recipe(name=p, scorers=LENGTH)],
    "name of a scorer": lambda w, p: ["run", w.recipe(scorers={p: {"kind": "length"}})],
    "name of a policy": lambda w, p: ["run", w.recipe(model="m", scorers=LENGTH, policies={p: {"objective": "dpo"}})],
    "name of a test": lambda w, p: ["run", w.recipe(scorers=LENGTH, data={"path": w.rows(), "tests": {p: w.rows()}})],
    "model of a recipe": lambda w, p: ["run", w.recipe(model=p, policies={"p": {"objective": "dpo"}})],
    "trained scorer": lambda w, p: with_scorer(w, kind="reward", trained=p),
    "warm start": lambda w, p: with_scorer(w, kind="difference", warm_start=p),
    "tracker": lambda w, p: with_scorer(w, kind="reward", train={"track": p}),
    "aspect": lambda w, p: with_scorer(w, kind="reward", aspects={p: 1.0}),
    "prompt file of a judge": lambda w, p: with_scorer(w, kind="judge", local="m", prompt=p),
    "model of a judge": lambda w, p: with_scorer(w, kind="judge", model=p, url=NOBODY),
    "environment variable": lambda w, p: with_scorer(w, kind="remote", url=NOBODY, key_env=p),
    "swept value": lambda w, p: ["sweep", w.recipe(scorers=LENGTH), f"data.split={p},x"],
    "swept key": lambda w, p: ["sweep", w.recipe(scorers=LENGTH), f"{p}=1,2"],
    "subset": lambda w, p: ["eval", "length", w.rows(subset=p)],
    "subset of suspicious labels": lambda w, p: [
        "weigh", w.rows(subset=p), "--scorer", "length", "--output", "o.jsonl"
    ],
    "id of a row": lambda w, p: ["score", "length", w.rows(id=p), "--output", "o.jsonl"],
    "column": lambda w, p: ["score", "length", w.rows(**{p or "x": "1"}), "--output", "o.csv"],
    "data": lambda w, p: ["check", p],
    "data of an evaluation": lambda w, p: ["eval", "length", p],
    "split": lambda w, p: ["check", f"{w.rows()}#{p}"],
    "file of described data": lambda w, p: ["check", described(w, p)],
    "scorer": lambda w, p: ["eval", p, w.rows()],
    "what wrote an output": lambda w, p: ["judge", w.outputs("a", p), w.outputs("b", f"{p}b"), "--judge", "length"],
    "policy of a judge": lambda w, p: ["judge", p, w.outputs("b", "b"), "--judge", "length"],
    "policy behind a server": lambda w, p: [
        "judge", f"{p}@{NOBODY}/v1", w.outputs("b", "b"), "--judge", "length", "--data", w.rows()
    ],
    "policy of a run": lambda w, p: ["judge", f"runs/x:{p}", w.outputs("b", "b"), "--judge", "length"],
    "judge": lambda w, p: contest(w, "--judge", f"{p}@{NOBODY}/v1"),
    "people": lambda w, p: contest(w, "--people", p),
    "annotator": lambda w, p: ["annotate", "--export", voted(w, p), "--output", "o.jsonl"],
    "form of votes": lambda w, p: ["annotate", "--export", voted(w, "a"), "--as", p],
    "project": lambda w, p: ["annotate", "--export", p, "--output", "o.jsonl"],
    "guidelines": lambda w, p: ["annotate", w.rows(), "--host", "0.0.0.0", f"guidelines={p}", "--output", "o"],
    "baseline to serve over": lambda w, p: ["serve", "length", "--policy-baseline", p, "--key-env", "NOT_THERE"],
    "repository to publish to": lambda w, p: [
        "train", "reward", "--data", w.rows(), "--model", "m", "--push-to-hub", p, "--output", "o"
    ],
    "run of a report": lambda w, p: ["report", p],
    "runs that are compared": lambda w, p: ["compare", p, p, "--output", "o.html"],
}  # fmt: skip


NAMING = (
    "what wrote an output", "swept value", "name of a recipe", "name of a scorer", "name of a policy", "name of a test",
)  # fmt: skip
"""Places whose text becomes a part of a file's name, or would."""

TRAVERSALS = ("a/../../evil", "a/./../../evil")
"""They lead elsewhere behind any beginning of a name."""

Case = tuple[str, str, list[str] | None]
"""What is tried, the payload, and the command; None: the case cannot be made."""


def names(world: World, step: int = 1) -> Iterator[Case]:
    """Yield every payload in the places of names, and in the others one of so many as `step`."""
    others = [place for place in PLACES if place not in NAMING]
    yield from _planted(world, product(NAMING, PAYLOADS))
    yield from _planted(world, islice(product(others, PAYLOADS), 0, None, step))


def _planted(world: World, cases: Iterable[tuple[str, str]]) -> Iterator[Case]:
    for place, payload in cases:
        world.reset()
        try:
            argv = PLACES[place](world, payload.replace("{OUT}", str(world.out)))
        except (OSError, ValueError):  # no such file can be made
            argv = ["\0"]
        # No command line can hold a zero byte.
        yield place, payload, None if any("\0" in part for part in argv) else argv


LINKED = (
    "cache", "data", "scorers", "policies", "evaluations", "samples", "rewards", "differences", "orders", "figures",
    "store.sqlite", ".rewarddiff-lock", "results.json", "report.html", "data/manifest.json", "scorers/length-0",
    "evaluations/length-0", "evaluations/length-0/manifest.json", "data/started.json", "samples.html",
    "store.sqlite-journal",
)  # fmt: skip


TARGETS = ("out/inner", "out/file.txt", "out/new.txt", "home/.bashrc", "out/store.sqlite")

BESIDE = ("o.jsonl", ".rewarddiff-lock-o.jsonl", "o.jsonl.parts", ".rewarddiff-new-o.jsonl")


def links(world: World, step: int = 1) -> Iterator[Case]:
    """Yield outputs in which a name is a link that leads elsewhere. One of so many as `step`."""
    for name, target in islice(product(LINKED, TARGETS), 0, None, step):
        for kind in ("run", "eval"):
            world.reset()
            recipe = world.recipe(scorers=LENGTH, output="runs/x")
            link = world.work / "runs" / "x" / name
            link.parent.mkdir(parents=True)
            link.symlink_to(world.root / "a" / target)
            argv = ["eval", "length", world.rows(), "--output", "runs/x"]
            yield f"link {name}", target, ["run", recipe] if kind == "run" else argv
    for name, target in product(BESIDE, TARGETS[:3]):
        world.reset()
        (world.work / name).symlink_to(world.root / "a" / target)
        yield f"link {name}", target, ["score", "length", world.rows(), "--output", "o.jsonl"]


def sums(world: World, step: int = 1) -> Iterator[Case]:
    """Yield finished runs whose manifests name files elsewhere."""
    from rewarddiff.cli import main as command
    from rewarddiff.sums import read_sealed, sealed_json

    for payload in PAYLOADS[::step]:
        world.reset()
        recipe = world.recipe(scorers=LENGTH, output="runs/x")
        _done(command, ["run", recipe], world)
        for manifest in (world.work / "runs" / "x").rglob("manifest.json"):
            content = read_sealed(manifest)
            assert content is not None
            names = {
                payload.replace("{OUT}", str(world.out)): [1, "0"],
                str(world.out / "file.txt"): [1, "0"],
            }
            text = sealed_json(manifest.name, {**content, "files": {**content["files"], **names}})
            manifest.write_text(text, encoding="utf-8", errors="surrogatepass")
        yield "file of a manifest", payload, ["run", recipe]


def quick(world: World, step: int = 1) -> Iterator[Case]:
    """Yield some of each kind."""
    yield from _planted(world, product(NAMING, TRAVERSALS))
    yield from _planted(world, islice(product(PLACES, PAYLOADS), 0, None, 181 * step))
    yield from links(world, 41 * step)


KINDS = {"names": names, "links": links, "sums": sums, "quick": quick}


def _done(command: Callable[[list[str]], int], argv: list[str], world: World) -> int | str:
    os.chdir(world.work)
    place = world.work / "tmp" / "said.txt"
    with (
        place.open("w", errors="backslashreplace") as printed,
        redirect_stdout(printed),
        redirect_stderr(printed),
    ):
        try:
            return command(argv)
        except SystemExit as ended:
            return int(ended.code or 0)
        except BaseException as error:
            return f"{type(error).__name__}: {error}"


def main() -> None:
    from rewarddiff.cli import main as command

    chosen = [kind for kind in sys.argv[1:] if kind in KINDS] or ["names", "links", "sums"]
    step = next((int(text) for text in sys.argv[1:] if text.isdigit()), 1)
    counts: Counter[str] = Counter()
    tried: set[str] = set()
    not_made = 0
    wrong = []
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place) / "world")
        before_all = {*Path("/").iterdir(), *Path(place).iterdir()}
        for kind in chosen:
            for what, payload, argv in KINDS[kind](world, step):
                if argv is None:
                    not_made += 1
                    continue
                before = world.around()
                began = time.monotonic()
                status = _done(command, argv, world)
                changed = compare.changed(before, world.around())
                lines = (
                    (world.work / "tmp" / "said.txt")
                    .read_text(errors="replace")
                    .strip()
                    .splitlines()
                )
                verdict = {0: "done", 2: "refused in one line"}.get(status, f"status {status}")  # type: ignore[arg-type]
                if changed:
                    verdict = "WRITTEN OUTSIDE"
                counts[verdict] += 1
                tried.add(payload)
                if verdict not in ("done", "refused in one line") or time.monotonic() - began > 120:
                    wrong.append(f"{what}: {payload[:60]!r}")
                    last = lines[-1][:300] if lines else ""
                    print(
                        f"{what} | {payload[:60]!r}: {verdict} {changed[:4]} | {last}",
                        flush=True,
                    )
            print(f"{kind}: {dict(counts)}", flush=True)
        os.chdir("/")
        strays = {*Path("/").iterdir(), *Path(place).iterdir()} - before_all
    total = sum(counts.values())
    print(
        f"{len(tried)} payloads and targets, {total} commands: {dict(counts)}; {not_made} more cannot be made; "
        f"strays: {strays}; wrong: {len(wrong)}"
    )
    sys.exit(bool(wrong or strays))


if __name__ == "__main__":
    main()
