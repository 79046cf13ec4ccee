"""Rendered video clips of real motion with exact ground truth: camera, joints, boxes, visibility.

A clip is a pure function of its configuration. Dressed bodies follow motion capture of held-out
subjects in a room with a held-out photograph on the wall, seen by a still camera at a robot's
height. Frames are drawn one at a time at twice their size and averaged down, so a clip of any
length needs little memory. Labels come from the posed rig: a joint is TRUNCATED when it projects
outside the image, OCCLUDED when anything but the flesh around it lies in front of it, else VISIBLE.
On demand the shutter stays open, the lens is out of focus, and things stand in front of people.

World frame: z up, metres, floor at z = 0. Labels are in the camera's optical frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from trpose_ros.cameras import project
from trpose_ros.configuration import check_fields, setting
from trpose_ros.data.motion.packs import MotionPack
from trpose_ros.data.rendering.backgrounds import Backgrounds
from trpose_ros.data.rendering.bodies import SHAPE_SPLITS, BodyLibrary, Figure
from trpose_ros.data.rendering.furniture import THING, Panel, draw_panels, place_panels
from trpose_ros.data.rendering.posing import Posed, pose_rig
from trpose_ros.data.rendering.rasterizer import (
    Light,
    Raster,
    image_bounds,
    posed_vertices,
    random_light,
    render,
    to_camera,
)
from trpose_ros.data.rendering.rooms import Room
from trpose_ros.data.rendering.sprites import joint_visibility, load_motion, look_at, to_srgb
from trpose_ros.people import (
    Camera,
    Frame,
    JointState,
    People,
    RootSource,
    TrackState,
    with_visibility,
)

_FINE = 2  # frames are drawn this many times larger
_BLEND_S = 0.4  # motions that follow each other are cross-faded
_APART_M = 0.75  # people keep this distance, hip to hip
_NEAR_M = 0.1
_EMPTY_M = 3.0  # from the camera to where people would be in a room without any
_SHUTTER = 5  # moments that a long exposure is the mean of


@dataclass(frozen=True)
class ClipConfig:
    """One clip. ``motions`` has one entry per person; names joined by '+' follow each other."""

    motions: tuple[str, ...] = ()
    split: str = setting('test', choices=('train', 'val', 'test'))
    seconds: float = setting(8.0, range=(0.03, 600.0))
    width: int = setting(640, range=(32, 4096))
    height: int = setting(480, range=(32, 4096))
    fov_deg: float = setting(65.0, 'horizontal field of view', range=(20.0, 120.0))
    framing: str = setting(
        'whole',
        "'whole' keeps everybody inside the image, 'near' lets a close camera cut people off",
        choices=('whole', 'near'),
    )
    camera_height_m: float = setting(1.2, range=(0.1, 4.0))
    background: str = setting('', 'picture on the wall; empty: drawn')
    noise: float = setting(2.0, 'std, grey levels', range=(0.0, 50.0))
    exposure: float = setting(
        0.0, 'time the shutter is open, of the time between frames: motion blur', range=(0.0, 1.0)
    )
    lens_blur_px: float = setting(0.0, 'std of the blur of the whole image', range=(0.0, 20.0))
    things: int = setting(0, 'panels between the people and the camera', range=(0, 20))
    start_ns: int = 1_700_000_000_000_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass(frozen=True)
class Staging:
    """Who walks where, seen from where: instead of what a clip would draw by itself."""

    paths_m: tuple[np.ndarray, ...]  # (T, 17, 3) joints in the world for each person
    frames: int  # T, also where there is nobody
    rotation: np.ndarray  # (3, 3) world to camera
    position_m: np.ndarray  # (3,) of the camera in the world
    panels: tuple[Panel, ...] = ()  # between people and camera
    picture: np.ndarray | None = None  # (H, W, 3) uint8 on the wall


@dataclass(frozen=True)
class _Actor:
    figure: Figure
    posed: Posed
    bones: np.ndarray  # (T, 31, 3, 4)


class Clip:
    """T frames of N people, drawn when asked for."""

    def __init__(
        self,
        config: ClipConfig,
        library: BodyLibrary | None = None,
        staging: Staging | None = None,
    ) -> None:
        """Cast, place the people and the camera; ``staging`` replaces motions and framing.

        Raises ValueError for a motion or background that the split does not have, and
        bodies.PackError when the data packs are missing.
        """
        rng = np.random.default_rng(config.seed)
        self.config = config
        self.motion = load_motion(config.split)
        library = library or BodyLibrary()
        if staging is None:
            names = config.motions or (str(rng.choice(self.motion.names)),)
            self._frames = max(1, round(config.seconds * self.motion.rate_hz))
            paths = _apart([play(self.motion, name, self._frames) for name in names], rng)
        else:
            self._frames, paths = staging.frames, list(staging.paths_m)
        self._actors = [self._cast(library, path, rng) for path in paths]
        statures = [float(library.stature[actor.figure.shape]) for actor in self._actors]
        self.stature_m = statures[0] if statures else 0.0  # of the first person
        focal = config.width / 2 / np.tan(np.radians(config.fov_deg) / 2)
        matrix = np.array(
            [[focal, 0, (config.width - 1) / 2], [0, focal, (config.height - 1) / 2], [0, 0, 1.0]]
        )
        self.camera = Camera(config.width, config.height, matrix)
        nobody = np.zeros((self._frames, 0, 3))
        joints = np.concatenate([nobody, *(a.posed.joints_m for a in self._actors)], axis=1)
        if staging is None:
            self.rotation, self.position_m = _place_camera(joints, self.camera, config, rng)
        else:
            self.rotation, self.position_m = staging.rotation, staging.position_m
        self._light = _indoor(random_light(rng))
        pictures = Backgrounds(config.split)
        self._back = self._room(pictures, rng, None if staging is None else staging.picture)
        others = np.random.default_rng([config.seed, 1])  # clips without things stay as they are
        picture = pictures.picture(others)
        self._panels = place_panels(config.things, joints, self.position_m, picture, others)
        if staging is not None:
            self._panels += staging.panels

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._frames

    def __iter__(self) -> Iterator[tuple[Frame, People]]:
        """Yield every frame with its truth."""
        for index in range(len(self)):
            yield self.draw(index)

    def stamp_ns(self, index: int) -> int:
        """Return the time of a frame."""
        return self.config.start_ns + round(index * 1e9 / self.motion.rate_hz)

    def owner(self, index: int) -> np.ndarray:
        """Return (H, W) int16: whose body each pixel of a frame shows; -1 nobody's.

        A pixel is drawn as four; the one of them at its upper left decides.
        """
        owner = self._render(index)[0].owner[::_FINE, ::_FINE]
        return np.where(owner == THING, -1, owner).astype(owner.dtype)

    def depth(self, index: int) -> np.ndarray:
        """Return (H, W) float32, m along z to what stands in a frame, infinite where nothing is."""
        return self._render(index)[0].depth_m[::_FINE, ::_FINE]

    def draw(self, index: int) -> tuple[Frame, People]:
        """Render frame ``index`` and return it with the people in it, in the order of casting."""
        raster, fine = self._render(index)
        layer = self._layer(raster)
        if self.config.exposure > 0:
            shifts = np.linspace(-0.5, 0.5, _SHUTTER) * self.config.exposure
            layers = [
                layer if shift == 0 else self._layer(self._render(index, shift)[0])
                for shift in shifts
            ]
            layer = np.asarray(np.mean(layers, axis=0, dtype=np.float32))
        room = self._back.with_shadow([actor.posed.joints_m[index] for actor in self._actors])
        image = room * (1 - layer[..., 3:]) + layer[..., :3]
        if self.config.lens_blur_px > 0:
            image = cv2.GaussianBlur(image, (0, 0), self.config.lens_blur_px)
        rng = np.random.default_rng([self.config.seed, index])
        image += rng.normal(0, self.config.noise, image.shape[:2]).astype(np.float32)[..., None]
        picture = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        frame = Frame(picture, self.stamp_ns(index), self.camera, 'camera')
        return frame, self._truth(index, fine, raster.depth_m)

    def _layer(self, raster: Raster) -> np.ndarray:
        """Return (H, W, 4) colours, 0..255, times coverage, and coverage."""
        mask = (raster.owner != -1).astype(np.float32)[..., None]
        layer = np.concatenate([to_srgb(raster.rgb) * mask, mask], axis=2)
        size = self.camera.width, self.camera.height
        return cv2.resize(layer, size, interpolation=cv2.INTER_AREA)

    def _render(self, index: int, shift: float = 0.0) -> tuple[Raster, np.ndarray]:
        """Return what stands in a frame at twice the size, and the matrix of that camera.

        ``shift``: frames before or after it, a share of one.
        """
        if not 0 <= index < len(self):
            raise IndexError(f'frame {index} of a clip with {len(self)} frames')
        size = (_FINE * self.camera.width, _FINE * self.camera.height)
        fine = self.camera.matrix.copy()
        fine[:2] *= _FINE
        fine[:2, 2] += (_FINE - 1) / 2  # pixel centres are integers at both sizes
        raster = render(
            [actor.figure for actor in self._actors],
            [_between(actor.bones, index + shift) for actor in self._actors],
            self.rotation,
            self.position_m,
            fine,
            size,
            self._light,
        )
        draw_panels(raster, self._panels, self.rotation, self.position_m, fine)
        return raster, fine

    def joints_m(self, index: int) -> np.ndarray:
        """Return the people's joints (N, 17, 3), camera frame, without drawing anything."""
        joints = np.array([actor.posed.joints_m[index] for actor in self._actors])
        return (joints.reshape(-1, 17, 3) - self.position_m) @ self.rotation.T

    def truth(self, index: int) -> People:
        """Return the people of a frame (draws it, for the visibility)."""
        return self.draw(index)[1]

    def _truth(self, index: int, fine: np.ndarray, depth_m: np.ndarray) -> People:
        joints, states, boxes = [], [], []
        for actor in self._actors:
            seen = (actor.posed.joints_m[index] - self.position_m) @ self.rotation.T
            visible = joint_visibility(seen, fine, depth_m)
            states.append(np.where(visible, JointState.VISIBLE, JointState.OCCLUDED))
            joints.append(seen)
            vertices = posed_vertices(actor.figure, actor.bones[index])
            span = image_bounds(to_camera(vertices, self.rotation, self.position_m), _NEAR_M)
            low, high = span * self.camera.matrix[[0, 1], [0, 1]] + self.camera.matrix[:2, 2]
            boxes.append([*low, *(high - low)])
        joints_m = np.array(joints).reshape(-1, 17, 3)
        count = len(joints_m)
        people = People.build(
            stamp_ns=self.stamp_ns(index),
            frame_id='camera',
            skeleton='h36m_17',
            width=self.camera.width,
            height=self.camera.height,
            joints_px=project(joints_m, self.camera),
            joints_m=joints_m,
            boxes_px=np.array(boxes).reshape(-1, 4),
            scores=np.ones(count),
            joint_scores=np.ones(joints_m.shape[:2]),
            joint_states=np.array(states, np.uint8).reshape(-1, 17),
            track_ids=np.arange(count),
            track_states=np.full(count, TrackState.TRACKED),
            root_sources=np.full(count, RootSource.ESTIMATOR),
        )
        return with_visibility(people)

    def _cast(self, library: BodyLibrary, path: np.ndarray, rng: np.random.Generator) -> _Actor:
        shape = int(rng.choice(SHAPE_SPLITS[self.config.split]))
        figure = library.dress(shape, rng)
        posed = pose_rig(figure.rig, path, rng)
        lift = posed.joints_m[..., 2].min() - 0.07  # no ankle sinks into the floor
        shift = np.array([0.0, 0.0, min(lift, 0.0)])
        posed = Posed(
            posed.rotations, posed.heads - shift, posed.joints_m - shift, posed.body_m - shift
        )
        return _Actor(figure, posed, posed.matrices(figure.rig))

    def _room(
        self, pictures: Backgrounds, rng: np.random.Generator, hung: np.ndarray | None
    ) -> Room:
        """Return the room: its wall stands behind everybody; ``hung`` may hang on it."""
        config = self.config
        picture = pictures.picture(rng) if hung is None else hung
        if config.background:
            if config.background not in pictures.names:
                raise ValueError(
                    f'background {config.background!r} is not in split {config.split!r}; it has '
                    f'{pictures.names}'
                )
            picture = pictures.images[pictures.names.index(config.background)]
        heading = self.rotation[2] * [1, 1, 0]
        heading /= np.linalg.norm(heading)
        reaches = [
            float(((a.posed.joints_m - self.position_m) @ heading).max()) for a in self._actors
        ]
        reach = max(reaches, default=_EMPTY_M)
        wall_m = reach + rng.uniform(0.6, 2.0)
        return Room(self.camera, self.rotation, self.position_m, wall_m, picture, rng)


