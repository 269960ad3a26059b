"""Half an hour of what happens to a working folder, in random order, with what must hold looked at after every step.

    python tests/faults/soak.py --minutes 30 --seed 0

Tiny random models and one folder. A run is begun and killed, its files are damaged, it is run again; a
file is scored and outputs are judged, and each of these is killed now and then; people vote at a server and
rewards are asked of another, which are stopped and killed between requests and during them. After every step:

- what is complete equals, to the bit, what the same commands gave in a folder that nothing happened to;
- every vote that was acknowledged is stored, once, and no other;
- every value of the store has its sum, or is made again;
- nothing is left over of what was killed once a command has come to its end;
- nothing that was read has changed, and nothing was written elsewhere;
- no process is left, and servers hold no more memory and files than at first;
- nobody has printed a traceback.

The first of these that does not hold ends the soak with status 1; the folder is kept, with all that was printed.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import compare
import tiny
from damage import Damage

MIB = 2**20
MOST_GROWTH = 40 * MIB
"""Of a server's memory, from its second use on."""
MOST_FILES_MORE = 8
"""Files that a server has open, more than after its second use."""
LONGEST_SECONDS = 300
"""Of one command."""

WEIGHTS = {
    "run": 3, "run, killed": 5, "damage": 5, "score": 2, "score, killed": 3, "judge": 2,
    "judge, killed": 3, "vote": 3, "vote, killed": 3, "ask": 4, "stop a server": 1,
    "kill a server": 1, "export": 1, "report": 1,
}  # fmt: skip
"""Actions, and how often each is drawn."""

TRAIN = tiny.TRAIN | {"max_steps": 3}
HOWS = ("flipped", "cut", "zeroed", "deleted")
PEOPLE, ITEMS = 4, 12


class Broken(Exception):
    """Something that must hold does not."""


def require(holds: object, what: str) -> None:
    """Raise a Broken where something does not hold."""
    if not holds:
        raise Broken(what)


# -- processes -------------------------------------------------------------------------------------


