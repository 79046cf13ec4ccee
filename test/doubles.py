"""Stand-ins for the networks: same interfaces, known answers, no weights."""

from __future__ import annotations

import numpy as np

from trpose_ros.cameras import camera_from_fov, project
from trpose_ros.lifters import Lifted
from trpose_ros.people import Camera, Frame, People

STEP_NS = 33_333_333
CAMERA = camera_from_fov(640, 480, assumed=False)
# A standing person, h36m_17, relative to the pelvis, metres.
STANDING = np.array(
    [
        [0.0, 0.0, 0.0],
        [-0.13, 0.0, 0.0],
        [-0.14, 0.45, -0.02],
        [-0.15, 0.9, 0.05],
        [0.13, 0.0, 0.0],
        [0.14, 0.44, -0.15],
        [0.15, 0.88, -0.05],
        [0.0, -0.25, 0.0],
        [0.0, -0.5, 0.02],
        [0.0, -0.6, -0.03],
        [0.0, -0.72, 0.0],
        [0.17, -0.48, 0.0],
        [0.25, -0.2, 0.05],
        [0.27, 0.05, -0.1],
        [-0.17, -0.48, 0.0],
        [-0.25, -0.2, 0.05],
        [-0.27, 0.05, -0.1],
    ]
)


def blank(stamp_ns: int, camera: Camera = CAMERA, level: int = 100) -> Frame:
    """Return a grey frame."""
    image = np.full((camera.height, camera.width, 3), level, np.uint8)
    return Frame(image, stamp_ns, camera, 'optical')


def make_people(stamp_ns: int, root_m=(0.0, 0.2, 4.0), camera: Camera = CAMERA, **arrays) -> People:
    """Return one standing person at ``root_m``, or several for (N, 3) roots."""
    roots = np.asarray(root_m, float).reshape(-1, 3)
    joints = STANDING[None] + roots[:, None]
    return People.build(
        stamp_ns=stamp_ns,
        frame_id='optical',
        skeleton='h36m_17',
        width=camera.width,
        height=camera.height,
        joints_px=project(joints, camera),
        joints_m=joints,
        **arrays,
    )


class FakeEstimator:
    """Sees a standing person in every box whose centre is near one of ``roots_m``."""

    name = 'fake'
    skeleton = 'h36m_17'
    weights_id = 'fake-weights'
    licence = 'none'

    def __init__(self, roots_m=((0.0, 0.2, 4.0),)) -> None:
        self.roots_m = np.asarray(roots_m, float).reshape(-1, 3)
        self.calls: list[np.ndarray] = []
        self.fail = False
        self.closed = False

    def estimate(self, frame: Frame, boxes_px: np.ndarray) -> People:
        self.calls.append(np.array(boxes_px))
        if self.fail:
            raise RuntimeError('out of memory')
        centres = boxes_px[:, :2] + boxes_px[:, 2:] / 2
        rows = []
        for centre in centres:
            if len(self.roots_m) == 0:
                break
            distance = np.linalg.norm(project(self.roots_m, frame.camera) - centre, axis=1)
            rows.append(self.roots_m[int(distance.argmin())])
        return make_people(frame.stamp_ns, np.array(rows).reshape(-1, 3), frame.camera)

    def close(self) -> None:
        self.closed = True


class FakeBoxes:
    """Returns given boxes and counts the questions."""

    def __init__(self, boxes) -> None:
        self.rows = np.asarray(boxes, np.float32).reshape(-1, 5)
        self.asked: list[int] = []

    def boxes(self, frame: Frame) -> np.ndarray:
        self.asked.append(frame.stamp_ns)
        return self.rows


class FakeLifter:
    """Answers with a standing skeleton, ``look_ahead`` frames late."""

    name = 'fake_lifter'
    weights_id = 'lifter-weights'
    skeleton_in = 'h36m_17'
    window = 9
    rate_hz = 30.0

    def __init__(self, look_ahead: int = 2) -> None:
        self.look_ahead = look_ahead
        self.delay_s = look_ahead / self.rate_hz
        self.seen: list[tuple[int, list[int]]] = []
        self.joints: list[np.ndarray] = []
        self.resets: list[int | None] = []
        self.skip: set[int] = set()  # tracks it says nothing about

    def push(self, stamp_ns, track_ids, joints, states=None):
        assert joints.shape == (len(track_ids), 17, 2)
        self.seen.append((stamp_ns, [int(i) for i in track_ids]))
        self.joints.append(np.array(joints))
        if len(self.seen) <= self.look_ahead:
            return []
        return self._answer(*self.seen[-1 - self.look_ahead])

    def flush(self):
        late = self.seen[-self.look_ahead :] if self.look_ahead else []
        self.seen = []
        return [lifted for entry in late for lifted in self._answer(*entry)]

    def reset(self, track_id=None):
        self.resets.append(track_id)
        if track_id is None:
            self.seen = []

    def _answer(self, stamp_ns, track_ids):
        return [Lifted(i, stamp_ns, STANDING.copy()) for i in track_ids if i not in self.skip]
