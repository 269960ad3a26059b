"""What each command takes."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

from rewarddiff import __version__
from rewarddiff.cli import commands as do
from rewarddiff.cli.completion import SHELLS
from rewarddiff.cli.parser import DATA, POLICY, Once, Parser, count, share
from rewarddiff.policies.names import OBJECTIVES

OVERRIDES = (
    "any option of the recipe by its dotted name, the value as in YAML: "
    "policies.dpo.train.lr=1e-5; null leaves a scorer or policy out: policies.dpo=null"
)
SEVERAL = (
    "a key of the recipe, or of its policies in short (coefficient.alpha: of every policy with "
    "coefficients), and its values: 0,0.5,1 or 0..4; a list in brackets is one value"
)
SCORER = "the folder of a trained scorer"
ANY_SCORER = (
    "the folder of a trained scorer, a reward model of the hub, the address of a server that reads "
    "one (http://…), a language model that judges (MODEL@URL), a file of votes, or length, or grades "
    "(the data's own)"
)
OF_JUDGE = "options of a language model that judges: form=grades, key_env=NAME, prompt=FILE, …"
BY_SUFFIX = "a file named .jsonl, .csv or .parquet"


def command_line() -> Parser:
    """Return the parser of all commands."""
    shared = Parser(add_help=False)
    shared.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show the traceback of whatever goes wrong",
    )
    parser = Parser(
        prog="rewarddiff",
        description=_filled(
            "Learn by how much one response beats another, and let every alignment method use it."
        ),
        epilog=(
            "example:\n  rewarddiff demo    the whole pipeline on embedded data, in a few minutes"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[shared],
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(
        name: str, handler: Callable[[argparse.Namespace], None], purpose: str, example: str
    ) -> Parser:
        sub = commands.add_parser(
            name,
            help=purpose,
            description=_filled(f"{purpose[0].upper()}{purpose[1:]}."),
            epilog=f"example:\n  rewarddiff {name} {example}".rstrip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            parents=[shared],
        )
        sub.set_defaults(handler=handler, parser=sub)
        return sub

    for declare in (
        _recipes,
        _data,
        _training,
        _picking,
        _scoring,
        _measuring,
        _judging,
        _people,
        _worlds,
        _serving,
        _reports,
        _machine,
    ):
        declare(add)
    return parser


def _filled(text: str) -> str:
    """Return a text in lines of the terminal's width, less what argparse leaves free."""
    return textwrap.fill(text, shutil.get_terminal_size().columns - 2)


Add = Callable[[str, Callable[[argparse.Namespace], None], str, str], Parser]
"""Adds a command: its name, what it does, its purpose, the rest of an example."""


def _recipes(add: Add) -> None:
    sub = add(
        "demo", do.demo, "run the whole pipeline on the embedded data", "--output runs/demo seed=1"
    )
    sub.takes_output("where to write the run (default runs/demo)", "DIR")
    sub.takes_overrides(OVERRIDES)

    sub = add(
        "run",
        do.run,
        "run a recipe; again: continue or do nothing",
        "recipe.yaml data.path=preferences.jsonl seed=1",
    )
    sub.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file")
    sub.add_argument("--print", action="store_true", help="print the resolved recipe and stop")
    sub.takes_overrides(OVERRIDES)

    sub = add(
        "plan",
        do.plan,
        "say what a recipe takes before it runs: tokens, work, memory, time, disk, calls and their price",
        "recipe.yaml --gpu h100 --count 8",
    )
    sub.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file")
    text = "plan for GPUs of this kind: h100, h200, a100, l40s or rtx4090 (default: this machine)"
    sub.add_argument("--gpu", metavar="NAME", help=text)
    text = "how many of them (default 1)"
    sub.add_argument("--count", type=count, default=1, metavar="N", help=text)
    sub.takes_overrides(OVERRIDES)

    sub = add(
        "sweep",
        do.sweep,
        "run a recipe at every combination of values; what they share is done once",
        "recipe.yaml coefficient.alpha=0,0.5,1,2 seed=0..4",
    )
    sub.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file")
    text = "print the points and the number of trainings, and stop"
    sub.add_argument("--print", action="store_true", help=text)
    sub.takes_overrides(SEVERAL, "KEY=VALUES")


