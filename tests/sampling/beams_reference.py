"""What transformers 4.56.2, the last with group beam search, finds with two small models.

`python tests/sampling/beams_reference.py > tests/sampling/beams_reference.json` in an environment
with transformers==4.56.2 and torch==2.13.* writes the file that test_beams.py compares with; this
package is not needed.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

VOCABULARY, PAD, END = 40, 0, 9
MODELS = {
    "llama": 0,
    "gpt2": 10,
}  # and the seeds of their weights, by which some beams end and others do not
RRHF = {
    "num_beams": 4,
    "num_beam_groups": 4,
    "num_return_sequences": 4,
    "diversity_penalty": 1.0,
    "max_new_tokens": 16,
}
PAIRS = {**RRHF, "num_beam_groups": 2}
SIX = {**RRHF, "num_beams": 6, "num_beam_groups": 3, "num_return_sequences": 6}
CASES: dict[str, dict[str, Any]] = {
    "rrhf": {"config": RRHF},
    "rrhf, temperature 0.8": {"config": RRHF, "more": {"temperature": 0.8}},
    "rrhf, padded with the end token": {"config": RRHF, "pad": END},
    "rrhf, no end token": {"config": RRHF, "ends": []},
    "rrhf, short is better": {"config": {**RRHF, "length_penalty": -1.0}},
    "pairs": {"config": PAIRS},
    "pairs, stopped early": {"config": {**PAIRS, "early_stopping": True}},
    "pairs, never stopped early": {
        "config": {**PAIRS, "early_stopping": "never", "length_penalty": 2.0}
    },
    "pairs, never and short": {
        "config": {**PAIRS, "early_stopping": "never", "length_penalty": -2.0}
    },
    "pairs, no length penalty": {
        "config": {**PAIRS, "length_penalty": 0.0, "diversity_penalty": 0.3}
    },
    "pairs, three end tokens": {"config": PAIRS, "ends": [END, 6, 12]},
    "six": {"config": {**SIX, "diversity_penalty": 2.5}},
    "six, two returned": {
        "config": {**SIX, "num_return_sequences": 2, "early_stopping": True, "length_penalty": 0.5}
    },
}


def model(name: str) -> PreTrainedModel:
    """A random model; its weights come from numpy's RandomState, whose stream never changes."""
    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None}
    if name == "llama":
        sizes |= {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "max_position_embeddings": 64,
        }
        built: Any = LlamaForCausalLM(
            LlamaConfig(num_attention_heads=4, num_key_value_heads=2, **sizes)
        )
    else:
        built = GPT2LMHeadModel(
            GPT2Config(
                n_embd=16, n_layer=2, n_head=2, n_positions=64, tie_word_embeddings=False, **sizes
            )
        )
    built.eval()
    stream = np.random.RandomState(MODELS[name])
    for _, weight in sorted(built.named_parameters()):  # a norm's weights stay 1
        if weight.dim() > 1:
            weight.data = torch.from_numpy(
                0.4 * stream.standard_normal(tuple(weight.shape))
            ).float()
    return built


def digest(model: PreTrainedModel) -> str:
    """Of all weights, to four decimals."""
    total = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        total.update(name.encode() + np.round(weight.detach().numpy(), 4).tobytes())
    return total.hexdigest()[:16]


def prompts(count: int, seed: int) -> list[list[int]]:
    """Of 1 to 9 tokens; the first of 1."""
    stream = np.random.RandomState(seed)
    return [
        stream.randint(2, VOCABULARY, size=stream.randint(1, 10) if i else 1).tolist()
        for i in range(count)
    ]


def searched(
    model: Any, prompts: list[list[int]], case: dict[str, Any]
) -> list[list[tuple[list[int], float]]]:
    """Return tokens up to the end, and scores, of every beam of a padded batch, by `generate`."""
    pad, ends = case.get("pad", PAD), case.get("ends", [END])
    width = max(map(len, prompts))
    output = model.generate(
        torch.tensor([[pad] * (width - len(p)) + p for p in prompts]),
        attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
        pad_token_id=pad,
        eos_token_id=ends or None,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        **case["config"],
        **case.get("more", {}),
    )
    found = []
    for row, score in zip(
        output.sequences[:, width:].tolist(), output.sequences_scores.tolist(), strict=True
    ):
        length = next((i for i, token in enumerate(row) if token in ends), len(row))
        found.append((row[:length], round(score, 6)))
    count = case["config"]["num_return_sequences"]
    return [found[i : i + count] for i in range(0, len(found), count)]


if __name__ == "__main__":
    asked = prompts(8, seed=0)
    results: dict[str, Any] = {
        "transformers": transformers.__version__,
        "prompts": asked,
        "models": {},
    }
    for name in MODELS:
        built = model(name)
        cases = {case: searched(built, asked, settings) for case, settings in CASES.items()}
        results["models"][name] = {"digest": digest(built), "cases": cases}
    print(json.dumps(results, separators=(",", ":")))
