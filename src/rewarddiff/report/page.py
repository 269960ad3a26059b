"""Results → one self-contained page: no script, nothing fetched, every text escaped."""

from pathlib import Path

from rewarddiff.report import bookkeeping, figures, policy_tables, scorer_tables
from rewarddiff.report.document import Page, Section, write
from rewarddiff.report.evidence import trained_with
from rewarddiff.report.first_picture import picture
from rewarddiff.report.first_screen import numbers
from rewarddiff.report.judge_sections import judge_sections
from rewarddiff.report.online import online_section
from rewarddiff.report.samples import sample_sections
from rewarddiff.report.slices import slices_tables
from rewarddiff.report.statements import head
from rewarddiff.report.summary import overview
from rewarddiff.report.values import count
from rewarddiff.results import PolicyResult, Results, ScorerResult, Settings
from rewarddiff.writing import counted


def render(results: Results, folder: Path) -> Path:
    """Write `folder/report.html` at once or not at all, and return its path.

    Beside it lie `figures/NAME.csv`, one a figure, and where the page would be very large
    `samples.html`. The same results give the same bytes. What results say nothing of is left out.
    """
    path = folder / "report.html"
    write(path, document(results), split=True)
    return path


def page(results: Results) -> str:
    """Return the page as text."""
    return document(results).html()


def document(results: Results) -> Page:
    """Return the page."""
    first = head(results)
    parts = [f"rewarddiff {results.version}", results.created]
    test = results.data.splits.get("test")
    if test is not None:
        parts.append(counted(test.comparisons, "test comparison", count))
    return Page(
        results.name,
        " · ".join(parts),
        first.result,
        sections(results),
        remarks=first.limits,
        further=first.further,
        numbers=numbers(results),
        picture=picture(results),
        limit=first.limit,
    )


# --- sections -------------------------------------------------------------------------------------


def sections(results: Results) -> list[Section]:
    """Return the page's parts, in reading order."""
    return [
        Section("summary", "Summary", tables=tuple(overview(results))),
        online_section(results),
        *judge_sections(results),
        *_of_scorers(results),
        Section(
            "curves",
            "Learning curves",
            intro=_curves_intro(results),
            figures=figures.curves(results),
        ),
        *_of_policies(results),
        Section(
            "data",
            "Data",
            intro="Every row that was dropped or changed is counted, by reason.",
            tables=(bookkeeping.data_table(results), bookkeeping.ledger_table(results)),
        ),
        _coefficients(results),
        Section(
            "cost",
            "Cost",
            figures=figures.costs(results),
            tables=(bookkeeping.costs_table(results),),
        ),
        Section("recipe", "Recipe", source=_yaml(results.recipe)),
        Section("machine", "Machine and versions", tables=(bookkeeping.machine_table(results),)),
    ]


def _of_scorers(results: Results) -> list[Section]:
    return [
        Section(
            "strength",
            "How much better: the differences",
            intro="The difference d says by how much the chosen response beats the rejected one. "
            "Where it is negative, the scorer contradicts the label.",
            figures=figures.histograms(results),
        ),
        Section(
            "calibration",
            "Accuracy by |d|",
            intro="A scorer that knows by how much is more often right where |d| is larger, "
            "and where the data itself states a stronger preference. "
            "Whiskers: 95 % Wilson intervals; dashed line: chance.",
            figures=figures.accuracies(results),
            tables=(scorer_tables.strength_table(results),),
        ),
        Section(
            "slices",
            "Where scorers are right",
            intro="By which response is longer, by part of the collection, and how far rewards of "
            "chosen and rejected responses lie apart; every score is counted.",
            figures=figures.reward_histograms(results),
            tables=tuple(slices_tables(results)),
        ),
    ]


def _of_policies(results: Results) -> list[Section]:
    return [
        Section(
            "rewards",
            "Rewards",
            intro=_rewards_intro(results),
            figures=figures.rewards(results),
        ),
        Section(
            "distributions",
            "How rewards are distributed",
            intro="Rewards of every policy's samples on held-out prompts.",
            figures=figures.reward_distributions(results),
            tables=(policy_tables.distributions_table(results),),
        ),
        Section(
            "contrasts",
            "Head to head",
            intro="Both policies answer the same prompts; the higher reward wins.",
            figures=figures.contrasts(results),
            tables=(policy_tables.contrasts_table(results),),
        ),
        *sample_sections(results),
    ]


def _coefficients(results: Results) -> Section:
    intro = "What each comparison's loss was multiplied by"
    tables = [policy_tables.coefficients_table(results)]
    if results.orders:
        intro += ", and who put lists in order"
        tables.append(policy_tables.orders_table(results))
    return Section(
        "coefficients",
        "Coefficients",
        intro=f"{intro}.",
        figures=figures.spreads(results),
        tables=tuple(tables),
    )


def _curves_intro(results: Results) -> str:
    """Say what the lines of the learning curves are."""
    of_data = [policy for policy in results.policies if not policy.samples_itself]
    runs: list[ScorerResult | PolicyResult] = [*results.scorers, *of_data]
    sentences = ["Coloured lines: training batches."]
    if any(line["split"] == "dev" for run in runs for line in run.curve):
        sentences.append("Dark dots: held-out dev comparisons.")
    if len({run.seed for run in runs}) > 1:
        sentences.append("One line a seed.")
    return " ".join(sentences)


def _rewards_intro(results: Results) -> str:
    """Say what the marks among the rewards are."""
    intro = "Mean reward of each policy's samples on held-out prompts, with its interval"
    if len({line.seed for line in results.rewards}) > 1:
        intro += "; small ticks are single seeds"
    intro += "."
    if trained_with(results):
        intro += (
            " Hollow dots: the policy was trained with this very scorer, or one of the same start, "
            "so its reward is no independent evidence."
        )
    return intro


def _yaml(recipe: Settings | None) -> str:
    import yaml

    if recipe is None:
        return ""
    return str(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100))