def _data(add: Add) -> None:
    sub = add(
        "init",
        do.init,
        "look at data and write a first recipe for it, with comments",
        "preferences.jsonl --output recipe.yaml",
    )
    sub.takes_data()
    sub.takes_reading()
    sub.takes_policy()
    sub.takes_output("where to write the recipe (default recipe.yaml)", "FILE")

    sub = add(
        "check",
        do.check,
        "account for every row of the data, and describe it",
        "preferences.jsonl.gz",
    )
    sub.takes_data()
    sub.takes_reading()
    text = "count tokens with this model's tokenizer, against its context"
    sub.add_argument("--model", help=text)
    for part in ("prompt", "response"):
        text = f"with --model: cut {part}s beyond this"
        sub.add_argument(f"--max-{part}", type=count, metavar="TOKENS", help=text)


def _training(add: Add) -> None:
    sub = add(
        "train",
        do.train,
        "train one scorer or policy",
        "reward --data preferences.jsonl --output runs/reward lr=1e-5",
    )
    kinds = (*do.SCORERS, *OBJECTIVES)
    text = f"what to train: {', '.join(kinds)}"
    sub.add_argument("kind", choices=kinds, metavar="KIND", help=text)
    text = (
        "a folder, a hub name or a short name "
        f"(default: all-minilm-l6-v2 for scorers, {POLICY} for policies)"
    )
    sub.add_argument("--model", help=text)
    sub.add_argument("--data", required=True, help=DATA)
    sub.takes_reading()
    sub.takes_output("where to write the model (default runs/KIND)", "DIR")
    text = "put the model on the Hugging Face hub under this name, with the login of hf auth login"
    sub.add_argument("--push-to-hub", metavar="NAME", help=text)
    sub.add_argument("--private", action="store_true", help="make its place there a private one")
    sub.takes_overrides("any option of this training, as lr=1e-5")
    objectives = [f"  {name:<9} {entry.summary}" for name, entry in OBJECTIVES.items()]
    sub.epilog = "\n".join([f"{sub.epilog}", "", "objectives of policies:", *objectives])

    sub = add(
        "augment",
        do.augment,
        "let a policy write more responses, and rank them with the data's own",
        "pairs.jsonl --scorer runs/reward --output lists.jsonl draw=beams limit=100",
    )
    sub.takes_data()
    sub.takes_reading(max_drop=False)
    sub.takes_policy()
    sub.add_argument("--scorer", required=True, help=SCORER)
    sub.takes_output("where to write the lists (JSONL)", "FILE", required=True)
    sub.takes_overrides("draw=beams, temperature or rejection, draw.k=4, limit=100, …")

    sub = add(
        "baseline",
        do.baseline,
        "draw responses to each prompt and score them once, for contrastive rewards; if it "
        "stops, run it again to go on",
        "prompts.jsonl --scorer runs/reward --output baseline.jsonl k=3",
    )
    sub.add_argument("data", metavar="PROMPTS", help=f"rows with prompt, or {DATA}")
    sub.takes_reading(max_drop=False)
    text = f"the policy: a folder, a hub name, or MODEL@URL (default {POLICY})"
    sub.add_argument("--model", default=POLICY, help=text)
    sub.add_argument("--scorer", required=True, help=ANY_SCORER)
    text = "where to write prompts with responses and scores; its page lies beside it"
    sub.takes_output(f"{text} (JSONL)", "FILE", required=True)
    sub.takes_overrides("k=3, temperature=1, max_new_tokens=128, max_prompt=256, limit=100, …")


def _picking(add: Add) -> None:
    sub = add(
        "bestof",
        do.bestof,
        "draw n responses and keep the best by a scorer: what is gained, for every n",
        "preferences.jsonl --scorer runs/reward --gold runs/judge 'n=[1,4,16]' limit=64",
    )
    sub.takes_data(f"where prompts are taken from: {DATA}")
    sub.takes_reading(max_drop=False)
    sub.takes_policy()
    text = f"one that picks: {SCORER}; may be given again"
    sub.add_argument("--scorer", required=True, action="append", help=text)
    sub.add_argument("--gold", required=True, help=f"the one that judges every pick: {SCORER}")
    sub.takes_output("where to write best_of_n.html (default runs/bestof)", "DIR")
    sub.takes_overrides("n=[1,2,4,8,16], temperature=1, max_new_tokens=64, limit=32, …")