class Process:
    """A fork of this process that does something in a session of its own, with its output in a file.

    It begins with all that is imported here, so it takes seconds less than a new Python.
    """

    begun: ClassVar[set[int]] = set()
    """Sessions of all that were begun since it was looked at last, and of servers."""

    def __init__(self, work: Callable[[], int], output: Path, folder: Path) -> None:
        self.output = output
        self.id = os.fork()
        if not self.id:
            self._be(work, folder)
        self.begun.add(self.id)

    def _be(self, work: Callable[[], int], folder: Path) -> NoReturn:
        status = 70
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.chdir(folder)
            printed = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for descriptor in (1, 2):
                os.dup2(printed, descriptor)
            os.close(printed)
            status = work()
        except SystemExit as error:
            status = int(error.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def ended(self) -> int | None:
        """Return its exit status, None: it has not ended."""
        ended, status = os.waitpid(self.id, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None

    def wait(self, seconds: float = LONGEST_SECONDS) -> int:
        """Wait for its end, and return its exit status."""
        deadline = time.monotonic() + seconds
        while (status := self.ended()) is None:
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                os.waitpid(self.id, 0)
                raise Broken(f"no end after {seconds:.0f} s: {self.output}")
            time.sleep(0.01)
        return status

    def wait_for(self, text: str) -> None:
        """Wait until it has printed something."""
        deadline = time.monotonic() + LONGEST_SECONDS
        while text not in self.text:
            require(self.ended() is None, f"ended before it said {text!r}: {self.output}")
            require(time.monotonic() < deadline, f"never said {text!r}: {self.output}")
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.id, number)

    def kill_after(self, seconds: float) -> bool:
        """Kill it at a moment; tell whether it was there to be killed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.ended()
            if status is not None:
                require(status == 0, f"status {status}: {self.output}")
                return False
            time.sleep(0.002)
        self.signal(signal.SIGKILL)
        os.waitpid(self.id, 0)
        return True


def sessions() -> Iterator[tuple[int, int]]:
    """Yield every process of this machine that has not ended, and its session."""
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = place.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            yield int(place.parent.name), int(session)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


class Server:
    """A command that serves, at one port for all its lives.

    Args:
        ready: what it says when it can be asked.
    """

    def __init__(self, start: Callable[[], Process], ready: str) -> None:
        self._start = start
        self._ready = ready
        self.process: Process | None = None
        self._uses = 0
        self._at_first = (0, 0)
        self.most_growth = 0

    def up(self) -> Process:
        """Let it run."""
        if self.process is None:
            self.process = self._start()
            self.process.wait_for(self._ready)
            self._uses = 0
        return self.process

    def used(self) -> None:
        """Look at memory and files after a use."""
        assert self.process is not None
        self._uses += 1
        place = Path(f"/proc/{self.process.id}")
        memory = int((place / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        files = len(list((place / "fd").iterdir()))
        if self._uses <= 2:
            self._at_first = memory, files
        growth = memory - self._at_first[0]
        self.most_growth = max(self.most_growth, growth)
        require(growth < MOST_GROWTH, f"{growth / MIB:.0f} MiB more than at first: {self.output}")
        more = files - self._at_first[1]
        require(more <= MOST_FILES_MORE, f"{more} files more than at first: {self.output}")

    @property
    def output(self) -> Path:
        assert self.process is not None
        return self.process.output

    def end(self, number: signal.Signals) -> None:
        """End it by a signal; by SIGTERM it ends well."""
        assert self.process is not None
        self.process.signal(number)
        status = self.process.wait(30)
        if number == signal.SIGTERM:
            require(status == 0, f"status {status} after SIGTERM: {self.output}")
            require("stopped: " in self.process.text, f"no word at its end: {self.output}")
        self.process = None


# -- what is compared ------------------------------------------------------------------------------


def leftovers(folder: Path) -> list[str]:
    """Return what a killed command may leave, and a finished one may not."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob(".rewarddiff-*")
        if path.name.startswith((".rewarddiff-new-", ".rewarddiff-old-", ".rewarddiff-removed-"))
    ]


# -- the soak --------------------------------------------------------------------------------------


