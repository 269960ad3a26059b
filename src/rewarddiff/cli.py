"""The command line: `rewarddiff COMMAND …`.

Exit status: 0 done, 2 the user's input is at fault (one line names the place and the mend), 130
interrupted, 1 anything else. What a command needs is imported when it runs, so that help is
immediate.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import json
import logging
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from rewarddiff import __version__
from rewarddiff.errors import TrainingError, UserError, suggest
from rewarddiff.paths import user_path
from rewarddiff.writing import PrintableFormatter, console, figure, printable, say

OVERRIDES = (
    "any option of the recipe by its dotted name, the value as in YAML: policies.dpo.train.lr=1e-5; null leaves a "
    "scorer or policy out: policies.dpo=null"
)
SEVERAL = (
    "a key of the recipe, or of its policies in short (coefficient.alpha: of every policy with coefficients), and its "
    "values: 0,0.5,1 or 0..4; a list in brackets is one value"
)
SCORERS = ("reward", "difference")
POLICIES = (
    "sft", "dpo", "robust", "ipo", "simpo", "orpo", "slic", "wpo", "beta-dpo", "odpo", "rpo", "mmpo", "rdpo", "ml-rdpo",
    "uni-dpo", "rrhf", "pro", "kto",
)  # fmt: skip
"""Objectives by name; listed here so that help need not import them."""
CONTINUES = ("demo", "run", "sweep", "train")
"""Commands that go on where they stopped when they are run again."""
TRACEBACKS = (None, "/var/tmp", ".")
"""Folders for tracebacks, the first one that takes a file; None: the system's own for such
files."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = _parser()
    asked = sys.argv[1:] if argv is None else argv
    if not asked:
        parser.print_help()
        return 0
    args = _arguments(parser, asked)
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("rewarddiff").setLevel(logging.INFO)
    _quiet_libraries()
    try:
        _look_first(args)
        args.handler(args)
        sys.stdout.flush()
    except UserError as error:
        return _failed(args, error, str(error), 2)
    except TrainingError as error:
        return _failed(args, error, f"stopped: {error}", 1)
    except KeyboardInterrupt:
        hint = ": run the same command again to continue" if args.command in CONTINUES else ""
        return _ended(f"interrupted{hint}", 130)
    except BrokenPipeError:  # the reader of our output has gone
        _mute_stdout()
        return 1
    except Exception as error:
        printing = (
            isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None
        )
        if printing:  # what fails in a command's own output is a UserError
            _mute_stdout()
            return _failed(
                args,
                error,
                "standard output: cannot be written (its disk is full); free some space",
                2,
            )
        cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _failed(args, error, cause if args.debug else f"{cause} ({_kept(error)})", 1)
    return 0


def _look_first(args: argparse.Namespace) -> None:
    """Look for what a command names before what reads it is imported, which takes seconds.

    Raises:
        UserError: there is no such recipe, data or model.
    """
    if "torch" in sys.modules:  # nothing to be gained: each command looks for itself
        return
    from rewarddiff import models
    from rewarddiff.data.sources import require

    data, named_models = (
        _named_in_recipe(args) if args.command in ("run", "sweep") else _named(args)
    )
    for source in data:
        require(source)
    for name in named_models:
        if name not in models.KNOWN:
            models.resolve(name)


