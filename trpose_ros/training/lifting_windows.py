"""Where the windows of a lifter's training come from: motion packs, or a published data set.

Motion packs are seen by random cameras; a data set brings its own cameras and 2D. Both give batches
that depend on a generator alone, and held-out windows to measure on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from trpose_ros.data.motion import MotionPack
from trpose_ros.data.motion import vary_bones
from trpose_ros.data.registry import load_dataset
from trpose_ros.data.samples import DataError
from trpose_ros.data.samples import Sample
from trpose_ros.data.virtual_cameras import CameraConfig
from trpose_ros.data.virtual_cameras import NoiseConfig
from trpose_ros.lifters.missing import JointFiller
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training import lifting_samples
from trpose_ros.training.videopose3d_measure import TEST_SUBJECTS

Batch = tuple[np.ndarray, np.ndarray]  # (B, T, 17, 2) screen, (B, T, 17, 3) metres from the root


class Windows(Protocol):
    """A source of windows."""

    rate_hz: float
    credit: str

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """Return a batch of training windows."""
        ...

    def tests(self, count: int, rng: np.random.Generator) -> Iterator[tuple[str, Batch]]:
        """Yield names and windows of people that training never sees."""
        ...


class MotionWindows:
    """Motion packs seen by random cameras."""

    credit = (
        'CMU Motion Capture Database (mocap.cs.cmu.edu, funded by NSF EIA-0196217) and ACCAD, The '
        'Ohio State University (CC BY 3.0), seen by random virtual cameras'
    )

    def __init__(self, pack: MotionPack, frames: int, recipe: str) -> None:
        """Raise ValueError when no training clip is as long as a window."""
        self.rate_hz, self._pack, self._frames, self._recipe = pack.rate_hz, pack, frames, recipe
        self._train = pack.select('train')
        self._starts = self._train.window_starts(frames)
        if len(self._starts) == 0:
            raise ValueError(
                f'no training clip has {frames} frames at {pack.rate_hz:g} Hz; choose fewer frames'
            )

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """Return a batch, half of it mirrored, with bones of random proportions."""
        world = self._train.windows(rng.choice(self._starts, count), self._frames)
        sample = self._see(vary_bones(world, rng), rng)
        return (sample.joints if self._recipe == 'robust' else sample.exact), sample.target_m

    def tests(self, count: int, rng: np.random.Generator) -> Iterator[tuple[str, Batch]]:
        """Yield each test subject with exact and with noisy 2D."""
        for name, subject in TEST_SUBJECTS:
            clips = self._pack.select('test', subject)
            starts = clips.window_starts(self._frames)
            if len(starts) == 0:
                continue
            starts = np.sort(rng.choice(starts, min(len(starts), count), replace=False))
            sample = self._see(clips.windows(starts, self._frames), rng)
            yield f'{name} exact', (sample.exact, sample.target_m)
            yield f'{name} noisy', (sample.joints, sample.target_m)

    def _see(self, world_m: np.ndarray, rng: np.random.Generator) -> lifting_samples.Sample:
        cameras = CameraConfig(rate_hz=self.rate_hz)
        return lifting_samples.make_sample(world_m, rng, cameras, NoiseConfig(), JointFiller())


class DatasetWindows:
    """Windows around every annotated frame of a data set, its edges repeated."""

    def __init__(self, name: str, folder: str, keypoints: str, frames: int) -> None:
        """Read the data set; raises what its loader raises, DataError when nothing can be used."""
        options: dict[str, object] = {'keypoints': keypoints} if keypoints else {}
        self._name, self._frames = name, frames
        self._clips: dict[str, list[Batch]] = {'train': [], 'test': []}
        self._centres: dict[str, list[np.ndarray]] = {'train': [], 'test': []}
        rates = set()
        for sample in load_dataset(name, folder or None, **options):
            if sample.split in self._clips and self._add(sample):
                rates.add(sample.fps)
        if not self._clips['train']:
            raise DataError(f'{name} has no training clip with both 2D and 3D joints')
        self.rate_hz = float(np.median(sorted(rates)))
        self.credit = f'{name}, see docs/data.md for its licence'
        self._index = {part: _places(centres) for part, centres in self._centres.items()}

    def _add(self, sample: Sample) -> bool:
        if sample.joints_px is None or sample.joints_m is None:
            return False
        sample = sample.to_skeleton('h36m_17')
        joints, target = sample.screen().astype(np.float32), sample.relative_m()
        good = np.isfinite(joints).all(axis=(1, 2)) & np.isfinite(target).all(axis=(1, 2))
        good &= sample.valid.all(axis=1)
        if not good.any():
            return False
        # A frame that cannot be used shows the last one that can, as a stream would hold it.
        last = np.maximum.accumulate(np.where(good, np.arange(len(good)), np.argmax(good)))
        self._clips[sample.split].append((joints[last], target[last].astype(np.float32)))
        self._centres[sample.split].append(np.flatnonzero(good))
        return True

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """Return a batch, half of it mirrored."""
        joints, target = self._windows('train', rng.integers(0, len(self._index['train']), count))
        mirror = get_skeleton('h36m_17').mirror
        half = count // 2
        for array in (joints, target):
            array[:half] = array[:half][:, :, mirror]
            array[:half, ..., 0] *= -1
        return joints, target

    def tests(self, count: int, rng: np.random.Generator) -> Iterator[tuple[str, Batch]]:
        """Yield windows of the test split."""
        total = len(self._index['test'])
        if total:
            rows = np.sort(rng.choice(total, min(total, count), replace=False))
            yield f'{self._name} test', self._windows('test', rows)

    def _windows(self, part: str, rows: np.ndarray) -> Batch:
        reach = np.arange(self._frames) - self._frames // 2
        joints, target = [], []
        for clip, centre in self._index[part][rows]:
            screen, metres = self._clips[part][clip]
            frames = np.clip(centre + reach, 0, len(screen) - 1)
            joints.append(screen[frames])
            target.append(metres[frames])
        return np.stack(joints), np.stack(target)


def _places(centres: list[np.ndarray]) -> np.ndarray:
    """Return (N, 2): clip and frame of every window's centre."""
    rows = [np.stack([np.full(len(c), i), c], axis=1) for i, c in enumerate(centres)]
    return np.concatenate([np.zeros((0, 2), np.int64), *rows]).astype(np.int64)
