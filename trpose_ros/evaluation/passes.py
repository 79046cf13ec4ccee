"""Passes of a recording through the pipeline, live nodes or replay: errors so far, and rows.

One pass is one condition. What came out is kept by the stamp of its image and joined with the
ground truth exactly by stamp; a recording without ground truth is measured against its own
unoccluded pass. Live and offline runs end here, in the same rows as ``trpose evaluate``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.evaluation import results, tables
from trpose_ros.evaluation.conditions import Condition
from trpose_ros.evaluation.metrics.all_measures import joint_means, measure
from trpose_ros.evaluation.metrics.join import join
from trpose_ros.evaluation.metrics.positions import frame_errors, joint_errors, procrustes
from trpose_ros.evaluation.results import Row
from trpose_ros.evaluation.rows import as_reference, facts, hidden_joints_of, times_of
from trpose_ros.evaluation.sequences import SKELETON, truth_note
from trpose_ros.people import People
from trpose_ros.pipeline.lift_stage import to_skeleton

NO_REFERENCE = (
    'there is no ground truth and no unoccluded pass, so there is nothing to measure against: '
    'record ground truth (a PersonArray topic with "truth" in its name) or play without occlusion '
    'first'
)


@dataclass
class Pass:
    """Everything of one pass, by stamp (ns)."""

    condition: Condition
    images: set[int] = field(default_factory=set)  # of which something is known
    played: int = 0  # images that were sent; 0: those of ``images``
    posed: dict[int, People] = field(default_factory=dict)  # of the estimator
    lifted: dict[int, People] = field(default_factory=dict)
    truth: dict[int, People] = field(default_factory=dict)  # in the protocol's skeleton
    hidden_px: dict[int, np.ndarray] = field(default_factory=dict)  # (R, 4) rectangles

    def add_truth(self, people: People) -> None:
        """Take ground truth; without a joint of the protocol's skeleton it is none."""
        self.images.add(people.stamp_ns)
        people = to_skeleton(people, SKELETON)
        if len(people) and np.isfinite(people.joints_m).all(-1).any():
            self.truth[people.stamp_ns] = people

    def add_hidden(self, stamp_ns: int, rectangles_px: np.ndarray) -> None:
        """Take what was hidden in an image."""
        self.images.add(stamp_ns)
        self.hidden_px[stamp_ns] = rectangles_px

    def restricted(self, stamps: Iterable[int]) -> Pass:
        """Return the same with the images of these stamps alone."""
        kept = set(stamps)

        def part(values: dict[int, Any]) -> dict[int, Any]:
            return {stamp: value for stamp, value in values.items() if stamp in kept}

        return Pass(
            self.condition,
            self.images & kept,
            posed=part(self.posed),
            lifted=part(self.lifted),
            truth=part(self.truth),
            hidden_px=part(self.hidden_px),
        )

    @property
    def sent(self) -> int:
        """Return how many images there were."""
        return max(self.played, len(self.images | set(self.posed)))

    @property
    def fps(self) -> float:
        """Return the rate by the median period of the images, Hz."""
        stamps = np.array(sorted(self.images | set(self.posed)), np.int64)
        periods = np.diff(stamps)
        return float(1e9 / np.median(periods)) if periods.size else 30.0


