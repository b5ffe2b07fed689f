"""Numbers for the Ray dashboard and Prometheus, by `ray.util.metrics`; all names begin with `dwm_`."""

from __future__ import annotations

from collections.abc import Mapping

from ray.util.metrics import Gauge


class Gauges:
    """A family of gauges, made as names appear."""

    def __init__(self, prefix: str, tags: dict[str, str] | None = None) -> None:
        self._prefix, self._tags = prefix, tags or {}
        self._gauges: dict[str, Gauge] = {}

    def set(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if name not in self._gauges:
                self._gauges[name] = Gauge(f"dwm_{self._prefix}_{name}", tag_keys=tuple(self._tags))
                self._gauges[name].set_default_tags(self._tags)
            self._gauges[name].set(float(value))
