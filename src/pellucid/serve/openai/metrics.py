"""The metrics of a service in Prometheus' text format, under vLLM's names with the prefix `pellucid:`."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pellucid.serve.openai.models import ModelTable


PREFIX = "pellucid:"
LABEL = "model_name"
# Seconds; vLLM's borders.
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
REQUEST = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)


class RequestMetrics:
    """Counts what requests took.

    Args:
        models: whose engines are read when the metrics are.
    """

    def __init__(self, models: ModelTable) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_EngineCollector(models))
        registry, labels = self.registry, (LABEL,)
        self._prompt = Counter(f"{PREFIX}prompt_tokens", "Tokens of prompts", labels, registry=registry)
        self._generated = Counter(f"{PREFIX}generation_tokens", "Tokens that were generated", labels, registry=registry)
        self._success = Counter(
            f"{PREFIX}request_success", "Choices by why they ended", (LABEL, "finished_reason"), registry=registry
        )
        self._first_token = Histogram(
            f"{PREFIX}time_to_first_token_seconds", "Until the first token of a stream", labels, registry=registry,
            buckets=FIRST_TOKEN,
        )  # fmt: skip
        self._request = Histogram(
            f"{PREFIX}e2e_request_latency_seconds", "Until the end of a request", labels, registry=registry, buckets=REQUEST
        )
        self._responses = Counter(f"{PREFIX}http_responses", "Responses by status", ("status",), registry=registry)

    def finished(
        self, model: str, *, reasons: Iterable[str], seconds: float, first_token: float | None, prompt_tokens: int,
        generation_tokens: int,
    ) -> None:  # fmt: skip
        """Counts a completion request that has ended: why each choice did, and "abort" where one did not get so far."""
        self._prompt.labels(model).inc(prompt_tokens)
        self._generated.labels(model).inc(generation_tokens)
        for reason in reasons:
            self._success.labels(model, reason).inc()
        self._request.labels(model).observe(seconds)
        if first_token is not None:
            self._first_token.labels(model).observe(first_token)

    def responded(self, status: int) -> None:
        """Counts a response."""
        self._responses.labels(str(status)).inc()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _EngineCollector(Collector):
    """What engines count, read when it is asked for."""

    def __init__(self, models: ModelTable) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        running = GaugeMetricFamily(f"{PREFIX}num_requests_running", "Completions that are generated", labels=[LABEL])
        waiting = GaugeMetricFamily(f"{PREFIX}num_requests_waiting", "Prompts that wait for a slot", labels=[LABEL])
        used = GaugeMetricFamily(f"{PREFIX}kv_cache_usage_perc", "Share of the memory limit; 0 without one", labels=[LABEL])
        nbytes = GaugeMetricFamily(f"{PREFIX}kv_cache_bytes", "Bytes of keys and values", labels=[LABEL])
        queries = CounterMetricFamily(f"{PREFIX}prefix_cache_queries", "Prompt tokens looked up", labels=[LABEL])
        hits = CounterMetricFamily(f"{PREFIX}prefix_cache_hits", "Prompt tokens that were not computed again", labels=[LABEL])
        up = GaugeMetricFamily(f"{PREFIX}engine_up", "Whether the engine runs", labels=[LABEL])
        restarts = CounterMetricFamily(f"{PREFIX}engine_restarts", "Starts of the engine after it ended", labels=[LABEL])
        for model in self._models:
            stats, label = model.stats, [model.id]
            running.add_metric(label, stats.running)
            waiting.add_metric(label, stats.waiting + model.line.waiting)
            used.add_metric(label, stats.nbytes / stats.budget if stats.budget else 0.0)
            nbytes.add_metric(label, stats.nbytes)
            queries.add_metric(label, stats.prompt_tokens + stats.reused_tokens)
            hits.add_metric(label, stats.reused_tokens)
            up.add_metric(label, model.alive)
            restarts.add_metric(label, model.restarts)
        yield from (running, waiting, used, nbytes, queries, hits, up, restarts)
