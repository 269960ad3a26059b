"""Responses drawn from a policy, by one of three engines.

engines        what an engine is, and the one that continues prompts by transformers
vllm           the one that does so by vLLM; options: which of the two, as a recipe says it
served         the one that asks a server; served_tokens: vLLM's, with tokens
several        several responses to a prompt; conversations: several turns
generate       greedy and temperature samples; beams, diverse: diverse beam search
batches        prompts answered side by side, and what is kept
"""

from rewarddiff.sampling.batches import Sample
from rewarddiff.sampling.engines import Engine, EngineHere, Here, read_here
from rewarddiff.sampling.generate import FORMAT, SamplingConfig, sample

__all__ = [
    "FORMAT",
    "Engine",
    "EngineHere",
    "Here",
    "Sample",
    "SamplingConfig",
    "read_here",
    "sample",
]
