"""How far plans are off: a few steps of real training, beside what was planned for them.

One training of a random model on the embedded data, in this process with one thread. Memory is the peak above
the interpreter with its libraries; time is CPU seconds, beside a rate of products measured in CPU seconds right
before and after, so that other work on the machine takes part in neither.

    python -m benchmarks.planning dpo 30M            # dpo, dpo-lora or reward; 5M, 30M or 135M
    python -m benchmarks.planning reward 135M --precision fp32 --microbatch-tokens 1024
    python -m benchmarks.planning --table FILE       # the lines written so far, as Markdown
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, BertConfig, LlamaConfig

import rewarddiff.loop.train as loop
from rewarddiff import machine, models
from rewarddiff.data import Groups, load_groups
from rewarddiff.encoding import LengthConfig
from rewarddiff.footprint.shapes import shape_of
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.pipeline.commands import train_policy
from rewarddiff.pipeline.planning import amounts, costs
from rewarddiff.pipeline.planning.machines import Device
from rewarddiff.pipeline.planning.work import NOTHING
from rewarddiff.pipeline.policy_recipe import PolicyRecipe
from rewarddiff.policies.policy import LoraConfig, PolicyConfig
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.train import train_scorer
from rewarddiff.writing import figure

DECODERS = {"5M": (96, 256, 4, 4, 2), "30M": (288, 768, 12, 6, 3), "135M": (576, 1536, 30, 9, 3)}
"""Hidden and intermediate width, layers, heads, and heads of keys; with SmolLM2's vocabulary."""

ENCODERS = {"5M": (128, 512, 4, 4), "30M": (384, 1536, 12, 12), "135M": (768, 3072, 12, 12)}
"""The same without heads of keys; with MiniLM's vocabulary. The largest is BERT-base, of 109 million."""

LENGTHS = LengthConfig(max_response=128)
STEPS = 3
GROUPS = 64


def model_folder(kind: str, size: str, folder: Path) -> Path:
    """Save a random model with a real tokenizer, and return its folder."""
    torch.manual_seed(0)
    if kind == "reward":
        hidden, intermediate, layers, heads = ENCODERS[size]
        tokenizer = AutoTokenizer.from_pretrained(models.resolve("all-minilm-l6-v2"))
        bert = BertConfig(
            vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=intermediate,
            num_hidden_layers=layers, num_attention_heads=heads,
        )  # fmt: skip
        AutoModel.from_config(bert).save_pretrained(folder)
    else:
        hidden, intermediate, layers, heads, keys = DECODERS[size]
        tokenizer = AutoTokenizer.from_pretrained(models.resolve("smollm2-135m-instruct"))
        llama = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=intermediate,
            num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=keys,
            max_position_embeddings=2048, tie_word_embeddings=True,
        )  # fmt: skip
        AutoModelForCausalLM.from_config(llama).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rate(dtype: torch.dtype, *, size: int = 1024) -> float:
    """Return the FLOP/s of square products, by a second of CPU time."""
    a = torch.randn(size, size).to(dtype)
    b = torch.randn(size, size).to(dtype)
    a @ b
    start = time.process_time()
    products = 0
    while time.process_time() - start < 1:
        a @ b
        products += 1
    return products * 2 * size**3 / (time.process_time() - start)


def rates() -> dict[str, float]:
    return {"fp32": rate(torch.float32), "bf16": rate(torch.bfloat16)}


def resident() -> int:
    """Return the resident memory of this process, bytes."""
    machine.release_memory()
    return 1024 * int(str(machine.kernel_field("self/status", "VmRSS")).split()[0])


class Watch:
    """Measures the loop alone: CPU seconds of its steps, and the peak of memory above `before`."""

    def __init__(self, before: int) -> None:
        self.before = before
        self.seconds = 0.0
        self.peak = 0
        step, run = loop._Run._step, loop._Run.run

        def stepped(trained: Any, number: int) -> Any:
            start = time.process_time()
            line = step(trained, number)
            self.seconds += time.process_time() - start
            return line

        def running(trained: Any) -> Any:
            machine.release_memory()
            machine.reset_peak_memory()
            result = run(trained)
            self.peak = machine.peak_memory() - self.before
            return result

        loop._Run._step, loop._Run.run = stepped, running  # type: ignore[method-assign]


