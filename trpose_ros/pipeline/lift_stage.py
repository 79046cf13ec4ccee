"""LiftStage: tracked people of single frames become stable 3D skeletons.

A lifter with look-ahead gives the skeleton of a frame only when it has seen some of the future.
The stage keeps the people it waits for by stamp, gives each of them its lifted skeleton, and lets
frames go in the order of their stamps, each exactly once: when every tracked person in it has
been lifted, or when the lifter has gone past it, or when waiting longer than the declared delay.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trpose_ros.cameras import camera_from_fov, normalise_screen, undistort_points
from trpose_ros.configuration import check_fields, setting
from trpose_ros.lifters.root import place_roots
from trpose_ros.people import (
    Camera,
    JointState,
    People,
    RootSource,
    TrackState,
    with_visibility,
)
from trpose_ros.pipeline.depth import DepthPlacing, read_at_joints
from trpose_ros.pipeline.fusion import Fusion, depth_covariance
from trpose_ros.pipeline.standing import UNKNOWN_FLOOR, Floor, Standing
from trpose_ros.pipeline.turning import TURN_HELP, TURNS, Turned
from trpose_ros.skeletons import convert, convert_ranks, get_skeleton

if TYPE_CHECKING:
    from trpose_ros.lifters import Lifted, LifterStream


_SKELETON = 'h36m_17'  # of people without a lifter
FUSIONS = ('constants', 'refinement')


@dataclass(frozen=True)
class LiftStageConfig:
    """How long people wait for their lifted skeleton, and what joins it with their own."""

    max_wait_s: float = setting(
        0.1,
        "people whose skeleton is later than the lifter's delay plus this go on without it, s",
        range=(0.0, 60.0),
    )
    rotate_deg: int = setting(0, TURN_HELP, choices=TURNS)
    fusion: str = setting(
        'constants',
        "what joins the estimator's 3D and the lifted 3D: the shares and times of fusion.*, or a "
        'network trained for it',
        choices=FUSIONS,
    )
    refinement_model: str = setting(
        'refinement', 'weights of that network: a name or a .safetensors file'
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass
class _Waiting:
    """A frame that waits for its lifted skeletons."""

    people: People  # in the lifter's skeleton
    camera: Camera
    lifted_m: np.ndarray  # (N, J, 3), NaN not lifted yet
    roots_m: np.ndarray  # (N, 3) of the lifter's trajectory model, NaN where there is none
    done: np.ndarray  # (N,) bool
    surface_m: np.ndarray | None  # (N, J) what a depth image shows at the joints

    @classmethod
    def begin(
        cls, people: People, camera: Camera, done: np.ndarray, surface_m: np.ndarray | None
    ) -> _Waiting:
        """Return a frame of which nothing is lifted."""
        nothing = np.full(people.joints_m.shape, np.nan)
        roots = np.full((len(people), 3), np.nan)
        return cls(people, camera, nothing, roots, done, surface_m)


class LiftStage:
    """Feeds a lifter and fuses what it gives with the estimator's own 3D.

    Without a lifter the people pass through untouched, unless the fusion is one that works alone.
    """

    def __init__(
        self,
        *,
        lifter: LifterStream | None,
        fusion: Fusion | None = None,
        config: LiftStageConfig | None = None,
        standing: Standing | None = None,
    ) -> None:
        self.lifter = lifter
        self.config = config or LiftStageConfig()
        self._fusion = fusion or Fusion()
        self._standing = standing or Standing()
        self._depth = DepthPlacing()
        # Tells the floor in the frame of an image, by its stamp and frame_id, None while it is not
        # known: for a camera that moves. The settings count where there is nobody to ask.
        self.floor_at: Callable[[int, str], Floor | None] | None = None
        self._turned = Turned(self.config.rotate_deg)
        self._waiting: deque[_Waiting] = deque()
        self._last_ns: int | None = None

    @property
    def delay_s(self) -> float:
        """How much future a skeleton waits for, s."""
        return 0.0 if self.lifter is None else self.lifter.delay_s

    @property
    def fusion(self) -> Fusion:
        """The fusion; its ``config`` may be replaced while running."""
        return self._fusion

    @property
    def standing(self) -> Standing:
        """The correction of distances; its ``config`` may be replaced while running."""
        return self._standing

    def reset(self) -> None:
        """Forget all windows; frames that still wait are dropped (``flush`` first to keep them)."""
        self._waiting.clear()
        self._last_ns = None
        self._fusion.reset()
        self._standing.reset()
        self._depth.reset()
        if self.lifter is not None:
            self.lifter.reset()

    def push(
        self, people: People, camera: Camera | None = None, depth_m: np.ndarray | None = None
    ) -> list[People]:
        """Take the people of one frame; return the frames that became sure, oldest first.

        A stamp equal to the last one is ignored (a lifter sees each moment once). A stamp before
        the last one means that the recording started again: the frames that still wait are
        returned first, then everything starts afresh. Without ``camera`` a default field of view
        is assumed, and the provenance says so. ``depth_m`` is a depth image of the same camera,
        (H, W) in any resolution, NaN where nothing was measured.
        """
        if self.lifter is None:
            return [self._alone(people, camera, depth_m)]
        released: list[People] = []
        if self._last_ns is not None and people.stamp_ns < self._last_ns:
            released = self.flush()
            self.reset()
        if people.stamp_ns == self._last_ns:
            return released
        self._last_ns = people.stamp_ns
        people, camera = self._prepared(people, camera, self.lifter.skeleton_in)
        measured = people.joint_states != JointState.UNOBSERVED
        measured &= np.isfinite(people.joints_px).all(axis=2)
        tracked = (people.track_ids >= 0) & (people.track_states != TrackState.LOST)
        tracked &= measured.any(axis=1)  # a lifter gives nothing for what was not seen
        surface_m = self._surface(people, camera, depth_m)
        self._waiting.append(_Waiting.begin(people, camera, ~tracked, surface_m))
        for track_id in people.track_ids[people.track_states == TrackState.LOST]:
            self._finish(int(track_id))
        present = people.select(tracked)
        self._take(
            self.lifter.push(
                people.stamp_ns,
                present.track_ids,
                screen_joints(present, camera),
                present.joint_states,
            )
        )
        return released + self._release()

    def flush(self) -> list[People]:
        """Return all frames that still wait, with what the lifter makes of them without future."""
        if self.lifter is None:
            return []
        self._take(self.lifter.flush())
        released = []
        while self._waiting:
            released.append(self._fused(self._waiting.popleft()))
        return released

    def _prepared(
        self, people: People, camera: Camera | None, skeleton: str
    ) -> tuple[People, Camera]:
        """Return people in a skeleton, turned as the camera is mounted, and their camera."""
        if camera is None:
            camera = camera_from_fov(people.width, people.height)
        people, camera = self._turned.people(people), self._turned.camera(camera)
        return to_skeleton(people, skeleton), camera

    def _alone(self, people: People, camera: Camera | None, depth_m: np.ndarray | None) -> People:
        """Return what becomes of people without a lifter."""
        if not self._fusion.alone:
            if not self._standing.config.known and self.floor_at is None and depth_m is None:
                return people
            turned = self._turned.people(people)
            return self._turned.back(self._stood(turned, self._surface(turned, camera, depth_m)))
        people, camera = self._prepared(people, camera, _SKELETON)
        surface_m = self._surface(people, camera, depth_m)
        return self._fused(_Waiting.begin(people, camera, np.ones(len(people), bool), surface_m))

    def _surface(
        self, people: People, camera: Camera | None, depth_m: np.ndarray | None
    ) -> np.ndarray | None:
        """Return what a depth image of the camera, not turned, shows at joints of turned people."""
        if depth_m is None:
            return None
        back = self._turned.back(people)
        size = back.width, back.height
        camera = camera or camera_from_fov(*size)
        return read_at_joints(depth_m, back.joints_px, size, float(camera.matrix[0, 0]))

    def _take(self, results: list[Lifted]) -> None:
        """Give lifted skeletons to the frames that wait for them."""
        by_stamp = {waiting.people.stamp_ns: waiting for waiting in self._waiting}
        latest: dict[int, int] = {}
        for result in results:
            latest[result.track_id] = max(latest.get(result.track_id, 0), result.stamp_ns)
            waiting = by_stamp.get(result.stamp_ns)
            if waiting is not None:
                rows = np.flatnonzero(waiting.people.track_ids == result.track_id)
                waiting.lifted_m[rows] = result.joints_m
                if result.root_m is not None:
                    waiting.roots_m[rows] = result.root_m
                waiting.done[rows] = True
        for waiting in self._waiting:  # a lifter that went past a frame will not come back to it
            for row, track_id in enumerate(waiting.people.track_ids):
                if waiting.people.stamp_ns <= latest.get(int(track_id), -1):
                    waiting.done[row] = True

    def _finish(self, track_id: int) -> None:
        """Stop waiting for a track that ended."""
        assert self.lifter is not None
        self.lifter.reset(track_id)
        for waiting in self._waiting:
            waiting.done[waiting.people.track_ids == track_id] = True

    def _release(self) -> list[People]:
        """Fuse and return the frames at the head of the queue that are done or too old."""
        assert self.lifter is not None
        assert self._last_ns is not None
        limit_ns = int((self.lifter.delay_s + self.config.max_wait_s) * 1e9)
        released = []
        while self._waiting:
            head = self._waiting[0]
            if not head.done.all() and self._last_ns - head.people.stamp_ns <= limit_ns:
                break
            released.append(self._fused(self._waiting.popleft()))
        return released

    def _fused(self, waiting: _Waiting) -> People:
        root = get_skeleton(waiting.people.skeleton).root_index
        people = self._fusion.fuse(waiting.people, waiting.lifted_m, waiting.camera, root)
        people = _placed(people, waiting.roots_m, waiting.camera, root)
        people = self._stood(people, waiting.surface_m)
        provenance = people.provenance
        lifter = self.lifter
        own = '' if lifter is None else lifter.weights_id
        weights = [part for part in (provenance.weights_id, own, self._fusion.weights_id) if part]
        people = people.replace(
            provenance=dataclasses.replace(
                provenance,
                lifter='none' if lifter is None else lifter.name,
                weights_id='+'.join(weights),
                window_length=0 if lifter is None else lifter.window,
                lookahead=0 if lifter is None else lifter.look_ahead,
                intrinsics_assumed=provenance.intrinsics_assumed or waiting.camera.assumed,
            )
        )
        return self._turned.back(people)

    def _stood(self, people: People, surface_m: np.ndarray | None) -> People:
        """Return people at the distance that depth says, else floor and height."""
        if surface_m is None:
            surface_m = np.full(people.joint_states.shape, np.nan)
        people = self._depth.place(people, surface_m)
        stood = self._standing.place(people, self._floor_of(people))
        if stood is people:
            return people
        deep = people.root_sources == RootSource.DEPTH
        joints, covariances = stood.joints_m.copy(), stood.covariances_m2.copy()
        joints[deep], covariances[deep] = people.joints_m[deep], people.covariances_m2[deep]
        return stood.replace(joints_m=joints, covariances_m2=covariances)

    def _floor_of(self, people: People) -> Floor | None:
        """Return the floor in a frame, None for that of the settings."""
        if self.floor_at is None:
            return None
        floor = self.floor_at(people.stamp_ns, people.frame_id)
        if floor is None:
            return UNKNOWN_FLOOR
        return Floor(floor.height_m, self._turned.direction(floor.down))


def _placed(people: People, roots_m: np.ndarray, camera: Camera, root: int) -> People:
    """Give people without a root a position, and its uncertainty along the viewing ray."""
    placed = place_roots(people, roots_m, camera)
    rows = np.flatnonzero(placed.root_sources != people.root_sources)
    covariances = placed.covariances_m2.copy()
    for row in rows:
        covariances[row] += depth_covariance(placed.joints_m[row, root]).astype(np.float32)
    return placed.replace(covariances_m2=covariances)


def screen_joints(people: People, camera: Camera) -> np.ndarray:
    """Undistorted 2D joints in normalised screen coordinates, (N, J, 2).

    x runs from -1 at the left edge to 1 at the right edge, y is on the same scale.
    """
    points = people.joints_px.astype(np.float64)
    if camera.distortion.any() or camera.model != 'pinhole':
        rays = undistort_points(points, camera)
        homogeneous = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1)
        points = (homogeneous @ camera.matrix.T)[..., :2]
    return normalise_screen(points, people.width, people.height)


# From worst to best: what a joint derived from several is, is the worst of them.
_BY_RANK = np.array(
    [
        JointState.UNKNOWN,  # of a joint that the source does not have
        JointState.UNOBSERVED,
        JointState.TRUNCATED,
        JointState.OCCLUDED,
        JointState.UNKNOWN,
        JointState.VISIBLE,
    ],
    np.uint8,
)
_RANKS = np.array([len(_BY_RANK) - 1 - _BY_RANK[::-1].tolist().index(s) for s in JointState])


def to_skeleton(people: People, name: str) -> People:
    """Return the people in another skeleton; NaN and UNKNOWN where it cannot be derived.

    State and score of a derived joint are those of the worst joint it is derived from; whether it
    lies in the image is decided by where it lies itself.

    Raises:
        ValueError: if a skeleton is unknown.

    """
    if people.skeleton == name:
        return people
    source, target = people.skeleton, name

    def converted(values: np.ndarray) -> np.ndarray:
        return convert(values, source, target)

    covariances = converted(people.covariances_m2.reshape(*people.joint_states.shape, 9))
    states = _BY_RANK[convert_ranks(_RANKS[people.joint_states], source, target)]
    result = people.replace(
        skeleton=name,
        joints_px=converted(people.joints_px).astype(np.float32),
        joints_m=converted(people.joints_m).astype(np.float32),
        joint_scores=convert_ranks(people.joint_scores, source, target),
        joint_states=states,
        covariances_m2=covariances.reshape(*covariances.shape[:2], 3, 3).astype(np.float32),
    )
    result = with_visibility(result)
    unobserved = states == JointState.UNOBSERVED  # predictions stay predictions
    return result.replace(joint_states=np.where(unobserved, states, result.joint_states))
