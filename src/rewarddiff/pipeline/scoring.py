"""Scoring and weighing as the command line and Python call them: outputs named, guarded and said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.config import at_least, load_recipe
from rewarddiff.data import sources as data_sources
from rewarddiff.data.columns import Columns
from rewarddiff.data.files import name_of
from rewarddiff.data.huggingface import is_saved
from rewarddiff.errors import UserError, suggest
from rewarddiff.outputs import folder_for
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import file_made_of
from rewarddiff.pipeline.stage import write_json
from rewarddiff.processes import once
from rewarddiff.report.suspicious import render_suspicious
from rewarddiff.scorers.judging.options import OPTIONS
from rewarddiff.scorers.opening import options_of_each
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.scoring import tables
from rewarddiff.scoring.score import ScoreSummary
from rewarddiff.scoring.score import score as score_data
from rewarddiff.scoring.suspicious import SUSPICIOUS, Suspicious
from rewarddiff.scoring.weigh import weigh as weigh_data
from rewarddiff.scoring.weigh_summary import WeighSummary
from rewarddiff.scoring.windows import Data
from rewarddiff.writing import say

Sources = str | Path | Sequence[str | Path]


def score(
    scorer: str | Path | Scorer,
    data: Sources,
    output: str | Path | None = None,
    *,
    format: str | None = None,
    split: str | None = None,
    columns: Columns | None = None,
    max_drop: float = 1.0,
    processes: int = 1,
    options: Sequence[str] = (),
) -> ScoreSummary:
    """Score every response of the data, and write the user's rows with their scores beside them.

    Any number of rows takes the same memory. What is interrupted goes on where it stopped.

    Args:
        scorer: a folder, a name (see `scorers.opening`), or in one process a scorer.
        data: a source (see `load_groups`), or several, one after the other.
        format, split, columns: how it is read, see `load_groups`; rows are written with the names that
            their columns have.
        output: JSONL, CSV or Parquet by its suffix; the default is a file here, named by the data
            and the scorer.
        max_drop: the largest share of rows that may not be scored, as they cannot be used; they stay
            in the output in any case.
        processes: that score windows of rows at the same time.
        options: of a language model that judges, as `form=grades`.

    Raises:
        UserError: there is no such data or scorer, or the output cannot be written.
    """
    several = _sources(data)
    name = scorer.name if isinstance(scorer, Scorer) else scorer
    path = user_path(output or f"{name_of(several[0])}.{name_of(name)}.scores.jsonl")
    _check_processes(scorer, processes)
    with file_made_of(several, path, split):
        tables.check_suffix(path)
        return score_data(
            scorer,
            Data(several, format, split, columns),
            path,
            processes=processes,
            max_drop=max_drop,
            options=_options(scorer, options),
        )


def judge_overrides(overrides: Sequence[str]) -> list[str]:
    """Return overrides that are all options of a judge. Raises UserError: another one is among them."""
    for text in overrides:
        if key_of(text) not in OPTIONS:
            raise no_key(text, OPTIONS)
    return list(overrides)


def key_of(override: str) -> str:
    """Return the first part of the key of an override."""
    return override.partition("=")[0].partition(".")[0]


def no_key(override: str, known: Sequence[str]) -> UserError:
    """Return what is to be raised of an override whose key is none."""
    key = key_of(override)
    return UserError(f"override '{override}': there is no key '{key}' here{suggest(key, known)}")


@dataclass(frozen=True)
class WeighConfig:
    """How the differences of a dataset become coefficients.

    Attributes:
        suspicious: how many of the comparisons that the scorer contradicts most are listed.
    """

    coefficient: CoefficientConfig = field(default_factory=CoefficientConfig)
    suspicious: int = SUSPICIOUS

    def __post_init__(self) -> None:
        at_least(self, 0, "suspicious")
        if self.coefficient.source is not None:
            raise UserError("coefficient.source: the scorer is given by itself; leave it out")

    @classmethod
    def of(cls, overrides: Sequence[str]) -> WeighConfig:
        """Return the configuration with overrides: coefficient.alpha=0.5, for short alpha=0.5."""
        full, options = cls.split(overrides)
        if options:
            raise UserError(f"{options[0]}: is an option of the judge; give it as options")
        return load_recipe({}, full, cls)

    @classmethod
    def split(cls, overrides: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return overrides of the configuration by their full keys, and those of a judge.

        Raises:
            UserError: a key is neither's.
        """
        own = [option.name for option in fields(cls)]
        inside = [option.name for option in fields(CoefficientConfig)]
        full = []
        of_judge = []
        for text in overrides:
            key = key_of(text)
            if key in own:
                full.append(text)
            elif key in inside:
                full.append(f"coefficient.{text}")
            elif key in OPTIONS:
                of_judge.append(text)
            else:
                raise no_key(text, [*own, *inside, *OPTIONS])
        return full, of_judge


