"""One person, one track: how ids last in rendered encounters and under truncation.

Every scene runs through the pose stage as a robot has it: detector, estimator, tracker. Encounters
(data/rendering/encounters.py) are shown as they are, single people under the six conditions of the
truncation protocol, both at 15 Hz. Outputs that the tracker has seen (NEW, TRACKED) are compared
with the true people of whom four joints at least can be seen; somebody of whom less is seen counts
neither way. A pair is at most a third of the body's size apart in the image, mean over joints.
Run as

    python -m trpose_ros.evaluation.identities --split val

which prints a line per scene: IDF1, switches, fragmentations, outputs that are nobody (false) and
people without output (missed), in person frames, and ids used.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from trpose_ros.data.rendering.bodies import BodyLibrary
from trpose_ros.data.rendering.clips import Clip, ClipConfig
from trpose_ros.data.rendering.encounters import ENCOUNTERS, encounter
from trpose_ros.estimators import EstimatorConfig
from trpose_ros.evaluation.conditions import GROUPS, Condition
from trpose_ros.evaluation.metrics.identity import Identity, identity_metrics
from trpose_ros.occlusion.occluder import joints_in, reference_boxes, union_box
from trpose_ros.people import Frame, JointState, People, TrackState
from trpose_ros.pipeline.association import pose_distance_2d
from trpose_ros.pipeline.pipeline import PipelineConfig, PoseStage, build_pose_stage

SINGLES = {
    'val': ('cmu_16_15', 'cmu_06_12', 'cmu_teapot'),
    'test': (
        'cmu_14_07',
        'accad_Model01_Female-Walk_turn_change',
        'accad_Model01_Female-Walk_to_pick_up_box',
    ),
}
_SECONDS = 4.0  # of a single person
_STEP = 2  # frames: 15 Hz of motions at 30 Hz
_SEEN = 4  # joints of somebody who counts
_GATE = 1 / 3  # of a body's size

Shown = tuple[Frame, People, np.ndarray]  # image, true people, which of them count (N,)


@dataclass(frozen=True)
class Result:
    """A scene's numbers."""

    name: str
    identity: Identity
    ids: int  # that people were given
    frames: int


def encounter_frames(clip: Clip, step: int = _STEP) -> Iterator[Shown]:
    """Yield the frames of an encounter; who counts is known from what was drawn."""
    for index in range(0, len(clip), step):
        frame, truth = clip.draw(index)
        yield frame, truth, counted(truth)


def counted(truth: People) -> np.ndarray:
    """Return (N,) bool: enough joints can be seen."""
    return np.asarray((truth.joint_states == JointState.VISIBLE).sum(axis=1) >= _SEEN)


def truncated(drawn: list[tuple[Frame, People]], profile: str, identity: str) -> Iterator[Shown]:
    """Yield the frames of a clip of one person under a condition of the protocol."""
    boxes = reference_boxes(np.stack([truth.joints_px[0] for _, truth in drawn]))
    occluder = Condition(profile).occluder(identity, drawn[0][0].stamp_ns, union_box(boxes))
    for (frame, truth), box in zip(drawn, boxes, strict=True):
        shown = occluder.apply(frame, box)
        width, height = frame.camera.width, frame.camera.height
        hidden = joints_in(truth.joints_px[0], shown.rectangles_px, width, height)[None]
        states = np.where(hidden, np.uint8(JointState.OCCLUDED), truth.joint_states)
        joints_px = (truth.joints_px - np.array(shown.offset_px)).astype(np.float32)
        truth = truth.replace(joint_states=states, joints_px=joints_px)
        yield shown.frame, truth, counted(truth)


def follow(stage: PoseStage, scene: Iterable[Shown], name: str) -> Result:
    """Run a scene through a pose stage and say how its ids lasted."""
    stage.reset()
    true_ids, ids, tables = [], [], []
    for frame, truth, counts in scene:
        people = stage.process(frame)
        seen = np.isin(people.track_states, (TrackState.NEW, TrackState.TRACKED))
        found = people.select(np.flatnonzero(seen))
        table = pose_distance_2d(
            truth.joints_px.astype(np.float64), found.joints_px.astype(np.float64)
        )
        table = np.where(table <= _GATE, table, np.nan)
        real = np.isfinite(table[counts]).any(axis=0)
        kept = real | ~np.isfinite(table[~counts]).any(axis=0)
        true_ids.append(truth.track_ids[counts])
        ids.append(found.track_ids[kept])
        tables.append(table[np.ix_(counts, kept)])
    used = len(set(np.concatenate([np.zeros(0, int), *ids]).tolist()))
    return Result(name, identity_metrics(true_ids, ids, tables), used, len(ids))


def run(stage: PoseStage, split: str, seeds: int, kinds: Iterable[str]) -> Iterator[Result]:
    """Yield the results of encounters, and of single people ('alone') under six conditions."""
    library = BodyLibrary()
    for kind in kinds:
        for seed in range(seeds if kind != 'alone' else 0):
            clip = encounter(kind, split, seed, library)
            yield follow(stage, encounter_frames(clip), f'{kind}, {seed}')
        for motion in SINGLES[split][: seeds if kind == 'alone' else 0]:
            config = ClipConfig(
                motions=(motion,), split=split, seconds=_SECONDS, seed=zlib.crc32(motion.encode())
            )
            clip = Clip(config, library)
            drawn = [clip.draw(index) for index in range(0, len(clip), _STEP)]
            for profile in ('none', *GROUPS['five']):
                scene = truncated(drawn, profile, f'rendered|{split}|{motion}|0')
                yield follow(stage, scene, f'{motion}, {"clean" if profile == "none" else profile}')


def table(results: Iterable[Result]) -> Iterator[str]:
    """Yield the lines of a table, and the sums."""
    head = f'{"scene":48s} frames   IDF1 switches fragments  false missed ids'
    yield head
    kept = []
    for one in results:
        kept.append(one)
        yield _line(one.name, one)
    if kept:
        known = [one.identity.idf1 for one in kept if np.isfinite(one.identity.idf1)]
        sums = [
            sum(getattr(one.identity, name) for one in kept)
            for name in ('switches', 'fragmentations', 'false_people', 'misses')
        ]
        mean = Identity(float(np.mean(known)) if known else float('nan'), *sums)
        total = Result('all', mean, sum(one.ids for one in kept), sum(one.frames for one in kept))
        yield _line('all (mean IDF1, sums)', total)


def _line(name: str, one: Result) -> str:
    i = one.identity
    return (
        f'{name:48s} {one.frames:6d} {i.idf1:6.3f} {i.switches:8d} {i.fragmentations:9d} '
        f'{i.false_people:6d} {i.misses:6d} {one.ids:3d}'
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--split', default='val', choices=sorted(SINGLES))
    parser.add_argument('--model', default='metrabs-s', help='weights of the estimator')
    parser.add_argument('--seeds', type=int, default=1, help='scenes of each kind, at most 3')
    parser.add_argument('--kinds', nargs='*', default=[*ENCOUNTERS, 'alone'], metavar='KIND')
    given = parser.parse_args(arguments)
    config = PipelineConfig(estimator=EstimatorConfig(model=given.model))
    stage = build_pose_stage(config)
    for line in table(run(stage, given.split, given.seeds, given.kinds)):
        print(line, flush=True)


if __name__ == '__main__':
    main()