def planned(
    kind: str, folder: Path, groups: Groups, train: TrainConfig, lora: LoraConfig | None, at: Device
) -> costs.Planned:
    """Return the plan of this training, without a reference pass and dev evaluations."""
    shape = shape_of(str(folder))
    if kind == "reward":
        config = ScorerConfig(backbone=str(folder), lengths=LENGTHS, train=train)
        counting = amounts.counting(config, str(folder), encoder=True)
        amount = amounts.of_scorer(counting, groups, GROUPS)
    else:
        encoder = amounts.encoder_of(str(folder), LENGTHS)
        amount = amounts.of_policy(PolicyRecipe(train=train), encoder, groups, GROUPS)
    times = amounts.schedule(amount, train, cuts_items=kind != "reward")
    return costs.training(at, shape, amount, times, NOTHING, train, lora)


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Train, plan the same, and return both."""
    train = TrainConfig(
        max_steps=STEPS, epochs=3, batch_size=8, microbatch_tokens=args.microbatch_tokens,
        precision=args.precision, gradient_checkpointing=args.gradient_checkpointing,
        save_every=0, eval_every=None,
    )  # fmt: skip
    lora = LoraConfig(r=16, alpha=32) if args.kind == "dpo-lora" else None
    groups = load_groups("demo")[:GROUPS]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folder = model_folder(args.kind, args.size, place / "model")
        before_rates = rates()
        watch = Watch(resident())
        if args.kind == "reward":
            config = ScorerConfig(backbone=str(folder), lengths=LENGTHS, train=train)
            train_scorer(config, groups, output=place / "run")
        else:
            policy = PolicyConfig(train=train, lora=lora)
            train_policy(folder, groups, output=place / "run", config=policy, lengths=LENGTHS)
        after_rates = rates()
        mean = {name: (before_rates[name] + after_rates[name]) / 2 for name in before_rates}
        device = Device("cpu", None, mean)
        plan = planned(args.kind, folder, groups, train, lora, device)
    assert plan.memory is not None
    return {
        "training": f"{args.kind} {args.size}, {args.precision}, {args.microbatch_tokens} tokens"
        + ", checkpointing" * args.gradient_checkpointing,
        "planned_memory": plan.memory.total,
        "memory": watch.peak,
        "planned_seconds": plan.seconds,
        "seconds": watch.seconds,
        "rates": mean,
    }


def table(file: Path) -> Iterator[str]:
    """Yield lines of a Markdown table."""
    yield "| training | memory, MB: planned | measured | off by | CPU seconds: planned | measured | off by |"
    yield "|---|---|---|---|---|---|---|"
    for line in file.read_text().splitlines():
        row = json.loads(line)
        memory = f"{row['planned_memory'] / 1e6:,.0f} | {row['memory'] / 1e6:,.0f}"
        off = figure(row["planned_memory"] / row["memory"] - 1, "+.0%")
        seconds = f"{row['planned_seconds']:.1f} | {row['seconds']:.1f}"
        slower = figure(row["planned_seconds"] / row["seconds"] - 1, "+.0%")
        yield f"| {row['training']} | {memory} | {off} | {seconds} | {slower} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", nargs="?", choices=("dpo", "dpo-lora", "reward"))
    parser.add_argument("size", nargs="?", choices=tuple(DECODERS))
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--microbatch-tokens", type=int, default=2048)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--table", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.table is not None:
        print(*table(args.table), sep="\n")
        return
    if args.kind is None or args.size is None:
        parser.error("name a training and a size, as: dpo 30M")
    torch.set_num_threads(1)
    print(json.dumps(measured(args)), flush=True)


if __name__ == "__main__":
    main()
