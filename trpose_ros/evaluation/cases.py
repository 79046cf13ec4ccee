"""One case of an evaluation: a clip under a condition, seen by an estimator, then by all lifters.

A case costs one estimator pass (cached) and gives one row for every lifter and person. A
CaseRunner keeps what consecutive cases of a clip share: the loaded networks and the clean run,
which recovery times and recordings without ground truth are measured against.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from trpose_ros.evaluation.conditions import AnyCondition, Condition, SkeletonCondition
from trpose_ros.evaluation.estimation import TRACKS, EstimatorPass, cached_pass
from trpose_ros.evaluation.excerpts import Scene
from trpose_ros.evaluation.lifter_spec import LifterSpec
from trpose_ros.evaluation.lifting_together import PassesTogether
from trpose_ros.evaluation.metrics.all_measures import joint_means, measure
from trpose_ros.evaluation.metrics.join import Joined, join
from trpose_ros.evaluation.rows import as_reference, facts, hidden_of, look_ahead_of, times_of
from trpose_ros.evaluation.sequences import EvaluationClip
from trpose_ros.evaluation.shared_lifting import SharedLifter
from trpose_ros.evaluation.showcase import is_shown, scene_of
from trpose_ros.evaluation.truth_source import TRUTH_2D, presentation_of, truth_pass
from trpose_ros.people import People
from trpose_ros.pipeline.lift_stage import LiftStage
from trpose_ros.pipeline.pipeline import PipelineConfig, PoseStageConfig
from trpose_ros.pipeline.standing import StandingConfig

if TYPE_CHECKING:
    from trpose_ros.estimators import Estimator

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 2
_LOADED = 2  # estimators at a time: the baseline and ours take turns at each clip
TOGETHER = ''  # stands where a case's key may: the work is for several cases at once
_T = TypeVar('_T')


@dataclass(frozen=True)
class EvaluationConfig:
    """What to run; the data come as clips."""

    estimators: tuple[str, ...] = ('metrabs-s',)  # weights, or 'kind:weights'
    lifters: tuple[str, ...] = ('none', 'videopose3d', 'videopose3d+fusion')
    conditions: tuple[AnyCondition, ...] = (Condition('none'),)
    track: str = 'DET'
    boxes: str = 'detector'
    threads: int = 0
    cache: Path | None = None  # folder of estimator passes; None keeps none
    # lifters of one estimator, where they are not those of all
    pairs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shown_clip: str = ''  # identity of the clip whose scenes are kept for the report
    # further ones by name, beside those that the registries know
    factories: dict[str, Callable[[], Estimator]] = field(default_factory=dict)
    stages: dict[str, Callable[[], LiftStage]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Validate names early, before anything slow."""
        if self.track not in TRACKS:
            raise ValueError(f'track must be one of {TRACKS}, got {self.track!r}')
        if not (self.estimators and self.lifters and self.conditions):
            raise ValueError('at least one estimator, lifter and condition is needed')
        for name in self.estimators:
            if name.partition(':')[0] == TRUTH_2D:
                presentation_of(name)
        for name in self.estimators:
            for text in self.lifters_of(name):
                if text not in self.stages:
                    LifterSpec.parse(text)

    def lifters_of(self, estimator: str) -> tuple[str, ...]:
        """Return the lifters that work on an estimator's 2D."""
        return self.pairs.get(estimator, self.lifters)

    def lift_stage(self, text: str, like: LiftStage | None = None) -> LiftStage:
        """Make a fresh lift stage, with the lifter of ``like`` where there is one."""
        return self.stages[text]() if text in self.stages else LifterSpec.parse(text).stage(like)

    def create_estimator(self, name: str) -> Estimator:
        """Load an estimator; raises as estimators.create_estimator does."""
        if name in self.factories:
            return self.factories[name]()
        from trpose_ros.estimators import create_estimator

        config = self.pipeline(name)
        return create_estimator(config.estimator_name, config.estimator)

    def pipeline(self, estimator: str) -> PipelineConfig:
        """Return the configuration of the stages before the lifter."""
        from trpose_ros.estimators import ESTIMATORS, EstimatorConfig

        kind, colon, model = estimator.partition(':')
        if not colon or kind not in ESTIMATORS:
            kind, model = 'metrabs_torch', estimator
        return PipelineConfig(
            estimator_name=kind,
            estimator=EstimatorConfig(model=model, threads=self.threads),
            pose=PoseStageConfig(boxes=self.boxes),
        )


