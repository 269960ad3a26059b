"""`rewarddiff judge`: policies held against each other by judges, on the same prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from rewarddiff import files
from rewarddiff.config import at_least, load_recipe
from rewarddiff.data.files import name_of
from rewarddiff.data.named import check_contest
from rewarddiff.data.outputs import write_outputs
from rewarddiff.data.questions import read_questions
from rewarddiff.data.vote_files import read_votes
from rewarddiff.endpoints.addresses import served_model
from rewarddiff.errors import UserError
from rewarddiff.outputs import run_folder_for
from rewarddiff.paths import as_name, as_names, user_path
from rewarddiff.pipeline.canaries import PROMPTS
from rewarddiff.pipeline.contestants import Contestant, answers_of, contestants
from rewarddiff.pipeline.earlier import check_earlier
from rewarddiff.pipeline.independence import used_by
from rewarddiff.pipeline.judge_results import (
    Asked,
    attacked,
    compared,
    judge_results,
    write_annotations,
)
from rewarddiff.pipeline.judge_use import check_servers
from rewarddiff.pipeline.stage import write_results
from rewarddiff.pipeline.verdicts import Answers, write_verdicts
from rewarddiff.report import render
from rewarddiff.results import LABELS, MAJORITY, PEOPLE, RESULTS, Results
from rewarddiff.sampling import SamplingConfig
from rewarddiff.scorers.opening import is_judge, open_judge
from rewarddiff.scorers.people import People
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.store import Store
from rewarddiff.writing import say

STORE = "store.sqlite"

TAKEN = {
    MAJORITY: "all judges together",
    PEOPLE: "the votes of --people",
    LABELS: "the data's labels",
}
"""Names that no judge can have in results."""


@dataclass(frozen=True)
class JudgeConfig:
    """What `judge` takes besides the options of its judges.

    Attributes:
        prompts: at most so many; None: all.
        canaries: prompts of the first policy on which two answers are judged that should lose; 0:
            none.
        shown: prompts whose answers stand side by side in the report.
        sampling: how models answer that are named as policies.
    """

    prompts: int | None = None
    canaries: int = PROMPTS
    shown: int = 6
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        at_least(self, 1, "prompts")
        at_least(self, 0, "canaries", "shown")


def judge_stage(
    policies: Sequence[str],
    judges: Sequence[str],
    *,
    data: str | None = None,
    output: str | Path | None = None,
    people: str | None = None,
    attack: bool = False,
    overrides: Sequence[str] = (),
) -> Path:
    """Hold policies against each other by judges, and return the folder of what they say.

    It holds results.json and report.html, every verdict in verdicts.jsonl, AlpacaEval's rows in
    annotations.json, and a store: a judging that was interrupted goes on where it stopped.

    Args:
        policies: two or more: files of outputs, folders or hub names of models, RUN:POLICY,
            MODEL@URL.
        judges: MODEL@URL, a folder or hub name of a language model, or any scorer.
        data: prompts for models to answer; questions of MT-Bench; attacks.
        output: None: a folder in runs/ that is named after the policies.
        people: votes of people, who are a judge too.
        attack: the prompts are attacks: a judge reads each response by itself, and no two policies
            are compared.
        overrides: of `JudgeConfig` and of the judges' options, as form=grades.

    Raises:
        UserError: a policy or judge that is none, prompts that differ, a server that is down. A
            folder that would hold nothing is not left behind.
    """
    config, options = _configured(overrides)
    check_contest(policies, judges, people=people is not None, attack=attack)
    texts = _labels(judges)
    questions = read_questions(data, limit=config.prompts) if data is not None else []
    named = contestants(policies, questions)
    opened = _opened(texts, options, people)
    folder = _folder(output, named)
    title = f"{', '.join(one.name for one in named)} by {', '.join(opened)}"
    check_earlier(folder, "judge", title, others="of another command")
    with _clean_folder_for(folder), Store(folder / STORE) as store:
        answers = answers_of(named, questions, config.sampling, store=store, limit=config.prompts)
        _check_differ(named, answers)
        if not (attack and (folder / RESULTS).exists()):
            # Before the first is paid; but nothing is asked for what was judged already.
            check_servers(opened, answers, store, attack=attack)
        asked = {}
        for name, judge in opened.items():
            if attack:
                asked[name] = attacked(name, judge, answers, store)
            else:
                asked[name] = compared(name, judge, answers, config.canaries, store)
        used = used_by(named, texts if people is None else {**texts, PEOPLE: people})
        votes = () if people is None else read_votes(people)
        results = judge_results(title, answers, asked, used, shown=config.shown, votes=votes)
        _write(folder, named, answers, asked, results)
    return folder


def _configured(overrides: Sequence[str]) -> tuple[JudgeConfig, list[str]]:
    """Return the command's own options, and the overrides that are for the judges."""
    names = JudgeConfig.__dataclass_fields__
    own = [text for text in overrides if text.partition("=")[0].partition(".")[0] in names]
    return load_recipe({}, own, JudgeConfig), [text for text in overrides if text not in own]