def _between(bones: np.ndarray, time: float) -> np.ndarray:
    """Return the matrices (31, 3, 4) at a time in frames, between those of (T, 31, 3, 4)."""
    time = min(max(time, 0.0), len(bones) - 1.0)
    first = int(time)
    share = time - first
    if share == 0:
        return bones[first]
    return (1 - share) * bones[first] + share * bones[first + 1]


def play(motion: MotionPack, names: str, frames: int) -> np.ndarray:
    """Return (frames, 17, 3) world joints of motions joined by '+', starting at the origin.

    Each motion goes on where and in the direction in which the last one ended, cross-faded; the
    end is held back and forth when they are too short. Raises ValueError for an unknown name.
    """
    path = np.zeros((0, 17, 3))
    for name in names.split('+'):
        if name not in motion.names:
            raise ValueError(f'no motion {name!r} in this split; it has {sorted(motion.names)}')
        following = motion.clip(motion.names.index(name)).astype(np.float64)
        path = _append(path, following, round(_BLEND_S * motion.rate_hz))
    order = np.arange(frames)
    last = max(len(path) - 1, 1)
    order = last - np.abs(order % (2 * last) - last)  # there and back again
    path = path[np.minimum(order, len(path) - 1)]
    return path - path[0, 0] * [1, 1, 0]


