"""The values that flow through the package: Camera, Frame, People and their states.

All are frozen dataclasses; the arrays inside are read-only by convention, and a stage returns a
new value instead of changing one. People is a struct of arrays: N people, J joints.

Conventions: metres, seconds, radians, camera optical frame (x right, y down, z forward). Pixels
are those of the original image, the centre of the upper left pixel is (0, 0), and joints may lie
outside the image. NaN means "no value", never zero. Stamps are integer nanoseconds and travel
from the image to the last output untouched.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

import numpy as np


class JointState(IntEnum):
    """What is known about a joint; anything but UNKNOWN is stated only with evidence."""

    UNKNOWN = 0  # no evidence either way
    VISIBLE = 1
    OCCLUDED = 2  # inside the image, hidden by something (a mask, an object, another person)
    TRUNCATED = 3  # projects outside the image: pure geometry
    UNOBSERVED = 4  # no measurement in this frame; the value was predicted from other frames


class TrackState(IntEnum):
    """Life of a track."""

    UNTRACKED = 0
    NEW = 1
    TRACKED = 2
    SEARCHING = 3  # not seen in this frame; still predicted
    LOST = 4  # given up; reported once; the id comes back only with the same person


class RootSource(IntEnum):
    """Where the absolute position of a skeleton's root comes from."""

    NONE = 0  # root-relative skeleton, no absolute position
    ESTIMATOR = 1  # the estimator's own metric reconstruction
    FIT = 2  # lifted skeleton fitted to the 2D joints and the intrinsics
    TRAJECTORY = 3  # trajectory model of the lifter
    FUSED = 4
    DEPTH = 5  # a depth image measured its distance


class Edge(IntFlag):
    """Image edges that cut a person off."""

    NONE = 0
    LEFT = 1
    TOP = 2
    RIGHT = 4
    BOTTOM = 8


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one camera.

    ``matrix`` is the 3x3 intrinsic matrix in pixels, ``distortion`` the coefficients in OpenCV
    order (0, 4, 5, 8, 12 or 14 values for ``model='pinhole'``, 4 for ``'fisheye'``).
    ``assumed`` says that the intrinsics are a guess (a default field of view), which every
    result computed with them repeats.
    """

    width: int
    height: int
    matrix: np.ndarray  # (3, 3) float64
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    model: str = 'pinhole'
    assumed: bool = False

    def __post_init__(self) -> None:
        """Validate shapes and values."""
        object.__setattr__(self, 'matrix', np.asarray(self.matrix, dtype=np.float64))
        object.__setattr__(self, 'distortion', np.asarray(self.distortion, np.float64).ravel())
        if self.width <= 0 or self.height <= 0:
            raise ValueError(
                f'camera size must be positive, got {self.width}x{self.height}; '
                'check width and height of the CameraInfo'
            )
        if self.matrix.shape != (3, 3):
            raise ValueError(f'intrinsic matrix must be 3x3, got shape {self.matrix.shape}')
        if not np.isfinite(self.matrix).all() or self.matrix[0, 0] <= 0 or self.matrix[1, 1] <= 0:
            raise ValueError(
                f'intrinsic matrix must be finite with positive focal lengths, got '
                f'{self.matrix.tolist()}; calibrate the camera or drop the CameraInfo'
            )
        if self.model not in ('pinhole', 'fisheye'):
            raise ValueError(f"camera model must be 'pinhole' or 'fisheye', got {self.model!r}")
        allowed = (0, 4) if self.model == 'fisheye' else (0, 4, 5, 8, 12, 14)
        if self.distortion.size not in allowed or not np.isfinite(self.distortion).all():
            raise ValueError(
                f'{self.model} distortion takes {allowed} finite coefficients in OpenCV order, '
                f'got {self.distortion.tolist()}'
            )


@dataclass(frozen=True)
class Frame:
    """One image with its stamp and camera."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    stamp_ns: int
    camera: Camera
    frame_id: str = ''

    def __post_init__(self) -> None:
        """Validate the image."""
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f'a frame takes an (H, W, 3) uint8 RGB image, got shape {self.image.shape} '
                f'and dtype {self.image.dtype}'
            )
        if self.image.shape[:2] != (self.camera.height, self.camera.width):
            raise ValueError(
                f'image is {self.image.shape[1]}x{self.image.shape[0]} but the camera says '
                f'{self.camera.width}x{self.camera.height}'
            )


