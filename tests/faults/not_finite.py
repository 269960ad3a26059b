"""Numbers that are not finite, wherever one can come from: training stops before the update.

    python tests/faults/not_finite.py           # all cases
    python tests/faults/not_finite.py kto       # those whose names hold this word

Each case plants NaN, an infinity, or a number beyond float32, and trains. It has to stop with one line that
names the row, with the weights and the optimizer's state that the steps before it left, by their SHA-256, and
without a line of metrics for the step, let alone a loss of 0.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import beside
import tiny
import torch
from online_examples import PROMPTS, letters, reader, semi, short
from process_groups import on_processes
from reward_server import serving
from tally import Tally
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

import rewarddiff.loop.prepared as prepared
from rewarddiff.data import Ledger, load_groups
from rewarddiff.errors import TrainingError, UserError
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.objectives import BY_NAME
from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.policies.online.group_rewards import RewardConfig, RewardFunctions
from rewarddiff.policies.online.train import train_online
from rewarddiff.policies.policy import LoraConfig, PolicyConfig, train_policy, with_adapter
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.config import General, OdinConfig, ScorerConfig, Segments
from rewarddiff.scorers.neural.losses import BatchMargin
from rewarddiff.scorers.neural.train import train_scorer
from rewarddiff.scorers.remote.options import Remote
from rewarddiff.trees import group_tree

BAD = (math.nan, math.inf, -math.inf, 1e39)
"""The last is infinite in float32 alone."""

MARK = 60
"""The token that only the bad item of a policy holds."""
MARKED = "~"
"""The letter that only the bad group of a scorer holds."""

TRAIN = TrainConfig(
    precision="fp32", lr=1e-3, batch_size=2, warmup=0.0, schedule="constant", eval_every=0
)

WITH_STRENGTH = ("odpo", "rpo", "mmpo", "rdpo", "ml-rdpo", "uni-dpo")
OBJECTIVES = ("dpo", "robust", "ipo", "simpo", "orpo", "slic", "wpo", "beta-dpo", "rrhf", "kto")


# --- what is watched --------------------------------------------------------------------------------------------


@dataclass
class Watched:
    """What a loop trains; some of it may be taken away once it is trained.

    Attributes:
        before: the SHA-256 of the weights when the optimizer was made.
    """

    weights: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    before: str

    def now(self) -> tuple[str, str]:
        """Return the SHA-256 of the weights, and that of the optimizer's state."""
        return sum_of(self.weights), sum_of_state(self.optimizer)


@contextmanager
def watched() -> Iterator[list[Watched]]:
    """Give what is trained in a `with` block."""
    seen: list[Watched] = []
    made = prepared.optimizer_for

    def noting(module: nn.Module, *more: Any) -> torch.optim.Optimizer:
        optimizer = made(module, *more)
        weights: dict[str, Tensor] = dict(module.named_parameters())
        seen.append(Watched(weights, optimizer, sum_of(weights)))
        return optimizer

    prepared.optimizer_for = noting  # type: ignore[assignment]
    try:
        yield seen
    finally:
        prepared.optimizer_for = made


def sum_of_state(optimizer: torch.optim.Optimizer) -> str:
    tensors = {}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            tensors[f"{number}.{name}"] = torch.as_tensor(value)
    return sum_of(tensors)


def sum_of(tensors: dict[str, Tensor]) -> str:
    hashed = sha256()
    for name, tensor in sorted(tensors.items()):
        hashed.update(name.encode())
        hashed.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


# --- what is planted ---------------------------------------------------------------------------------------------


@contextmanager
def in_embeddings(
    token: int, value: float, *, gradient: bool = False, always: bool = False
) -> Iterator[None]:
    """Let what a model reads of one token be a value, or the gradient of it.

    Args:
        always: also before training begins, as in a pass of the reference.
    """
    armed = [always]

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if not isinstance(module, nn.Embedding):
            return None
        armed[0] = armed[0] or output.requires_grad
        if not armed[0]:
            return None
        here = (inputs[0] == token)[..., None]
        if not here.any() or module.num_embeddings in (2, 512, 1024):  # of kinds, and of places
            return None
        if gradient:
            if output.requires_grad:
                output.register_hook(lambda g: g.masked_fill(here, value))
            return None
        return output.masked_fill(here, value)

    handle = nn.modules.module.register_module_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


# --- what is trained --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Models:
    """Folders of tiny models."""

    policy: str
    encoder: str


def small() -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0,
    )  # fmt: skip
    model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


