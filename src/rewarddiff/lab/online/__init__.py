"""The laboratory with a real transformer: ways to learn from a noisy reward, at equal samples.

world      a small language with a known truth
policy     the transformer and its tokenizer, pretrained on that language
rewards    what is learned from: the truth, misread at known rates
ways       PPO and its relatives, DPO: each by the project's own training
pairs      what DPO learns from
measuring  the true reward of a policy on held-out prompts, and its KL to the start
bench      what all ways share in one world
config     what can be asked
running    all ways in all worlds, in several processes
summary    intervals over worlds; results: the dataclasses of the JSON file
"""

from __future__ import annotations

from pathlib import Path

from rewarddiff.lab.online.config import OnlineLabConfig
from rewarddiff.lab.online.results import OnlineLab, read_results, write_results
from rewarddiff.lab.online.running import measured
from rewarddiff.lab.online.summary import summary
from rewarddiff.outputs import run_folder_for
from rewarddiff.paths import user_path

__all__ = ["OnlineLab", "OnlineLabConfig", "lab_online", "read_results", "write_results"]


def lab_online(output: str | Path, config: OnlineLabConfig) -> OnlineLab:
    """Train every way in every world, and write `output/lab-online.json`.

    What an interrupted run has done is kept in `output`: the same call goes on.

    Args:
        config: the worlds, the noise, the ways.
    """
    folder = user_path(output)
    with run_folder_for(folder):
        starts, trained = measured(config, folder)
        results = summary(config, starts, trained)
        write_results(results, folder)
    return results
