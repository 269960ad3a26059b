"""Adapters of bases that they should not have, with slow patterns, absurd sizes and pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tiny import edit

from hostile_things import pickles, programs
from hostile_things.making import Make, Stock, Things, malice

MODELS = Things()


def adapter(stock: Stock, base: Path | str | None = None, **config: Any) -> Path:
    """Return a whole adapter of a base."""
    import torch

    base = stock.model(name="base") if base is None else base
    folder = stock.place / "adapter"
    folder.mkdir()
    usual = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    edit(
        folder / "adapter_config.json", **{**usual, "base_model_name_or_path": str(base), **config}
    )
    weights = {}
    for layer in range(2):
        key = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_"
        weights |= {f"{key}A.weight": torch.zeros(2, 32), f"{key}B.weight": torch.zeros(32, 2)}
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def adapted(**config: Any) -> Make:
    """Return what makes an adapter with other settings."""
    return lambda stock: adapter(stock, **config)


SLOW = r"(.+)+Z"

MODELS |= {
    "adapter_of_the_hub": adapted(base="some/one"),
    "adapter_of_nothing": adapted(base="../../nothing"),
    "adapter_of_itself": lambda stock: adapter(stock, stock.place / "adapter"),
    "adapter_of_code": lambda stock: adapter(stock, programs.MODELS["code_of_an_unknown_architecture"](stock)),
    "adapter_of_pickles": lambda stock: adapter(stock, pickles.MODELS["pickled_weights"](stock)),
    "adapter_with_code": adapted(auto_map={"AutoModel": "evil.Body"}, trust_remote_code=True),
    "adapter_with_a_library": adapted(
        auto_mapping={"base_model_class": "Body", "parent_library": "evil"}
    ),
    "adapter_of_megatron": adapted(megatron_config={"a": 1}, megatron_core="evil"),
    "adapter_of_megatron_by_an_allowed_name": adapted(
        megatron_config={"a": 1}, megatron_core="transformers.evil"
    ),
    "adapter_by_a_slow_pattern": adapted(target_modules=SLOW),
    "adapter_that_leaves_out_by_a_slow_pattern": adapted(exclude_modules=SLOW),
    "adapter_of_layers_by_a_slow_pattern": adapted(
        layers_pattern=[SLOW], layers_to_transform=[0], target_modules=["q_proj"]
    ),
    "adapter_of_ranks_by_a_slow_pattern": adapted(rank_pattern={SLOW: 2}),
    "adapter_of_scales_by_a_slow_pattern": adapted(alpha_pattern={SLOW: 2}),
    "adapter_of_an_absurd_rank": adapted(r=10**9),
    "adapter_of_an_unknown_type": adapted(peft_type="evil.Tuner"),
    "adapter_of_several": adapted(peft_type="XLORA", adapters={"0": "../../evil"}),
    "adapter_of_a_prompt": adapted(
        peft_type="PROMPT_TUNING", prompt_tuning_init="TEXT", prompt_tuning_init_text="x",
        tokenizer_name_or_path="../evil", num_virtual_tokens=2, task_type="CAUSAL_LM",
        tokenizer_kwargs={"trust_remote_code": True},
    ),
    "adapter_that_reads_a_cache": adapted(
        init_lora_weights="corda", corda_config={"cache_file": "evil.pt", "covariance_file": "evil.pt"}
    ),
    "adapter_that_quantises": adapted(init_lora_weights="loftq", loftq_config={"loftq_bits": 4}),
}  # fmt: skip


@MODELS.made
def adapter_that_is_pickled(stock: Stock) -> Path:
    folder = adapter(stock)
    (folder / "adapter_model.safetensors").unlink()
    malice(folder / "adapter_model.bin", stock)
    return folder


@MODELS.made
def adapter_that_begins_with_a_pickle(stock: Stock) -> Path:
    return adapter(
        stock, peft_type="MULTITASK_PROMPT_TUNING", prompt_tuning_init="ONLY_SOURCE_SHARED",
        prompt_tuning_init_state_dict_path=str(malice(stock.place / "start.bin", stock)),
        num_virtual_tokens=2, token_dim=32, num_transformer_submodules=1,
    )  # fmt: skip
