"""Chat templates as they come with models, and a byte-level tokenizer that knows their special
tokens."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."


@dataclass(frozen=True)
class Chat:
    """A model's template, the token that ends its turns, and its further special tokens."""

    template: str
    end: str
    special: tuple[str, ...]


CHATS = {
    "smollm2": Chat(
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        "<|im_end|>",
        ("<|im_start|>",),
    ),
    "llama-3": Chat(
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
        "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        "<|eot_id|>",
        ("<|start_header_id|>", "<|end_header_id|>"),
    ),
    "gemma": Chat(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('"
        + ALTERNATE
        + "') }}{% endif %}{% if (message['role'] == 'assistant') %}"
        "{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + "
        "'\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}"
        "{{'<start_of_turn>model\n'}}{% endif %}",
        "<end_of_turn>",
        ("<start_of_turn>",),
    ),
}

SPACED = {
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] "
    "+ eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"
    "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "mistral": "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0)"
    " %}{{ raise_exception('"
    + ALTERNATE
    + "') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + "
    "message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    "llama-2": "{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + "
    "message['content'].strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + "
    "message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
}
"""Templates that come with tokenizers which put a space in front of a text."""


def with_chat(
    tokenizer: PreTrainedTokenizerFast, name: str, *, pad_is_end: bool = False
) -> PreTrainedTokenizerFast:
    """The tokenizer with a model's template and special tokens; its EOS is the end of turn, as in
    chat models.

    Args:
        pad_is_end: the end token serves for padding, too, as in SmolLM2.
    """
    chat, tokenizer = CHATS[name], copy.deepcopy(tokenizer)
    tokenizer.add_tokens([chat.end, *chat.special], special_tokens=True)
    tokenizer.eos_token, tokenizer.chat_template = chat.end, chat.template
    if pad_is_end:
        tokenizer.pad_token = chat.end
    return tokenizer
