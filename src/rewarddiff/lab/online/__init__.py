"""The laboratory with a real transformer: ways to learn from a noisy reward, at equal samples.

world      a small language with a known truth
policy     the transformer and its tokenizer, pretrained on that language
rewards    what is learned from: the truth, misread at known rates
learned    or a reward model that has learned from misread comparisons
ways       PPO and its relatives, DPO: each by the project's own training
pairs      what DPO learns from
measuring  the true reward of a policy on held-out prompts, and its KL to the start
bench      what all ways share in one world
config     what can be asked
running    all ways in all worlds, in several processes
summary    intervals over worlds; results: the dataclasses of the JSON file
page       what was measured, with plots and plain statements; gains, baselines: its parts
offline    the questions of the linear laboratory, asked again of the transformer
"""

from __future__ import annotations

from pathlib import Path

from rewarddiff.lab.online.config import OnlineLabConfig
from rewarddiff.lab.online.offline import OfflineLabConfig, linear_lab, offline_lab
from rewarddiff.lab.online.offline_page import offline_findings
from rewarddiff.lab.online.offline_results import write_offline
from rewarddiff.lab.online.page import render_online
from rewarddiff.lab.online.parts import Findings
from rewarddiff.lab.online.results import OnlineLab, read_results, write_results
from rewarddiff.lab.online.running import measured
from rewarddiff.lab.online.summary import summary
from rewarddiff.outputs import run_folder_for
from rewarddiff.paths import user_path

__all__ = [
    "OfflineLabConfig",
    "OnlineLab",
    "OnlineLabConfig",
    "lab_offline",
    "lab_online",
    "read_results",
    "write_results",
]


def lab_online(output: str | Path, config: OnlineLabConfig) -> OnlineLab:
    """Train every way in every world; write `output/lab-online.json`, and the page beside it.

    What an interrupted run has done is kept in `output`: the same call goes on.

    Args:
        config: the worlds, the noise, the ways.
    """
    folder = user_path(output)
    with run_folder_for(folder):
        starts, trained = measured(config, folder)
        results = summary(config, starts, trained)
        write_results(results, folder)
        render_online(results, folder)
    return results


def lab_offline(output: str | Path, config: OfflineLabConfig) -> Findings:
    """Ask the offline questions of a transformer; write `output/lab-offline.json`, and the page.

    Worlds that an interrupted run has done are kept in `output`: the same call goes on.

    Args:
        config: the worlds, the comparisons, the qualities of scorers.
    """
    folder = user_path(output)
    with run_folder_for(folder):
        results = offline_lab(config, folder)
        write_offline(results, folder)
        findings = offline_findings(results, linear_lab(config))
        findings.write(folder)
    return findings
