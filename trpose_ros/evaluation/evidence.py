"""What tells a person whom something hides from one whom the estimator invents.

The estimator sees a body in every box. Real ones are people of the encounters of the validation
split under the six conditions of the truncation protocol, in the boxes of their whole bodies.
Invented ones come from boxes in an empty room and in photographs without people, after six frames
in which the tracker followed them. For both the table says

    box       share that has a box of the detector, from its ``threshold`` on
    score     mean score of the joints, the estimator's chance that they are visible
    disagree  distance of 2D and 3D joints in the image, share of the body's size
    evidence  mean of the detector's joint heatmaps at the joints that the estimator sees, median,
              and the 5th and 95th percentile
    seen      share of whom pipeline/joint_evidence.py says that they are there

Run as

    python -m trpose_ros.evaluation.evidence
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from trpose_ros.cameras import camera_from_fov
from trpose_ros.data.rendering.backgrounds import Backgrounds
from trpose_ros.data.rendering.bodies import BodyLibrary
from trpose_ros.data.rendering.encounters import encounter
from trpose_ros.estimators import Estimator, EstimatorConfig, create_estimator
from trpose_ros.estimators.detector import PersonDetector
from trpose_ros.evaluation.conditions import GROUPS, Condition
from trpose_ros.occlusion.occluder import reference_boxes, union_box
from trpose_ros.people import Frame, People
from trpose_ros.pipeline.association import pose_size_px
from trpose_ros.pipeline.joint_evidence import TrackedJoints
from trpose_ros.pipeline.predicted_boxes import padded_box
from trpose_ros.pipeline.tracking import Tracker

_FRAMES = 6  # that a tracker follows what is invented
_STEP_NS = 33_000_000
_PADDING = 0.15
_INSIDE = 0.5  # of the smaller box


@dataclass(frozen=True)
class Seen:
    """What is known of one pose."""

    kind: str
    box: bool
    score: float
    disagree: float
    evidence: float
    seen: bool


def looked_at(kind: str, frame: Frame, people: People, detector: PersonDetector) -> Iterator[Seen]:
    """Yield what is known of the people whom an estimator found in a frame."""
    boxes = detector.boxes(frame)
    tracker = Tracker()
    tracked = tracker.update(people, frame.camera)
    ids = tracked.track_ids
    joints_px, visible = tracker.expected(ids, frame.camera, frame.stamp_ns)
    joints = TrackedJoints(joints_px, visible, people.skeleton, detector)
    for n, (seen, evidence) in enumerate(zip(joints.seen, joints.evidence, strict=True)):
        body = padded_box(tracked.joints_px[n], 0.0)
        scores = tracked.joint_scores[n]
        error = float(tracked.reprojection_errors_px[n])
        known = evidence[np.isfinite(evidence)]
        yield Seen(
            kind,
            body is not None and any(_share(box[:4], body) > _INSIDE for box in boxes),
            float(scores[np.isfinite(scores)].mean()),
            error / float(pose_size_px(tracked.joints_px[n : n + 1])[0]),
            float(known.mean()) if len(known) else 0.0,
            bool(seen),
        )


def _share(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection of boxes (4,) over the smaller of them."""
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[:2] + first[2:], second[:2] + second[2:])
    smaller = min(first[2:].prod(), second[2:].prod())
    return float(np.clip(high - low, 0, None).prod() / max(smaller, 1e-6))


def real_people(
    estimator: Estimator, detector: PersonDetector, seeds: int, every: int
) -> Iterator[Seen]:
    """Yield what is known of people of the validation split under the conditions."""
    library = BodyLibrary()
    for seed in range(seeds):
        clip = encounter('crossing2', 'val', seed, library)
        drawn = [clip.draw(index) for index in range(0, len(clip), every)]
        boxes = reference_boxes(np.stack([truth.joints_px[0] for _, truth in drawn]))
        for profile in ('none', *GROUPS['five']):
            occluder = Condition(profile).occluder(
                f'rendered|val|{seed}|0', drawn[0][0].stamp_ns, union_box(boxes)
            )
            for (frame, truth), box in zip(drawn, boxes, strict=True):
                shown = occluder.apply(frame, box).frame
                body = padded_box(truth.joints_px[0], _PADDING)
                people = estimator.estimate(shown, np.array([body]))
                name = 'clean' if profile == 'none' else profile
                yield from looked_at(name, shown, people, detector)


def invented_people(
    estimator: Estimator, detector: PersonDetector, pictures: int, count: int
) -> Iterator[Seen]:
    """Yield what is known of bodies where nobody is."""
    rng = np.random.default_rng(0)
    room = encounter('empty', 'val').draw(0)[0]
    images = Backgrounds('val').images[:: max(1, 46 // pictures)]
    frames = [('empty room', room)] * 3
    for image in images:
        width = max(round(image.shape[1] * 480 / image.shape[0]), 64)
        large = cv2.resize(image, (width, 480))
        frames.append(('photograph', Frame(large, 10**9, camera_from_fov(width, 480), 'camera')))
    for kind, frame in frames:
        for _ in range(count):
            people = _followed(frame, estimator, rng)
            yield from looked_at(kind, frame, people, detector)


def _followed(frame: Frame, estimator: Estimator, rng: np.random.Generator) -> People:
    """Return what becomes of a random box of the size of a person after some frames."""
    size = np.array([frame.camera.width, frame.camera.height])
    height = rng.uniform(0.3, 1.3) * size[1]
    box = np.array([height * rng.uniform(0.3, 0.6), height])
    place = rng.uniform(0.2, 0.8, 2) * size - box / 2
    people = estimator.estimate(frame, np.concatenate([place, box])[None])
    tracker = Tracker()
    for k in range(_FRAMES):
        stamp = frame.stamp_ns + k * _STEP_NS
        tracker.update(people.replace(stamp_ns=stamp), frame.camera)
        _, boxes = tracker.predict_boxes(frame.camera, stamp + _STEP_NS)
        people = estimator.estimate(frame, boxes[:1])
    return people


def table(rows: Iterable[Seen]) -> Iterator[str]:
    """Yield the lines of the table."""
    by_kind: dict[str, list[Seen]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, []).append(row)
    yield f'{"":14s} people   box score disagree evidence (5 %, 95 %)  seen'
    for kind, seen in by_kind.items():
        score, disagree, evidence = (
            np.array([getattr(one, name) for one in seen])
            for name in ('score', 'disagree', 'evidence')
        )
        low, middle, high = np.percentile(evidence, [5, 50, 95])
        yield (
            f'{kind:14s} {len(seen):6d} {np.mean([one.box for one in seen]):5.2f} '
            f'{np.median(score):5.2f} {np.median(disagree):8.3f} '
            f'{middle:8.2f} ({low:.2f}, {high:.2f}) '
            f'{np.mean([one.seen for one in seen]):5.2f}'
        )


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--model', default='metrabs-s', help='weights of the estimator')
    parser.add_argument('--seeds', type=int, default=2, help='encounters of real people')
    parser.add_argument('--every', type=int, default=12, help='frames from one look to the next')
    parser.add_argument('--pictures', type=int, default=12, help='photographs without people')
    given = parser.parse_args(arguments)
    estimator = create_estimator('metrabs_torch', EstimatorConfig(model=given.model))
    detector = PersonDetector()
    real = real_people(estimator, detector, given.seeds, given.every)
    invented = invented_people(estimator, detector, given.pictures, 4)
    for line in table([*real, *invented]):
        print(line, flush=True)


if __name__ == '__main__':
    main()
