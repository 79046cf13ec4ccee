"""The one thing every loader gives: a Sample, one person seen by one camera over T frames.

Human3.6M archives, annotation matrices, pickles and recordings all become the same frozen
dataclass, so trainers and evaluators never ask which data set they read. Conventions are those of
the package: metres, pixels of the original image, camera frame with z forward; NaN means "no
value" and never zero.

Files lie about units more often than about anything else. Bones do not: the median bone of a
human skeleton is some decimetres long, so millimetres or centimetres where metres are expected
are recognised and refused with a sentence that says what to do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trpose_ros.cameras import normalise_screen
from trpose_ros.people import Camera
from trpose_ros.skeletons import convert, get_skeleton

SPLITS = ('train', 'val', 'test')
# The median bone (median over bones of the median over frames) of people from child to giant,
# in any joint convention here, in metres.
MEDIAN_BONE_M = (0.04, 0.6)


class DataError(ValueError):
    """A file is corrupt or does not hold what it should; the message names file and remedy."""


class MissingDataError(FileNotFoundError):
    """A data set is absent; the message says what to obtain, from where, and where to put it."""


class Images(Protocol):
    """The images of a sample, read one at a time."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, index: int) -> np.ndarray:
        """Return image ``index`` as (H, W, 3) uint8 RGB."""
        ...


