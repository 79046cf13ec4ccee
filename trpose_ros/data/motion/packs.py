"""Motion capture packs: real movements as 17 joints in Human3.6M order.

A pack is one npz file: the root's path and the joints relative to it at a fixed rate, cut into
clips that carry a subject and a split (by subject, so nobody is in two splits). World frame: z up,
floor near z = 0, metres. The packs used here come from the CMU Motion Capture Database and from
the ACCAD Motion Lab; their README states licences and credits.

The packs are not part of the package. ``find_shared`` looks them up.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trpose_ros.archives import load_arrays
from trpose_ros.data.registry import packs_folder
from trpose_ros.data.samples import check_metres
from trpose_ros.skeletons import get_skeleton

PACKS = ('mocap_cmu_30hz.npz', 'mocap_accad_30hz.npz', 'mocap_cmu_extra_30hz.npz')
SPLITS = ('train', 'val', 'test')
NUM_JOINTS = 17


def find_shared() -> Path | None:
    """Return the folder with training data and references, or None when there is none.

    It is ``$TRPOSE_SHARED`` when that is set, else the folder ``shared`` beside the repository,
    else the packs that ``trpose data prepare`` wrote.

    Raises:
        FileNotFoundError: ``TRPOSE_SHARED`` is set but is not a folder.

    """
    named = os.environ.get('TRPOSE_SHARED')
    if named:
        path = Path(named)
        if not path.is_dir():
            raise FileNotFoundError(f'TRPOSE_SHARED is {named!r}, which is not a folder')
        return path
    for path in (Path(__file__).resolve().parents[4] / 'shared', packs_folder()):
        if path.is_dir():
            return path
    return None


@dataclass(frozen=True)
class MotionPack:
    """Many clips at one rate, their frames one after another. F frames, S clips."""

    joints_m: np.ndarray  # (F, 17, 3) float32, world, z up
    starts: np.ndarray  # (S,) int64, first frame of each clip
    lengths: np.ndarray  # (S,) int64
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    splits: tuple[str, ...]
    rate_hz: float

    def __post_init__(self) -> None:
        """Validate that the clips lie inside the frames."""
        if self.joints_m.ndim != 3 or self.joints_m.shape[1:] != (NUM_JOINTS, 3):
            raise ValueError(f'joints_m must be (F, 17, 3), got {self.joints_m.shape}')
        ends = self.starts + self.lengths
        if len(self.starts) and (self.starts.min() < 0 or ends.max() > len(self.joints_m)):
            raise ValueError(
                f'clips reach to frame {ends.max()} but the pack has {len(self.joints_m)} frames'
            )

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.starts)

    @property
    def minutes(self) -> float:
        """Length of all clips together."""
        return float(self.lengths.sum()) / self.rate_hz / 60

    def clip(self, index: int) -> np.ndarray:
        """Return the (T, 17, 3) joints of one clip, a view."""
        start = int(self.starts[index])
        return self.joints_m[start : start + int(self.lengths[index])]

    def select(self, split: str | None = None, subject: str | None = None) -> MotionPack:
        """Return the clips of a split and/or a subject; the frames are shared, not copied."""
        if split is not None and split not in SPLITS:
            raise ValueError(f'split must be one of {list(SPLITS)}, got {split!r}')
        keep = [
            i
            for i in range(len(self))
            if split in (None, self.splits[i]) and subject in (None, self.subjects[i])
        ]
        return MotionPack(
            self.joints_m,
            self.starts[keep],
            self.lengths[keep],
            tuple(self.names[i] for i in keep),
            tuple(self.subjects[i] for i in keep),
            tuple(self.splits[i] for i in keep),
            self.rate_hz,
        )

    def window_starts(self, frames: int, step: int = 1) -> np.ndarray:
        """Return the first frame of every window of ``frames`` frames inside one clip, (W,)."""
        if frames < 1 or step < 1:
            raise ValueError(f'frames and step must be positive, got {frames} and {step}')
        parts = [
            np.arange(s, s + n - frames + 1, step)
            for s, n in zip(self.starts, self.lengths, strict=True)
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)

    def windows(self, starts: np.ndarray, frames: int) -> np.ndarray:
        """Return (W, frames, 17, 3) joints of the windows that begin at ``starts``."""
        return self.joints_m[np.asarray(starts)[:, None] + np.arange(frames)]


def load_pack(path: str | Path) -> MotionPack:
    """Read one pack.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file lacks an array, by name, or is not in Human3.6M order.

    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no motion pack at {path}; set TRPOSE_SHARED to the data folder')
    needed = ('root', 'rel', 'start', 'length', 'name', 'subject', 'split', 'fps', 'joint_names')
    try:
        data = load_arrays(path)
    except ValueError as error:
        raise ValueError(f'{path} is not a motion pack: {error}') from error
    missing = [key for key in needed if key not in data]
    if missing:
        raise ValueError(f'{path.name} is not a motion pack: it lacks {missing}')
    if data['rel'].shape[1:] != (NUM_JOINTS, 3):
        raise ValueError(f'{path.name}: rel must be (F, 17, 3), got {data["rel"].shape}')
    return MotionPack(
        joints_m=data['rel'].astype(np.float32) + data['root'][:, None].astype(np.float32),
        starts=data['start'].astype(np.int64),
        lengths=data['length'].astype(np.int64),
        names=tuple(str(v) for v in data['name']),
        subjects=tuple(str(v) for v in data['subject']),
        splits=tuple(str(v) for v in data['split']),
        rate_hz=float(data['fps']),
    )


