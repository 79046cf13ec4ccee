"""Rendered video clips: real motion on a dressed body in front of a camera, with exact truth.

A clip is a pure function of its configuration, so a data set of clips is a list of seeds. The
truth of a frame says where every joint is, also outside the image (TRUNCATED) and behind the
body (OCCLUDED), and its boxes are the reference boxes that protocol v1 measures occlusions by.
Motion, body and picture on the wall all come from the same split, so that a test clip shows
nothing that training has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field

import cv2
import numpy as np

from trpose_ros.cameras import project
from trpose_ros.configuration import check_fields
from trpose_ros.data.backgrounds import Backgrounds
from trpose_ros.data.bodies import SHAPE_SPLITS
from trpose_ros.data.bodies import BodyLibrary
from trpose_ros.data.bodies import Figure
from trpose_ros.data.motion import MotionPack
from trpose_ros.data.posing import pose_rig
from trpose_ros.data.rasterizer import random_light
from trpose_ros.data.rasterizer import render
from trpose_ros.data.rooms import Room
from trpose_ros.data.sprites import joint_visibility
from trpose_ros.data.sprites import load_motion
from trpose_ros.data.sprites import look_at
from trpose_ros.data.sprites import to_srgb
from trpose_ros.occlusion_boxes import reference_boxes
from trpose_ros.people import Camera
from trpose_ros.people import Frame
from trpose_ros.people import JointState
from trpose_ros.people import People
from trpose_ros.people import TrackState
from trpose_ros.people import with_visibility

FRAME_ID = 'camera_optical_frame'
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class ClipConfig:
    """One clip."""

    split: str = field(default='test', metadata={'choices': ('train', 'val', 'test')})
    seed: int = 0
    motion: str = field(default='', metadata={'help': "name of the motion clip; '' = drawn"})
    begin_s: float = field(
        default=-1.0, metadata={'help': 'where in the motion it begins, s; below 0 = drawn'}
    )
    seconds: float = field(default=6.0, metadata={'range': (0.03, 600.0)})
    width: int = field(default=640, metadata={'range': (32, 8192)})
    height: int = field(default=480, metadata={'range': (32, 8192)})
    distance_m: float = field(
        default=0.0, metadata={'help': 'camera to the middle of the path; 0 = drawn 2.5 to 5 m'}
    )
    azimuth_deg: float = field(
        default=-1.0, metadata={'help': 'side from which it is seen; below 0 = drawn'}
    )
    noise: float = field(default=3.0, metadata={'help': 'sensor noise, grey levels'})

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass(frozen=True)
class ClipFrame:
    """An image and what is true in it."""

    frame: Frame
    truth: People


class Clip:
    """Renders the frames of one clip; the truth is there before the first one is drawn."""

    def __init__(
        self,
        config: ClipConfig,
        library: BodyLibrary | None = None,
        motion: MotionPack | None = None,
        backgrounds: Backgrounds | None = None,
    ) -> None:
        """Draw body, light, place and camera; the packs are loaded when they are not given.

        Raises:
            PackError: a data pack is missing.
            ValueError: there is no motion of that name, or none that is long enough.

        """
        self.config = config
        rng = np.random.default_rng([11, ('train', 'val', 'test').index(config.split), config.seed])
        motion = motion or load_motion(config.split)
        library = library or BodyLibrary()
        self.rate_hz = motion.rate_hz
        self._figure: Figure = library.dress(int(rng.choice(SHAPE_SPLITS[config.split])), rng)
        self.motion_name, moves = _cut(motion, config, rng)
        posed = pose_rig(self._figure.rig, moves, rng)
        self._bones = posed.matrices(self._figure.rig)
        self._light = random_light(rng)
        self._rotation, self._position, self.camera = _place(posed.joints_m, config, rng)
        picture = (backgrounds or Backgrounds(config.split)).picture(rng)
        self._world_m = posed.joints_m
        behind = (posed.joints_m - self._position) @ self._rotation[2]
        wall_m = float(behind.max()) + rng.uniform(1.0, 2.5)
        self._room = Room(self.camera, self._rotation, self._position, wall_m, picture, rng)
        self._noise = rng.integers(1 << 30)
        self.joints_m = (posed.joints_m - self._position) @ self._rotation.T
        self.joints_px = project(self.joints_m, self.camera)
        self.boxes_px = reference_boxes(self.joints_px)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.joints_m)

    def frames(self, first_ns: int = 0) -> Iterator[ClipFrame]:
        """Render all frames; the first one has the stamp ``first_ns``."""
        for k in range(len(self)):
            yield self.frame(k, first_ns + round(k * 1e9 / self.rate_hz))

    def frame(self, k: int, stamp_ns: int) -> ClipFrame:
        """Render frame ``k``."""
        config, more = self.config, _SUPERSAMPLING
        intrinsics = self.camera.matrix.copy()
        intrinsics[:2] *= more
        intrinsics[:2, 2] += (more - 1) / 2  # pixel centres are integers at both sizes
        size = (config.width * more, config.height * more)
        raster = render(
            [self._figure],
            [self._bones[k]],
            self._rotation,
            self._position,
            intrinsics,
            size,
            self._light,
        )
        body = raster.owner >= 0
        layer = np.dstack([to_srgb(raster.rgb) * body[..., None], body.astype(np.float32)])
        layer = cv2.resize(layer, (config.width, config.height), interpolation=cv2.INTER_AREA)
        room = self._room.with_shadow(self._world_m[k])
        image = layer[..., :3] + room * (1 - layer[..., 3:])
        rng = np.random.default_rng([int(self._noise), k])
        image += rng.standard_normal(image.shape, dtype=np.float32) * config.noise
        pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        visible = joint_visibility(self.joints_m[k], intrinsics, raster.depth_m)
        return ClipFrame(
            Frame(pixels, stamp_ns, self.camera, FRAME_ID), self._truth(k, stamp_ns, visible)
        )

    def _truth(self, k: int, stamp_ns: int, visible: np.ndarray) -> People:
        states = np.where(visible, JointState.VISIBLE, JointState.OCCLUDED)
        return with_visibility(
            People.build(
                stamp_ns=stamp_ns,
                frame_id=FRAME_ID,
                skeleton='h36m_17',
                width=self.config.width,
                height=self.config.height,
                joints_px=self.joints_px[k][None],
                joints_m=self.joints_m[k][None],
                boxes_px=self.boxes_px[k][None],
                joint_states=states[None],
                track_ids=np.zeros(1),
                track_states=np.array([TrackState.TRACKED]),
            )
        )


def _cut(
    motion: MotionPack, config: ClipConfig, rng: np.random.Generator
) -> tuple[str, np.ndarray]:
    """Return the name of a motion clip and the (T, 17, 3) part of it that is shown."""
    count = max(1, round(config.seconds * motion.rate_hz))
    named = [i for i, name in enumerate(motion.names) if config.motion in ('', name)]
    long = [i for i in named if motion.lengths[i] >= count]
    if not long:
        raise ValueError(
            f'no motion {config.motion!r} of {config.seconds:g} s in split {config.split!r}; '
            f'the longest of {len(named)} has '
            f'{max((motion.lengths[i] for i in named), default=0) / motion.rate_hz:.1f} s'
        )
    chosen = long[int(rng.integers(len(long)))]
    spare = int(motion.lengths[chosen]) - count
    begin = int(rng.integers(spare + 1))
    if config.begin_s >= 0:
        begin = min(round(config.begin_s * motion.rate_hz), spare)
    return motion.names[chosen], motion.clip(chosen)[begin : begin + count]


def _place(
    joints_m: np.ndarray, config: ClipConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, Camera]:
    """Return rotation (3, 3), position (3,) and camera: the whole path is in front of it."""
    low, high = joints_m.min(axis=(0, 1)), joints_m.max(axis=(0, 1))
    middle = np.array([*(low + high)[:2] / 2, 0.9])
    distance = config.distance_m or rng.uniform(2.5, 5.0)
    azimuth = np.radians(config.azimuth_deg if config.azimuth_deg >= 0 else rng.uniform(0, 360))
    height = rng.uniform(0.7, 1.9)
    direction = np.array([np.cos(azimuth), np.sin(azimuth)])
    # Step back until nobody is nearer than 1.2 m.
    ahead = ((joints_m[..., :2] - middle[:2]) @ direction).max()
    distance = max(distance, ahead + 1.2)
    position = np.array([*(middle[:2] + distance * direction), height])
    fov = np.radians(rng.uniform(50.0, 65.0))
    focal = config.width / 2 / np.tan(fov / 2)
    matrix = np.array(
        [
            [focal, 0.0, (config.width - 1) / 2],
            [0.0, focal, (config.height - 1) / 2],
            [0.0, 0.0, 1.0],
        ]
    )
    return look_at(position, middle), position, Camera(config.width, config.height, matrix)