class Soak:
    """A folder, what happens to it, and what must hold.

    Args:
        place: an empty folder.
    """

    def __init__(self, place: Path, seed: int) -> None:
        self.place = place
        self.rng = random.Random(seed)
        self.inputs, self.work = place / "inputs", place / "work"
        self.reference, self.printed = place / "reference", place / "printed"
        self.elsewhere, self.temporary = place / "elsewhere", place / "tmp"
        for folder in (self.inputs, self.work, self.reference, self.printed, self.elsewhere):
            folder.mkdir()
        self.run = self.work / "run"
        self.people = self.work / "people"
        self.steps = 0
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.events: Counter[str] = Counter()
        self.acknowledged: list[str] = []
        self.is_finished = False
        self.is_store_damaged = False
        self.actions: dict[str, Callable[[], str]] = {
            "run": self.run_again,
            "run, killed": self.run_killed,
            "damage": self.damage,
            "score": self.score,
            "score, killed": lambda: self.killed("score", self.scoring(self.work)),
            "judge": self.judge,
            "judge, killed": lambda: self.killed("judge", self.judging(self.work)),
            "vote": lambda: self.vote(is_killed=False),
            "vote, killed": lambda: self.vote(is_killed=True),
            "ask": self.ask,
            "stop a server": lambda: self.end_a_server(signal.SIGTERM),
            "kill a server": lambda: self.end_a_server(signal.SIGKILL),
            "export": self.export,
            "report": self.report,
        }
        self.rewards = Server(lambda: self.started(*self.serving()), "serving ")
        self.page = Server(lambda: self.started(*self.annotating()), "a link is a key")
        self.judge_server = Server(lambda: self.forked(self.be_the_judge), "judging")

    # Commands.

    def forked(self, work: Callable[[], int]) -> Process:
        output = self.printed / f"{self.steps:04}-{len(list(self.printed.iterdir()))}.txt"
        return Process(work, output, self.elsewhere)

    def started(self, *arguments: str) -> Process:
        """Start a command."""
        from rewarddiff import cli

        return self.forked(lambda: cli.main(arguments))

    def done(self, *arguments: str) -> str:
        """Let a command come to its end, and return what it printed."""
        process = self.started(*arguments)
        status = process.wait()
        require(status == 0, f"status {status}: {process.output}")
        return process.text

    def scoring(self, folder: Path) -> tuple[str, ...]:
        scorer, rows = self.inputs / "scorer", self.inputs / "rows.jsonl"
        return "score", str(scorer), str(rows), "--output", str(folder / "scored" / "scores.jsonl")

    def judging(self, folder: Path) -> tuple[str, ...]:
        files = [str(self.inputs / name) for name in ("first.jsonl", "second.jsonl")]
        judge = f"org/chat@http://127.0.0.1:{self.judge_port}"
        return "judge", *files, "--judge", judge, "--output", str(folder / "judged")

    def serving(self) -> tuple[str, ...]:
        return "serve", str(self.inputs / "scorer"), "--port", str(self.rewards_port)

    def annotating(self) -> tuple[str, ...]:
        samples = self.inputs / "samples.jsonl"
        address = ("--port", str(self.page_port), "--annotators", str(PEOPLE))
        return "annotate", str(samples), "--output", str(self.people), *address

    def be_the_judge(self) -> int:
        """Answer as a judge of known taste does, until a signal comes."""
        from judging_examples import by_taste, good
        from loopback import QuietServer
        from scorers.chat_server import ChatServer, Handler

        handler = type("Bound", (Handler,), {"state": ChatServer(by_taste(good))})
        with QuietServer(("127.0.0.1", self.judge_port), handler) as server:
            print("judging", flush=True)
            server.serve_forever()
        return 0

    # Before anything happens.

    def prepare(self) -> None:
        """Make the models and the inputs, and do every command once where nothing happens to it."""
        self.rewards_port, self.page_port, self.judge_port = (free_port() for _ in range(3))
        require(self.forked(self.make_models).wait() == 0, f"no models: {self.printed}")
        self.models = {name: str(self.inputs / name) for name in ("policy", "encoder")}
        for name, folder in (("recipe", self.run), ("reference", self.reference / "run")):
            recipe = json.dumps(tiny.recipe(self.models, folder, TRAIN))  # JSON is YAML
            (self.inputs / f"{name}.yaml").write_text(recipe)
        self.write_rows()
        begun = time.monotonic()
        self.done("run", str(self.inputs / "reference.yaml"))
        self.longest = {"run": time.monotonic() - begun}
        model = self.reference / "run" / "scorers" / "reward-0" / "model"
        shutil.copytree(model, self.inputs / "scorer")
        self.judge_server.up()
        for name, arguments in (("score", self.scoring), ("judge", self.judging)):
            (self.reference / "scored").mkdir(exist_ok=True)
            begun = time.monotonic()
            self.done(*arguments(self.reference))
            self.longest[name] = time.monotonic() - begun
        self.sums_of_inputs = compare.sums(self.inputs)
        self.sums_of_reference = compare.sums(self.reference)
        self.temporary_names = self.names_in_temporary()
        (self.work / "scored").mkdir()

    def make_models(self) -> int:
        tiny.models(self.inputs)
        return 0

    def write_rows(self) -> None:
        rows, first, second = [], [], []
        for i in range(160):
            prompt = f"Question {i // 3}?"
            rows.append({"prompt": prompt, "chosen": "a" * (i % 37 + 1), "rejected": f"b {i}"})
        for i in range(16):
            first.append({"prompt": f"Question {i}?", "response": "good " * (i % 3 + 1)})
            second.append({"prompt": f"Question {i}?", "response": "good " * (i % 5) + f"so {i}"})
        files = {"rows": rows, "samples": tiny.worths(ITEMS), "first": first, "second": second}
        for name, lines in files.items():
            tiny.lines(self.inputs / f"{name}.jsonl", lines)

    # What happens.

    def run_again(self) -> str:
        """Let the run come to its end, whatever has happened to it."""
        process = self.started("run", str(self.inputs / "recipe.yaml"))
        status = process.wait()
        remark = ""
        if status == 2 and compare.STORE in process.text:
            self.lose_store()
            remark = "without its store, "
            process = self.started("run", str(self.inputs / "recipe.yaml"))
            status = process.wait()
        require(status == 0, f"status {status}: {process.output}")
        anew = self.count_anew(process)
        self.require_equal_run()
        self.is_finished = True
        return f"{remark}{anew} stages made anew, equal"

    def count_anew(self, process: Process) -> int:
        """Count the stages that a run made anew, because a file of theirs was not as it was written."""
        anew = process.text.count("made anew")
        self.events["stages made anew"] += anew
        return anew

    def require_equal_run(self) -> None:
        reference = self.reference / "run"
        others = compare.changed(compare.numbers(reference), compare.numbers(self.run))
        require(not others, f"other numbers in {others[:3]}")
        fault = compare.fault(compare.results(reference), compare.results(self.run))
        require(not fault, fault)
        require(not leftovers(self.run), f"left over: {leftovers(self.run)[:3]}")
        self.require_whole_store()

    def require_whole_store(self) -> None:
        """Look at every value of the store.

        What the soak itself damaged may stay where nobody has asked for it: the store is taken away then.
        """
        from rewarddiff.errors import UserError
        from rewarddiff.store import Store

        path = self.run / compare.STORE
        if not path.exists():
            return
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                keys = [key for (key,) in connection.execute("SELECT key FROM kept")]
            with Store(path) as store:
                good = len(store.get(keys))
            self.events["values of the store looked at"] += good
            fault = f"{len(keys) - good} values of the store without their sum"
            is_whole = good == len(keys)
        except (UserError, sqlite3.DatabaseError) as error:
            fault, is_whole = str(error), False
        if not is_whole:
            require(self.is_store_damaged, fault)
            self.lose_store()
        self.is_store_damaged = False

    def lose_store(self) -> None:
        """Take away a damaged store: it is the user who decides to lose it."""
        self.events["damaged stores taken away"] += 1
        for path in self.run.glob(f"{compare.STORE}*"):
            path.unlink()

    def run_killed(self) -> str:
        """Take something away from the run, if it is finished, begin it, and kill it."""
        lost = self.forget() if self.is_finished else "nothing"
        self.is_finished = False
        moment = self.rng.uniform(0, self.longest["run"])
        process = self.started("run", str(self.inputs / "recipe.yaml"))
        try:
            was_there = process.kill_after(moment)
        except Broken:
            if compare.STORE not in process.text:
                raise
            was_there = False
        self.events["killed"] += was_there
        end = f"killed after {moment:.2f} s" if was_there else "it ended before the kill"
        return f"{lost} taken away, {self.count_anew(process)} stages made anew, {end}"

    def forget(self) -> str:
        """Take away a stage, all stages, or the whole run."""
        stages = [path for path in self.run.glob("*/*") if (path / "manifest.json").exists()]
        stages = [path for path in stages if path.parent.name != "cache"]
        chosen = self.rng.choice([*stages, self.run, None])
        gone = stages if chosen is None else [chosen]
        for path in gone:
            shutil.rmtree(path)
        return "all stages" if chosen is None else chosen.relative_to(self.work).as_posix()

    def damage(self) -> str:
        """Damage one file of the run."""
        parts = defaultdict(list)
        for path in sorted(self.run.rglob("*")):
            if is_damageable(path):
                parts[path.relative_to(self.run).parts[0]].append(path)
        if not parts:
            return "nothing there"
        # Every part of a run as likely as any other, and in it every file.
        path = self.rng.choice(parts[self.rng.choice(sorted(parts))])
        name = path.relative_to(self.run).as_posix()
        damage = Damage(name, self.rng.choice(HOWS), self.rng.random())
        damage.do(self.run)
        self.is_finished = False
        self.is_store_damaged |= path.name.startswith(compare.STORE)
        self.events["damages"] += 1
        return f"{name} {damage.how}"

    def killed(self, name: str, arguments: tuple[str, ...]) -> str:
        """Begin a command on what is there, and kill it."""
        if self.rng.random() < 0.5:
            for path in (self.work / ("scored" if name == "score" else "judged")).glob("*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if name == "judge":
            self.judge_server.up()
        moment = self.rng.uniform(0, self.longest[name])
        was_there = self.started(*arguments).kill_after(moment)
        self.events["killed"] += was_there
        return f"killed after {moment:.2f} s" if was_there else "it ended before the kill"

    def score(self) -> str:
        """Score a file, or go on."""
        output = self.work / "scored" / "scores.jsonl"
        is_new = self.rng.random() < 0.5
        if is_new:
            output.unlink(missing_ok=True)
        self.done(*self.scoring(self.work))
        self.require_same("scored", ["scores.jsonl"])
        return f"{'anew' if is_new else 'again'}, equal"

    def judge(self) -> str:
        """Let outputs be judged, or go on."""
        self.judge_server.up()
        self.done(*self.judging(self.work))
        self.require_same("judged", ["verdicts.jsonl", "annotations.json"])
        self.judge_server.used()
        return "equal"

    def require_same(self, folder: str, names: list[str]) -> None:
        """Look whether files are the reference's, and whether a folder holds what the reference's holds."""
        own, reference = self.work / folder, self.reference / folder
        for name in names:
            is_same = (own / name).read_bytes() == (reference / name).read_bytes()
            require(is_same, f"{folder}/{name} is another")
        there = {path.name for path in own.iterdir()}
        expected = {path.name for path in reference.iterdir()}
        require(there == expected, f"{folder} holds {sorted(there ^ expected)}")

    def vote(self, *, is_killed: bool) -> str:
        """Let every annotator vote a few times, and kill the server meanwhile."""
        self.page.up()
        tokens = json.loads((self.people / "tokens.json").read_text())
        heard = self.place / "acknowledged.txt"
        heard.unlink(missing_ok=True)
        quota = self.rng.randint(1, 4)
        voting = self.forked(lambda: self.be_the_people(tokens.values(), quota, heard))
        if is_killed:
            time.sleep(self.rng.uniform(0, 0.4))
            self.page.end(signal.SIGKILL)
            self.page.up()
            self.events["killed"] += 1
        status = voting.wait()
        require(status == 0, f"status {status}: {voting.output}")
        self.acknowledged += heard.read_text().split()
        self.require_votes()
        self.page.used()
        line = f"{len(self.acknowledged)} of {PEOPLE * ITEMS} votes, each there once"
        if len(self.acknowledged) == PEOPLE * ITEMS:
            line += "; the project is complete"
            self.events["projects of votes completed"] += 1
            self.page.end(signal.SIGTERM)
            shutil.rmtree(self.people)
            self.acknowledged = []
        return line

    def be_the_people(self, tokens: Any, quota: int, heard: Path) -> int:
        """Vote, and write down what was acknowledged."""
        import httpx2
        from annotate.conftest import fields, shown_texts, worth

        address = f"http://127.0.0.1:{self.page_port}"

        def people(token: str) -> list[str]:
            nonces: list[str] = []
            with httpx2.Client(base_url=address, headers={"Origin": address}, timeout=20) as client:
                stubborn(client, "GET", f"/enter/{token}")
                while len(nonces) < quota:
                    page = stubborn(client, "GET", "/").text
                    if 'action="/vote"' not in page:
                        break
                    left, right = shown_texts(page)
                    choice = str(4 - (worth(left) - worth(right)))
                    form = {**fields(page), "choice": choice}
                    answer = stubborn(client, "POST", "/vote", form)
                    require(answer.status_code == 303, f"{answer.status_code} to a vote")
                    nonces.append(form["nonce"])
            return nonces

        with ThreadPoolExecutor(PEOPLE) as pool:
            nonces = [nonce for of_one in pool.map(people, tokens) for nonce in of_one]
        heard.write_text("\n".join(nonces))
        return 0

    def require_votes(self) -> None:
        """Look at every vote in the project's file."""
        from annotate.conftest import worth

        path = self.people / "annotations.sqlite"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        query = "SELECT nonce, grade, a, b FROM votes JOIN items ON item = id"
        rows = connection.execute(query).fetchall()
        connection.close()
        stored = Counter(nonce for nonce, *_ in rows)
        expected = Counter(self.acknowledged)
        require(stored == expected, f"votes lost {expected - stored}, more {stored - expected}")
        for _, grade, a, b in rows:
            require(grade == worth(a) - worth(b), "a vote with another grade")
        self.events["votes looked at"] += len(rows)

    def ask(self) -> str:
        """Ask for rewards; they are those of the file that was scored."""
        import httpx2

        self.rewards.up()
        lines = (self.reference / "scored" / "scores.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in self.rng.sample(lines, 12)]
        asked = [
            {"prompt": row["prompt"], "responses": [row["chosen"], row["rejected"]]} for row in rows
        ]
        address = f"http://127.0.0.1:{self.rewards_port}"
        with httpx2.Client(base_url=address, timeout=60) as client:
            together = client.post("/score", json={"rows": asked}).json()["scores"]
            alone = [
                client.post("/score", json={"rows": [row]}).json()["scores"][0] for row in asked
            ]
            refused = client.post("/score", content=b'{"rows": [').status_code
        expected = [row["scores"] for row in rows]
        require(together == expected, "rewards of rows together are others")
        require(alone == expected, "rewards of rows alone are others")
        require(refused == 400, f"{refused} to what is no JSON")
        self.rewards.used()
        self.events["rewards looked at"] += 4 * len(rows)
        return f"{len(rows)} rows together and alone, equal"

    def end_a_server(self, number: signal.Signals) -> str:
        """End one of the servers that run."""
        servers = {"rewards": self.rewards, "page": self.page, "judge": self.judge_server}
        running = [name for name, server in servers.items() if server.process is not None]
        if number == signal.SIGTERM:
            running = [name for name in running if name != "judge"]
        if not running:
            return "none runs"
        name = self.rng.choice(running)
        servers[name].end(number)
        return name

    def export(self) -> str:
        """Write the votes as preference data."""
        if not self.acknowledged:
            return "no votes"
        output = self.work / "votes.jsonl"
        form = ("--as", "votes", "--output", str(output))
        self.done("annotate", "--export", str(self.people), *form)
        count = len(output.read_text().splitlines())
        require(count == len(self.acknowledged), f"{count} votes exported")
        return f"{count} votes"

    def report(self) -> str:
        """Write the page of a finished run again."""
        remark = "" if self.is_finished else f"{self.run_again()}; "
        page = self.run / "report.html"
        page.unlink()
        self.done("report", str(self.run))
        require(page.stat().st_size > 10_000, "the page is short")
        return f"{remark}written"

    # What must hold.

    def names_in_temporary(self) -> set[str]:
        return {path.name for path in self.temporary.iterdir()}

    def require_all(self, name: str) -> None:
        """Look at what must hold after every step."""
        require(compare.sums(self.inputs) == self.sums_of_inputs, "what is read was changed")
        require(compare.sums(self.reference) == self.sums_of_reference, "the reference was changed")
        require(not list(self.elsewhere.iterdir()), f"written to {self.elsewhere}")
        expected = {"run", "scored", "judged", "people", "votes.jsonl"}
        others = {path.name for path in self.work.iterdir()} - expected
        require(not others, f"written beside: {sorted(others)}")
        if not name.endswith("killed"):
            more = self.names_in_temporary() - self.temporary_names
            require(not more, f"temporary files stay: {sorted(more)}")
        self.temporary_names = self.names_in_temporary()
        servers = (self.rewards, self.page, self.judge_server)
        alive = {server.process.id for server in servers if server.process is not None}
        deadline = time.monotonic() + 5
        while left := [p for p, session in sessions() if session in Process.begun - alive]:
            require(time.monotonic() < deadline, f"processes are left: {left}")
            time.sleep(0.05)
        Process.begun &= alive  # the number of a session that has ended may be given to another
        for path in self.printed.glob(f"{self.steps:04}-*"):
            text = path.read_text(errors="replace")
            require("Traceback (most recent call last)" not in text, f"a traceback: {path}")

    def step(self) -> str:
        """Do one action, look at what must hold, and return a line."""
        self.steps += 1
        name = self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        begun = time.monotonic()
        try:
            line = self.actions[name]()
            self.require_all(name)
        except Broken as broken:
            raise Broken(f"step {self.steps}, {name}: {broken}") from broken
        seconds = time.monotonic() - begun
        self.seconds[name].append(seconds)
        return f"{self.steps:4} {name}: {line} ({seconds:.1f} s)"

    def close(self) -> None:
        """End what still runs."""
        for server in (self.rewards, self.page, self.judge_server):
            if server.process is not None:
                server.end(signal.SIGKILL)

    def summary(self) -> str:
        """Return counts and seconds by action."""
        lines = [f"{self.steps} steps, nothing broken"]
        for name, seconds in sorted(self.seconds.items()):
            lines.append(f"  {name:<14} {len(seconds):5} times, {sum(seconds):7.1f} s")
        lines += [f"  {count} {name}" for name, count in sorted(self.events.items())]
        servers = {"rewards": self.rewards, "votes": self.page}
        for name, server in servers.items():
            lines.append(
                f"  the server of {name} grew by {server.most_growth / MIB:.1f} MiB at most"
            )
        return "\n".join(lines)


def is_damageable(path: Path) -> bool:
    return path.is_file() and not path.name.endswith("lock") and path.stat().st_size > 0


def stubborn(client: Any, method: str, path: str, form: dict[str, str] | None = None) -> Any:
    """Ask until there is an answer."""
    import httpx2

    deadline = time.monotonic() + 120
    while True:
        try:
            return client.request(method, path, data=form)
        except httpx2.TransportError:
            require(time.monotonic() < deadline, f"{path} has no answer")
            time.sleep(0.05)


def import_all() -> None:
    """Import what the commands need, once for all forks, and let small files be many windows."""
    import httpx2  # noqa: F401

    import rewarddiff.annotate.server
    import rewarddiff.pipeline.commands
    import rewarddiff.serve.server  # noqa: F401

    for name in ("windows", "work", "score"):
        sys.modules[f"rewarddiff.scoring.{name}"].WINDOW = 16  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="rewarddiff-soak-"))
    (place / "tmp").mkdir()
    (place / "home").mkdir()
    os.environ.update(
        HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", HOME=str(place / "home"), TMPDIR=str(place / "tmp")
    )
    tempfile.tempdir = None
    import_all()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    soak = Soak(place, arguments.seed)
    begun = time.monotonic()
    try:
        soak.prepare()
        print(f"seed {arguments.seed}, prepared in {time.monotonic() - begun:.0f} s", flush=True)
        begun = time.monotonic()
        while time.monotonic() < begun + 60 * arguments.minutes:
            print(f"{time.monotonic() - begun:7.1f} {soak.step()}", flush=True)
    except Broken as broken:
        soak.close()
        sys.exit(f"{broken}\nseed {arguments.seed}; the folder is {place}")
    finally:
        soak.close()
    print(soak.summary())
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
