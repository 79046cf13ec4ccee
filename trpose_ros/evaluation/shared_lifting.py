"""One run of a lifter for two readers: its skeletons alone, and fused with the estimator's.

Fusion comes behind the lifter and changes nothing of what the lifter is given. So the second
reader of the same people gets the answers of the first, with the time that they took. Answers may
also come from elsewhere: those about several passes of a clip are found together
(lifting_together.py).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from trpose_ros.lifters import Lifted, LifterStream

Call = tuple[Any, ...]  # name of a method, and what it was given
Answer = tuple[Call, list['Lifted'], float]  # with what came back, and after how many seconds


class SharedLifter:
    """A lifter stream that keeps its answers; stands in for it in a LiftStage."""

    def __init__(self, stream: LifterStream) -> None:
        self.stream = stream
        self._answers: list[Answer] = []
        self._next: int | None = None  # the answer that is given again; None: they are new
        self.repeated_s = 0.0  # time that answers took which were given again

    def __getattr__(self, name: str) -> Any:
        """Everything else, such as ``look_ahead``, is the stream's own."""
        return getattr(self.stream, name)

    def begin(self, again: bool) -> None:
        """Begin a run; ``again``: the last one once more, from its answers."""
        self._next, self.repeated_s = (0 if again else None), 0.0
        if not again:
            self._answers = []

    def give(self, answers: list[Answer]) -> None:
        """Begin a run with answers that are known, as if they were those of the last one."""
        self._answers = answers
        self.begin(again=True)

    def push(
        self,
        stamp_ns: int,
        track_ids: np.ndarray,
        joints: np.ndarray,
        states: np.ndarray | None = None,
    ) -> list[Lifted]:
        """Answer for one frame; see ``LifterStream.push``."""
        return self._answer('push', stamp_ns, track_ids, joints, states)

    def flush(self) -> list[Lifted]:
        """Answer for what still waits; see ``LifterStream.flush``."""
        return self._answer('flush')

    def reset(self, track_id: int | None = None) -> None:
        """Forget one track, or all."""
        self._answer('reset', track_id)

    def _answer(self, name: str, *given: Any) -> list[Lifted]:
        call = (name, *given)
        if self._next is None:
            begin = time.perf_counter()
            results = getattr(self.stream, name)(*given) or []
            self._answers.append((call, results, time.perf_counter() - begin))
            return list(results)
        if self._next >= len(self._answers) or not _same(call, self._answers[self._next][0]):
            raise RuntimeError(
                f'call {self._next} of a lifter, {name}, is not what the run before asked for'
            )
        _, results, seconds = self._answers[self._next]
        self._next += 1
        self.repeated_s += seconds
        return list(results)


def _same(one: Call, other: Call) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, b, equal_nan=True)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
        else a is b or a == b
        for a, b in zip(one, other, strict=True)
    )
