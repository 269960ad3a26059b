"""Responses drawn from a policy."""

from rewarddiff.sampling.batches import Sample
from rewarddiff.sampling.generate import FORMAT, SamplingConfig, sample

__all__ = ["FORMAT", "Sample", "SamplingConfig", "sample"]
