"""What trainers of TRL are given whatever the version of transformers that they run with."""

from __future__ import annotations

from dataclasses import fields

from transformers import TrainingArguments

# Before transformers 5.23 it had the older name alone.
_NAMES = ("activation_checkpointing", "gradient_checkpointing")
_KNOWN = {field.name for field in fields(TrainingArguments)}

WITHOUT_CHECKPOINTS = {name: False for name in _NAMES if name in _KNOWN}
"""Lets layers keep what their backward pass needs, which TRL's own defaults do not."""