@dataclass(frozen=True)
class Provenance:
    """How a result came about; travels with it into messages and files. Times in ms."""

    estimator: str = ''
    lifter: str = ''
    weights_id: str = ''
    occlusion: str = ''
    window_length: int = 0  # frames of the lifter's window at its training rate
    lookahead: int = 0  # frames of future used
    intrinsics_assumed: bool = False
    received_ns: int = 0  # wall clock when the image arrived; 0 offline
    published_ns: int = 0
    preprocess_ms: float = float('nan')
    inference_ms: float = float('nan')
    dropped_frames: int = 0  # since the node was activated


def _nan(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, dtype=np.float32)


@dataclass(frozen=True)
class People:
    """Everybody in one frame: N people with J joints in the order of ``skeleton``."""

    stamp_ns: int
    frame_id: str
    skeleton: str  # a name in skeletons.SKELETONS
    width: int  # of the original image, px
    height: int
    joints_px: np.ndarray  # (N, J, 2) float32
    joints_m: np.ndarray  # (N, J, 3) float32
    boxes_px: np.ndarray  # (N, 4) float32: x, y (upper left), width, height
    scores: np.ndarray  # (N,) float32, NaN none
    covariances_m2: np.ndarray  # (N, J, 3, 3) float32, NaN unknown
    joint_scores: np.ndarray  # (N, J) float32 in 0..1, NaN none
    joint_states: np.ndarray  # (N, J) uint8, JointState
    track_ids: np.ndarray  # (N,) int32, -1 none
    track_states: np.ndarray  # (N,) uint8, TrackState
    visible_fractions: np.ndarray  # (N,) float32: share of joints inside the image, NaN unknown
    cut_edges: np.ndarray  # (N,) uint8, Edge bits
    root_sources: np.ndarray  # (N,) uint8, RootSource
    reprojection_errors_px: np.ndarray  # (N,) float32, NaN unknown
    provenance: Provenance = Provenance()

    @classmethod
    def build(
        cls,
        *,
        stamp_ns: int,
        frame_id: str,
        skeleton: str,
        width: int,
        height: int,
        joints_px: np.ndarray,
        joints_m: np.ndarray | None = None,
        provenance: Provenance | None = None,
        **arrays: np.ndarray,
    ) -> People:
        """Make a People from the 2D joints and whatever else is known; the rest is "no value"."""
        joints_px = np.asarray(joints_px, dtype=np.float32)
        if joints_px.ndim != 3 or joints_px.shape[2] != 2:
            raise ValueError(f'joints_px must be (N, J, 2), got shape {joints_px.shape}')
        n, j = joints_px.shape[:2]
        defaults = {
            'boxes_px': _nan(n, 4),
            'scores': _nan(n),
            'covariances_m2': _nan(n, j, 3, 3),
            'joint_scores': _nan(n, j),
            'joint_states': np.zeros((n, j), np.uint8),
            'track_ids': np.full(n, -1, np.int32),
            'track_states': np.zeros(n, np.uint8),
            'visible_fractions': _nan(n),
            'cut_edges': np.zeros(n, np.uint8),
            'root_sources': np.zeros(n, np.uint8),
            'reprojection_errors_px': _nan(n),
        }
        unknown = sorted(set(arrays) - set(defaults))
        if unknown:
            raise ValueError(f'People has no field {unknown}; fields are {sorted(defaults)}')
        for name, value in arrays.items():
            value = np.asarray(value, dtype=defaults[name].dtype)
            if value.shape != defaults[name].shape:
                raise ValueError(
                    f'{name} must have shape {defaults[name].shape}, got {value.shape}'
                )
            defaults[name] = value
        joints_m = _nan(n, j, 3) if joints_m is None else np.asarray(joints_m, np.float32)
        if joints_m.shape != (n, j, 3):
            raise ValueError(f'joints_m must have shape {(n, j, 3)}, got {joints_m.shape}')
        return cls(
            stamp_ns=int(stamp_ns),
            frame_id=frame_id,
            skeleton=skeleton,
            width=width,
            height=height,
            joints_px=joints_px,
            joints_m=joints_m,
            provenance=provenance or Provenance(),
            **defaults,
        )

    def __len__(self) -> int:
        """Return the number of people."""
        return len(self.joints_px)

    def select(self, index: np.ndarray | list[int]) -> People:
        """Return the people at ``index`` (integers or a boolean mask), in that order."""
        index = np.asarray(index)
        if index.size == 0:
            index = index.astype(np.intp)
        return dataclasses.replace(
            self, **{name: getattr(self, name)[index] for name in PER_PERSON}
        )

    def replace(self, **changes: object) -> People:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


