"""Memory of each process while a policy is divided over several: read by rows, or whole and then divided.

    torchrun --nproc_per_node 2 -m benchmarks.divided_memory
    torchrun --nproc_per_node 2 -m benchmarks.divided_memory --whole

A Llama of 50 million drawn weights (200 MB in float32) is saved once, in bfloat16, then opened, read as the reference,
trained for two steps of DPO and saved. Of each part the main process prints the most memory above what it had
before the model: anonymous memory, which the system may not drop, and all that was resident, in which
mapped files count too.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.machine import memory_bytes
from rewarddiff import models
from rewarddiff.loop import gathering, sharding
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.models.cards import Facts
from rewarddiff.models.dividing import divided_lm
from rewarddiff.policies import policy as policies
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.policy import PolicyConfig, save_trained, start_of, train_policy
from rewarddiff.processes import once, processes
from rewarddiff.trees import group_tree

VOCABULARY = 8192
FIELDS = ("RssAnon", "VmRSS")
SECONDS = 0.002
"""Between two looks at the memory."""


class Peaks:
    """The most memory of each kind since the last `restart`, looked at by a thread."""

    def __init__(self) -> None:
        self.most: dict[str, int] = {}
        self.restart()
        threading.Thread(target=self._watch, daemon=True).start()

    def restart(self) -> None:
        self.most = {field: memory_bytes(field) for field in FIELDS}

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(SECONDS):
            for field in FIELDS:
                self.most[field] = max(self.most[field], memory_bytes(field))


def saved_model(folder: Path) -> int:
    """Save the model and a tokenizer; return the bytes of its weights in float32."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=640, intermediate_size=1720, num_hidden_layers=8,
        num_attention_heads=10, num_key_value_heads=10, max_position_embeddings=512, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(torch.bfloat16)  # as models come
    model.save_pretrained(folder)
    words = {f"w{number}": number for number in range(VOCABULARY)}
    known = Tokenizer(WordLevel(words, unk_token="w1"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=known, pad_token="w0", unk_token="w1", eos_token="w2"
    )
    tokenizer.save_pretrained(folder)
    return sum(4 * weight.numel() for weight in model.parameters())


def drawn_items(count: int) -> list[PreferenceItem]:
    """Return pairs of drawn tokens: a prompt of 40 and two responses of 20."""
    draw = torch.Generator().manual_seed(0)
    items = []
    for number in range(count):
        prompt, *responses = (
            torch.randint(3, VOCABULARY, (length,), generator=draw).tolist()
            for length in (40, 20, 20)
        )
        items.append(PreferenceItem(f"{number}", group_tree(prompt, responses), ((0, 1),), (1.0,)))
    return items


@contextmanager
def told(part: str, peaks: Peaks, before: dict[str, int], size: int) -> Iterator[None]:
    """Print the most memory of this part in every process, in shares of the model's size too."""
    peaks.restart()
    yield
    figures = []
    for field in FIELDS:
        above = peaks.most[field] - before[field]
        figures.append(f"{field} {above / 1e6:6.0f} MB ({above / size:.2f} of the model)")
    print(f"process {processes().process_index} {part:10} {'  '.join(figures)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="read the model whole in each process")
    asked = parser.parse_args()
    processes()
    scratch = tempfile.TemporaryDirectory(prefix="rewarddiff-")
    folder = Path(once(lambda: scratch.name))
    size = once(lambda: saved_model(folder / "start"))
    settings: dict[str, Any] = {"precision": "fp32", "microbatch_tokens": 256, "eval_every": None}
    train = TrainConfig(sharding="fsdp", batch_size=8, max_steps=2, **settings)
    config = PolicyConfig(train=train)
    items = drawn_items(16)
    warm_up(folder)
    before = {field: memory_bytes(field) for field in FIELDS}
    peaks = Peaks()
    with told("opened", peaks, before, size):
        if asked.whole:
            model, tokenizer = models.load_causal_lm(folder / "start")
        else:
            model, tokenizer = start_of(folder / "start", config, 0)
    read = policies.read_reference

    def watched(*given: Any, **options: Any) -> Any:
        with told("reference", peaks, before, size):
            rows = read(*given, **options)
        peaks.restart()
        return rows

    policies.read_reference = watched
    with told("trained", peaks, before, size):
        train_policy(model, items, config, output=folder / "out", weights="drawn")
    gathering.FILE_BYTES = size // 8
    with told("saved", peaks, before, size):
        save_trained(model, tokenizer, folder / "out", None, facts=Facts(), objective="dpo")
    once(scratch.cleanup)


def warm_up(folder: Path) -> None:
    """Do all of it once with a model of nothing, so that libraries are loaded before it is counted."""
    tiny = folder / "tiny"
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=512, pad_token_id=0,
    )  # fmt: skip
    once(lambda: LlamaForCausalLM(config).save_pretrained(tiny))
    divided = divided_lm(config, sharding.divide)
    model, _ = models.load_model(divided, tiny, dtype="float32")
    train = TrainConfig(sharding="fsdp", batch_size=8, max_steps=1, precision="fp32")
    policies.train_policy(
        model, drawn_items(8), PolicyConfig(train=train), output=folder / "warm", weights="tiny"
    )


if __name__ == "__main__":
    main()
