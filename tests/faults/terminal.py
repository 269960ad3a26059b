"""Control characters in every text of others that reaches the terminal: none leaves raw, on a terminal and on a pipe.

    python tests/faults/terminal.py              # every place, twice
    python tests/faults/terminal.py --pipe       # on a pipe alone; --terminal: on a terminal alone

In each place a text is planted that would clear the screen, set the title, write to the clipboard, overprint,
turn the direction, or hide. The raw bytes that leave are looked at. What the project itself tells the terminal
(bold letters, the bar of progress) is known and taken out first. Where the planted word does not arrive, nothing
was shown to be right: that is wrong as well, but for the places of which `SILENT` says why.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import tiny

WORD = "PLANTED"

ACTS = {
    "clears": "\x1b[2J", "colours": "\x1b[38;5;213m", "title": "\x1b]0;evil\x07", "link": "\x1b]8;;http://evil\x1b\\",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07", "C1": "\x9b31m\x9d0;evil\x9c", "returns": "x\ry", "backspaces": "\x08\x08",
    "bell": "\x07", "turns": "\u202e", "isolates": "\u2066", "hides": "\u200b\ufeff", "tags": "\U000e0041",
    "deletes": "\x7f", "separates": "\u2028", "device": "\x1bP1$r\x1b\\", "escape": "\x1bc",
}  # fmt: skip

TEXT = WORD + "".join(ACTS.values())

FILE = TEXT.replace("/", "")
"""The same as the name of a file."""

OURS = re.compile(
    r"\x1b\[(0|1|2|3|32|33|35|36|38;2;[\d;]+|38;5;(197|237|70|249)|22|39|49|4|94|95|96|91|92|93|90)?m"
    r"|\x1b\[\?25[lh]|\x1b\[\d*[AK]|\x1b\[2K|\r(?=\n)|(?<=\n)\r|\r(?=\x1b\[2K|\x1b\[1A| )|^\r"
)
"""What the project and rich tell a terminal of letters, of the cursor and of the bar of progress."""

RAW = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
    "\U000e0000-\U000e007f]"
)


def left_raw(output: bytes) -> list[str]:
    """Return the characters that act, or hide, in what has left a command."""
    text = OURS.sub("", output.decode("utf-8", "surrogateescape"))
    characters = [f"{ord(char):#x}" for char in RAW.findall(text)]
    return sorted(
        {*characters, *(f"byte {char!r}" for char in text if "\udc80" <= char <= "\udcff")}
    )


# --- places ------------------------------------------------------------------------------------------

Made = tuple[list[str], dict[str, str]]
"""A command, and variables of its environment."""


class Places:
    """What there is to plant: each method makes files in `at`, and returns the command."""

    def __init__(self, at: Path, policy: Path, server: str) -> None:
        self.at, self.policy, self.server = at, policy, server
        at.mkdir()
        self.rows = at / "rows.jsonl"
        tiny.lines(self.rows, tiny.pairs(6))
        for name in "ab":
            outputs = [{"prompt": f"q{i}", "response": f"{name}{i}"} for i in range(4)]
            tiny.lines(at / f"{name}.jsonl", outputs)

    def _model(self, **config: Any) -> Path:
        """Return a copy of a good model with another configuration."""
        folder = Path(shutil.copytree(self.policy, self.at / "m"))
        tiny.edit(folder / "config.json", **config)
        return folder

    def _check(self, rows: list[Any], name: str = "x") -> list[str]:
        return ["check", str(tiny.lines(self.at / f"{name}.jsonl", rows))]

    def _check_model(self, model: object) -> list[str]:
        return ["check", str(self.rows), "--model", str(model)]

    def _score(self, scorer: object, name: str = "o") -> list[str]:
        return ["score", str(scorer), str(self.rows), "--output", str(self.at / f"{name}.jsonl")]

    def _export(self, votes: Path) -> list[str]:
        return ["annotate", "--export", str(votes), "--output", str(self.at / "o.jsonl")]

    def role_of_a_turn(self) -> list[str]:
        return self._chat_template("{{ raise_exception(messages[0].role) }}", role=TEXT)

    def key_that_stands_twice(self) -> list[str]:
        path = self.at / "x.jsonl"
        path.write_text((json.dumps({TEXT: 1})[:-1] + ", " + json.dumps({TEXT: 2})[1:] + "\n") * 3)
        return ["check", str(path)]

    def name_of_a_column(self) -> list[str]:
        return self._check([{TEXT: "a", "b": "c"}] * 3)

    def column_that_is_not_read(self) -> list[str]:
        row = {"prompt": "q", "chosen": "a", "rejected": "b", TEXT: 1}
        return self._check([{**row, "prompt": f"q{i}"} for i in range(4)])

    def name_of_a_csv_column(self) -> list[str]:
        path = self.at / "x.csv"
        path.write_text(f'"{TEXT}",b\n1,2\n')
        return ["check", str(path)]

    def name_of_a_file(self) -> list[str]:
        row = {"prompt": "q", "chosen": "", "rejected": "b"}
        return self._check([row] * 3, FILE)

    def name_of_a_file_that_is_not_there(self) -> list[str]:
        return ["check", f"{FILE}.jsonl"]

    def name_of_data_on_the_hub(self) -> list[str]:
        return ["check", f"some/{FILE}"]

    def name_of_a_split(self) -> list[str]:
        return ["check", str(self.rows), "--split", TEXT]

    def name_of_a_subset(self) -> list[str]:
        halves = TEXT[: len(TEXT) // 2], WORD + TEXT[len(TEXT) // 2 :]  # a longer name is none
        row = {"chosen": "aa", "rejected": "b"}
        lines = [{"prompt": f"q{i}", **row, "subset": halves[i % 2]} for i in range(40)]
        rows = tiny.lines(self.at / "x.jsonl", lines)
        trained = ["train", "reward", "--model", str(self._model()), "--data", str(rows)]
        return [*trained, "--output", str(self.at / "o"), "aspects={helpful: 1, harmless: 1}"]

    def name_of_a_model(self) -> list[str]:
        return self._check_model(f"./{FILE}")

    def type_of_a_model(self) -> list[str]:
        return self._check_model(self._model(model_type=TEXT))

    def weights_of_a_model(self) -> list[str]:
        return self._check_model(self._model(transformers_weights=TEXT))

    def class_of_a_tokenizer(self) -> list[str]:
        folder = self._model()
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": TEXT}))
        return self._check_model(folder)

    def base_of_an_adapter(self) -> list[str]:
        folder = self._model()
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": TEXT}))
        (folder / "adapter_model.safetensors").write_bytes(b"x")
        return self._check_model(folder)

    def shard_of_an_index(self) -> list[str]:
        folder = self._model()
        index = {"metadata": {}, "weight_map": {"a": TEXT}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return self._check_model(folder)

    def names_of_weights(self) -> list[str]:
        header = json.dumps({TEXT: {"dtype": TEXT, "shape": [1], "data_offsets": [0, 4]}}).encode()
        folder = self._model()
        content = len(header).to_bytes(8, "little") + header + bytes(4)
        (folder / "model.safetensors").write_bytes(content)
        return self._score(folder)

    def _chat_template(self, template: str, role: str = "user") -> list[str]:
        folder = self._model()
        (folder / "chat_template.jinja").write_text(template)
        turns = [{"role": role, "content": "q"}, {"role": "assistant", "content": "a"}]
        rows = [
            {"chosen": turns, "rejected": [turns[0], {**turns[1], "content": f"b{i}"}]}
            for i in range(4)
        ]
        return [*self._check(rows), "--model", str(folder)]

    def template_that_refuses(self) -> list[str]:
        return self._chat_template("{{ raise_exception(" + json.dumps(TEXT) + ") }}")

    def template_that_fails(self) -> list[str]:
        return self._chat_template("{{ messages[0][" + json.dumps(TEXT) + "].x.y }}")

    def template_that_is_none(self) -> list[str]:
        return self._chat_template("{% " + TEXT + " %}")

    def _contest(self, kind: str, judge: str) -> list[str]:
        files = [str(self.at / f"{name}.{kind}") for name in "ab"]
        return ["judge", *files, "--judge", judge, "--output", str(self.at / "o"), "canaries=0"]

    def answer_of_a_judge(self) -> list[str]:
        return self._contest("jsonl", f"m@{self.server}/answers/v1")

    def error_of_a_judges_server(self) -> list[str]:
        return self._contest("jsonl", f"m@{self.server}/errors/v1")

    def error_of_a_reward_server(self) -> list[str]:
        return self._score(f"{self.server}/errors/pooling")

    def name_of_a_served_model(self) -> list[str]:
        return self._contest("jsonl", f"{TEXT}@{self.server}/errors/v1")

    def name_of_what_wrote_an_output(self) -> list[str]:
        for name in "ab":
            tiny.outputs(self.at / f"{name}.json", name, f"{name}{TEXT}")
        return self._contest("json", "length")

    def prompt_of_an_output(self) -> list[str]:
        tiny.lines(self.at / "b.jsonl", [{"prompt": TEXT, "response": "b"}])
        return self._contest("jsonl", "length")

    def _run(self, text: str | dict[str, Any]) -> list[str]:
        """Return the command that runs a recipe."""
        path = self.at / "recipe.yaml"
        text = text if isinstance(text, str) else json.dumps({"name": "x", **text})
        path.write_text(text.replace("\\udb40\\udc41", "\\U000e0041"))  # as YAML writes it
        return ["run", str(path)]

    def key_of_a_recipe(self) -> list[str]:
        return self._run({TEXT: 1})

    def value_of_a_recipe(self) -> list[str]:
        return self._run({"seed": TEXT})

    def name_of_a_scorer(self) -> list[str]:
        return self._run({"scorers": {TEXT: {"kind": "length"}}})

    def recipe_that_is_printed(self) -> list[str]:
        scorers = {"a": {"kind": "length"}}
        return [*self._run({"data": {"path": TEXT}, "scorers": scorers}), "--print"]

    def text_that_is_no_yaml(self) -> list[str]:
        return self._run(f"name: {WORD}: {TEXT}\n")

    def tag_of_yaml(self) -> list[str]:
        return self._run(f"name: !{WORD}%1b[2J x\n")

    def override(self) -> list[str]:
        return [*self._run("name: x\n"), f"{TEXT}=1"]

    def command(self) -> list[str]:
        return [TEXT]

    def option(self) -> list[str]:
        return ["check", str(self.rows), f"--{TEXT}"]

    def value_of_an_option(self) -> list[str]:
        return ["check", str(self.rows), "--max-drop", TEXT]

    def choice(self) -> list[str]:
        return ["completion", TEXT]

    def output(self) -> list[str]:
        return self._score("length", FILE)

    def output_again(self) -> list[str]:
        (self.at / f"{FILE}.jsonl").write_text("")
        return self.output()

    def folder_of_a_run(self) -> list[str]:
        return ["report", str(self.at / FILE)]

    def results_of_others(self) -> list[str]:
        (self.at / "r").mkdir()
        (self.at / "r" / "results.json").write_text(json.dumps({TEXT: 1, "schema": TEXT}))
        return ["report", str(self.at / "r")]

    def votes(self) -> list[str]:
        row = {"prompt": "q", "response_a": "a", "response_b": "b", "grade": TEXT}
        return self._export(tiny.lines(self.at / "v.jsonl", [{**row, "annotator": TEXT}]))

    def database(self) -> list[str]:
        path = self.at / "annotations.sqlite"
        with sqlite3.connect(path) as connection:
            connection.execute(f'CREATE VIEW "{TEXT}" AS SELECT 1'.replace("\x00", ""))
        return self._export(path)

    def form_of_votes(self) -> list[str]:
        return ["annotate", "--export", str(self.rows), "--as", TEXT]

    def first_recipe(self) -> list[str]:
        row = {"chosen": "aa", "rejected": "b", "subset": TEXT}
        rows = [{"prompt": f"q{i}", **row} for i in range(20)]
        data = tiny.lines(self.at / f"{FILE}.jsonl", rows)
        return ["init", str(data), "--output", str(self.at / f"{FILE}.yaml")]

    def page_of_annotators(self) -> list[str]:
        return ["annotate", str(self.rows), "--output", str(self.at / FILE), "--port", "0"]

    def served_scorer(self) -> list[str]:
        return ["serve", str(self._model().rename(self.at / FILE)), "--port", "0"]

    def _library(self, program: str, *command: str) -> list[str]:
        """Let a library do something where a command does its work."""
        driver = self.at / "driver.py"
        driver.write_text(
            "import sys\nfrom rewarddiff.cli import commands, main\n"
            f"TEXT = {TEXT!r}\n"
            f"def check(args):\n    {program}\n"
            "commands.check = check\nsys.exit(main(sys.argv[1:]))\n"
        )
        return ["driver", str(driver), *command, "check", str(self.rows)]

    def warning_of_a_library(self) -> list[str]:
        return self._library("import warnings; warnings.warn(TEXT)")

    def log_of_a_library(self) -> list[str]:
        return self._library(
            "from transformers.utils import logging; logging.get_logger('transformers.x').error(TEXT)"
        )

    def print_of_a_library(self) -> list[str]:
        return self._library(
            "print(TEXT); print(TEXT, file=sys.stderr); sys.stderr.writelines([TEXT])"
        )

    def failure_of_a_library(self) -> list[str]:
        return self._library("raise RuntimeError(TEXT)")

    def traceback_of_a_library(self) -> list[str]:
        return self._library("raise RuntimeError(TEXT)", "--debug")

    def failure_of_a_thread(self) -> list[str]:
        return self._library(
            "import threading\n"
            "    def fail(): raise ValueError(TEXT)\n"
            "    thread = threading.Thread(target=fail)\n"
            "    thread.start()\n"
            "    thread.join()"
        )

    def bar_of_progress(self) -> list[str]:
        return self._library(
            "import time; from rewarddiff.progress import task\n"
            "    with task(TEXT, 3) as bar:\n"
            "        for i in range(3):\n"
            "            bar.advance(1, TEXT); print(TEXT, file=sys.stderr); time.sleep(0.15)"
        )

    def cache_of_models(self) -> Made:
        return ["doctor"], {"REWARDDIFF_CACHE": str(self.at / FILE).replace("\x00", "")}


SILENT = {
    "answer_of_a_judge": "a reply is counted by its verdict, or by the kind of its fault, and never shown",
    "prompt_of_an_output": "prompts that are not the same are counted, and not shown",
    "votes": "a row of votes is named by its place, and its cells are not shown",
    "text_that_is_no_yaml": "a character that YAML does not have is named by its number, before all else is read",
}
"""Places whose text is to leave nowhere: why."""


def names() -> list[str]:
    return [name for name in vars(Places) if name[0] != "_"]


# --- what leaves -------------------------------------------------------------------------------------

SERVES = ("page_of_annotators", "served_scorer")
"""Commands that go on until they are ended."""


def left(command: list[str], variables: dict[str, str], *, terminal: bool, serves: bool) -> bytes:
    """Run a command, and return every byte that leaves it, by either stream."""
    program = [sys.executable, "-m", "rewarddiff", *command]
    if command[0] == "driver":
        program = [sys.executable, *command[1:]]
    if terminal:
        ours, theirs = pty.openpty()
    else:
        ours, theirs = os.pipe()
    environment = {**os.environ, **variables, "COLUMNS": "4000", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        program, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=environment
    )
    os.close(theirs)
    output = b""
    deadline = time.monotonic() + 120
    interrupted = False
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                block = os.read(ours, 65536)
            except OSError:  # the other end of a terminal is closed
                break
            if not block:
                break
            output += block
        elif serves and output and not interrupted:
            interrupted = True
            process.send_signal(signal.SIGINT)
    process.kill()
    process.wait()
    os.close(ours)
    return output


class Answers(BaseHTTPRequestHandler):
    """A server whose answers and errors are planted."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/answers"):
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT},
                "finish_reason": "stop",
            }
            self._send(200, {"choices": [choice], "usage": {}, "model": TEXT})
        else:
            self._send(400, {"error": {"message": TEXT, "type": TEXT}})

    def do_GET(self) -> None:
        if self.path.startswith("/answers") or self.path.endswith("/models"):
            self._send(200, {"data": [{"id": TEXT}]})
        else:
            self._send(404, {"error": {"message": TEXT}})

    def _send(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def tried(
    name: str, root: Path, policy: Path, server: str, *, terminal: bool
) -> tuple[bool, list[str], bytes]:
    """Return whether the planted word arrived, what left raw, and what left."""
    places = Places(root / f"{name}-{terminal}", policy, server)
    made: Any = getattr(places, name)()
    command, variables = made if isinstance(made, tuple) else (made, {})
    command = [part.replace("\x00", "") for part in command]
    output = left(command, variables, terminal=terminal, serves=name in SERVES)
    return WORD.encode() in output, left_raw(output), output


def main() -> None:
    chosen = [name for name in sys.argv[1:] if not name.startswith("-")] or names()
    kinds = [False, True]
    for kind, option in ((False, "--pipe"), (True, "--terminal")):
        if option in sys.argv:
            kinds = [kind]
    right, silent, wrong = 0, [], []  # silent: with no reason
    with tempfile.TemporaryDirectory() as place, serving() as server:
        policy = Path(tiny.models(Path(place))["policy"])
        for name in chosen:
            for terminal in kinds:
                arrived, raw, output = tried(name, Path(place), policy, server, terminal=terminal)
                where = "terminal" if terminal else "pipe"
                verdict = "nothing raw"
                if raw:
                    wrong.append(f"{name} on a {where}")
                    verdict = f"RAW {raw} in {output[-600:]!r}"
                elif arrived == (name in SILENT):
                    silent.append(f"{name} on a {where}")
                    verdict = f"{'' if arrived else 'not '}arrived: {output[-300:]!r}"
                else:
                    right += 1
                print(f"{name} on a {where}: {verdict}", flush=True)
    print(
        f"{len(chosen)} places: {right} times nothing raw; raw: {wrong}; arrived otherwise than said: {silent}"
    )
    sys.exit(bool(wrong or silent))


if __name__ == "__main__":
    main()