PER_PERSON = (
    'joints_px',
    'joints_m',
    'boxes_px',
    'scores',
    'covariances_m2',
    'joint_scores',
    'joint_states',
    'track_ids',
    'track_states',
    'visible_fractions',
    'cut_edges',
    'root_sources',
    'reprojection_errors_px',
)


def concatenate(first: People, second: People) -> People:
    """Return all people of both; frame, skeleton and provenance are those of ``first``."""
    if first.skeleton != second.skeleton:
        raise ValueError(f'cannot join skeletons {first.skeleton!r} and {second.skeleton!r}')
    return first.replace(
        **{
            name: np.concatenate([getattr(first, name), getattr(second, name)])
            for name in PER_PERSON
        }
    )


def with_visibility(people: People) -> People:
    """Fill the facts that geometry alone gives: TRUNCATED states, visible fraction, cut edges.

    A joint whose finite 2D position lies outside the image is TRUNCATED whatever was said before;
    states of joints inside the image are kept, and a stale TRUNCATED becomes UNKNOWN.
    """
    x, y = people.joints_px[..., 0], people.joints_px[..., 1]
    finite = np.isfinite(x) & np.isfinite(y)
    left, top = finite & (x < -0.5), finite & (y < -0.5)
    right, bottom = finite & (x > people.width - 0.5), finite & (y > people.height - 0.5)
    outside = left | top | right | bottom
    states = people.joint_states.copy()
    states[~outside & (states == JointState.TRUNCATED)] = JointState.UNKNOWN
    states[outside] = JointState.TRUNCATED
    count = finite.sum(axis=1)
    fractions = _nan(len(people))
    known = count > 0
    fractions[known] = (finite & ~outside).sum(axis=1)[known] / count[known]
    edges = (
        left.any(axis=1) * int(Edge.LEFT)
        + top.any(axis=1) * int(Edge.TOP)
        + right.any(axis=1) * int(Edge.RIGHT)
        + bottom.any(axis=1) * int(Edge.BOTTOM)
    ).astype(np.uint8)
    return people.replace(joint_states=states, visible_fractions=fractions, cut_edges=edges)


def with_scores(people: People) -> People:
    """Give a score to people whose estimator gave none: the mean score of the joints in the image.

    Joints beyond the image do not count: somebody whom the image cuts off is no less sure. Without
    any joint in the image that has a score there is no evidence, and the score stays NaN.
    """
    x, y, scores = people.joints_px[..., 0], people.joints_px[..., 1], people.joint_scores
    inside = (x >= -0.5) & (x <= people.width - 0.5) & (y >= -0.5) & (y <= people.height - 0.5)
    known = inside & np.isfinite(scores)
    count = known.sum(axis=1)
    mean = np.where(known, scores, 0).sum(axis=1) / np.maximum(count, 1)
    filled = ~np.isfinite(people.scores) & (count > 0)
    return people.replace(scores=np.where(filled, mean, people.scores).astype(np.float32))