def _named(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The data that a command's arguments name, and the models and scorers."""
    data = [args.data] if getattr(args, "data", None) else []
    if args.command == "eval" or (args.command == "designs" and len(args.paths) > 1):
        data = [args.paths[-1]]
    scorers = getattr(args, "scorer", None) or []
    named = [scorers] if isinstance(scorers, str) else [*scorers]
    named += [name for name in (getattr(args, "model", None), getattr(args, "gold", None)) if name]
    if args.command in ("eval", "designs"):
        named += args.paths[:-1]
    return data, named


def _named_in_recipe(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The data that a recipe names, and the models. What an override changes is left to the
    recipe's reader.

    Raises:
        UserError: the recipe is not there, or no YAML.
    """
    from rewarddiff.config import read_recipe

    recipe = read_recipe(args.recipe)
    named = {"model": recipe.get("model")}
    if isinstance(recipe.get("data"), dict):
        named["data.path"] = recipe["data"].get("path")
    scorers = recipe.get("scorers")
    for name, scorer in scorers.items() if isinstance(scorers, dict) else ():
        if isinstance(scorer, dict):
            named |= {f"scorers.{name}.{key}": scorer.get(key) for key in ("backbone", "trained")}
    for text in args.overrides:
        changed, _, value = text.partition("=")
        named = {
            key: name for key, name in named.items() if not f"{key}.".startswith(f"{changed}.")
        }
        if changed == "data.path" and not value.startswith(("[", '"', "'")):
            named[changed] = value
    data = named.pop("data.path", None)
    named_models = [name for name in named.values() if isinstance(name, str) and name]
    return [data] if isinstance(data, str) and data else [], named_models


# --- commands -------------------------------------------------------------------------------------------------------


def _demo(args: argparse.Namespace) -> None:
    _run_recipe(Path(__file__).parent / "demo" / "recipe.yaml", _with_output(args))


def _run(args: argparse.Namespace) -> None:
    if args.print:
        from rewarddiff.config import dump_yaml, load_recipe
        from rewarddiff.pipeline import Recipe

        recipe = load_recipe(args.recipe, args.overrides, Recipe)
        recipe.check()
        say(dump_yaml(recipe).removesuffix("\n"))
    else:
        _run_recipe(args.recipe, args.overrides)


def _run_recipe(recipe: Path, overrides: Sequence[str]) -> None:
    from rewarddiff.pipeline import run_recipe

    folder = run_recipe(recipe, overrides)
    say(f"results  {folder / 'results.json'}", f"report   {folder / 'report.html'}")


def _sweep(args: argparse.Namespace) -> None:
    from rewarddiff.pipeline import sweep_points, sweep_recipe

    if args.print:
        say(*sweep_points(args.recipe, args.overrides))
    else:
        folder = sweep_recipe(args.recipe, args.overrides)
        say(f"results  {folder / 'sweep.json'}", f"report   {folder / 'sweep.html'}")


def _check(args: argparse.Namespace) -> None:
    from rewarddiff.check import check

    if args.model is None and (args.max_prompt or args.max_response):
        raise UserError(
            "--max-prompt and --max-response count tokens: name the tokenizer's model with --model"
        )
    check(
        args.data,
        **_reading(args),
        model=args.model,
        max_prompt=args.max_prompt,
        max_response=args.max_response,
    )


def _train(args: argparse.Namespace) -> None:
    from rewarddiff.pipeline import train_stage

    model = args.model or ("all-minilm-l6-v2" if args.kind in SCORERS else "smollm2-135m-instruct")
    say(
        str(
            train_stage(
                args.kind, model, args.data, args.output or Path("runs") / args.kind, args.overrides
            )
        )
    )


def _augment(args: argparse.Namespace) -> None:
    from rewarddiff.pipeline import augment_stage

    ledger = augment_stage(args.data, args.model, args.scorer, args.output, args.overrides)
    say(ledger.table(), f"lists  {args.output}")


def _score(args: argparse.Namespace) -> None:
    from rewarddiff.pipeline import score_stage

    say(str(score_stage(args.scorer, args.data, args.output, **_reading(args))))


def _eval(args: argparse.Namespace) -> None:
    from rewarddiff.data import Ledger
    from rewarddiff.data.files import name_of
    from rewarddiff.evaluation.scorers import overlap_remark
    from rewarddiff.pipeline import eval_stage

    *scorers, data = args.paths
    if not scorers:
        args.parser.error("give at least one SCORER, and then DATA")
    output = args.output or Path("runs") / f"eval-{name_of(data)}"
    found = eval_stage(scorers, data, output, **_reading(args))
    ledger = Ledger.from_dict(found["ledger"])
    if ledger.dropped or ledger.changed:
        say(ledger.table())
    for name, figures in found["scorers"].items():
        say(*[f"{name}:"] * (len(scorers) > 1), *_beside(figures))
        if remark := overlap_remark(figures["trained_on"]):
            say(remark)
    for contrast in found["scorer_contrasts"]:
        pair = f"{contrast['a']} − {contrast['b']}"
        say(f"accuracy of {pair}  {_interval(contrast['gap'])}  p={contrast['p']:.2g}")
        if contrast["spearman_gap"]["value"] is not None:
            say(f"spearman_strength of {pair}  {_interval(contrast['spearman_gap'])}")
    say(f"results  {output / 'results.json'}", f"report   {output / 'report.html'}")


def _bestof(args: argparse.Namespace) -> None:
    from rewarddiff.pipeline import best_of_n_stage
    from rewarddiff.report.best_of_n import terminal_best_of_n

    output = args.output or Path("runs/bestof")
    found = best_of_n_stage(args.data, args.model, args.scorer, args.gold, output, args.overrides)
    console().print(terminal_best_of_n(found))
    say(f"page  {output / 'best_of_n.html'}")


def _designs(args: argparse.Namespace) -> None:
    from rewarddiff.pipeline import designs_of_run, designs_stage
    from rewarddiff.report import terminal_designs

    *scorers, last = args.paths
    options = {"limit": args.limit, "output": args.output}
    if scorers:
        found = designs_stage(scorers, last, args.budget, **options, **_reading(args))
    else:
        if _reading(args):
            raise UserError(
                "--format, --split and --max-drop say how DATA is read: a run reads as its recipe says"
            )
        found = designs_of_run(last, args.budget, **options)
    console().print(terminal_designs(found))
    if args.output:
        say(f"results  {args.output}")


def _lab(args: argparse.Namespace) -> None:
    from rewarddiff.config import load_recipe
    from rewarddiff.lab import LabConfig, lab

    output = args.output or Path("runs/lab")
    for finding in lab(output, load_recipe({}, args.overrides, LabConfig)):
        say("", finding.question, *(f"  {statement}" for statement in finding.statements))
    say("", f"page  {output / 'lab.html'}")


def _report(args: argparse.Namespace) -> None:
    from rewarddiff.pipeline import report_stage

    say(str(report_stage(args.run)))


def _doctor(args: argparse.Namespace) -> None:
    from rewarddiff.doctor import findings

    for name, finding in findings():
        say(f"{name:<13} {finding}")


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    """How data is read, where that was said."""
    asked = {"format": args.format, "split": args.split, "max_drop": args.max_drop}
    return {name: value for name, value in asked.items() if value is not None}


def _beside(figures: Mapping[str, Any]) -> list[str]:
    """A scorer's figures, a line each, and beside each what a scorer that knows length, or nothing,
    would get."""
    baselines = {
        name: _figures(found)
        for name, found in figures["baselines"].items()
        if name != "longer_wins"
    }
    rows = [("", "", *baselines)]
    for name, told in _figures(figures).items():
        rows.append((name, told, *(found.get(name, "") for found in baselines.values())))
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _figures(results: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """The figures and intervals among results that are known, by name; histograms and matrices are
    in the files."""
    told: dict[str, str] = {}
    for key, value in results.items():
        name = before + key
        if isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys():
            if value["value"] is not None:
                told[name] = _interval(value)
        elif isinstance(value, Mapping) and key not in ("histogram", "baselines", "trained_on"):
            told |= _figures(value, f"{name} ")
        elif isinstance(value, list):
            for part in (part for part in value if isinstance(part, Mapping)):
                whole = before if "domain" in part else f"{name} "
                found = _figures(
                    {k: v for k, v in part.items() if k not in RANGE}, f"{whole}{_range(part)} "
                )
                told |= {inner.removesuffix(" accuracy"): text for inner, text in found.items()}
        elif isinstance(value, (int, float)):
            told[name] = figure(value, ".6g")
    return told


PARTS = ("subset", "domain", "aspect")
RANGE = ("low", "high", *PARTS)
"""What says which part of the data the other figures are of."""


def _interval(found: Mapping[str, Any]) -> str:
    n = f" n={found['n']}" if "n" in found else ""
    return f"{_number(found['value'])} [{_number(found['low'])}, {_number(found['high'])}]{n}"


def _range(part: Mapping[str, Any]) -> str:
    for name in PARTS:
        if name in part:
            return str(part[name])
    if part["high"] is None:
        return f"≥{figure(part['low'], 'g')}"
    if part["low"] == part["high"]:
        return figure(part["low"], "g")
    return f"{figure(part['low'], 'g')}–{figure(part['high'], 'g')}"


def _number(value: float | None) -> str:
    return "–" if value is None else figure(value, ".4g")


def _with_output(args: argparse.Namespace) -> list[str]:
    output = [f"output={json.dumps(str(args.output))}"] if args.output else []
    return [*output, *args.overrides]


# --- arguments ------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Errors in one line, like all others of the user's."""

    def error(self, message: str) -> NoReturn:
        self.exit(_ended(f"error: {message} (see {self.prog} --help)", 2))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest choice where argparse would list them all."""
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(
                action, f"there is no '{value}'{suggest(value, action.choices)}"
            )


def _parser() -> _Parser:
    shared = _Parser(add_help=False)
    shared.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show the traceback of whatever goes wrong",
    )
    parser = _Parser(
        prog="rewarddiff",
        description="Learn by how much one response beats another, and let every alignment method use it.",
        epilog="example:\n  rewarddiff demo    the whole pipeline on embedded data, in a few minutes",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[shared],
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, handler: Callable[[argparse.Namespace], None], purpose: str, example: str
    ) -> _Parser:
        sub = commands.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=f"example:\n  rewarddiff {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            parents=[shared],
        )
        sub.set_defaults(handler=handler, parser=sub)
        return sub

    def options(sub: _Parser, text: str, metavar: str = "KEY=VALUE") -> None:
        sub.add_argument("overrides", nargs="*", default=[], metavar=metavar, help=text)

    def reading(sub: _Parser) -> None:
        sub.add_argument("--format", help="the data's format, where its columns do not tell")
        sub.add_argument("--split", help="the split to read, of a dataset that has several")
        sub.add_argument(
            "--max-drop", type=_share, help="share of rows that may drop (default 0.05)"
        )

    data = "a data file or folder (JSONL, JSON, CSV, Parquet), a dataset's name, or demo; FOLDER#SPLIT is one split"
    scorer = "the folder of a trained scorer"

    sub = command(
        "demo",
        _demo,
        "run the whole pipeline on the embedded data",
        "demo --output runs/demo seed=1",
    )
    sub.add_argument("--output", type=user_path, help="where to write the run")
    options(sub, OVERRIDES)

    sub = command(
        "run",
        _run,
        "run a recipe; again: continue or do nothing",
        "run recipe.yaml data.path=preferences.jsonl seed=1",
    )
    sub.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file")
    sub.add_argument("--print", action="store_true", help="print the resolved recipe and stop")
    options(sub, OVERRIDES)

    sub = command(
        "sweep",
        _sweep,
        "run a recipe at every combination of values; what they share is done once",
        "sweep recipe.yaml coefficient.alpha=0,0.5,1,2 seed=0..4",
    )
    sub.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file")
    sub.add_argument(
        "--print",
        action="store_true",
        help="print the points and the number of trainings, and stop",
    )
    options(sub, SEVERAL, "KEY=VALUES")

    sub = command(
        "check",
        _check,
        "account for every row of the data, and describe it",
        "check preferences.jsonl.gz",
    )
    sub.add_argument("data", metavar="DATA", help=data)
    reading(sub)
    sub.add_argument(
        "--model", help="count tokens with this model's tokenizer, against its context"
    )
    sub.add_argument(
        "--max-prompt", type=_count, metavar="TOKENS", help="with --model: cut prompts beyond this"
    )
    sub.add_argument(
        "--max-response",
        type=_count,
        metavar="TOKENS",
        help="with --model: cut responses beyond this",
    )

    sub = command(
        "train",
        _train,
        "train one scorer or policy",
        "train reward --data preferences.jsonl --output runs/reward lr=1e-5",
    )
    kinds = (*SCORERS, *POLICIES)
    sub.add_argument(
        "kind", choices=kinds, metavar="KIND", help=f"what to train: {', '.join(kinds)}"
    )
    sub.add_argument(
        "--model",
        help="a folder, a hub name or a short name "
        "(default: all-minilm-l6-v2 for scorers, smollm2-135m-instruct for policies)",
    )
    sub.add_argument("--data", required=True, help=data)
    sub.add_argument(
        "--output", type=user_path, help="where to write the model (default runs/KIND)"
    )
    options(sub, "any option of this training, as lr=1e-5")

    sub = command(
        "augment",
        _augment,
        "let a policy write more responses, and rank them with the data's own",
        "augment pairs.jsonl --scorer runs/reward --output lists.jsonl draw=beams limit=100",
    )
    sub.add_argument("data", metavar="DATA", help=data)
    sub.add_argument(
        "--model",
        default="smollm2-135m-instruct",
        help="the policy (default smollm2-135m-instruct)",
    )
    sub.add_argument("--scorer", required=True, help=scorer)
    sub.add_argument(
        "--output",
        type=user_path,
        required=True,
        metavar="FILE",
        help="where to write the lists (JSONL)",
    )
    options(sub, "draw=beams, temperature or rejection, draw.k=4, limit=100, …")

    sub = command(
        "bestof",
        _bestof,
        "draw n responses and keep the best by a scorer: what is gained, for every n",
        "bestof preferences.jsonl --scorer runs/reward --gold runs/judge 'n=[1,4,16]' limit=64",
    )
    sub.add_argument("data", metavar="DATA", help=f"where prompts are taken from: {data}")
    sub.add_argument(
        "--model",
        default="smollm2-135m-instruct",
        help="the policy (default smollm2-135m-instruct)",
    )
    sub.add_argument(
        "--scorer",
        required=True,
        action="append",
        help=f"one that picks: {scorer}; may be given again",
    )
    sub.add_argument("--gold", required=True, help="the one that judges every pick")
    sub.add_argument(
        "--output",
        type=user_path,
        metavar="DIR",
        help="where to write best_of_n.html (default runs/bestof)",
    )
    options(sub, "n=[1,2,4,8,16], temperature=1, max_new_tokens=64, limit=32, …")

    sub = command(
        "score",
        _score,
        "score responses with a trained scorer",
        "score runs/reward preferences.jsonl",
    )
    sub.add_argument("scorer", metavar="SCORER", help=scorer)
    sub.add_argument("data", metavar="DATA", help=data)
    reading(sub)
    sub.add_argument("--output", type=user_path, metavar="FILE", help="where to write the scores")

    sub = command(
        "eval",
        _eval,
        "measure trained scorers on labelled data, and each against each",
        "eval runs/reward test.jsonl --output runs/e",
    )
    sub.add_argument(
        "paths", nargs="+", metavar="SCORER… DATA", help=f"{scorer}, one or several; then {data}"
    )
    reading(sub)
    sub.add_argument(
        "--output",
        type=user_path,
        metavar="DIR",
        help="where to write results.json and report.html (default runs/eval-DATA)",
    )

    sub = command(
        "designs",
        _designs,
        "measure what a ranking of lists by fewer comparisons costs in quality",
        "designs runs/lists-small --budget 60",
    )
    sub.add_argument(
        "paths", nargs="+", metavar="PATH",
        help="the folder of a run: its scorers on its test split; or trained scorers (seeds of one) and then data",
    )  # fmt: skip
    reading(sub)
    sub.add_argument(
        "--budget",
        type=_count,
        nargs="+",
        default=[],
        metavar="N",
        help="designs of N comparisons a list",
    )
    sub.add_argument("--limit", type=_count, metavar="N", help="at most so many lists")
    sub.add_argument(
        "--output", type=user_path, metavar="FILE", help="where to write the figures as JSON"
    )

    sub = command(
        "lab",
        _lab,
        "ask when weighting helps, in worlds where the truth is known",
        "lab --output runs/lab world.noise=2 seeds=40",
    )
    sub.add_argument(
        "--output",
        type=user_path,
        metavar="DIR",
        help="where to write lab.html and lab.md (default runs/lab)",
    )
    options(sub, "seeds=24, quality=0.8, world.pairs=300, world.noise=1, …")

    sub = command(
        "report", _report, "write a run's report again from its results", "report runs/demo"
    )
    sub.add_argument("run", type=user_path, metavar="RUN_DIR", help="a folder with results.json")

    command("doctor", _doctor, "describe this machine: versions, memory, models, speed", "doctor")
    return parser


def _arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse; overrides may stand anywhere among the options."""
    args, rest = parser.parse_known_args(argv)
    args.debug = "debug" in args
    sub: argparse.ArgumentParser = args.parser
    takes_overrides = hasattr(args, "overrides")
    for text in rest:
        if text.startswith("-") or not takes_overrides:
            sub.error(f"unknown argument '{text}'{_mend(text, sub, takes_overrides)}")
        args.overrides.append(text)
    for text in getattr(args, "overrides", ()):
        if "=" not in text:
            sub.error(f"unknown argument '{text}': expected key=value")
    return args


def _mend(text: str, sub: argparse.ArgumentParser, takes_overrides: bool) -> str:
    """What may have been meant by an unknown argument: an option of nearly this name, or a key of
    the recipe."""
    name = text.partition("=")[0]
    near = difflib.get_close_matches(name, sub._option_string_actions, n=1, cutoff=0.75)
    if near:
        return f" – did you mean {near[0]}?"
    key = name.lstrip("-").replace("-", "_")
    return f": keys are written without dashes, as {key}=VALUE" if takes_overrides and key else ""


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share, should be a number between 0 and 1")
    return value


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} should be a whole number of at least 1")
    return int(text)


def _quiet_libraries() -> None:
    """Hold back the libraries' own bars and deprecation notes: a run has its own progress, and
    errors are raised."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    for module in ("transformers", "peft", "accelerate"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)


# --- failing --------------------------------------------------------------------------------------------------------


def _failed(args: argparse.Namespace, error: BaseException, message: str, status: int) -> int:
    if args.debug:
        say("".join(traceback.format_exception(error)).removesuffix("\n"), error=True)
    return _ended(f"error: {message}", status)


def _mute_stdout() -> None:
    """Print nothing more: Python would try once more at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _ended(message: str, status: int) -> int:
    """One line on stderr; returns the exit status."""
    with suppress(OSError):  # stderr itself may be on a full disk
        say(f"rewarddiff: {' '.join(message.split())}", error=True)
    return status


def _kept(error: BaseException) -> str:
    """Write the traceback to a file of the first folder that takes it, and return the words for
    where it is."""
    text = "".join(traceback.format_exception(error))
    reason = ""
    for folder in TRACEBACKS:
        try:
            return f"traceback in {os.path.abspath(_written(text, folder))}"
        except OSError as failure:
            reason = reason or str(failure.strerror)
    return f"its traceback could not be kept: {reason}; --debug shows it"


def _written(text: str, folder: str | None) -> str:
    """The name of a new file with this text."""
    handle, name = tempfile.mkstemp(dir=folder, prefix="rewarddiff-", suffix=".traceback.txt")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        os.unlink(name)
        raise
    return name


if __name__ == "__main__":
    sys.exit(main())