def _scoring(add: Add) -> None:
    sub = add(
        "score",
        do.score,
        "score every response of data of any size; if it stops, run it again to go on",
        "runs/reward preferences.jsonl --output scored.parquet",
    )
    sub.add_argument("scorer", metavar="SCORER", help=ANY_SCORER)
    sub.add_argument("data", nargs="+", metavar="DATA", help=f"{DATA}; one or several")
    sub.takes_reading(max_drop=False)
    text = "share of rows that may get no score (default 1: they are counted, and stay)"
    sub.add_argument("--max-drop", type=share, metavar="SHARE", help=text)
    sub.takes_output(
        f"where to write rows and scores: {BY_SUFFIX} (default DATA.SCORER.scores.jsonl)", "FILE"
    )
    sub.takes_processes()
    sub.takes_overrides(OF_JUDGE)

    sub = add(
        "weigh",
        do.weigh,
        "write every comparison with a coefficient, for TRL and other trainers; if it stops, "
        "run it again to go on",
        "preferences.jsonl --scorer runs/reward --output weighted.jsonl alpha=0.5",
    )
    sub.add_argument("data", nargs="+", metavar="DATA", help=f"{DATA}; one or several")
    sub.takes_reading()
    sub.add_argument("--scorer", required=True, help=ANY_SCORER)
    text = f"where to write the pairs: {BY_SUFFIX}, or a folder of datasets"
    sub.takes_output(text, "FILE", required=True)
    sub.takes_processes()
    text = "alpha=0.5, negative=flip, squash=tanh, normalise=mean, suspicious=200, …; and "
    sub.takes_overrides(text + OF_JUDGE)


def _measuring(add: Add) -> None:
    sub = add(
        "eval",
        do.evaluate,
        "measure scorers on labelled data, and each against each",
        "runs/reward test.jsonl --output runs/e",
    )
    text = f"{ANY_SCORER}; one or several; then {DATA}"
    sub.add_argument("paths", nargs="+", metavar="SCORER… DATA", help=text)
    sub.takes_reading()
    text = "where to write results.json and report.html (default runs/eval-DATA)"
    sub.takes_output(text, "DIR")
    sub.takes_overrides(OF_JUDGE)


def _judging(add: Add) -> None:
    sub = add(
        "judge",
        do.judge,
        "hold policies against each other by judges: win rates, agreement; if it stops, run "
        "it again to go on",
        "first.json second.json --judge gpt-4o@https://api.openai.com/v1 form=grades",
    )
    text = (
        "a file of outputs, the folder of a model or its hub name, RUN:POLICY of a run, or MODEL@URL; "
        "two or more"
    )
    sub.add_argument("policies", nargs="+", metavar="POLICY", help=text)
    text = f"who judges: a language model (its folder, or MODEL@URL), or {ANY_SCORER}; may be given again"
    sub.add_argument("--judge", action="append", default=[], metavar="JUDGE", help=text)
    text = f"the prompts that models answer: rows with prompt, MT-Bench questions, or {DATA}"
    sub.add_argument("--data", metavar="PROMPTS", help=text)
    text = "votes of people, who judge too: a file of votes, or a folder of annotate"
    sub.add_argument("--people", action=Once, metavar="VOTES", help=text)
    text = "the prompts are attacks: count how often each policy does what they ask for"
    sub.add_argument("--attack", action="store_true", help=text)
    sub.takes_output(
        "where to write results, report and verdicts (default runs/judge-POLICIES)", "DIR"
    )
    sub.takes_overrides(
        "how judges are asked, and models answer: form=grades, prompt=helpful, prompts=100, sampling.temperature=0.7, …"
    )


