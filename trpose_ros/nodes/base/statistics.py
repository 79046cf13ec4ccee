"""What a node tells about itself: rate, latency, drops, errors. Plain numbers, thread-safe."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

_RATE_WINDOW_S = 5.0
_STALE_S = 2.0  # a stream that paused for longer has no rate
_RECENT_S = 10.0  # how long an error colours the state of a node
_SAMPLES = 512  # latencies kept for the percentiles


@dataclass
class Statistics:
    """Counters of one activation of a node."""

    frames: int = 0
    errors: int = 0
    last_error: str = ''
    notes: Counter = field(default_factory=Counter)  # odd things that are not errors, counted
    warnings: dict[str, str] = field(default_factory=dict)  # conditions that hold, by topic
    _last_error_s: float | None = None
    _latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    _times_s: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_result(self, latency_ms: float) -> None:
        """Count a published result, ``latency_ms`` after its input came in (NaN: unknown)."""
        with self._lock:
            self.frames += 1
            if not math.isnan(latency_ms):
                self._latencies_ms.append(latency_ms)
            self._times_s.append(time.monotonic())

    def add_error(self, text: str) -> None:
        """Count an error and keep its words."""
        with self._lock:
            self.errors += 1
            self.last_error = text
            self._last_error_s = time.monotonic()

    @property
    def failing(self) -> bool:
        """Whether there was an error a short while ago."""
        last_s = self._last_error_s
        return last_s is not None and time.monotonic() - last_s < _RECENT_S

    def note(self, name: str, count: int = 1) -> int:
        """Count something odd; return how often it happened."""
        with self._lock:
            self.notes[name] += count
            return self.notes[name]

    def warn(self, topic: str, text: str) -> bool:
        """State a condition that holds until further notice; return whether it is new."""
        with self._lock:
            new = self.warnings.get(topic) != text
            self.warnings[topic] = text
            return new

    def clear_warning(self, topic: str) -> None:
        """Withdraw a condition."""
        with self._lock:
            self.warnings.pop(topic, None)

    def percentiles_ms(self) -> tuple[float, float]:
        """Return the latency's p50 and p95, ms; NaN without results."""
        with self._lock:
            if not self._latencies_ms:
                return float('nan'), float('nan')
            p50, p95 = np.percentile(self._latencies_ms, (50, 95))
        return float(p50), float(p95)

    def rate_hz(self) -> float:
        """Return results per second over the last five seconds."""
        now = time.monotonic()
        with self._lock:
            recent = [t for t in self._times_s if now - t <= _RATE_WINDOW_S]
        if len(recent) < 2 or now - recent[-1] > _STALE_S:
            return 0.0
        return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-9)

    def values(self) -> dict[str, str]:
        """Return all numbers as text, in a fixed order."""
        p50, p95 = self.percentiles_ms()
        with self._lock:
            notes, warnings = dict(self.notes), dict(self.warnings)
        return {
            'rate_hz': f'{self.rate_hz():.1f}',
            'latency_p50_ms': f'{p50:.1f}',
            'latency_p95_ms': f'{p95:.1f}',
            'frames': str(self.frames),
            'errors': str(self.errors),
            'last_error': self.last_error,
            **{name: str(count) for name, count in sorted(notes.items())},
            **dict(sorted(warnings.items())),
        }
