"""Cut-out people: rendered once with all labels, composed into many training images afterwards.

A sprite is one posed, dressed and lit person seen by a random camera, cut out with its alpha
channel and nothing around it; the camera looks at the middle of the whole body. Backgrounds, other
people, occluders, crops and truncation are added later and differently in every epoch, which makes
far more images out of a rendered second than storing finished pictures would.

Splits are by motion subject and by body shape together: nobody, and nobody's motion, is in two.
A sprite is a pure function of (split, seed, index).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numba
import numpy as np

from trpose_ros.archives import mapped_array, pack_arrays
from trpose_ros.data.motion.packs import MotionPack, load_mocap
from trpose_ros.data.rendering.bodies import SHAPE_SPLITS, BodyLibrary, Figure, shared_data_dir
from trpose_ros.data.rendering.poses import PoseSource
from trpose_ros.data.rendering.posing import cross, pose_rig
from trpose_ros.data.rendering.rasterizer import (
    bounds,
    image_bounds,
    posed_vertices,
    random_light,
    render,
    to_camera,
)
from trpose_ros.writing import whole_stream

SIDE = 288  # px of a stored sprite
_RENDER_SIDE = 432  # rendered larger and averaged down: soft edges
_FILL = 0.96  # the body takes this share of the side
POSES_PER_FIGURE = 24
SHARD = 2016  # sprites per file, a multiple of POSES_PER_FIGURE

# How far in front of a joint its own body's surface lies at most, metres; more is an occlusion.
_JOINT_DEPTH_M = np.array(
    [
        *(0.24, 0.2, 0.12, 0.12, 0.2, 0.12, 0.12, 0.2, 0.2, 0.16, 0.16),  # trunk, legs, head
        *(0.14, 0.12, 0.12, 0.14, 0.12, 0.12),  # arms
        *(0.05, 0.05, 0.05, 0.06, 0.06, 0.2, 0.2),  # face, COCO's hips
        *(0.24, 0.24, 0.24, 0.24, 0.16, 0.18, 0.18),  # SMPL's trunk
        *(0.08,) * 8,  # hands, feet
    ]
)


@dataclass(frozen=True)
class Sprites:
    """N cut-out people. Cameras look along +z (x right, y down), metres."""

    rgba: np.ndarray  # (N, S, S, 4) uint8, colour premultiplied by alpha
    intrinsics: np.ndarray  # (N, 3, 3) float32
    joints_m: np.ndarray  # (N, 39, 3) float32, camera frame, joints of body_39
    visible: np.ndarray  # (N, 39) bool, not hidden by the own body
    up: np.ndarray  # (N, 3) float32, world's up in the camera frame
    shape: np.ndarray  # (N,) int16
    motion_frame: np.ndarray  # (N,) int32 into the split's motion pack

    def __len__(self) -> int:
        """Return the number of sprites."""
        return len(self.rgba)


def load_motion(split: str) -> MotionPack:
    """Return the motion of one split from the shared packs."""
    return load_mocap(shared_data_dir('mocap')).select(split)


class SpriteSource:
    """Renders sprites of one split; holds the body library and the motion."""

    def __init__(self, split: str, library: BodyLibrary | None = None) -> None:
        if split not in SHAPE_SPLITS:
            raise ValueError(f'split must be one of {sorted(SHAPE_SPLITS)}, got {split!r}')
        self.split = split
        self.library = library or BodyLibrary()
        self.poses = PoseSource(load_motion(split), varied=split == 'train')

    def figure_sprites(self, seed: int, number: int, count: int = POSES_PER_FIGURE) -> Sprites:
        """Render ``count`` poses of the ``number``-th figure of this split and seed."""
        rng = np.random.default_rng([_SPLIT_NUMBER[self.split], seed, number])
        shape = int(rng.choice(SHAPE_SPLITS[self.split]))
        figure = self.library.dress(shape, rng)
        frames = self.poses.frames(count, rng)
        rows = []
        for chunk in np.array_split(frames, max(1, count // 6)):  # each with its own hands, feet
            posed = pose_rig(figure.rig, self.poses.poses(chunk, rng), rng)
            bones = posed.matrices(figure.rig)
            rows += [_render_one(figure, bones[i], posed.body_m[i], rng) for i in range(len(chunk))]
        names = ('rgba', 'intrinsics', 'joints_m', 'visible', 'up')
        columns = {n: np.stack([row[i] for row in rows]) for i, n in enumerate(names)}
        return Sprites(
            **columns,
            shape=np.full(count, shape, np.int16),
            motion_frame=np.asarray(frames, np.int32),
        )


_SPLIT_NUMBER = {'train': 0, 'val': 1, 'test': 2}


def look_at(position: np.ndarray, target: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """Return the (3, 3) world-to-camera rotation of a camera at position looking at target.

    World z is up; ``roll`` in radians turns the image about the optical axis.
    """
    z = target - position
    z = z / np.linalg.norm(z)
    x = cross(z, np.array([0.0, 0.0, 1.0]))
    length = np.linalg.norm(x)
    x = np.array([1.0, 0.0, 0.0]) if length < 1e-6 else x / length
    rotation = np.stack([x, cross(z, x), z])
    c, s = np.cos(roll), np.sin(roll)
    return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ rotation


def _draw_camera(centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    distance = float(np.exp(rng.uniform(np.log(0.8), np.log(7.0))))
    height = rng.uniform(0.4, 2.3) if rng.random() < 0.88 else rng.uniform(2.3, 4.0)
    azimuth = rng.uniform(0, 2 * np.pi)
    return np.array(
        [
            centre[0] + distance * np.cos(azimuth),
            centre[1] + distance * np.sin(azimuth),
            max(height, 0.2),
        ]
    )


def _render_one(
    figure: Figure, bones: np.ndarray, joints_m: np.ndarray, rng: np.random.Generator
) -> tuple:
    vertices = posed_vertices(figure, bones)
    light = random_light(rng)
    middle = bounds(vertices).mean(axis=0).astype(np.float64)
    roll = float(rng.normal(0, np.radians(3)))
    position = _draw_camera(middle, rng)
    for _ in range(20):
        rotation = look_at(position, middle, roll)
        seen = to_camera(vertices, rotation, position)
        if bounds(seen)[0, 2] > 0.25:
            break
        position = position + (position - middle) * 0.15  # too near: step back
    centre = image_bounds(seen, 0.1).mean(axis=0).astype(np.float64)
    target = position + rotation.T @ np.array([*centre, 1.0])
    rotation = look_at(position, target, roll)
    reach = float(np.abs(image_bounds(to_camera(vertices, rotation, position), 0.1)).max())
    intrinsics = np.eye(3)
    intrinsics[0, 0] = intrinsics[1, 1] = _RENDER_SIDE / 2 * _FILL / reach
    intrinsics[:2, 2] = (_RENDER_SIDE - 1) / 2
    size = (_RENDER_SIDE, _RENDER_SIDE)
    raster = render([figure], [bones], rotation, position, intrinsics, size, light, [vertices])
    joints = (joints_m - position) @ rotation.T
    visible = joint_visibility(joints, intrinsics, raster.depth_m)
    small = intrinsics.copy()
    ratio = SIDE / _RENDER_SIDE
    small[:2] *= ratio
    small[:2, 2] += ratio / 2 - 0.5  # pixel centres are integers at both sizes
    up = rotation @ np.array([0.0, 0.0, 1.0])
    return (
        _premultiplied(raster.rgb, raster.owner >= 0),
        small.astype(np.float32),
        joints.astype(np.float32),
        visible,
        up.astype(np.float32),
    )


def joint_visibility(joints: np.ndarray, intrinsics: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
    """Return (J,) True where nothing but the flesh around a joint lies in front of it.

    joints (J, 3), the first of body_39, in the camera frame, ``depth_m`` the (H, W) rendered
    depth (inf = nothing).
    A joint outside the image, or not on the person's silhouette, is not visible.
    """
    px = joints[:, :2] / joints[:, 2:] * intrinsics[[0, 1], [0, 1]] + intrinsics[:2, 2]
    column, row = np.rint(px).astype(int).T
    height, width = depth_m.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (joints[:, 2] > 0)
    surface = depth_m[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    near_enough = surface > joints[:, 2] - _JOINT_DEPTH_M[: len(joints)]
    return inside & np.isfinite(surface) & near_enough


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """Return linear 0..1 as 0..255 float32 (exponent 2, clipped)."""
    return np.sqrt(np.clip(linear, 0, 1), dtype=np.float32) * np.float32(255)


def _premultiplied(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    small = cv2.resize(_layer(rgb, mask), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.rint(small, out=small).astype(np.uint8)


@numba.njit(cache=True)
def _layer(rgb, mask):
    """Return to_srgb(rgb) and 255 where mask is true, zeros elsewhere: (H, W, 4) float32."""
    height, width = mask.shape
    layer = np.zeros((height, width, 4), np.float32)
    for y in range(height):
        for x in range(width):
            if mask[y, x]:
                for k in range(3):
                    value = min(max(rgb[y, x, k], np.float32(0)), np.float32(1))
                    layer[y, x, k] = np.sqrt(value) * np.float32(255)
                layer[y, x, 3] = 255
    return layer


def join(parts: list[Sprites]) -> Sprites:
    """Return all sprites of ``parts`` in one."""
    names = Sprites.__dataclass_fields__
    return Sprites(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


class SpriteStore:
    """Sprites on disk: one folder per split with numbered shards, pixels memory-mapped.

    Shards appear one by one while a renderer is running; ``refresh`` picks up the new ones.
    """

    def __init__(self, folder: str | Path, split: str) -> None:
        self.folder = Path(folder) / split
        self.labels: list[dict[str, np.ndarray]] = []
        self._pixels: list[np.ndarray] = []
        self._ends = np.zeros(0, np.int64)
        self.refresh()

    def refresh(self) -> None:
        """Open shards that were finished since the last look."""
        while True:
            stem = self.folder / f'{len(self._pixels):05d}'
            if not stem.with_suffix('.npz').exists():
                break
            labels = pack_arrays(stem.with_suffix('.npz'))
            self._pixels.append(mapped_array(stem.with_suffix('.npy')))
            self.labels.append(labels)
        self._ends = np.cumsum([len(p) for p in self._pixels])

    def __len__(self) -> int:
        """Return the number of sprites on disk."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Return the arrays of one sprite, pixels under 'rgba'."""
        if not 0 <= index < len(self):
            raise IndexError(f'sprite {index} of {len(self)} in {self.folder}')
        shard = int(np.searchsorted(self._ends, index, side='right'))
        row = int(index - (self._ends[shard - 1] if shard else 0))
        out = {key: value[row] for key, value in self.labels[shard].items()}
        out['rgba'] = self._pixels[shard][row]
        return out


def write_shard(
    folder: str | Path, split: str, seed: int, number: int, source: SpriteSource
) -> None:
    """Render shard ``number`` of a split; complete files only (written aside, then renamed)."""
    target = Path(folder) / split
    target.mkdir(parents=True, exist_ok=True)
    stem = target / f'{number:05d}'
    if stem.with_suffix('.npz').exists():
        return
    figures = SHARD // POSES_PER_FIGURE
    parts = [source.figure_sprites(seed, number * figures + i) for i in range(figures)]
    sprites = join(parts)
    order = np.random.default_rng([seed, number]).permutation(len(sprites))
    labels = {
        name: getattr(sprites, name)[order]
        for name in ('intrinsics', 'joints_m', 'visible', 'up', 'shape', 'motion_frame')
    }
    with whole_stream(stem.with_suffix('.npy')) as stream:
        np.save(stream, sprites.rgba[order])
    with whole_stream(stem.with_suffix('.npz')) as stream:
        np.savez(stream, **labels)
