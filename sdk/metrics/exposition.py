"""Exposition: series in the formats that Prometheus scrapes. Needs the extra ``metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import accumulate
from typing import TYPE_CHECKING

from .series import SECONDS, Series, Spreads

if TYPE_CHECKING:
    from prometheus_client.core import Metric

AnySeries = Series | Spreads
Sources = Callable[[], Iterable[AnySeries]]


def is_installed() -> bool:
    return find_spec("prometheus_client") is not None


class Exposition:
    """Writes what ``sources`` says at each scrape. From any thread. labels: that every sample bears."""

    def __init__(self, sources: Sources, labels: Mapping[str, str]) -> None:
        from prometheus_client import CollectorRegistry

        self._sources = sources
        self._labels = dict(labels)
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        for series in self._sources():
            yield _family(series, tuple(self._labels), tuple(self._labels.values()))

    def write(self, accept: str) -> tuple[str, bytes]:
        """Return the content type that ``accept`` asks for, and the text."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)


def _family(series: AnySeries, names: tuple[str, ...], shared: tuple[str, ...]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    name, labels = series.name, (*names, *series.labels)
    if isinstance(series, Spreads):
        histogram = HistogramMetricFamily(name, series.help, labels=labels)
        for key, told in series.values().items():
            sums = list(accumulate(told.buckets))
            bounds = [*map(str, SECONDS), "+Inf"]
            histogram.add_metric((*shared, *key), list(zip(bounds, map(float, sums), strict=True)), told.total)
        return histogram
    make = CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily
    family = make(name, series.help, labels=labels)
    for key, value in series.values().items():
        family.add_metric((*shared, *key), value)
    return family
