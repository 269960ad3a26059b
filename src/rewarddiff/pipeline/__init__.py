"""The stages in the paper's order, as the command line and Python call them."""

from rewarddiff.pipeline.augment import augment_stage
from rewarddiff.pipeline.baseline import baseline_stage
from rewarddiff.pipeline.best_of_n import best_of_n_stage
from rewarddiff.pipeline.commands import report_stage, run_recipe, train_stage
from rewarddiff.pipeline.comparing import compare_stage
from rewarddiff.pipeline.designs import designs_of_run, designs_stage
from rewarddiff.pipeline.evaluating import eval_stage
from rewarddiff.pipeline.init import init_stage
from rewarddiff.pipeline.judge import judge_stage
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.scoring import score, weigh_dataset
from rewarddiff.pipeline.sweep import sweep_points, sweep_recipe

__all__ = [
    "Recipe",
    "augment_stage",
    "baseline_stage",
    "best_of_n_stage",
    "compare_stage",
    "designs_of_run",
    "designs_stage",
    "eval_stage",
    "init_stage",
    "judge_stage",
    "report_stage",
    "run_recipe",
    "score",
    "sweep_points",
    "sweep_recipe",
    "train_stage",
    "weigh_dataset",
]