def items(count: int, bad: int, **columns: float) -> list[PreferenceItem]:
    """Return pairs of a few tokens; the bad one holds the mark, and these numbers in its columns."""
    draw = torch.Generator().manual_seed(1)
    made = []
    for i in range(count):
        texts = [torch.randint(3, 59, (6,), generator=draw).tolist() for _ in range(3)]
        if i == bad:
            texts[1][2] = MARK
        given = columns if i == bad else {}
        made.append(
            PreferenceItem(
                f"rows.jsonl:{i}",
                group_tree(texts[0], texts[1:]),
                ((0, 1),),
                (given.get("coefficients", 1.0),),
                strengths=(given.get("strengths", 0.5),),
                scores=(given.get("scores", 1.0), 0.0),
            )
        )
    return made


@dataclass(frozen=True)
class Training:
    """How a case trains.

    Attributes:
        planted: whether the bad number is there; without it, this is what the steps before it are held
            against.
        steps: None: all.
    """

    place: Path
    models: Models
    planted: bool = True
    steps: int | None = None

    @property
    def config(self) -> TrainConfig:
        return replace(TRAIN, max_steps=self.steps)

    def plant(self, planted: Any) -> Any:
        """Return the context that plants, or one that does nothing."""
        return planted() if self.planted else ExitStack()


@dataclass(frozen=True)
class Case:
    """Attributes:
    name: what is planted where.
    row: what the line has to name.
    train: trains.
    counted: whether the row is left out and counted, and nothing stops.
    """

    name: str
    row: str
    train: Callable[[Training], Any]
    counted: bool = False


def of_policy(
    training: Training,
    objective: str,
    *,
    columns: dict[str, float] | None = None,
    planted: Any = ExitStack,
    config: dict[str, Any] | None = None,
    lora: bool = False,
    dev: bool = False,
    spoiled: float | None = None,
) -> None:
    """Train a tiny policy on eight items of which the sixth is bad."""
    wanted = PolicyConfig(
        objective=BY_NAME[objective](),
        lora=LoraConfig(r=2) if lora else None,
        train=replace(training.config, **config or {}),
    )
    model: Any = small()
    if spoiled is not None and training.planted:
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight[3, 4] = spoiled
    model = with_adapter(model, wanted)
    with training.plant(planted):
        all_items = items(8, 5, **(columns or {}) if training.planted else {})
        trained, held_out = all_items, []
        if dev:
            trained, held_out = all_items[:5] + all_items[6:], all_items[5:6]
        if objective == "sft":
            trained = [_best_alone(item) for item in trained]
            held_out = [_best_alone(item) for item in held_out]
        train_policy(model, trained, wanted, output=training.place, weights="tiny", dev=held_out)


def _best_alone(item: PreferenceItem) -> PreferenceItem:
    prompt, best, _ = item.tree.nodes
    return PreferenceItem(item.id, group_tree(prompt.tokens, [best.tokens]))


def groups(count: int, bad: int) -> list[Group]:
    return [
        Group(
            f"rows.jsonl:{i}",
            f"Question {i}?",
            (f" good {MARKED if i == bad else '-'} {i}", f" bad answer {i}"),
            comparisons=(Comparison(0, 1, 1.0 + i % 3),),
        )
        for i in range(count)
    ]


def of_scorer(
    training: Training, *, planted: Any = ExitStack, dev: bool = False, **options: Any
) -> None:
    config = ScorerConfig(backbone=training.models.encoder, train=training.config, **options)
    given = groups(8, 5)
    trained, held_out = given, given[:2]
    if dev:
        trained, held_out = given[:5] + given[6:], given[5:6]
    with training.plant(planted):
        train_scorer(config, trained, held_out, output=training.place)


