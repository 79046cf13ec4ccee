"""Lifting several passes of one clip at once: the people of all are people of one stream.

What a lifter is asked does not depend on what it answers, because fusion comes behind it. So the
questions about each pass are found first, without a network. Then one stream gets those of all
passes moment by moment, every track under a number of its own, and a network's cost per person
falls, because its batches are larger. The answers are parted again, as if each pass had been
lifted alone.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from trpose_ros.evaluation.estimation import EstimatorPass
from trpose_ros.evaluation.shared_lifting import Answer, Call, SharedLifter
from trpose_ros.people import Camera, People
from trpose_ros.pipeline.fusion import Fusion
from trpose_ros.pipeline.lift_stage import LiftStage, LiftStageConfig

if TYPE_CHECKING:
    from trpose_ros.lifters import Lifted, LifterStream

_LOG = logging.getLogger(__name__)

_Mark = tuple[str, Any]  # what moves all tracks on: a push with its stamp, a flush, a full reset
_Step = tuple[_Mark, list[int], Call]  # with the tracks that ended before it


class _Recorder:
    """Stands in for a lifter stream: keeps what it is asked and knows no answer."""

    # Every frame goes on at the next one: none piles up waiting for an answer.
    delay_s, look_ahead, window, name, weights_id = 0.0, 0, 1, '', ''

    def __init__(self, skeleton_in: str) -> None:
        self.skeleton_in = skeleton_in
        self.calls: list[Call] = []

    def push(self, *given: Any) -> list[Lifted]:
        self.calls.append(('push', *given))
        return []

    def flush(self) -> list[Lifted]:
        self.calls.append(('flush',))
        return []

    def reset(self, track_id: int | None = None) -> None:
        self.calls.append(('reset', track_id))


class _NoFusion(Fusion):
    """Leaves people as they are, which takes no time."""

    def fuse(self, people: People, lifted_m: np.ndarray, camera: Camera, root: int = 0) -> People:
        return people


class PassesTogether:
    """Several passes of one clip, and what lifters answered about all of them at once."""

    def __init__(self, passes: list[EstimatorPass]) -> None:
        self._passes = passes
        self._calls: dict[str, list[tuple[EstimatorPass, list[Call]]]] = {}  # by skeleton
        # by lifter and identity of the pass, which lives as long as this
        self._answers: dict[tuple[str, int], list[Answer]] = {}

    def lift(self, name: str, lifter: SharedLifter) -> None:
        """Ask a lifter about all passes; raises what the lifter raises."""
        skeleton = lifter.skeleton_in
        if skeleton not in self._calls:
            self._calls[skeleton] = list(self._asked(skeleton))
        asked = self._calls[skeleton]
        found: dict[tuple[str, int], list[Answer]] = {}
        for group in alike([calls for _, calls in asked]):
            if len(group) > 1:
                answers = answers_together(lifter.stream, [asked[i][1] for i in group])
                found |= {(name, id(asked[i][0])): a for i, a in zip(group, answers, strict=True)}
        self._answers |= found

    def answers(self, name: str, seen: EstimatorPass) -> list[Answer] | None:
        """Return the answers about a pass, None where it has to be lifted alone."""
        return self._answers.get((name, id(seen)))

    def drop(self, seen: EstimatorPass) -> None:
        """Forget what is known about a pass: something may be wrong with it."""
        self._answers = {key: a for key, a in self._answers.items() if key[1] != id(seen)}

    def _asked(self, skeleton: str) -> Iterator[tuple[EstimatorPass, list[Call]]]:
        for seen in self._passes:
            try:
                yield seen, calls_of(seen, skeleton)
            except Exception:
                # lifting it alone will say what is wrong with it; the others need not suffer
                _LOG.debug('a pass cannot be lifted', exc_info=True)


def calls_of(seen: EstimatorPass, skeleton_in: str) -> list[Call]:
    """Return what a lift stage asks its lifter about the people of a pass."""
    recorder: Any = _Recorder(skeleton_in)
    stage = LiftStage(lifter=recorder, fusion=_NoFusion(), config=LiftStageConfig(max_wait_s=0.0))
    stage.reset()
    for people, camera in zip(seen.people, seen.cameras, strict=True):
        stage.push(people, camera)
    stage.flush()
    return list(recorder.calls)


def alike(passes: list[list[Call]]) -> list[list[int]]:
    """Return the indices of passes that can be lifted together: those with the same moments.

    One whose time went back, say, restarts all tracks where the others must not.
    """
    groups: dict[tuple[_Mark, ...], list[int]] = {}
    for index, calls in enumerate(passes):
        marks = tuple(mark for mark, _, _ in _steps(calls))
        groups.setdefault(marks, []).append(index)
    return list(groups.values())


def answers_together(stream: LifterStream, passes: list[list[Call]]) -> list[list[Answer]]:
    """Ask a stream about passes that are alike; return the answers to the calls of each.

    Their times are NaN: what a batch took is the latency of none of its passes.
    """
    numbers = _Numbers(passes)
    answers: list[list[Answer]] = [[] for _ in passes]
    for moment in zip(*map(_steps, passes), strict=True):
        for index, (_, ended, _) in enumerate(moment):
            for track_id in ended:
                stream.reset(numbers.of(index, track_id))
                answers[index].append((('reset', track_id), [], np.nan))
        calls = [call for _, _, call in moment]
        parts = numbers.parted(_ask(stream, calls, numbers))
        for index, call in enumerate(calls):
            answers[index].append((call, parts[index], np.nan))
    return answers


def _steps(calls: list[Call]) -> list[_Step]:
    """Return the calls that move all tracks on, each with the resets of single tracks before it."""
    steps: list[_Step] = []
    ended: list[int] = []
    for call in calls:
        if call[0] == 'reset' and call[1] is not None:
            ended.append(call[1])
            continue
        steps.append(((call[0], call[1] if len(call) > 1 else None), ended, call))
        ended = []
    return steps  # the last call is a flush: no reset comes after it


def _ask(stream: LifterStream, calls: list[Call], numbers: _Numbers) -> Iterable[Lifted]:
    """Put one question to the stream in place of those of all passes at one moment."""
    name, *given = calls[0]
    if name == 'flush':
        return stream.flush()
    if name == 'reset':
        stream.reset()
        return []
    ids = [numbers.of(index, call[2]) for index, call in enumerate(calls)]
    joints = np.concatenate([call[3] for call in calls])
    states = np.concatenate([call[4] for call in calls])
    return stream.push(given[0], np.concatenate(ids), joints, states)


class _Numbers:
    """Numbers of the tracks of all passes in their common stream, in the order of their ids."""

    def __init__(self, passes: list[list[Call]]) -> None:
        ids = [0]
        for call in (call for calls in passes for call in calls):
            if call[0] == 'push':
                ids += np.asarray(call[2]).tolist()
            elif call[0] == 'reset' and call[1] is not None:
                ids.append(call[1])
        self._lowest, self._width = min(ids), max(ids) - min(ids) + 1
        self._passes = len(passes)

    def of(self, index: int, track_id: Any) -> Any:
        """Return the number of a track, or of several, of a pass."""
        if isinstance(track_id, np.ndarray):
            track_id = track_id.astype(np.int64)
        return track_id - self._lowest + index * self._width

    def parted(self, results: Iterable[Lifted]) -> list[list[Lifted]]:
        """Return what belongs to each pass, with the ids that its tracks have there."""
        parts: list[list[Lifted]] = [[] for _ in range(self._passes)]
        for result in results:
            index, offset = divmod(result.track_id, self._width)
            parts[index].append(dataclasses.replace(result, track_id=offset + self._lowest))
        return parts