def _append(path: np.ndarray, following: np.ndarray, blend: int) -> np.ndarray:
    if len(path) == 0:
        return following
    blend = min(blend, len(path), len(following))
    turn = _heading(path[-blend]) - _heading(following[0])
    moved = (following - following[0, 0] * [1, 1, 0]) @ _yaw(turn).T + path[-blend, 0] * [1, 1, 0]
    share = np.linspace(0, 1, blend)[:, None, None]
    mixed = path[-blend:] * (1 - share) + moved[:blend] * share
    return np.concatenate([path[:-blend], mixed, moved[blend:]])


def _heading(pose: np.ndarray) -> float:
    line = pose[4] - pose[1]  # from the right to the left hip
    return float(np.arctan2(line[1], line[0]))


def _yaw(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def _apart(paths: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Turn and move paths so that people share a room without walking through each other."""
    placed: list[np.ndarray] = []
    for path in paths:
        centred = path - (path[:, 0].min(axis=0) + path[:, 0].max(axis=0)) / 2 * [1, 1, 0]
        best, most = centred, -1.0
        for attempt in range(60):
            room = 0.3 * len(paths) + 0.03 * attempt if placed else 0.0
            shift = np.array([*rng.uniform(-room, room, 2), 0.0])
            moved = centred @ _yaw(rng.uniform(0, 2 * np.pi)).T + shift
            gaps = [np.linalg.norm((moved - p)[:, 0, :2], axis=1).min() for p in placed]
            gap = min(gaps, default=np.inf)
            if gap > most:
                best, most = moved, gap
            if gap > _APART_M:
                break
        placed.append(best)
    return placed


def _place_camera(
    joints_m: np.ndarray, camera: Camera, config: ClipConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation (3, 3) and position of a still camera for joints (T, M, 3)."""
    middle = (joints_m.min(axis=(0, 1)) + joints_m.max(axis=(0, 1))) / 2
    margin = 0.05 if config.framing == 'whole' else -0.6
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for azimuth in rng.uniform(0, 2 * np.pi, 12):
        for distance in np.arange(1.5, 14.0, 0.25):
            away = distance * np.array([np.cos(azimuth), np.sin(azimuth), 0])
            position = np.array([*middle[:2], config.camera_height_m]) + away
            aim = middle if config.framing == 'whole' else [*middle[:2], config.camera_height_m]
            rotation = look_at(position, np.asarray(aim))
            seen = (joints_m - position) @ rotation.T
            if seen[..., 2].min() < 0.6:
                continue
            px = project(seen, camera) / [camera.width, camera.height]
            if (px > margin).all() and (px < 1 - margin).all():
                if best is None or distance < best[0]:
                    best = (float(distance), rotation, position)
                break
    if best is None:
        raise ValueError(
            f'nobody fits into a view of {config.fov_deg} degrees within 14 m; shorten the clip '
            'or widen fov_deg'
        )
    return best[1], best[2]


def _indoor(light: Light) -> Light:
    """Return the light without the hardest sun: a video of a room."""
    return Light(
        light.ambient_sky, light.ambient_ground, 0.7 * light.sun, light.direction, light.gloss
    )