def _people(add: Add) -> None:
    sub = add(
        "annotate",
        do.annotate,
        "ask people which response is better, blind, on a page of this machine; again: go on",
        "preferences.jsonl --output runs/people --annotators 3 limit=50",
    )
    text = (
        f"two responses to each prompt: {DATA}; or the outputs of two policies; none: what the folder "
        "has"
    )
    sub.add_argument("samples", nargs="*", metavar="SAMPLES", help=text)
    sub.takes_reading()
    text = "the project's folder (default runs/annotate-SAMPLES); with --export the file"
    sub.takes_output(text, "PATH")
    sub.takes_address()
    text = "how many people get a link (default 3, or as many as the folder has)"
    sub.add_argument("--annotators", type=count, metavar="N", help=text)
    text = "steps from the one response to the other: 5 or 7 (default 7, or as the folder has it)"
    sub.add_argument("--scale", type=count, choices=(5, 7), metavar="STEPS", help=text)
    text = "write the votes of a project (or of a file of votes) to --output, and serve nothing"
    sub.add_argument("--export", metavar="PROJECT", help=text)
    text = "how they are written: rows (preference data, default), votes, multipref, helpsteer3, "
    text += "label-studio"
    sub.add_argument("--as", dest="form", default="rows", metavar="FORM", help=text)
    sub.takes_overrides("guidelines=FILE, limit=50, per_item=3, names=[HOST], seed=1, …")


def _worlds(add: Add) -> None:
    sub = add(
        "designs",
        do.designs,
        "measure what a ranking of lists by fewer comparisons costs in quality",
        "runs/lists-small --budget 60",
    )
    text = (
        "the folder of a run: its scorers on its test split; "
        "or trained scorers (seeds of one) and then data"
    )
    sub.add_argument("paths", nargs="+", metavar="PATH", help=text)
    sub.takes_reading()
    text = "designs of N comparisons a list"
    sub.add_argument("--budget", type=count, nargs="+", default=[], metavar="N", help=text)
    sub.add_argument("--limit", type=count, metavar="N", help="at most so many lists")
    sub.takes_output("where to write the figures as JSON", "FILE")

    sub = add(
        "lab",
        do.lab,
        "ask when weighting helps, in worlds where the truth is known",
        "--output runs/lab world.noise=2 seeds=40",
    )
    text = (
        "online: worlds in which a small transformer learns from its own samples; "
        "offline: the same questions as without, asked of a small transformer"
    )
    sub.add_argument("worlds", nargs="*", metavar="online|offline", help=text)
    sub.takes_output("where to write the page (default runs/lab, runs/lab-online, …)", "DIR")
    text = "seeds=24, quality=0.8, world.pairs=300, world.noise=1, …; online: seeds=6, noise=0.3, …"
    sub.takes_overrides(text)


def _serving(add: Add) -> None:
    sub = add(
        "serve",
        do.serve,
        "give rewards over HTTP, as OpenRLHF, vLLM's and slime's clients ask for them",
        "runs/reward --port 8000",
    )
    sub.add_argument("scorer", metavar="SCORER", help=ANY_SCORER)
    sub.takes_address()
    text = "rows of prompt and responses, as `baseline` draws them: a reward is the mean difference to these"
    sub.add_argument("--policy-baseline", metavar="FILE", help=text)
    text = "the environment variable with a key that requests must bear"
    sub.add_argument("--key-env", metavar="NAME", help=text)
    sub.takes_overrides("limits: batch=256, queue=4096, body=8388608, rate=100, …")


def _reports(add: Add) -> None:
    sub = add(
        "report",
        do.report,
        "write a run's report again from its results; of several runs, one page that holds them "
        "against each other",
        "runs/demo",
    )
    sub.add_argument("runs", nargs="+", metavar="RUN", help="folders with results.json")
    text = "of several runs: where to write the page (default compare.html)"
    sub.takes_output(text, "FILE")

    sub = add(
        "compare",
        do.compare,
        "lay runs side by side on one page, as `report` does with several",
        "runs/first runs/second --output compare.html",
    )
    sub.add_argument("runs", nargs="+", metavar="RUN", help="folders with results.json")
    sub.takes_output("where to write the page (default compare.html)", "FILE")


def _machine(add: Add) -> None:
    sub = add(
        "completion",
        do.completion,
        "print a script that lets a shell complete commands, options, files and keys",
        "bash > ~/.local/share/bash-completion/completions/rewarddiff",
    )
    sub.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))

    add("doctor", do.doctor, "describe this machine: versions, memory, models, speed", "")