def _check_differ(named: Sequence[Contestant], answers: Answers) -> None:
    """Refuse two files of the same answers; say it of other policies, of which it may be a finding.

    Raises:
        UserError: naming both files.
    """
    for a, b in combinations(range(len(named)), 2):
        if any(group.responses[a] != group.responses[b] for group in answers.groups):
            continue
        one, other = named[a], named[b]
        same = f"{one.text} and {other.text}: give the same answer to every prompt"
        if one.outputs is not None and other.outputs is not None:
            raise UserError(f"{same}, so there is nothing to judge; name two policies that differ")
        say(f"{same}: all ties, and no judge is asked", error=True)


def _labels(judges: Sequence[str]) -> dict[str, str]:
    """Return the texts that name judges by the names that results have for them."""
    short = [_short(text) for text in judges]
    labels = {}
    for text, name in zip(judges, short, strict=True):
        is_clear = short.count(name) == 1 and name not in TAKEN
        label = name if is_clear else text
        if label in TAKEN or (served_model(text) is not None and name in TAKEN):
            raise UserError(
                f"{text}: results call {TAKEN[name]} '{name}'; give the judge another name"
            )
        labels[label] = text
    return labels


def _opened(
    texts: Mapping[str, str], options: Sequence[str], people: str | None
) -> dict[str, Scorer]:
    """Return the judges by name; options are for language models, and refused where none judges."""
    takes_options = {text: is_judge(text) for text in texts.values()}
    opened: dict[str, Scorer] = {}
    for name, text in texts.items():
        is_for_it = takes_options[text] or not any(takes_options.values())
        opened[name] = open_judge(text, options if is_for_it else ())
    if people is not None:
        opened[PEOPLE] = People(path=people).by_majority.scorer(people)
    return opened


def _short(judge: str) -> str:
    served = served_model(judge)
    return name_of(judge) if served is None else served[0]


def _folder(output: str | Path | None, named: Sequence[Contestant]) -> Path:
    if output is not None:
        return user_path(output)
    names = "-".join(as_name(one.name) for one in named)
    return Path("runs") / f"judge-{names}"


@contextmanager
def _clean_folder_for(folder: Path) -> Iterator[None]:
    """Hold a folder; where this command made it and ends before anything is worth keeping, remove it."""
    is_new = not folder.exists()
    with run_folder_for(folder):
        try:
            yield
        except BaseException:
            # While it is held: what another command has begun there is its own.
            if is_new and _holds_nothing(folder):
                files.remove(folder)
            raise


def _holds_nothing(folder: Path) -> bool:
    """Tell whether a folder has no files but a store without values, and hidden ones."""
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if not visible <= {STORE}:
        return False
    if not visible:
        return True
    with Store(folder / STORE) as store:
        return store.is_empty()


def _write(
    folder: Path,
    named: Sequence[Contestant],
    answers: Answers,
    asked: Mapping[str, Asked],
    results: Results,
) -> None:
    """Write all that was found; results.json last."""
    names = as_names([one.name for one in named])
    for place, (one, name) in enumerate(zip(named, names, strict=True)):
        if one.outputs is None:
            write_outputs(folder / "outputs" / f"{name}.json", one.name, answers.groups, place)
    stated = {judge: of_judge.stated for judge, of_judge in asked.items()}
    write_verdicts(folder / "verdicts.jsonl", answers, stated)
    write_annotations(folder / "annotations.json", answers, stated)
    write_results(folder, results)
    render(results, folder)