def of_rewards(
    training: Training, config: Any, reward: Any, prompts: Any = PROMPTS, planted: Any = ExitStack
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(training.models.policy)
    tokenizer = AutoTokenizer.from_pretrained(training.models.policy)
    config = replace(
        config, train=replace(config.train, max_steps=training.steps or 3, batch_size=2)
    )
    given = reward if training.planted else letters
    with training.plant(planted):
        train_online(
            model, prompts, given, config, encoder=reader(tokenizer, 6), output=training.place
        )


def spoiled_from(value: float, call: int = 2) -> Callable[[Sequence[Group]], Any]:
    """Return the reward of letters, whose last one of the first group is a value from some call on."""
    calls = [0]

    def reward(given: Sequence[Group]) -> Any:
        calls[0] += 1
        rewards = letters(given)
        if calls[0] >= call:
            rewards[0][-1] = value
        return rewards

    return reward


def differing(value: float) -> Any:
    """Return functions whose first difference is a value."""
    from rewarddiff.differences import Differences

    def differences(given: Sequence[Group], pairs: Any) -> list[Differences]:
        stated = []
        for number, of_group in enumerate(pairs):
            d = [0.5 * (k % 3) for k in range(len(of_group))]
            if not number:
                d[0] = value
            stated.append(Differences.of(d, of_group))
        return stated

    return RewardFunctions(differences=differences)


def of_server(training: Training, answer: str) -> None:
    """Let a server say something of the second response that is no number."""

    def fault(handler: Any, count: int, content: Any) -> bool:
        first_number = re.compile(r"(?<=\[)-?[\d.]+")
        text = first_number.sub(answer, json.dumps(content), count=1)
        handler.send(200, text.encode(), content_type="application/json")
        return True

    with serving("") as server:
        server.fault = fault
        scorer: Any = Remote(url=server.url, attempts=1).scorer("served")
        of_rewards(training, short(), RewardFunctions(scores=scorer.rewards))


def of_file(training: Training, column: str, text: str) -> Any:
    """Read a file of pairs whose third row holds a number that is none."""
    rows = []
    for i in range(6):
        row: dict[str, Any] = {"prompt": f"Q{i}?", "chosen": f"good {i}", "rejected": f"bad {i}"}
        if column == "scores":
            row = {"prompt": f"Q{i}?", "responses": [f"good {i}", f"bad {i}"], "scores": [2.0, 1.0]}
        else:
            row[column] = 1.5
        line = json.dumps(row)
        if i == 2:
            line = line.replace("1.5", text).replace("2.0", text)
        rows.append(line)
    file = training.place / "rows.jsonl"
    file.write_text("\n".join(rows))
    ledger = Ledger()
    read = load_groups(file, ledger=ledger, max_drop=1.0)
    return f"{len(read)} of 6 rows; {json.dumps(ledger.to_dict())}"


# --- the cases --------------------------------------------------------------------------------------------------


def cases() -> Iterator[Case]:
    """Yield all cases."""
    sixth = "rows.jsonl:5"
    yield from _columns(sixth)
    yield from _activations(sixth)
    yield from _gradients(sixth)
    yield from _weights()
    yield from _scorers(sixth)
    yield from _online()
    yield from _files()


def _columns(row: str) -> Iterator[Case]:
    for number, objective in enumerate(OBJECTIVES):
        value = BAD[number % 4]
        train = partial(of_policy, objective=objective, columns={"coefficients": value})
        yield Case(f"{objective}: coefficient {value}", row, train)
    for number, objective in enumerate(WITH_STRENGTH):
        for value in (BAD[number % 4], BAD[(number + 1) % 4]):
            train = partial(of_policy, objective=objective, columns={"strengths": value})
            yield Case(f"{objective}: margin {value}", row, train)
    for value in BAD:
        train = partial(of_policy, objective="pro", columns={"scores": value})
        yield Case(f"pro: score {value}", row, train)


def _activations(row: str) -> Iterator[Case]:
    """The loss of one item, in one pass with others or by itself, first or last in its step."""
    for number, objective in enumerate((*OBJECTIVES, *WITH_STRENGTH, "pro", "sft")):
        value = (math.nan, math.inf)[number % 2]
        planted = partial(in_embeddings, MARK, value)
        one_at_a_time = {"microbatch_tokens": 1, "batch_size": 4} if number % 3 else {}
        train = partial(of_policy, objective=objective, planted=planted, config=one_at_a_time)
        yield Case(f"{objective}: loss by {value}, {one_at_a_time or 'one pass'}", row, train)
    for objective in ("dpo", "kto", "ipo"):
        planted = partial(in_embeddings, MARK, math.nan, always=True)
        train = partial(of_policy, objective=objective, planted=planted)
        # The response is also the mismatched one of the item before it.
        yield Case(f"{objective}: log-probability of the reference", r"rows.jsonl:[45]", train)
    for objective in ("simpo", "sft"):
        planted = partial(in_embeddings, MARK, math.nan)
        train = partial(
            of_policy, objective=objective, planted=planted, config={"precision": "bf16"}
        )
        yield Case(f"{objective}: loss, in bf16", row, train)
    for objective in ("simpo", "sft", "rrhf"):
        planted = partial(in_embeddings, MARK, math.inf, always=True)
        train = partial(of_policy, objective=objective, planted=planted, dev=True)
        yield Case(f"{objective}: a dev row", row, train)


def _gradients(row: str) -> Iterator[Case]:
    for number, objective in enumerate(("dpo", "simpo", "rrhf", "kto", "sft", "odpo", "beta-dpo")):
        value = BAD[number % 3]
        planted = partial(in_embeddings, MARK, value, gradient=True)
        config = {
            "max_grad_norm": float(number % 2),
            "microbatch_tokens": 20 if number % 2 else 2048,
        }
        train = partial(of_policy, objective=objective, planted=planted, config=config)
        yield Case(f"{objective}: gradient {value}, {config}", row, train)
    planted = partial(in_embeddings, MARK, math.nan, gradient=True)
    train = partial(
        of_policy, objective="sft", planted=planted, config={"weights": "bf16", "precision": "bf16"}
    )
    yield Case("sft: gradient, weights in bf16", row, train)


def _weights() -> Iterator[Case]:
    """There is no row to name: the model is at fault."""
    for objective, lora in (("dpo", False), ("dpo", True), ("sft", True), ("simpo", False)):
        for value in (math.nan, -math.inf):
            train = partial(of_policy, objective=objective, lora=lora, spoiled=value)
            named = "rows.jsonl|weights that training starts from are not finite"
            yield Case(
                f"{objective}{' with adapters' if lora else ''}: a weight {value}", named, train
            )
    train = partial(of_policy, objective="simpo", spoiled=3e38)
    yield Case("simpo: a weight 3e38", "rows.jsonl|weights", train)


def _scorers(row: str) -> Iterator[Case]:
    mark = partial(in_embeddings, ord(MARKED) - ord("!"))  # the first of the tiny tokenizer
    kinds: dict[str, dict[str, Any]] = {
        "reward": {"kind": "reward"},
        "odin": {"kind": "reward", "odin": OdinConfig()},
        "batch margin": {"kind": "reward", "loss": BatchMargin()},
        "heads": {"kind": "reward", "heads": 3},
        "difference": {"kind": "difference", "head": General()},
        "segments": {"kind": "difference", "head": Segments(duplication=0.1, reverse=0.1)},
    }
    for number, (name, options) in enumerate(kinds.items()):
        value = (math.nan, math.inf)[number % 2]
        train = partial(of_scorer, planted=partial(mark, value), **options)
        yield Case(f"{name}: gap by {value}", row, train)
        train = partial(of_scorer, planted=partial(mark, value, gradient=True), **options)
        yield Case(f"{name}: gradient {value}", row, train)
    for name in ("reward", "difference"):
        planted = partial(mark, math.nan, always=True)
        train = partial(of_scorer, planted=planted, dev=True, **kinds[name])
        yield Case(f"{name}: a dev row", row, train)


def _online() -> Iterator[Case]:
    any_prompt = r"g\d"
    for estimator in ("gae", "rloo", "grpo", "reinforce"):
        config = short(advantage=AdvantageConfig(estimator))
        for value in (*BAD, 1e308):
            reward = partial(_spoiled, config, value)
            yield Case(f"{estimator}: reward {value}", any_prompt, reward)
    for objective in ("dpo", "kto", "simpo"):
        config = semi(objective=BY_NAME[objective](), unscored="stop")
        for value in BAD:
            yield Case(
                f"{objective} on samples: reward {value}",
                any_prompt,
                partial(_spoiled, config, value),
            )
    for value in (math.inf, -math.inf, 1e39, math.nan):
        config = short(reward=RewardConfig("group_difference"))
        if not math.isnan(value):  # a pair of which nothing is said is no fault here
            yield Case(f"gae: difference {value}", any_prompt, partial(_differing, config, value))
        train = partial(_differing, semi(unscored="stop"), value)
        yield Case(f"dpo on samples: difference {value}", any_prompt, train)
    config = short(reward=RewardConfig("contrastive"))
    for value in (math.inf, math.nan):
        yield Case(
            f"gae: score of a stored response {value}", any_prompt, partial(_stored, config, value)
        )
    for answer in ("NaN", "Infinity", "1e400", "1e39"):
        yield Case(f"a server answers {answer}", "", partial(of_server, answer=answer))


def _spoiled(config: Any, value: float, training: Training) -> None:
    of_rewards(training, config, spoiled_from(value))


def _differing(config: Any, value: float, training: Training) -> None:
    of_rewards(
        replace(training, planted=True), config, differing(value if training.planted else 0.25)
    )


def _stored(config: Any, value: float, training: Training) -> None:
    stored = [replace(group, responses=(" abc", " 123", " a1")) for group in PROMPTS]
    of_rewards(
        training, config, spoiled_from(value, call=1) if value == math.inf else _of_nothing, stored
    )


def _of_nothing(given: Sequence[Group]) -> Any:
    rewards = letters(given)
    rewards[0] = [math.nan] * len(rewards[0])
    return rewards


def _files() -> Iterator[Case]:
    for column in ("coefficient", "margin", "scores"):
        for text in ("NaN", "Infinity", "1e400", "1e39", '"nan"'):
            train = partial(of_file, column=column, text=text)
            yield Case(f"file: {column} {text}", "rows.jsonl:3", train, counted=True)


# --- two processes ------------------------------------------------------------------------------------------------

ON_EACH = """
import math, sys
from functools import partial
from pathlib import Path
sys.path.insert(0, {faults!r})
from not_finite import MARK, Models, Training, in_embeddings, of_policy, watched
from rewarddiff.errors import TrainingError

planted = partial(in_embeddings, MARK, math.nan, gradient={gradient})
with watched() as seen:
    try:
        of_policy(Training(Path("out"), Models("", "")), {objective!r}, planted=planted, config={{"batch_size": 8}})
    except TrainingError as error:
        is_same = seen[-1].now()[0] == seen[-1].before
        sys.stderr.write(f"said: {{error}} {{'nothing changed' if is_same else 'changed'}}")
        sys.exit(3)
"""
"""What each of two processes runs: the bad row is in the first step, and in the share of one of them."""


def on_two_processes(place: Path) -> Iterator[tuple[str, str, str]]:
    """Yield names of cases, what came of them, and what was said."""
    for objective, gradient in (("dpo", False), ("kto", False), ("simpo", True)):
        with tempfile.TemporaryDirectory(dir=place) as folder:
            code = ON_EACH.format(faults=str(beside.FAULTS), objective=objective, gradient=gradient)
            ended = on_processes(Path(folder), code)
        lines = " / ".join(error.rpartition("said: ")[2] for _, error in ended)
        is_good = all(
            status == 3 and "rows.jsonl:5" in error and error.endswith("nothing changed")
            for status, error in ended
        )
        name = f"{objective} on two processes: {'gradient' if gradient else 'loss'}"
        yield name, GOOD[0] if is_good else "not both stopped", lines


# --- what came of it --------------------------------------------------------------------------------------------

GOOD = ("stopped, nothing changed", "left out and counted")


def verdict(case: Case, models: Models, place: Path) -> tuple[str, str]:
    """Return one of `GOOD`, or what is wrong, and the line that was said."""
    with tempfile.TemporaryDirectory(dir=place) as folder, watched() as seen:
        training = Training(Path(folder), models)
        try:
            with redirect_stdout(StringIO()):
                counts = case.train(training)
        except (TrainingError, UserError) as error:
            line = str(error)
        except Exception:
            return "a traceback", traceback.format_exc()
        else:
            if not case.counted:
                return "it was trained", ""
            return _counted(case, str(counts))
        if case.counted:
            return "it stopped", line
        if len(line.splitlines()) != 1 or not re.search(case.row, line):
            return "the row is not named", line
        losses = losses_of(training.place)
        if seen and not _unchanged(case, models, place, seen[-1], losses):
            return f"changed after {len(losses)} steps", line
    return GOOD[0], line


def _counted(case: Case, counts: str) -> tuple[str, str]:
    is_good = "non_finite" in counts and case.row in counts and counts.startswith("5 of 6")
    return (GOOD[1] if is_good else "not counted"), counts


def losses_of(place: Path) -> list[float]:
    """Return the losses of training that the log tells."""
    lines = []
    for file in place.rglob("metrics.jsonl"):
        lines += [json.loads(line) for line in file.read_text().splitlines()]
    return [line["loss"] for line in lines if line["split"] == "train"]


def _unchanged(
    case: Case, models: Models, place: Path, stopped: Watched, losses: Sequence[float]
) -> bool:
    """Tell whether weights, moments and losses are those of the steps before the bad one."""
    if not losses:
        return stopped.now() == (stopped.before, sum_of({}))
    with tempfile.TemporaryDirectory(dir=place) as folder, watched() as seen:
        clean = Training(Path(folder), models, planted=False, steps=len(losses))
        with redirect_stdout(StringIO()):
            case.train(clean)
        return seen[-1].now() == stopped.now() and losses_of(clean.place) == losses


def main() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    torch.set_num_threads(1)
    tally = Tally(GOOD)
    with tempfile.TemporaryDirectory() as name:
        models = Models(**tiny.models(Path(name)))
        for case in cases():
            if wanted in case.name:
                tally.add(case.name, *verdict(case, models, Path(name)))
        if wanted in "on two processes":
            for kind, *came_of_it in on_two_processes(Path(name)):
                tally.add(kind, *came_of_it)
    tally.end()


if __name__ == "__main__":
    main()
