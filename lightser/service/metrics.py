"""What the service has done so far, as text for Prometheus.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from itertools import accumulate

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_HELP = {
    "lightser_requests_total": "Answered requests, by path and HTTP status.",
    "lightser_refusals_total": "Refused requests, by the code of the error.",
    "lightser_predictions_total": "Clips and segments that were answered, by model and label.",
    "lightser_audio_seconds_total": "Seconds of audio that were listened to.",
    "lightser_decoders_lost_total": "Decoding processes lost to a file, by reason.",
}
_LATENCY = "lightser_request_seconds"

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters, one histogram of latencies, and gauges that are asked when they are read."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, defaultdict[Labels, float]] = defaultdict(
            lambda: defaultdict(float)
        )
        # A number for each bound, and one for what is above all of them.
        self._buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(_SECONDS) + 1))
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def count(self, name: str, by: float = 1.0, /, **labels: str) -> None:
        """Add to one of the counters that have a help text above."""
        if name not in _HELP:
            raise KeyError(name)
        self._counts[name][tuple(labels.items())] += by

    def took(self, path: str, seconds: float) -> None:
        """Note how long a request took."""
        self._buckets[path][bisect_left(_SECONDS, seconds)] += 1
        self._sums[path] += seconds

    def gauge(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Add a number that goes up and down."""
        self._gauges[name] = about, read

    def __str__(self) -> str:
        lines = []
        for name, about in _HELP.items():
            lines += [f"# HELP {name} {about}", f"# TYPE {name} counter"]
            for labels, value in self._counts[name].items():
                lines.append(f"{name}{_braces(labels)} {value:.10g}")
        lines += [f"# HELP {_LATENCY} From head to answer.", f"# TYPE {_LATENCY} histogram"]
        for path, counts in self._buckets.items():
            bounds = [*(f"{bound:g}" for bound in _SECONDS), "+Inf"]
            for bound, total in zip(bounds, accumulate(counts), strict=True):
                lines.append(f"{_LATENCY}_bucket{_braces((('path', path), ('le', bound)))} {total}")
            of = _braces((("path", path),))
            lines.append(f"{_LATENCY}_sum{of} {self._sums[path]:.6f}")
            lines.append(f"{_LATENCY}_count{of} {sum(counts)}")
        for name, (about, read) in self._gauges.items():
            lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge", f"{name} {read():.10g}"]
        return "\n".join(lines) + "\n"


def _braces(labels: Labels) -> str:
    r"""Return labels as they stand behind a name.

    >>> _braces((("path", "/v1"), ("said", 'a "b"')))
    '{path="/v1",said="a \\"b\\""}'
    """
    if not labels:
        return ""
    escaped = (
        (key, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        for key, value in labels
    )
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped) + "}"
