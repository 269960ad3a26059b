"""What each command does."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewarddiff.cli.looking import default_output
from rewarddiff.errors import UserError
from rewarddiff.writing import console, say

SCORERS = ("reward", "difference")
DEMO = Path(__file__).parents[1] / "demo" / "recipe.yaml"


def demo(args: Namespace) -> None:
    overrides = [f"output={json.dumps(str(args.output))}"] if args.output else []
    _run_recipe(DEMO, [*overrides, *args.overrides])


def run(args: Namespace) -> None:
    if not args.print:
        _run_recipe(args.recipe, args.overrides)
        return
    from rewarddiff.config import dump_yaml, load_recipe
    from rewarddiff.pipeline import Recipe

    recipe = load_recipe(args.recipe, args.overrides, Recipe)
    recipe.check()
    say(dump_yaml(recipe.heeded).removesuffix("\n"))


def _run_recipe(recipe: Path, overrides: Sequence[str]) -> None:
    from rewarddiff.pipeline import run_recipe

    folder = run_recipe(recipe, overrides)
    say(f"results  {folder / 'results.json'}", f"report   {folder / 'report.html'}")


def plan(args: Namespace) -> None:
    from rewarddiff.pipeline.planning import plan_recipe, plan_table

    if args.gpu is None and args.count > 1:
        raise UserError("--count is of GPUs: name their kind with --gpu")
    planned = plan_recipe(args.recipe, args.overrides, gpu=args.gpu, count=args.count)
    console().print(plan_table(planned))


def sweep(args: Namespace) -> None:
    from rewarddiff.pipeline import sweep_points, sweep_recipe

    if args.print:
        say(*sweep_points(args.recipe, args.overrides))
        return
    folder = sweep_recipe(args.recipe, args.overrides)
    say(f"results  {folder / 'sweep.json'}", f"report   {folder / 'sweep.html'}")


def init(args: Namespace) -> None:
    from rewarddiff.pipeline import init_stage

    output = args.output or Path("recipe.yaml")
    say(*init_stage(args.data, args.model, output, **_reading(args)))


def check(args: Namespace) -> None:
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


def train(args: Namespace) -> None:
    from rewarddiff.pipeline import train_stage

    default = "all-minilm-l6-v2" if args.kind in SCORERS else "smollm2-135m-instruct"
    model = args.model or default
    output = args.output or default_output(args)
    reading = _reading(args)
    if args.push_to_hub is None:
        if args.private:
            args.parser.error("--private is for --push-to-hub NAME")
        folder = train_stage(args.kind, model, args.data, output, args.overrides, **reading)
        say(*_trained(args.kind, model, folder))
        return
    from rewarddiff.models.publishing import publish, require_hub
    from rewarddiff.processes import once

    require_hub(args.push_to_hub)
    folder = train_stage(args.kind, model, args.data, output, args.overrides, **reading)
    address = once(lambda: publish(folder, args.push_to_hub, private=args.private))
    say(*_trained(args.kind, model, folder), f"on the hub  {address}")


def _trained(kind: str, start: str, folder: Path) -> list[str]:
    """Return what a training leaves, and what is done with it next."""
    model = shlex.quote(str(folder))
    following = f"rewarddiff judge {model} {shlex.quote(start)} --data PROMPTS --judge JUDGE"
    if kind in SCORERS:
        following = f"rewarddiff weigh DATA --scorer {model} --output weighted.jsonl"
    return [
        f"model   {folder}",
        f"report  {folder / 'run' / 'report.html'}",
        f"next    {following}",
    ]


def augment(args: Namespace) -> None:
    from rewarddiff.pipeline import augment_stage

    ledger = augment_stage(
        args.data, args.model, args.scorer, args.output, args.overrides, **_reading(args)
    )
    say(ledger.table(), f"lists  {args.output}")


def baseline(args: Namespace) -> None:
    from rewarddiff.pipeline import baseline_stage
    from rewarddiff.report.baseline import terminal_baseline

    summary = baseline_stage(
        args.data, args.model, args.scorer, args.output, args.overrides, **_reading(args)
    )
    console().print(terminal_baseline(summary))
    say(f"baseline  {args.output}", f"page      {args.output.with_suffix('.html')}")


def score(args: Namespace) -> None:
    from rewarddiff.pipeline import score
    from rewarddiff.pipeline.scoring import judge_overrides

    summary = score(
        args.scorer,
        args.data,
        args.output,
        processes=args.processes,
        options=judge_overrides(args.overrides),
        **_reading(args),
    )
    say(*summary.lines(), f"written       {summary.output}")


def weigh(args: Namespace) -> None:
    from rewarddiff.pipeline.scoring import WeighConfig, weigh_dataset

    own, of_judge = WeighConfig.split(args.overrides)
    weighed = weigh_dataset(
        args.scorer,
        args.data,
        args.output,
        WeighConfig.of(own),
        processes=args.processes,
        options=of_judge,
        **_reading(args),
    )
    say(
        *weighed.summary.lines(),
        f"written       {weighed.output}",
        f"report        {weighed.beside.report}",
        f"suspicious    {weighed.beside.suspicious}",
        f"              {weighed.beside.page}",
    )


def evaluate(args: Namespace) -> None:
    from rewarddiff.data import Ledger
    from rewarddiff.pipeline import eval_stage
    from rewarddiff.pipeline.scoring import judge_overrides
    from rewarddiff.report import terminal_evaluation
    from rewarddiff.results import plain

    *scorers, data = args.paths
    if not scorers:
        args.parser.error("give at least one SCORER, and then DATA")
    output = args.output or default_output(args)
    options = judge_overrides(args.overrides)
    results = eval_stage(scorers, data, output, options=options, **_reading(args))
    ledger = Ledger.from_dict(plain(results.data.ledger))
    if ledger.dropped or ledger.changed:
        say(ledger.table())
    console().print(terminal_evaluation(results))
    say(f"results  {output / 'results.json'}", f"report   {output / 'report.html'}")


def bestof(args: Namespace) -> None:
    from rewarddiff.pipeline import best_of_n_stage
    from rewarddiff.report.best_of_n import terminal_best_of_n

    output = args.output or default_output(args)
    results = best_of_n_stage(
        args.data, args.model, args.scorer, args.gold, output, args.overrides, **_reading(args)
    )
    console().print(terminal_best_of_n(results))
    say(f"page  {output / 'best_of_n.html'}")


def designs(args: Namespace) -> None:
    from rewarddiff.pipeline import designs_of_run, designs_stage
    from rewarddiff.report import terminal_designs

    *scorers, data_or_run = args.paths
    reading = _reading(args)
    options = {"limit": args.limit, "output": args.output}
    if reading and not scorers:
        raise UserError(
            "--format, --split, --columns and --max-drop say how DATA is read: a run reads as its "
            "recipe says"
        )
    if scorers:
        results = designs_stage(scorers, data_or_run, args.budget, **options, **reading)
    else:
        results = designs_of_run(data_or_run, args.budget, **options)
    console().print(terminal_designs(results))
    if args.output:
        say(f"results  {args.output}")


def lab(args: Namespace) -> None:
    if args.worlds == ["online"]:
        lab_online(args)
        return
    if args.worlds == ["offline"]:
        lab_offline(args)
        return
    if args.worlds:
        raise UserError(
            f"lab: there is no '{args.worlds[0]}'; leave it out, or say online or offline"
        )
    from rewarddiff.config import load_recipe
    from rewarddiff.lab import LabConfig, lab
    from rewarddiff.lab.page import about

    output = args.output or default_output(args)
    config = load_recipe({}, args.overrides, LabConfig)
    findings = lab(output, config)
    say(about(config))
    for finding in findings:
        statements = [f"  {statement}" for statement in finding.statements]
        say("", finding.question, *statements)
    say("", f"page  {output / 'lab.html'}")


def lab_online(args: Namespace) -> None:
    from rewarddiff.config import load_recipe
    from rewarddiff.lab.online import OnlineLabConfig, lab_online
    from rewarddiff.lab.online.words import lines

    output = args.output or default_output(args)
    args.command = "lab online"  # which goes on where it stopped
    results = lab_online(output, load_recipe({}, args.overrides, OnlineLabConfig))
    say(*lines(results), "", f"page  {output / 'lab-online.html'}")


def lab_offline(args: Namespace) -> None:
    from rewarddiff.config import load_recipe
    from rewarddiff.lab.online import OfflineLabConfig, lab_offline

    output = args.output or default_output(args)
    args.command = "lab offline"  # which goes on where it stopped
    findings = lab_offline(output, load_recipe({}, args.overrides, OfflineLabConfig))
    say(findings.about)
    for part in findings.parts:
        if part.statements:
            say("", part.title, *(f"  {statement}" for statement in part.statements))
    say("", f"page  {output / 'lab-offline.html'}")


def serve(args: Namespace) -> None:
    from rewarddiff.config import load_recipe
    from rewarddiff.serve import ServeConfig, require_installed

    require_installed()
    from rewarddiff.listening import require_free

    config = load_recipe({}, args.overrides, ServeConfig)
    require_free(args.host, args.port)
    from rewarddiff.serve.server import serve as run_server

    run_server(
        args.scorer,
        host=args.host,
        port=args.port,
        policy_baseline=args.policy_baseline,
        key_env=args.key_env,
        config=config,
    )


def judge(args: Namespace) -> None:
    from rewarddiff.pipeline import judge_stage
    from rewarddiff.report import terminal_table
    from rewarddiff.results import read_results

    folder = judge_stage(
        args.policies,
        args.judge,
        data=args.data,
        output=args.output,
        people=args.people,
        attack=args.attack,
        overrides=args.overrides,
    )
    console().print(terminal_table(read_results(folder)))
    say(f"results  {folder / 'results.json'}", f"report   {folder / 'report.html'}")


def annotate(args: Namespace) -> None:
    from rewarddiff.annotate import AnnotateConfig, require_installed
    from rewarddiff.config import load_recipe

    if args.export is not None:
        from rewarddiff.annotate.export import export

        say(export(args.export, args.output, args.form).line)
        return
    require_installed()
    config = load_recipe({}, args.overrides, AnnotateConfig)
    from rewarddiff.annotate.samples import output_of, pairs_of
    from rewarddiff.annotate.server import annotate as serve_page
    from rewarddiff.data import Ledger

    ledger = Ledger()
    output = args.output or output_of(args.samples)
    pairs = pairs_of(args.samples, ledger, limit=config.limit, **_reading(args))
    if ledger.dropped or ledger.changed:
        say(ledger.table())
    serve_page(
        pairs,
        output,
        host=args.host,
        port=args.port,
        annotators=args.annotators,
        steps=args.scale,
        config=config,
    )


def report(args: Namespace) -> None:
    from rewarddiff.pipeline import report_stage

    if len(args.runs) > 1:
        compare(args)
        return
    if args.output is not None:
        raise UserError(
            "report: of one run the page lies in its folder; leave --output out, or give several"
        )
    say(f"report  {report_stage(Path(args.runs[0]))}")


def compare(args: Namespace) -> None:
    from rewarddiff.pipeline import compare_stage
    from rewarddiff.report.compare import terminal_comparison

    output = args.output or Path("compare.html")
    console().print(terminal_comparison(compare_stage(args.runs, output)))
    say(f"page  {output}")


def completion(args: Namespace) -> None:
    from rewarddiff.cli.arguments import command_line
    from rewarddiff.cli.completion import script

    say(script(command_line(), args.shell).removesuffix("\n"))


def doctor(args: Namespace) -> None:
    from rewarddiff.doctor import findings

    for name, finding in findings():
        say(f"{name:<13} {finding}")


def _reading(args: Namespace) -> dict[str, Any]:
    """Return the options of reading that were given on the command line."""
    columns: dict[str, str] = {}
    for names in args.columns or ():
        columns |= names
    options = {
        "format": args.format,
        "split": args.split,
        "columns": columns or None,
        "max_drop": getattr(args, "max_drop", None),
    }
    return {name: value for name, value in options.items() if value is not None}
