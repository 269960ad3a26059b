"""What a server counts, in Prometheus's text format."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counts of one server; names begin with rewarddiff_."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "rewarddiff_requests",
            "Requests answered.",
            ["route", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "rewarddiff_request_seconds",
            "From a request's headers to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.batch_responses = Histogram(
            "rewarddiff_batch_responses",
            "Responses read together.",
            buckets=SIZES,
            registry=self._registry,
        )
        self.batch_seconds = Histogram(
            "rewarddiff_batch_seconds",
            "To read a batch.",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.queued = Gauge(
            "rewarddiff_queued_responses", "Responses that wait.", registry=self._registry
        )

    def text(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        return generate_latest(self._registry)