class RunningErrors:
    """Errors of the frames with an output so far; each frame is joined once."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._done: set[int] = set()
        self.answered = self.wanted = 0  # person frames

    def update(self, results_by_stamp: Mapping[int, People], truth: Mapping[int, People]) -> None:
        """Join the frames that have come since; a frame passed by without a result is a miss."""
        newest = max(results_by_stamp, default=-1)
        new = {s: truth[s] for s in truth if s <= newest and s not in self._done}
        self._done |= set(new)
        found = {s: results_by_stamp[s] for s in new if s in results_by_stamp}
        for person in join(found, new).persons:
            self.wanted += len(person.stamps_ns)
            self.answered += int(person.present.sum())
            output, true, root = person.output_m, person.true_m, person.root
            self._add('mpjpe_mm', frame_errors(output, true, root))
            self._add('p_mpjpe_mm', frame_errors(procrustes(output, true), true, None))
            self._add('mrpe_mm', joint_errors(output, true, None)[:, root])

    def _add(self, name: str, values: np.ndarray) -> None:
        values = values[np.isfinite(values)]
        self._sums[name] = self._sums.get(name, 0.0) + float(values.sum())
        self._counts[name] = self._counts.get(name, 0) + values.size

    def values(self) -> dict[str, float]:
        """Return the means so far; NaN without any."""
        means = {
            name: self._sums.get(name, 0.0) / count if count else float('nan')
            for name, count in (
                (name, self._counts.get(name, 0)) for name in ('mpjpe_mm', 'p_mpjpe_mm', 'mrpe_mm')
            )
        }
        coverage = 100.0 * self.answered / self.wanted if self.wanted else float('nan')
        return {**means, 'coverage_percent': coverage}


def rows_of(passes: Iterable[Pass], identity: str) -> list[Row]:
    """Return one row for every pass, true person and kind of result, as `trpose evaluate` does.

    The estimator's own 3D is the lifter 'none'; 2D alone gives no row. Raises ValueError when
    there is neither ground truth nor an unoccluded pass.
    """
    passes = list(passes)
    clean = next((one for one in passes if one.condition.profile == 'none'), None)
    rows = []
    for one in passes:
        if not one.truth and clean is None:
            raise ValueError(NO_REFERENCE)
        for kind in ('posed', 'lifted'):
            rows += _rows(one, clean, kind, identity)
    return rows


def _rows(one: Pass, clean: Pass | None, kind: str, identity: str) -> list[Row]:
    found: dict[int, People] = getattr(one, kind)
    names, truth = names_of(one, kind), truth_of(one, clean, kind)
    if names is None:
        return []
    means = {}
    if clean is not None and one.condition.profile != 'none' and one.truth and clean.truth:
        persons = join(getattr(clean, kind), clean.truth).persons
        means = {person.person: joint_means(person) for person in persons}
    joined = join(found, truth)
    sizes = {stamp: (people.width, people.height) for stamp, people in truth.items()}
    rows = []
    for person in joined.persons:
        row = facts(identity, one.condition, one.fps, *names)
        row['person'] = person.person
        row['reference'] = 'truth' if one.truth else 'unoccluded run'
        hidden = hidden_joints_of(person, one.hidden_px, sizes)
        row |= measure(person, one.fps, hidden, means.get(person.person))
        row['idf1'], row['id_switches'] = joined.identity.idf1, joined.identity.switches
        row |= times_of(_estimator_ms(one), 'estimator') | times_of(np.zeros(0), 'lifter')
        row['look_ahead'] = next(reversed(found.values())).provenance.lookahead if found else 0
        row['images'], row['answered'] = one.sent, len(one.posed)
        rows.append(row)
    return rows


def truth_of(one: Pass, clean: Pass | None, kind: str) -> dict[int, People]:
    """Return what 'posed' or 'lifted' people are measured against: the truth, or the clean pass."""
    return one.truth or as_reference(getattr(clean, kind) if clean is not None else {})


def names_of(one: Pass, kind: str) -> tuple[str, str] | None:
    """Return estimator and lifter as `trpose evaluate` writes them; None where there is no 3D."""
    found: dict[int, People] = getattr(one, kind)
    if found and not any(np.isfinite(p.joints_m).any() for p in found.values()):
        return None
    first = next((p.provenance for p in found.values() if p.provenance.weights_id), None)
    if first is None:
        return ('unknown', 'none') if kind == 'posed' else None
    weights = first.weights_id.split('+')[0].split('@')[0]
    if kind == 'posed':
        return weights, 'none'
    if not first.lifter:
        return None  # people passed through: the row of the estimator says it
    joined = 'fusion' if first.weights_id.count('+') < 2 else 'refinement'
    return weights, f'{first.lifter}@{first.lookahead}+{joined}'


def _estimator_ms(one: Pass) -> np.ndarray:
    """Return the times of boxes and network, ms; empty where nobody measured them."""
    times = [p.provenance.preprocess_ms + p.provenance.inference_ms for p in one.posed.values()]
    return np.array([value for value in times if np.isfinite(value)])


def notes_of(passes: Iterable[Pass]) -> list[str]:
    """Return what a reader of the numbers has to know, in sentences."""
    notes = []
    for one in passes:
        name, images = one.condition.name, one.sent
        if one.truth and len(one.truth) < images:
            notes.append(f'{name}: {truth_note("ground truth", len(one.truth), images)}')
        missed = images - len(one.posed)
        if missed > 0:
            notes.append(f'{name}: {missed} of {images} images were not answered')
        if any(p.provenance.intrinsics_assumed for p in one.posed.values()):
            notes.append(
                f'{name}: no camera_info that fits; the field of view is assumed, and metric '
                'depths and sizes are as good as this guess'
            )
    return list(dict.fromkeys(notes))


def write_results(
    folder: Path, passes: Iterable[Pass], identity: str, problems: Iterable[str] = ()
) -> list[Row]:
    """Write results.parquet and tables into a folder; return the rows.

    Raises ValueError when there is nothing that could be measured; ``report.check_libraries`` says
    before whether files can be written.
    """
    passes, problems = list(passes), list(dict.fromkeys(problems))
    rows = rows_of(passes, identity)
    if not rows:
        reason = '; '.join(problems) or 'no image of the recording was answered'
        raise ValueError(f'nothing was measured: {reason}')
    results.write_rows(folder / 'results.parquet', rows)
    notes = [*problems, *notes_of(passes)]
    tables.write_tables(folder, rows, 'DET', {}, notes)
    return rows


def summary(rows: Iterable[Row]) -> list[str]:
    """Return the errors in lines for a log."""
    return [
        f'{row["condition"]}, {row["estimator"]} + {row["lifter"]}: '
        f'MPJPE {row["mpjpe_mm"]:.1f} mm, P-MPJPE {row["p_mpjpe_mm"]:.1f} mm, '
        f'output in {row["coverage_percent"]:.0f} % of {row["frames"]} frames ({row["reference"]})'
        for row in rows
    ]
