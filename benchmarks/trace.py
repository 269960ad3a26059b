"""Whether a change of the code changed what is computed: every loss at every step, and every figure.

    python -m benchmarks.trace before.json        # with the code as it was
    python -m benchmarks.trace after.json         # with the code as it is
    python -m benchmarks.trace --compare before.json after.json

Tiny random models in float32 and one thread; each objective and each kind of scorer through a recipe.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

DIFFERS_BY_NATURE = (
    "time/",
    "seconds",
    "peak",
    "tokens_per_second",
    "created",
    "machine",
    "version",
    "sha256",
)
"""Parts of keys whose values tell of the moment, the place or the code, and not of what is computed."""

SMALL = {"batch_size": 4, "max_steps": 3, "precision": "fp32", "lr": 1e-3, "eval_every": 2}

SCORERS: dict[str, dict[str, Any]] = {
    "reward": {"kind": "reward"},
    "cls": {"kind": "reward", "pooling": "cls"},
    "decoder": {"kind": "reward", "backbone": "policy"},
    "odin": {"kind": "reward", "odin": {}},
    "ensemble": {"kind": "reward", "heads": 3},
    "margin": {"kind": "reward", "loss": "margin"},
    "scaled": {"kind": "reward", "loss": "scaled"},
    "soft": {"kind": "reward", "loss": "soft"},
    "ordinal": {"kind": "reward", "loss": "ordinal"},
    "ties": {"kind": "reward", "loss": "ties"},
    "batch-margin": {"kind": "reward", "loss": "batch-margin"},
    "difference": {"kind": "difference", "warm_start": "reward"},
    "general-ensemble": {"kind": "difference", "heads": 3},
    "segments": {
        "kind": "difference",
        "head": {"name": "segments", "duplication": 0.1, "reverse": 0.1},
    },
    "last": {"kind": "difference", "head": "last", "backbone": "policy"},
    "one-order": {"kind": "difference", "head": {"name": "segments", "orders": "one"}},
}

OBJECTIVES = (
    *("dpo", "robust", "ipo", "simpo", "orpo", "slic", "wpo", "beta-dpo", "odpo", "rpo", "mmpo"),
    *("rdpo", "ml-rdpo", "uni-dpo", "rrhf", "pro", "kto", "sft"),
)

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}<eos>{% endfor %}"

COEFFICIENT = {"alpha": 0.5, "negative": "abs"}


def record() -> dict[str, Any]:
    """Return every curve, and every figure of results.json, of one run with all objectives and scorers."""
    from rewarddiff.pipeline.commands import run_recipe

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        models = _models(place)
        policies: dict[str, Any] = {}
        for name in OBJECTIVES:
            policies[name] = {"objective": name, "train": SMALL}
            if name != "sft":
                policies[name] |= {"strength": {"source": "grades", "scale": 0.2}}
                policies[f"{name}+difference"] = policies[name] | {
                    "coefficient": {"source": "difference", **COEFFICIENT}
                }
        policies |= {
            "by-reward": {
                "objective": "dpo",
                "train": SMALL,
                "coefficient": {"source": "reward"},
            },
            "by-grades": {"objective": "dpo", "train": SMALL, "coefficient": {"source": "grades"}},
            "calibrated": {
                "objective": "odpo",
                "train": SMALL,
                "strength": {"source": "difference", "scale": 3.0},
                "coefficient": {
                    "source": "difference",
                    "orders": "one",
                    "negative": "flip",
                },
            },
            "in-order": {
                "objective": "rrhf",
                "train": SMALL,
                "order": {"source": "difference"},
            },
            "shuffled": {
                "objective": "dpo",
                "train": SMALL,
                "coefficient": {
                    "source": "difference",
                    "control": "shuffled",
                },
            },
            "adapter": {"objective": "dpo", "train": SMALL, "lora": {"r": 2, "alpha": 4}},
        }
        scorers = {
            name: {"backbone": models[config.get("backbone", "encoder")], "train": SMALL}
            | {"lengths": {"max_response": 48, "max_prompt": 48}}
            | {key: value for key, value in config.items() if key != "backbone"}
            for name, config in SCORERS.items()
        }
        recipe = {
            "name": "trace",
            "model": models["policy"],
            "output": str(place / "run"),
            "data": {
                "path": "demo",
                "limit": 24,
                "splits": {"train": 0.5, "dev": 0.2, "test": 0.3},
            },
            "lengths": {"max_response": 48},
            "scorers": scorers,
            "policies": policies,
            "evaluation": {"sampling": {"max_new_tokens": 4, "stop": []}, "prompts": 3},
        }
        run_recipe(recipe, [])
        results = json.loads((place / "run/results.json").read_text())
        curves = {
            path.parent.relative_to(place / "run").as_posix(): [
                json.loads(line) for line in path.read_text().splitlines()
            ]
            for path in sorted((place / "run").rglob("metrics.jsonl"))
        }
        coefficients = {
            path.relative_to(place / "run").as_posix(): _values(path)
            for path in sorted((place / "run").rglob("*.npy"))
        }
        recorded = {"curves": curves, "arrays": coefficients, "results": results}
        anywhere: dict[str, Any] = json.loads(json.dumps(recorded).replace(folder, "PLACE"))
        return anywhere


def _models(place: Path) -> dict[str, str]:
    """A tiny decoder and a tiny encoder, with a tokenizer of bytes."""
    import copy

    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import (
        AutoModel,
        AutoModelForCausalLM,
        BertConfig,
        LlamaConfig,
        PreTrainedTokenizerFast,
    )

    torch.set_num_threads(1)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {byte: i for i, byte in enumerate(alphabet)}
    bytes_alone = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_alone.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_alone, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
    tokenizer.chat_template = TEMPLATE
    size = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(0)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    decoder = LlamaConfig(**size, **ends, num_key_value_heads=2)
    AutoModelForCausalLM.from_config(decoder).save_pretrained(place / "policy")
    tokenizer.save_pretrained(place / "policy")
    AutoModel.from_config(BertConfig(**size)).save_pretrained(place / "encoder")
    framed = copy.deepcopy(tokenizer)
    framed.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>",
        pair="<bos> $A <eos> $B:1 <eos>:1",
        special_tokens=[(t, framed.convert_tokens_to_ids(t)) for t in ("<bos>", "<eos>")],
    )
    framed.save_pretrained(place / "encoder")
    return {name: str(place / name) for name in ("policy", "encoder")}


def _values(path: Path) -> list[Any]:
    import numpy as np

    values: list[Any] = np.load(path, allow_pickle=False).ravel().tolist()
    return values


def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """Return where two recordings differ: places with both values."""
    if any(part in place.rsplit(".", 1)[-1] for part in DIFFERS_BY_NATURE):
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for key in sorted({*before, *after}):
            inner = f"{place}.{key}"
            if key not in before or key not in after:
                found.append(f"{inner}: only {'after' if key in after else 'before'}")
            else:
                found += differences(before[key], after[key], inner)
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = zip(before, after, strict=True)
        return [
            line for i, (a, b) in enumerate(pairs) for line in differences(a, b, f"{place}.{i}")
        ]
    return [] if before == after else [f"{place}: {before!r} → {after!r}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--compare", action="store_true")
    arguments = parser.parse_args()
    if not arguments.compare:
        Path(arguments.files[0]).write_text(json.dumps(record()))
        return
    before, after = (json.loads(Path(name).read_text()) for name in arguments.files)
    found = differences(before, after)
    print("\n".join(found[:200]) or "equal")
    losses = sum(len(curve) for curve in before["curves"].values())
    print(f"{len(before['curves'])} trainings, {losses} lines of metrics; {len(found)} differences")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
