"""Running an evaluation: clips x estimators x conditions x lifters, resumable.

Finished cases (cases.py) lie as Parquet files in the output folder; a run that starts again there
skips them, and refuses to start when its settings are others. A case that fails is tried once
more, then listed, and the rest goes on. Work is done in this process, or spread over processes
and machines (spread.py).
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trpose_ros import weights
from trpose_ros.evaluation import results
from trpose_ros.evaluation.cases import Case, CaseRunner, EvaluationConfig, Outcome
from trpose_ros.evaluation.conditions import AnyCondition
from trpose_ros.evaluation.excerpts import save_scene
from trpose_ros.evaluation.lifter_spec import LifterSpec
from trpose_ros.evaluation.sequences import EvaluationClip
from trpose_ros.lifters import LifterConfig


class SettingsError(ValueError):
    """A folder holds a run with other settings; the message names the difference."""


@dataclass(frozen=True)
class Progress:
    """What has happened so far."""

    done: int
    total: int
    case: Case
    seconds: float  # of this case; 0 where it was there already
    cached: bool  # it, or its estimator pass, was there already
    error: str = ''


class EvaluationRun:
    """A run in a folder: ``for progress in run.steps(): ...``, then ``run.rows()``."""

    def __init__(
        self,
        config: EvaluationConfig,
        clips: list[EvaluationClip],
        folder: Path,
        *,
        workers: int = 0,
        address: str = '',
    ) -> None:
        """Prepare; raises SettingsError when the folder holds another run.

        ``workers`` processes share the work (0: all in this process), on the Ray cluster at
        ``address`` when one is given.
        """
        self.config, self.folder = config, Path(folder)
        # A clip's cases lie together, because drawing a frame costs more than an estimator does;
        # the clean one comes first: what it gives the others need.
        self.cases = [
            Case(clip, condition, estimator)
            for clip in clips
            for estimator in config.estimators
            for condition in _clean_first(config.conditions)
        ]
        self.failed: dict[str, str] = {}
        self._workers, self._address = workers, address
        self._parts = self.folder / 'parts'
        self._check_settings(clips)

    def steps(self) -> Iterator[Progress]:
        """Run what is not there yet; the order is that of completion."""
        done, total = 0, len(self.cases)
        pending = []
        for case in self.cases:
            if results.is_readable(self._file(case)):
                done += 1
                yield Progress(done, total, case, 0.0, True)
            else:
                pending.append(case)
        outcomes = self._outcomes(pending)
        try:
            for case, outcome in outcomes:
                done += 1
                if outcome.error:
                    self.failed[case.title] = outcome.error
                else:
                    self.failed.pop(case.title, None)
                    if outcome.scene is not None:
                        save_scene(self.folder, case.key, outcome.scene)
                    results.write_rows(self._file(case), outcome.rows)
                yield Progress(done, total, case, outcome.seconds, outcome.cached, outcome.error)
        finally:
            outcomes.close()
            results.write_json(self.folder / 'failed.json', self.failed)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of all finished cases, and write them as results.parquet."""
        rows = []
        for case in self.cases:
            if results.is_readable(self._file(case)):
                rows += results.read_rows(self._file(case))
        if rows:
            results.write_rows(self.folder / 'results.parquet', rows)
        return rows

    def _file(self, case: Case) -> Path:
        return self._parts / f'{case.key}.parquet'

    def _outcomes(self, pending: list[Case]) -> Generator[tuple[Case, Outcome], None, None]:
        if self._workers or self._address:
            from trpose_ros.evaluation.spread import spread

            groups = _groups(pending, self._workers)
            yield from spread(self.config, groups, self._workers, self._address)
            return
        runner = CaseRunner(self.config)
        try:
            given = runner.attempt_all(pending)
            yield from zip(pending, (o for o in given if isinstance(o, Outcome)), strict=True)
        finally:
            runner.close()

    def _lifters(self) -> list[str] | dict[str, list[str]]:
        """Return the lifters, by estimator where they differ."""
        if not self.config.pairs:
            return list(self.config.lifters)
        return {name: list(self.config.lifters_of(name)) for name in self.config.estimators}

    def _check_settings(self, clips: list[EvaluationClip]) -> None:
        settings = {
            'clips': {clip.identity: clip.fingerprint for clip in clips},
            'estimators': list(self.config.estimators),
            'lifters': self._lifters(),
            'conditions': [
                f'{c.name} {c.label} {c.draw}' for c in _clean_first(self.config.conditions)
            ],
            'weights': _checksums(self.config),
            'track': self.config.track,
            'boxes': self.config.boxes,
        }
        file = self.folder / 'settings.json'
        if file.is_file():
            before = json.loads(file.read_text(encoding='utf-8'))
            different = [name for name in settings if before.get(name) != settings[name]]
            if different:
                details = '; '.join(
                    f'{name} was {before.get(name)}, now {settings[name]}' for name in different
                )
                raise SettingsError(
                    f'{self.folder} holds a run with other settings ({details}); give the same '
                    f'settings, or another --out'
                )
        self._parts.mkdir(parents=True, exist_ok=True)
        results.write_json(file, settings)


def _checksums(config: EvaluationConfig) -> dict[str, str]:
    """Return the checksums of the weights files that take part: names outlive what they name."""
    lifters = {name for estimator in config.estimators for name in config.lifters_of(estimator)}
    specifications = [LifterSpec.parse(name) for name in lifters - set(config.stages) - {'none'}]
    models = {name.rpartition(':')[2] for name in config.estimators}
    models |= {spec.model or LifterConfig().model for spec in specifications}
    found = {}
    for model in sorted(models):
        try:
            found[model] = weights.sha256_of(weights.resolve(model))[:12]
        except (weights.WeightsError, OSError):  # no file: a folder, 'truth2d'
            continue
    return found


def _clean_first(conditions: tuple[AnyCondition, ...]) -> list[AnyCondition]:
    return sorted(conditions, key=lambda condition: condition.profile != 'none')


def _groups(cases: list[Case], workers: int) -> list[list[Case]]:
    """Return each clip's cases together, or, with fewer clips than workers, by estimator too."""
    few = len({case.clip.identity for case in cases}) < workers
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        key = case.clip.identity, case.estimator if few else ''
        groups.setdefault(key, []).append(case)
    return list(groups.values())