@dataclass(frozen=True)
class Beside:
    """What `weigh_dataset` writes beside its output.

    Attributes:
        report: everything that was counted, and the distribution, as JSON.
        suspicious: the comparisons that the scorer contradicts most, as JSON Lines.
        page: the same to be looked at.
    """

    report: Path
    suspicious: Path
    page: Path


@dataclass(frozen=True)
class Weighed:
    """What `weigh_dataset` has written.

    Attributes:
        summary: what became of the rows and their comparisons.
        output: the rows with their coefficients.
    """

    summary: WeighSummary
    output: Path
    beside: Beside


def weigh_dataset(
    scorer: str | Path | Scorer,
    data: Sources,
    output: str | Path,
    config: WeighConfig | CoefficientConfig | None = None,
    *,
    format: str | None = None,
    split: str | None = None,
    columns: Columns | None = None,
    max_drop: float = 0.05,
    processes: int = 1,
    options: Sequence[str] = (),
) -> Weighed:
    """Write a row for every comparison of the data with a coefficient, for TRL and others.

    Ties, and comparisons without two different texts, are left out and counted. Beside the output a
    report is written, and the comparisons that the scorer contradicts most as a file and a page.

    Args:
        scorer, data, format, split, columns, processes, options: see `score`.
        output: JSONL, CSV or Parquet by its suffix; without one, a folder of `datasets`.
        max_drop: the largest share of rows that may be left out, as they cannot be used.

    Raises:
        UserError: there is no such data or scorer, nothing to weigh, or the output cannot be
            written.
    """
    if isinstance(config, CoefficientConfig):
        config = WeighConfig(config)
    config = config or WeighConfig()
    several = _sources(data)
    _check_processes(scorer, processes)
    path = user_path(output)
    is_folder = not tables.check_suffix(path, folders=True)
    beside = _beside(path)
    _check_beside(several, beside, split)
    guard = _guarded_folder if is_folder else file_made_of
    with guard(several, path, split):
        summary, contradicted = weigh_data(
            scorer,
            Data(several, format, split, columns),
            path,
            config.coefficient,
            processes=processes,
            max_drop=max_drop,
            suspicious=config.suspicious,
            options=_options(scorer, options),
        )
        title = str(scorer.name if isinstance(scorer, Scorer) else scorer)
        once(lambda: _write_beside(beside, title, several, summary, contradicted))
    return Weighed(summary, path, beside)


def _write_beside(
    beside: Beside,
    title: str,
    sources: tuple[str, ...],
    summary: WeighSummary,
    contradicted: Suspicious,
) -> None:
    report = summary.report(title, sources)
    report["suspicious"] = contradicted.report()
    write_json(beside.report, report)
    tables.write(beside.suspicious, lambda: iter([contradicted.rows]))
    render_suspicious(
        beside.page,
        title,
        sources,
        contradicted.rows,
        contradicted.by_part,
        remarks=summary.reading.sentences(),
    )


def _beside(output: Path) -> Beside:
    name = output.with_suffix("")
    files = []
    for ending in ("report.json", "suspicious.jsonl", "suspicious.html"):
        files.append(name.with_name(f"{name.name}.{ending}"))
    return Beside(*files)


def _check_beside(sources: Sequence[str], beside: Beside, split: str | None) -> None:
    """Refuse an output beside which the data itself would be replaced."""
    written = {beside.report.resolve(), beside.suspicious.resolve(), beside.page.resolve()}
    for source in sources:
        for file in data_sources.paths(source, split):
            if file.resolve() in written:
                raise UserError(
                    f"{file}: would be replaced by what is written beside the output; choose another "
                    "output"
                )


@contextmanager
def _guarded_folder(sources: Sequence[str], folder: Path, split: str | None) -> Iterator[None]:
    """Refuse a folder that holds anything but a dataset, or data that is read."""
    for source in sources:
        for file in data_sources.paths(source, split):
            if file.resolve().is_relative_to(folder.resolve()):
                raise UserError(f"{folder}: the data lies in it; choose another output")
    if folder.exists() and not is_saved(folder):
        raise UserError(
            f"{folder}: is there already, and holds no saved dataset; choose another output"
        )
    if folder.exists():
        say(f"{folder}: is there already, and will be replaced")
    with folder_for(folder.parent):
        yield


def _options(scorer: str | Path | Scorer, options: Sequence[str]) -> tuple[str, ...]:
    """Return the options of a judge, refused before any work where the scorer is none."""
    if not options:
        return ()
    if isinstance(scorer, Scorer):
        raise UserError(f"{options[0]}: the scorer is made already; give it to the judge")
    return options_of_each([str(scorer)], options)[str(scorer)]


def _check_processes(scorer: str | Path | Scorer, processes: int) -> None:
    if processes > 1 and isinstance(scorer, Scorer):
        raise UserError("processes: a scorer that is loaded stays in one process; name its folder")


def _sources(data: Sources) -> tuple[str, ...]:
    """Return the sources, by what names them wherever a process may start."""
    several = [data] if isinstance(data, str | Path) else data
    if not several:
        raise UserError("no data is named; give a file, a folder, a dataset's name, or demo")
    return tuple(str(source) for source in several)
