"""Responses drawn from a policy, by one of two engines.

engines        what an engine is, and the one that reads a model here
served         the one that asks a server; options: what a recipe may say of it
several        several responses to a prompt; conversations: several turns
generate       greedy and temperature samples; beams, diverse: diverse beam search
batches        prompts answered side by side, and what is kept
"""

from rewarddiff.sampling.batches import Sample
from rewarddiff.sampling.engines import Engine, Here, read_here
from rewarddiff.sampling.generate import FORMAT, SamplingConfig, sample

__all__ = ["FORMAT", "Engine", "Here", "Sample", "SamplingConfig", "read_here", "sample"]