@dataclass(frozen=True)
class Sample:
    """One person in T frames of one camera. J joints of ``skeleton``, J2 of ``skeleton_px``."""

    dataset: str
    subject: str
    action: str  # with the number of the take, as the data set names it
    camera_name: str
    split: str  # 'train', 'val' or 'test'
    fps: float
    skeleton: str  # of the 3D joints and of ``valid``; a name in skeletons.SKELETONS
    width: int  # of the image, px
    height: int
    valid: np.ndarray  # (T, J) bool: the annotation may be trained and evaluated on
    joints_px: np.ndarray | None = None  # (T, J2, 2) float32
    joints_m: np.ndarray | None = None  # (T, J, 3) float32, camera frame (see root_relative)
    world_m: np.ndarray | None = None  # (T, J, 3) float32, the data set's world frame
    camera: Camera | None = None
    world_to_camera: np.ndarray | None = None  # (4, 4) or, for a moving camera, (T, 4, 4), m
    skeleton_px: str = ''  # of the 2D joints; '' means the same as ``skeleton``
    occluded: np.ndarray | None = None  # (T, J) bool where the data set says so
    root_relative: bool = False  # joints_m has no absolute position: the root is at zero
    person: int = 0  # number of the person where several are in the picture
    frame_numbers: np.ndarray | None = None  # (T,) int64, index of each image in the original
    images: Images | None = None  # T images, when they are at hand

    def __post_init__(self) -> None:
        """Validate shapes; raises DataError naming the array."""
        if self.split not in SPLITS:
            raise DataError(f'split must be one of {SPLITS}, got {self.split!r}')
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise DataError(f'fps must be positive, got {self.fps}')
        if self.width < 0 or self.height < 0:
            raise DataError(f'image size must not be negative: {self.width}x{self.height}')
        joints = get_skeleton(self.skeleton).num_joints
        frames = len(self.valid)
        joints_px = get_skeleton(self.skeleton_px or self.skeleton).num_joints
        expected: dict[str, tuple[int, ...]] = {
            'valid': (frames, joints),
            'joints_px': (frames, joints_px, 2),
            'joints_m': (frames, joints, 3),
            'world_m': (frames, joints, 3),
            'occluded': (frames, joints),
            'frame_numbers': (frames,),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise DataError(f'{self.identity}: {name} must be {shape}, got {value.shape}')
        pose = self.world_to_camera
        if pose is not None and pose.shape not in ((4, 4), (frames, 4, 4)):
            raise DataError(f'{self.identity}: world_to_camera must be (4, 4), got {pose.shape}')
        if self.images is not None and len(self.images) < frames:
            raise DataError(
                f'{self.identity}: {frames} annotated frames but only {len(self.images)} images'
            )

    def __len__(self) -> int:
        """Return the number of frames T."""
        return len(self.valid)

    @property
    def identity(self) -> str:
        """Return 'dataset|subject|action|camera', the name that occlusion masks are drawn from."""
        return f'{self.dataset}|{self.subject}|{self.action}|{self.camera_name}'

    def replace(self, **changes: object) -> Sample:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def frames(self, start: int, stop: int, step: int = 1) -> Sample:
        """Return the frames start, start + step, ... before ``stop``; fps falls with the step."""
        if step < 1:
            raise ValueError(f'step must be at least 1, got {step}')
        part = slice(start, stop, step)
        changes: dict[str, object] = {'fps': self.fps / step}
        for name in ('valid', 'joints_px', 'joints_m', 'world_m', 'occluded', 'frame_numbers'):
            value = getattr(self, name)
            changes[name] = None if value is None else value[part]
        if self.world_to_camera is not None and self.world_to_camera.ndim == 3:
            changes['world_to_camera'] = self.world_to_camera[part]
        if self.images is not None:
            changes['images'] = Picked(self.images, range(len(self))[part])
        return self.replace(**changes)

    def to_skeleton(self, name: str) -> Sample:
        """Return the sample in another joint convention; what it lacks is NaN and not valid."""
        if name == self.skeleton and (self.skeleton_px or self.skeleton) == name:
            return self
        weight = np.where(self.valid, 1.0, np.nan)[..., None]
        valid = np.isfinite(convert(weight, self.skeleton, name)[..., 0])
        changes: dict[str, object] = {'skeleton': name, 'skeleton_px': '', 'valid': valid}
        for field in ('joints_m', 'world_m'):
            value = getattr(self, field)
            changes[field] = None if value is None else convert(value, self.skeleton, name)
        if self.joints_px is not None:
            source = self.skeleton_px or self.skeleton
            changes['joints_px'] = convert(self.joints_px, source, name)
        if self.occluded is not None:
            hidden = convert(self.occluded.astype(np.float64)[..., None], self.skeleton, name)
            changes['occluded'] = np.nan_to_num(hidden[..., 0]) > 0
        return self.replace(**changes)

    def relative_m(self) -> np.ndarray:
        """Return (T, J, 3) joints relative to the root joint, the target of the lifters."""
        if self.joints_m is None:
            raise DataError(f'{self.identity} has no 3D joints in the camera frame')
        root = get_skeleton(self.skeleton).root_index
        return self.joints_m - self.joints_m[:, root : root + 1]

    def screen(self) -> np.ndarray:
        """Return (T, J2, 2) the 2D joints in normalised screen coordinates (x in -1..1)."""
        if self.joints_px is None:
            raise DataError(f'{self.identity} has no 2D joints')
        return normalise_screen(self.joints_px, self.width, self.height)


class Picked:
    """Some images of a longer series."""

    def __init__(self, images: Images, numbers: Sequence[int]) -> None:
        self._images = images
        self._numbers = numbers

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._numbers)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return image ``index``."""
        return self._images[self._numbers[index]]


def median_bone(joints: np.ndarray, skeleton: str) -> float:
    """Return the median bone length of joints (..., J, 3) in their own unit; NaN when unknown."""
    joints = np.asarray(joints, np.float64)
    joints = joints.reshape(-1, *joints.shape[-2:])
    joints = joints[:: max(1, len(joints) // 200)]  # two hundred frames tell the unit
    parents, children = np.array(get_skeleton(skeleton).bones).T
    lengths = np.linalg.norm(joints[:, children] - joints[:, parents], axis=-1)
    known = np.isfinite(lengths) & (lengths > 0)
    bones = [
        np.median(row[mask]) for row, mask in zip(lengths.T, known.T, strict=True) if any(mask)
    ]
    return float(np.median(bones)) if bones else float('nan')


def check_metres(joints: np.ndarray, skeleton: str, where: str) -> None:
    """Raise DataError unless the bones of joints (..., J, 3) are as long as people's, in metres.

    ``where`` names the file and the clip in the message. No finite bone at all passes: that is
    for the caller to judge.
    """
    length = median_bone(joints, skeleton)
    low, high = MEDIAN_BONE_M
    if np.isnan(length) or low <= length <= high:
        return
    for unit, factor in (('millimetres', 0.001), ('centimetres', 0.01)):
        if low <= length * factor <= high:
            raise DataError(
                f'{where}: the median bone is {length:.4g} long, so these are {unit} where metres '
                f'are expected; multiply the positions by {factor}'
            )
    raise DataError(
        f'{where}: the median bone is {length:.4g} long, which fits a person in no unit (expected '
        f'{low}..{high} m); check the order of the joints and the scale'
    )


def finite_rows(joints: np.ndarray) -> np.ndarray:
    """Return (..., J) whether all coordinates of a joint are finite."""
    return np.isfinite(joints).all(axis=-1)


def interpolate_missing(joints: np.ndarray, where: str) -> np.ndarray:
    """Fill NaN of joints (T, J, C) linearly over time, edges by repetition; float32.

    This is what 2D archives made from videos do with frames without a detection. A joint that is
    never there raises DataError: no neighbour tells where it is.
    """
    filled = np.array(joints, np.float32)
    flat = filled.reshape(len(filled), -1)
    times = np.arange(len(flat))
    for column in range(flat.shape[1]):
        known = np.isfinite(flat[:, column])
        if known.all():
            continue
        if not known.any():
            raise DataError(f'{where}: joint {column // joints.shape[-1]} is in no frame at all')
        flat[~known, column] = np.interp(times[~known], times[known], flat[known, column])
    return filled
