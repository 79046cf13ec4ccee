"""Recordings of two simulated people by the four cameras of an evaluation, small and quick.

Images are blank: a stand-in for the pipeline says what each camera sees in them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from made_people import moving_person

from trpose_ros.data.motion.keypoint_errors import load_fitted
from trpose_ros.evaluation.several_cameras import between, four_cameras, simulate
from trpose_ros.people import People
from trpose_ros.pipeline.pipeline import Outcome
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter

HZ = 30.0
START_NS = 1_700_000_000_000_000_000
RIG = four_cameras(128, 96)


@cache
def joints_m(seconds: float = 1.0) -> np.ndarray:
    """Two people (2, T, 17, 3) in the world."""
    frames = round(seconds * 50)
    paths = [moving_person(frames, 'h36m_17', seed, (0, 0, 1.0)) for seed in (3, 5)]
    shift = np.array([[0, -0.6, 0], [0, 0.6, 0]])[:, None, None]
    return between(np.stack(paths) + shift, 50.0, np.arange(0, seconds, 1 / HZ))


@cache
def seen(seconds: float = 1.0) -> dict[str, dict[int, People]]:
    """Return what each camera sees, by stamp."""
    found: dict[str, dict[int, People]] = {name: {} for name in RIG.names}
    for name, people in simulate(joints_m(seconds), HZ, RIG, load_fitted('metrabs-m'), 1):
        found[name][people.stamp_ns] = people
    return found


def truth(name: str, stamp_ns: int) -> People:
    """Return the true people in the frame of a camera."""
    world = between(joints_m(), HZ, np.array([(stamp_ns - START_NS) * 1e-9]))[:, 0]
    rotation, position = RIG[name].placement
    return People.build(
        stamp_ns=stamp_ns,
        frame_id=RIG[name].frame_id,
        skeleton='h36m_17',
        width=128,
        height=96,
        joints_px=np.full((2, 17, 2), np.nan),
        joints_m=(world - position) @ rotation,
        track_ids=np.arange(2),
    )


def write(
    folder: Path, names: tuple[str, ...] = RIG.names, one: bool = False, info: bool = True
) -> list[Path]:
    """Write a recording of each camera, or one of all with a topic each; return their paths."""
    paths = [folder / 'all.mcap'] if one else [folder / f'{name}.mcap' for name in names]
    for path in paths:
        with BagWriter(path) as bag:
            make = MessageMaker(bag.typestore)
            image = np.full((96, 128, 3), 90, np.uint8)
            frames = [
                (stamp_ns, name)
                for name in names
                if one or path.stem == name
                for stamp_ns in seen()[name]
            ]
            for stamp_ns, name in sorted(frames):
                topic, frame_id = f'/{name}/image_raw', RIG[name].frame_id
                if info:
                    camera = make.camera_info(RIG[name].intrinsics, stamp_ns, frame_id)
                    bag.write(f'/{name}/camera_info', camera, stamp_ns)
                bag.write(topic, make.image(image, stamp_ns, frame_id), stamp_ns)
                if not one:
                    bag.write('/truth', make.people(truth(name, stamp_ns)), stamp_ns)
    return paths


def calibration(path: Path, names: tuple[str, ...] = RIG.names, **more: object) -> Path:
    """Write the rig in our own format; ``more`` values go to every camera."""
    lines = ['cameras:']
    for name in names:
        rotation, position = RIG[name].placement
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation, position
        k = RIG[name].intrinsics.matrix.ravel().tolist()
        lines += [
            f'  {name}:',
            f'    frame_id: {name}_optical',
            f'    camera_to_world: {matrix.tolist()}',
            f'    intrinsics: {{K: {k}, size: [128, 96]}}',
            *(f'    {key}: {value}' for key, value in more.items()),
        ]
    path.write_text('\n'.join(lines) + '\n')
    return path


class StandIn:
    """A pipeline that knows what each camera sees, by the frame_id of its images."""

    def __init__(self, *arguments: object, **named: object) -> None:
        self.pose = SimpleNamespace(estimator=SimpleNamespace(metric_3d=True))
        self.lift = SimpleNamespace(lifter=None)

    def process(self, frame, *_):
        people = seen()[frame.frame_id.removesuffix('_optical')][frame.stamp_ns]
        return Outcome(frame, None, people, (people,))

    def flush(self):
        return []

    def close(self):
        pass