def join_packs(packs: list[MotionPack]) -> MotionPack:
    """Return one pack with the clips of all; they must have the same rate."""
    rates = {pack.rate_hz for pack in packs}
    if len(rates) != 1:
        raise ValueError(f'packs must share one rate, got {sorted(rates)}; resample them first')
    offsets = np.cumsum([0, *(len(pack.joints_m) for pack in packs)])
    return MotionPack(
        np.concatenate([pack.joints_m for pack in packs]),
        np.concatenate([pack.starts + o for pack, o in zip(packs, offsets, strict=False)]),
        np.concatenate([pack.lengths for pack in packs]),
        sum((pack.names for pack in packs), ()),
        sum((pack.subjects for pack in packs), ()),
        sum((pack.splits for pack in packs), ()),
        rates.pop(),
    )


def load_mocap(folder: str | Path) -> MotionPack:
    """Read and join all known packs that lie in ``folder`` (at least one must).

    Raises FileNotFoundError without any, and ValueError for a pack that cannot be trained on.
    """
    paths = [Path(folder) / name for name in PACKS]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise FileNotFoundError(f'none of {list(PACKS)} lies in {folder}')
    packs = [load_pack(path) for path in found]
    for path, pack in zip(found, packs, strict=True):
        _check(path, pack)
    return join_packs(packs)


def _check(path: Path, pack: MotionPack) -> None:
    """Refuse what a training would choke on: joints that are no numbers, or not in metres."""
    for index in range(len(pack)):
        clip = pack.clip(index)
        if not np.isfinite(clip).all():
            frame = int(np.argmin(np.isfinite(clip).all(axis=(1, 2))))
            raise ValueError(
                f'{path}: clip {pack.names[index]!r} has joints that are not a number, first in '
                f'frame {frame}; leave it out or build the pack again: trpose data prepare motion'
            )
        check_metres(clip[:1], 'h36m_17', f'{path}: {pack.names[index]}')


def resample(joints_m: np.ndarray, rate_hz: float, target_hz: float) -> np.ndarray:
    """Resample a clip (T, J, C) linearly in time; first frame kept, last one not passed."""
    if len(joints_m) == 0 or rate_hz <= 0 or target_hz <= 0:
        raise ValueError(
            f'resample takes a clip and positive rates, got {len(joints_m)} frames, '
            f'{rate_hz} and {target_hz} Hz'
        )
    if rate_hz == target_hz:
        return joints_m
    last = len(joints_m) - 1
    count = int(np.floor(last * target_hz / rate_hz + 1e-9)) + 1
    position = np.minimum(np.arange(count) * (rate_hz / target_hz), last)
    lower = np.minimum(position.astype(np.int64), max(last - 1, 0))
    share = (position - lower)[:, None, None].astype(joints_m.dtype)
    upper = np.minimum(lower + 1, last)
    return joints_m[lower] * (1 - share) + joints_m[upper] * share


def vary_rate(
    joints_m: np.ndarray,
    frames: int,
    rng: np.random.Generator,
    slowest: float = 0.75,
) -> np.ndarray:
    """Play every window at another speed: (B, L, 17, 3) -> (B, frames, 17, 3), middle kept.

    The speed lies between ``slowest`` and what the ``L`` frames allow, log-uniform: cameras do not
    keep their rate, and people do not keep their pace. Raises ValueError for L < frames.
    """
    batch, length = joints_m.shape[:2]
    if frames < 1 or length < frames or not 0 < slowest <= 1:
        raise ValueError(
            f'windows of {length} frames cannot be played as {frames} frames at a speed of '
            f'{slowest} or more; draw longer windows'
        )
    fastest = (length - 1) / max(frames - 1, 1)
    speed = np.exp(rng.uniform(np.log(slowest), np.log(max(fastest, slowest)), (batch, 1)))
    middle = (length - 1) / 2
    place = middle + speed * (np.arange(frames) - (frames - 1) / 2)
    lower = np.clip(place.astype(np.int64), 0, max(length - 2, 0))
    upper = np.minimum(lower + 1, length - 1)
    share = (place - lower).astype(joints_m.dtype)[..., None, None]
    row = np.arange(batch)[:, None]
    return joints_m[row, lower] * (1 - share) + joints_m[row, upper] * share


def vary_bones(
    joints_m: np.ndarray, rng: np.random.Generator, size: float = 0.1, bone: float = 0.05
) -> np.ndarray:
    """Give every window another body: (B, T, 17, 3) with scaled stature and bones.

    ``size`` is the half range of the common scale, ``bone`` the standard deviation of each bone's
    own factor; left and right get the same. The root's path scales with the body, so that steps
    still fit the legs. Much of the motion here was recorded on one generic skeleton.
    """
    skeleton = get_skeleton('h36m_17')
    batch = len(joints_m)
    stature = rng.uniform(1 - size, 1 + size, (batch, 1))
    factors = (stature * rng.normal(1, bone, (batch, NUM_JOINTS))).clip(0.75, 1.3)
    factors = np.where(
        np.arange(NUM_JOINTS) <= skeleton.mirror, factors, factors[:, skeleton.mirror]
    )
    factors = factors.astype(np.float32)[:, None, :, None]
    varied = np.empty_like(joints_m)
    varied[:, :, 0] = joints_m[:, :, 0] * stature.astype(np.float32)[:, None]
    for parent, child in skeleton.bones:
        offset = joints_m[:, :, child] - joints_m[:, :, parent]
        varied[:, :, child] = varied[:, :, parent] + factors[:, :, child] * offset
    return varied
