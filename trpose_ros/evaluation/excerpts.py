"""Scenes: what a few cases looked like, kept for the report.

A scene holds one clip under one condition as one estimator and its lifters saw it: the images
that the estimator was shown (JPEG, fewer than the poses), the true skeleton of the first person,
which joints were hidden, and every method's skeleton. It is one compressed file in the folder
``scenes`` of a run; `trpose report` makes its videos and its player from them alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from trpose_ros.archives import pack_arrays
from trpose_ros.people import Camera, JointState, People
from trpose_ros.writing import whole_stream

FOLDER = 'scenes'
IMAGE_HZ = 15.0  # images kept per second, about
_QUALITY = 80  # of the JPEGs
_FORMAT = 1


@dataclass(frozen=True)
class Scene:
    """One clip under one condition; T frames with truth, J joints of ``skeleton``."""

    identity: str  # 'dataset|subject|action|camera'
    condition: str
    severity: str  # as the protocol writes it
    estimator: str
    fps: float
    skeleton: str
    camera: Camera  # of the whole image, whatever was cut off from it
    stamps_ns: np.ndarray  # (T,) int64
    true_m: np.ndarray  # (T, J, 3) float32, camera frame
    hidden: np.ndarray  # (T, J) bool
    outputs_m: dict[str, np.ndarray]  # by lifter, (T, J, 3) float32, NaN without output
    images: tuple[bytes, ...] = ()  # JPEG
    image_stamps_ns: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (F,)
    # (F, 2) of the first pixel of each image
    offsets_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), int))
    reference: str = 'truth'  # what true_m is: 'truth' or 'unoccluded run'

    @property
    def key(self) -> tuple[str, str, str]:
        """Return clip, condition and severity: scenes that agree in it show the same."""
        return self.identity, self.condition, self.severity

    def image(self, index: int) -> np.ndarray:
        """Return image ``index`` as (H, W, 3) uint8 RGB."""
        data = cv2.imdecode(np.frombuffer(self.images[index], np.uint8), cv2.IMREAD_COLOR)
        if data is None:
            raise ValueError(f'image {index} of {self.identity} {self.condition} is damaged')
        return cv2.cvtColor(data, cv2.COLOR_BGR2RGB)

    def people(self, poses_m: np.ndarray, t: int) -> People | None:
        """Return the person of frame ``t`` of (T, J, 3) poses, None without any joint.

        Joints that the occlusion hides are OCCLUDED, those outside the whole image TRUNCATED.
        """
        from trpose_ros.cameras import project

        joints = poses_m[t][None].astype(np.float64)
        if not np.isfinite(joints).all(-1).any():
            return None
        pixels = project(joints, self.camera)
        inside = (pixels >= 0).all(-1) & (pixels < (self.camera.width, self.camera.height)).all(-1)
        states = np.where(self.hidden[t], JointState.OCCLUDED, JointState.VISIBLE)[None]
        return People.build(
            stamp_ns=int(self.stamps_ns[t]),
            frame_id='camera',
            skeleton=self.skeleton,
            width=self.camera.width,
            height=self.camera.height,
            joints_px=pixels,
            joints_m=joints,
            joint_states=np.where(inside, states, JointState.TRUNCATED),
            track_ids=np.zeros(1, np.int32),
        )


def encode_images(
    shown: Iterable[tuple[int, np.ndarray, tuple[int, int]]], fps: float
) -> tuple[tuple[bytes, ...], np.ndarray, np.ndarray]:
    """Return JPEGs, their stamps and offsets of (stamp, RGB image, offset), thinned to 15 Hz."""
    step = max(1, round(fps / IMAGE_HZ))
    images, stamps, offsets = [], [], []
    for index, (stamp_ns, image, offset_px) in enumerate(shown):
        if index % step:
            continue
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        assert done
        images.append(data.tobytes())
        stamps.append(stamp_ns)
        offsets.append(offset_px)
    return tuple(images), np.array(stamps, np.int64), np.array(offsets, int).reshape(-1, 2)


def save_scene(folder: Path, name: str, scene: Scene) -> Path:
    """Write a scene to FOLDER/scenes/NAME.npz, whole or not at all."""
    names = list(scene.outputs_m)
    camera = scene.camera
    header = {
        'format': _FORMAT,
        'lifters': names,
        'camera': [camera.width, camera.height, camera.model, camera.assumed],
    }
    header |= {
        name: getattr(scene, name)
        for name in (
            *('identity', 'condition', 'severity', 'estimator', 'fps', 'skeleton', 'reference'),
        )
    }
    arrays: dict[str, np.ndarray] = {
        'header': np.frombuffer(json.dumps(header).encode(), np.uint8),
        'matrix': camera.matrix,
        'distortion': camera.distortion,
        'jpeg': np.frombuffer(b''.join(scene.images), np.uint8),
        'jpeg_sizes': np.array([len(data) for data in scene.images], np.int64),
    }
    arrays |= {name: getattr(scene, name) for name in _ARRAYS}
    arrays |= {f'output{i}': scene.outputs_m[lifter] for i, lifter in enumerate(names)}
    file = folder / FOLDER / f'{name}.npz'
    with whole_stream(file) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # images are compressed already
    return file


_ARRAYS = ('stamps_ns', 'true_m', 'hidden', 'image_stamps_ns', 'offsets_px')


def load_scenes(folder: Path) -> Iterator[Scene]:
    """Yield the scenes of a run's folder by name; damaged files are left out."""
    for file in sorted((folder / FOLDER).glob('*.npz')):
        try:
            yield _load(file)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue


def _load(file: Path) -> Scene:
    values = pack_arrays(file)
    header = json.loads(values['header'].tobytes())
    if header.pop('format') != _FORMAT:
        raise ValueError(f'{file} was written by another version')
    width, height, model, assumed = header.pop('camera')
    lifters = header.pop('lifters')
    ends = np.cumsum(values['jpeg_sizes'])
    blob = values['jpeg'].tobytes()
    return Scene(
        **header,
        **{name: values[name] for name in _ARRAYS},  # type: ignore[arg-type]
        camera=Camera(width, height, values['matrix'], values['distortion'], model, assumed),
        outputs_m={lifter: values[f'output{i}'] for i, lifter in enumerate(lifters)},
        images=tuple(
            blob[end - size : end] for end, size in zip(ends, values['jpeg_sizes'], strict=True)
        ),
    )
