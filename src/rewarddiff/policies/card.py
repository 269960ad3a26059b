"""The model card of a policy: how it was trained, how it is asked, and lines that load it."""

from __future__ import annotations

from typing import Any

from rewarddiff.models.cards import Card, Facts, Section, hub_name, python, shell, training
from rewarddiff.writing import as_markdown, code_span

QUESTION = 'turns = [{"role": "user", "content": "What is tea?"}]'


def policy_card(tokenizer: Any, facts: Facts, objective: str, *, adapter: bool) -> str:
    """Return the README of a policy's folder.

    Args:
        objective: what it was trained with; "": not known.
        adapter: the folder holds an adapter of the base, and not whole weights.
    """
    how = (
        f"Trained with the objective {as_markdown(objective)}."
        if objective
        else "An aligned language model."
    )
    chat = bool(tokenizer.chat_template)
    return Card(
        title="Language model" if not adapter else "Adapter of a language model",
        task="text-generation",
        library="peft" if adapter else "transformers",
        tags=tuple(filter(None, ("preference-learning", objective))),
        facts=facts,
        relation="adapter" if adapter else "finetune",
        sections=[
            Section("What it is", [how]),
            training(facts),
            Section("How it is asked", [_asking(tokenizer)]),
            Section("Load it with transformers", [_loading(chat, adapter)]),
            Section("Serve it with vLLM", [_serving(facts.base, adapter)]),
        ],
    ).text


def _asking(tokenizer: Any) -> str:
    if tokenizer.chat_template:
        return (
            "Conversations by the chat template, with a generation prompt; plain prompts as they "
            "stand. A response ends with the end of its turn, or the end token."
        )
    end = code_span(str(tokenizer.eos_token))
    return f"The prompt as it stands; a response ends with {end}."


def _loading(chat: bool, adapter: bool) -> str:
    load = ("from transformers import AutoModelForCausalLM, AutoTokenizer", "AutoModelForCausalLM")
    if adapter:
        load = (
            "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer",
            "AutoPeftModelForCausalLM",
        )
    imports, loader = load
    asked = ['text = tokenizer("What is tea?", return_tensors="pt")']
    if chat:
        options = 'add_generation_prompt=True, return_tensors="pt", return_dict=True'
        asked = [QUESTION, f"text = tokenizer.apply_chat_template(turns, {options})"]
    return python(
        imports,
        f'model = {loader}.from_pretrained(".").eval()',
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        *asked,
        "answer = tokenizer.decode(model.generate(**text, max_new_tokens=32)[0])",
    )


def _serving(base: str, adapter: bool) -> str:
    """Return how it is served; a base that lies in a folder of its owner's stays to be named."""
    if adapter:
        name = hub_name(base) if base else None
        return shell(f"vllm serve {name or 'BASE'} --enable-lora --lora-modules aligned=.")
    return shell("vllm serve .")
