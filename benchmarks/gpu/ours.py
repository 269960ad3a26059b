"""Parts of this project: training by its own loop, as a recipe does it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from benchmarks.contest import BETA, LEARNING_RATE
from benchmarks.gpu.figures import Figures, clock, figures, reset_memory
from benchmarks.gpu.shapes import POSITIONS, Shape, causal_lm, classifier
from benchmarks.gpu.work import UNLIMITED, Load, lists, pairs, policy_items, word_tokenizer
from rewarddiff.data.ledger import Ledger
from rewarddiff.forward import LogProbs
from rewarddiff.forward.trunk import Way
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.schedule import batch_at
from rewarddiff.loop.train import train
from rewarddiff.policies.alignment import Alignment, AlignmentConfig
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.objectives.lists import RRHF
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.reference import with_reference
from rewarddiff.scorers.neural.config import Last, ScorerConfig, Segments
from rewarddiff.scorers.neural.objectives import objective
from rewarddiff.scorers.neural.readers import TreeReader
from rewarddiff.scorers.neural.texts import DecoderTexts
from rewarddiff.trees import Tree, group_tree

SEED = 0


class Packed(Alignment):
    """Every response a row of its own with its prompt in front, all rows end to end: no padding,
    and nothing shared. It is what trees are to be held against."""

    def _sums(self, module: nn.Module, trees: Sequence[Tree], collision: bool) -> Tensor:
        apart = []
        for tree in trees:
            root, *branches = tree.nodes
            apart += [group_tree(root.tokens, [branch.tokens]) for branch in branches]
        return super()._sums(module, apart, collision)


def dpo(shape: Shape, device: str) -> Figures:
    # On a CPU the kernel's definition stands in for it, so that all of a GPU's code runs.
    attention: Way = "auto" if device == "cuda" else "fused"
    return _policy(shape, device, DPO(beta=BETA), attention=attention)


def dpo_packed(shape: Shape, device: str) -> Figures:
    return _policy(shape, device, DPO(beta=BETA), kind=Packed)


def dpo_blocks(shape: Shape, device: str) -> Figures:
    return _policy(shape, device, DPO(beta=BETA), attention="blocks")


def dpo_compiled(shape: Shape, device: str) -> Figures:
    """DPO with norms and MLPs compiled: what is not a matrix product there becomes one kernel each."""
    return _policy(shape, device, DPO(beta=BETA), compiled=True)


def rrhf(shape: Shape, device: str) -> Figures:
    return _policy(shape, device, RRHF(), of_lists=True)


def _policy(
    shape: Shape,
    device: str,
    config: AlignmentConfig,
    *,
    kind: type[Alignment] = Alignment,
    attention: Way = "auto",
    of_lists: bool = False,
    compiled: bool = False,
) -> Figures:
    model = causal_lm(shape, device)
    if compiled:
        _compile_parts(model, device)
    policy = LogProbs(model)
    policy.trunk.attention = attention
    settings = _settings(shape)
    steps = shape.warm + shape.steps
    if of_lists:
        settings = replace(settings, batch_size=shape.lists)
        groups = lists(shape.lists * steps)
    else:
        groups = pairs(shape.batch * steps)
    items = policy_items(groups, word_tokenizer(), whole=config.whole_lists)
    notes: dict[str, Any] = {}
    if "reference" in config.reads:
        items, seconds = _with_reference(items, policy, settings)
        notes["reference_groups_per_second"] = len(items) / seconds
    return _trained(shape, kind(policy, config), items, settings, **notes)


def _compile_parts(model: nn.Module, device: str) -> None:
    # On a CPU it is traced, not compiled: a compiler of C++ may be missing or slow.
    backend = "inductor" if device == "cuda" else "aot_eager"
    for module in model.modules():
        if type(module).__name__.endswith(("RMSNorm", "MLP")):
            module.compile(dynamic=True, backend=backend)


def _with_reference(
    items: list[PreferenceItem], policy: LogProbs, settings: TrainConfig
) -> tuple[list[PreferenceItem], float]:
    """Return items with the reference's log-probabilities, and the seconds that reading took."""
    few = items[: max(1, len(items) // 8)]
    for _ in range(2):  # kernels are compiled
        with_reference(few, policy, settings, weights="drawn")
    start = clock()
    items = with_reference(items, policy, settings, weights="drawn")
    return items, clock() - start


def reward(shape: Shape, device: str) -> Figures:
    return _scorer(shape, device, ScorerConfig(kind="reward"))


def difference_last(shape: Shape, device: str) -> Figures:
    return _scorer(shape, device, ScorerConfig(kind="difference", head=Last()))


def difference_segments(shape: Shape, device: str) -> Figures:
    return _scorer(shape, device, ScorerConfig(kind="difference", head=Segments()))


def _scorer(shape: Shape, device: str, config: ScorerConfig) -> Figures:
    model = classifier(shape, device)
    joint = not config.reads_apart
    segments = not joint or isinstance(config.head, Segments)
    texts = DecoderTexts(
        word_tokenizer(), UNLIMITED, POSITIONS, joint=joint, closed=joint and segments
    )
    texts.padding = model.config.pad_token_id
    reader = TreeReader(model, None, texts, segments=segments).eval()
    trained = objective(reader, config, seed=SEED)
    groups = pairs(shape.batch * (shape.warm + shape.steps))
    return _trained(shape, trained, trained.items(groups, Ledger()), _settings(shape))


def _settings(shape: Shape) -> TrainConfig:
    return TrainConfig(
        lr=LEARNING_RATE,
        epochs=1,
        batch_size=shape.batch,
        microbatch_tokens=shape.microbatch_tokens,
        schedule="constant",
        warmup=0,
        precision="fp32" if shape.bf16_weights else "bf16",
        eval_every=None,
        save_every=0,
    )


def _trained(
    shape: Shape, goal: Any, items: Sequence[Any], settings: TrainConfig, **notes: Any
) -> Figures:
    """Train one epoch; the first steps are not counted."""
    reset_memory()
    with tempfile.TemporaryDirectory() as folder:
        result = train(goal, items, output=Path(folder), config=settings, seed=SEED)
    ends = [float(line["seconds"]) for line in result.curve if line["split"] == "train"]
    counted: list[Any] = []
    for step in range(shape.warm, shape.warm + shape.steps):
        counted += [items[place] for place in batch_at(len(items), step, settings, SEED)]
    load = Load(sum(map(goal.size, counted)))
    if isinstance(goal, Alignment):
        load = Load.of_policy(counted)
        notes["attention"] = goal.module.trunk.attention
    return figures(
        shape,
        load,
        groups=len(counted),
        seconds=ends[-1] - ends[shape.warm - 1],
        **notes,
    )