@dataclass(frozen=True)
class Case:
    """One clip, one condition, one estimator."""

    clip: EvaluationClip
    condition: AnyCondition
    estimator: str

    @property
    def key(self) -> str:
        """Return the name of its results file."""
        facts = [self.clip.identity, self.clip.fingerprint, self.estimator]
        text = '|'.join([*facts, *map(str, dataclasses.astuple(self.condition))])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @property
    def title(self) -> str:
        """Return the case in words."""
        condition = self.condition
        return (
            f'{self.clip.identity} {condition.name} {condition.label} k={condition.draw} '
            f'{self.estimator}'
        )


@dataclass(frozen=True)
class Outcome:
    """What a case gave: rows, or an error after the last attempt."""

    rows: list[dict[str, Any]]
    seconds: float
    cached: bool = False
    error: str = ''
    scene: Scene | None = None  # of the clip that is shown in the report


class CaseRunner:
    """Runs cases one after the other, or those of one clip together; best with the clean first."""

    def __init__(self, config: EvaluationConfig) -> None:
        """Keep the configuration; networks are loaded when first needed."""
        self.config = config
        self._estimators: dict[str, Estimator] = {}  # the last ones
        self._stages: dict[str, LiftStage] = {}
        self._lifted_last: dict[str, EstimatorPass] = {}  # by lifter without fusion
        # of the group in work, by the key of the case
        self._passes: dict[str, tuple[EstimatorPass, bool]] = {}
        self._together = PassesTogether([])
        # of the clip in work, by clip, estimator and lifter: the clean run, and its joints' errors
        self._reference: dict[tuple[str, str, str], dict[int, People]] = {}
        self._means: dict[tuple[str, str, str], dict[int, np.ndarray]] = {}

    def close(self) -> None:
        """Free the estimators."""
        while self._estimators:
            self._estimators.popitem()[1].close()

    def attempt(self, case: Case) -> Outcome:
        """Run a case, a second time when it fails; never raises."""
        begin = time.perf_counter()
        done, error = self._twice(case, self.run)
        seconds = time.perf_counter() - begin
        if done is None:
            return Outcome([], seconds, error=error)
        return dataclasses.replace(done, seconds=seconds)

    def attempt_all(self, cases: list[Case]) -> Iterator[str | Outcome]:
        """Run cases; of one clip and estimator in a row, lift all but the clean one together.

        Yields the outcome of each case, in order, and before any work the key of the case it is
        for, or TOGETHER: of a process that dies it is known what it was at.
        """
        for _, alike in groupby(cases, lambda case: (case.clip.identity, case.estimator)):
            yield from self._attempt_alike(list(alike))

    def _attempt_alike(self, cases: list[Case]) -> Iterator[str | Outcome]:
        """Run cases of one clip and estimator; see ``attempt_all``."""
        failed: dict[str, Outcome] = {}
        seconds = dict.fromkeys((case.key for case in cases), 0.0)
        try:
            for case in cases if len(cases) > 1 else []:
                yield case.key
                begin = time.perf_counter()
                seen, error = self._twice(case, self._pass)
                seconds[case.key] = time.perf_counter() - begin
                if seen is None:
                    failed[case.key] = Outcome([], 0.0, error=error)
                else:
                    self._passes[case.key] = seen
            # the clean one is lifted alone: it measures how long a lifter takes
            waiting = [c for c in cases if c.key in self._passes and c.condition.profile != 'none']
            for case in cases:
                if len(waiting) > 1 and case is waiting[0]:
                    yield TOGETHER
                    begin = time.perf_counter()
                    self._lift_together(waiting)
                    share = (time.perf_counter() - begin) / len(waiting)
                    seconds |= {c.key: seconds[c.key] + share for c in waiting}
                yield case.key
                done = failed.get(case.key) or self.attempt(case)
                yield dataclasses.replace(done, seconds=seconds[case.key] + done.seconds)
        finally:
            self._passes, self._together = {}, PassesTogether([])

    def _twice(self, case: Case, work: Callable[[Case], _T]) -> tuple[_T | None, str]:
        """Return what work on a case gives, or None and the error of the last attempt."""
        error = ''
        for _ in range(_ATTEMPTS):
            try:
                return work(case), ''
            except Exception as problem:
                # whatever a model or a file does, the other cases are worth having
                error = f'{type(problem).__name__}: {problem}'
                _LOG.debug('%s failed', case.title, exc_info=True)
                self._forget_lifters()
                if case.key in self._passes:
                    self._together.drop(self._passes[case.key][0])
        return None, error

    def _forget_lifters(self) -> None:
        self._stages.clear()
        self._lifted_last.clear()

    def _lift_together(self, cases: list[Case]) -> None:
        """Ask the lifters about the passes of several cases at once, as far as that works."""
        self._together = PassesTogether([self._passes[case.key][0] for case in cases])
        lifters = self.config.lifters_of(cases[0].estimator)
        for lifter in {_base(lifter): lifter for lifter in lifters}.values():
            try:
                stage = self._stage(lifter)
                if isinstance(stage.lifter, SharedLifter):
                    self._together.lift(_base(lifter), stage.lifter)
            except Exception:
                # each case is lifted by itself then, and it shows which of them cannot be
                _LOG.debug('%s failed for several cases at once', lifter, exc_info=True)
                self._forget_lifters()

    def _pass(self, case: Case) -> tuple[EstimatorPass, bool]:
        if case.key in self._passes:
            return self._passes[case.key]
        if case.estimator.partition(':')[0] == TRUTH_2D:
            return truth_pass(case.clip, case.condition, presentation_of(case.estimator)), False
        if isinstance(case.condition, SkeletonCondition):
            raise ValueError(
                f'{case.condition.name} hides keypoints, not pixels: it needs the estimator '
                f'{TRUTH_2D!r}'
            )
        if case.estimator not in self._estimators:
            if len(self._estimators) == _LOADED:
                self.close()
            self._estimators[case.estimator] = self.config.create_estimator(case.estimator)
        return cached_pass(
            case.clip,
            case.condition,
            self.config.pipeline(case.estimator),
            self._estimators[case.estimator],
            self.config.track,
            self.config.cache,
        )

    def _is_metric(self, case: Case) -> bool:
        """Whether the estimator of the pass before gives 3D by itself."""
        if case.estimator.partition(':')[0] == TRUTH_2D:
            return False
        return getattr(self._estimators[case.estimator], 'metric_3d', True)

    def run(self, case: Case) -> Outcome:
        """Return the rows of a case; whatever goes wrong is raised."""
        seen, cached = self._pass(case)
        rows = []
        first: dict[str, tuple[Joined, np.ndarray]] = {}
        for lifter in self.config.lifters_of(case.estimator):
            if lifter == 'none' and not self._is_metric(case):
                continue  # 2D alone is no skeleton
            lifted, lift_ms = self._lift(lifter, seen, case.clip.scene)
            if case.condition.profile == 'none':
                self._keep_clean(case, lifter, lifted)
            truth = case.clip.truth or self._unoccluded(case, lifter, lifted)
            clean = self._clean_means(case, lifter)
            joined = join(lifted, truth)
            times = times_of(seen.frame_ms, 'estimator') | times_of(lift_ms, 'lifter')
            for person in joined.persons:
                row = facts(
                    case.clip.identity, case.condition, case.clip.fps, case.estimator, lifter
                )
                row['person'], row['track'] = person.person, self.config.track
                row['reference'] = 'truth' if case.clip.truth else 'unoccluded run'
                hidden = hidden_of(person, seen)
                row |= measure(person, case.clip.fps, hidden, clean.get(person.person))
                row['idf1'], row['id_switches'] = joined.identity.idf1, joined.identity.switches
                row |= times
                row['look_ahead'] = look_ahead_of(self._stages[lifter])
                rows.append(row)
                first.setdefault(lifter, (person, hidden))
        scene = None
        if case.clip.identity == self.config.shown_clip and is_shown(case.condition):
            assert isinstance(case.condition, Condition)
            images = case.estimator.partition(':')[0] != TRUTH_2D
            scene = scene_of(case.clip, case.condition, case.estimator, seen, first, images)
        return Outcome(rows, 0.0, cached, scene=scene)

    def _stage(self, lifter: str) -> LiftStage:
        if lifter not in self._stages:
            alike = (s for text, s in self._stages.items() if _base(text) == _base(lifter))
            self._stages[lifter] = self.config.lift_stage(lifter, next(alike, None))
        return self._stages[lifter]

    def _lift(
        self, lifter: str, seen: EstimatorPass, scene: StandingConfig | None = None
    ) -> tuple[dict[int, People], np.ndarray]:
        """Return the final people by stamp, and the time of each frame, ms."""
        stage, base = self._stage(lifter), _base(lifter)
        if lifter not in self.config.stages:
            stage.standing.config = LifterSpec.parse(lifter).standing(scene or StandingConfig())
        shared = stage.lifter if isinstance(stage.lifter, SharedLifter) else None
        if shared is not None:
            answers = self._together.answers(base, seen)
            if answers is not None:
                shared.give(answers)
            else:
                shared.begin(again=self._lifted_last.get(base) is seen)
            self._lifted_last[base] = seen
        stage.reset()
        out, times, repeated_s = [], [], 0.0
        for people, camera in zip(seen.people, seen.cameras, strict=True):
            begin = time.perf_counter()
            out += stage.push(people, camera)
            seconds = time.perf_counter() - begin
            if shared is not None:
                seconds += shared.repeated_s - repeated_s
                repeated_s = shared.repeated_s
            times.append(seconds * 1e3)
        out += stage.flush()
        return {people.stamp_ns: people for people in out}, np.array(times)

    def _clean(self, case: Case, lifter: str) -> dict[int, People]:
        """Return what the lifter gives without occlusion."""
        key = case.clip.identity, case.estimator, lifter
        if key not in self._reference:
            seen, _ = self._pass(dataclasses.replace(case, condition=Condition('none')))
            self._keep_clean(case, lifter, self._lift(lifter, seen, case.clip.scene)[0])
        return self._reference[key]

    def _keep_clean(self, case: Case, lifter: str, lifted: dict[int, People]) -> None:
        """Remember a clean run for the clip's other cases: one clip at a time, to stay small."""
        key = case.clip.identity, case.estimator, lifter
        if any(k[:2] != key[:2] for k in self._reference):
            self._reference.clear()
            self._means.clear()
        self._reference[key] = lifted

    def _unoccluded(self, case: Case, lifter: str, lifted: dict[int, People]) -> dict[int, People]:
        """Return the clean run as the reference of a recording without ground truth."""
        clean = lifted if case.condition.profile == 'none' else self._clean(case, lifter)
        return as_reference(clean)

    def _clean_means(self, case: Case, lifter: str) -> dict[int, np.ndarray]:
        """Return the mean clean error of each joint, by person."""
        if case.condition.profile == 'none' or not case.clip.truth:
            return {}
        key = case.clip.identity, case.estimator, lifter
        clean = self._clean(case, lifter)
        if key not in self._means:
            persons = join(clean, case.clip.truth).persons
            self._means[key] = {person.person: joint_means(person) for person in persons}
        return self._means[key]


def _base(lifter: str) -> str:
    """Return a lifter's specification without fusion: what comes behind the same network."""
    return lifter.partition('+')[0]
