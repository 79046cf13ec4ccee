"""Where the windows of a lifter's training come from: motion packs, or a published data set.

Motion packs are seen by random cameras; a data set brings its own cameras and 2D. Both give batches
that depend on a generator alone, and held-out windows to measure on.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import numpy as np

from trpose_ros.cameras import normalise_screen
from trpose_ros.data.motion.limbs import swap_arms
from trpose_ros.data.motion.packs import MotionPack, vary_bones, vary_rate
from trpose_ros.data.motion.virtual_cameras import CameraConfig, NoiseConfig, add_noise
from trpose_ros.data.registry import load_dataset
from trpose_ros.data.samples import DataError
from trpose_ros.data.samples import Sample as Clip
from trpose_ros.lifters.streams.missing import JointFiller
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.lifters.masks import PARTS, draw_hidden, guess
from trpose_ros.training.lifters.samples import Sample, estimated, make_sample, marked

TEST_SUBJECTS = (('cmu', 'cmu014'), ('accad', 'accad_female1'))
TESTS = ('exact', 'noisy', 'part', 'rand', 'gap')

Batch = tuple[np.ndarray, np.ndarray]  # (B, T, 17, 2 or 3) screen, (B, T, 17, 3) m from the root
Rooted = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # and (B, T, 3) root, (B, 4) camera
_RANDOM = 0.3  # share of joints hidden at random in tests
_GAP = 10  # frames of a gap in tests, one of them the lifted one
_SWAPPED = 0.25  # share of windows with the arms of others
_FASTEST, _SLOWEST = 1.3, 0.75  # factors of the speed of half of the batches
_LOW_M, _LOW_WEIGHT = 0.6, 4.0  # a pelvis below this sits, kneels or lies: rare, so drawn more
_MIRROR = get_skeleton('h36m_17').mirror
_SPLITS = ('train', 'test')
_UNLABELLED = 'unlabelled'


class Windows(Protocol):
    """A source of windows."""

    rate_hz: float
    credit: str
    marked: bool  # joints come with a third number: whether they can be trusted

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """Return a batch of training windows."""
        ...

    def draw_rooted(self, rng: np.random.Generator, count: int, labelled: bool = True) -> Rooted:
        """Return a batch with roots in the camera's frame, m, and fx fy cx cy of the screen.

        Not ``labelled``: of people whose 3D is not to be used; it may be NaN. Raises DataError
        where there are none, or where cameras or positions are not known.
        """
        ...

    def tests(self, count: int, rng: np.random.Generator) -> Iterator[tuple[str, Batch]]:
        """Yield names and windows of people that training never sees."""
        ...


class MotionWindows:
    """Motion packs seen by random cameras.

    The recipe 'clean' gives exact 2D joints; 'robust' an estimator's, marked where it does not see:
    in half of the batches one of which little is known, in the others one of ``estimator``, names
    with commas between, whose errors were fitted (data/motion/keypoint_errors.py); '' leaves those
    out.
    """

    credit = (
        'CMU Motion Capture Database (mocap.cs.cmu.edu, funded by NSF EIA-0196217) and ACCAD, The '
        'Ohio State University (CC BY 3.0), seen by random virtual cameras'
    )

    def __init__(
        self, pack: MotionPack, frames: int, recipe: str, estimator: str = 'metrabs-small'
    ) -> None:
        """Raise ValueError when no training clip is as long as a window, or for an estimator."""
        self.rate_hz, self._pack, self._frames = pack.rate_hz, pack, frames
        self.marked = recipe == 'robust'
        self._noise, self._cameras = NoiseConfig(), CameraConfig(rate_hz=pack.rate_hz)
        self._robots = CameraConfig.robots(pack.rate_hz)
        self._noises = [self._noise]
        fitted = [name.strip() for name in estimator.split(',') if name.strip()]
        self._noises += [NoiseConfig.fitted(name, pack.rate_hz) for name in fitted]
        self._train = pack.select('train')
        self._starts = self._train.window_starts(frames)
        if len(self._starts) == 0:
            raise ValueError(
                f'no training clip has {frames} frames at {pack.rate_hz:g} Hz; choose fewer frames'
            )

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """Return a batch, half of it mirrored, with bones of random proportions."""
        return self.draw_rooted(rng, count)[:2]

    def draw_rooted(self, rng: np.random.Generator, count: int, labelled: bool = True) -> Rooted:
        """Return a batch with its roots and cameras; people of the split 'val' have no labels."""
        world = self._moved(*(self._labelled if labelled else self._unlabelled), rng, count)
        cameras = self._robots if rng.random() < 0.5 else self._cameras
        sample = make_sample(swap_arms(vary_bones(world, rng), rng, _SWAPPED), rng, cameras)
        joints = sample.exact
        if self.marked:
            errors = len(self._noises) > 1 and rng.random() < 0.5
            noise = self._noises[int(rng.integers(1, len(self._noises))) if errors else 0]
            joints = marked(*estimated(sample, noise, self.rate_hz, rng))
        return joints, sample.target_m, sample.root_m, sample.intrinsics

    def _moved(
        self,
        clips: MotionPack,
        starts: np.ndarray,
        chances: np.ndarray,
        rng: np.random.Generator,
        count: int,
    ) -> np.ndarray:
        """Return windows (B, T, 17, 3), half of the batches at other speeds."""
        frames = self._frames
        drawn = starts[chances.searchsorted(rng.random(count), side='right')]
        length = int(np.ceil(_FASTEST * (frames - 1))) + 1
        if rng.random() < 0.5:
            return clips.windows(drawn, frames)
        # A longer window around the same middle; at the end of a clip its last frames stay.
        reach = drawn[:, None] + np.arange(length) - (length - frames) // 2
        clip = np.searchsorted(clips.starts, drawn, side='right') - 1
        first, last = clips.starts[clip], clips.starts[clip] + clips.lengths[clip] - 1
        long = clips.joints_m[np.clip(reach, first[:, None], last[:, None])]
        return vary_rate(long, frames, rng, _SLOWEST)

    @cached_property
    def _labelled(self) -> tuple[MotionPack, np.ndarray, np.ndarray]:
        return self._train, self._starts, _chances(self._train, self._starts, self._frames)

    @cached_property
    def _unlabelled(self) -> tuple[MotionPack, np.ndarray, np.ndarray]:
        clips = self._pack.select('val')
        starts = clips.window_starts(self._frames)
        if len(starts) == 0:
            raise DataError(
                f"the motion packs have no clip of {self._frames} frames in the split 'val', whose "
                'people serve as those without labels'
            )
        return clips, starts, _chances(clips, starts, self._frames)

    def tests(self, count: int, rng: np.random.Generator) -> Iterator[tuple[str, Batch]]:
        """Yield each test subject as the windows of TESTS; what is hidden is guessed, not missing.

        'exact': true 2D joints. 'noisy': with an estimator's noise. 'part': one body part is not
        seen, 'rand': 30 % of the joints are not, 'gap': nothing is, for ten frames around the
        middle one.
        """
        for name, subject in TEST_SUBJECTS:
            clips = self._pack.select('test', subject)
            starts = clips.window_starts(self._frames)
            if len(starts) == 0:
                continue
            starts = np.sort(rng.choice(starts, min(len(starts), count), replace=False))
            sample = make_sample(clips.windows(starts, self._frames), rng, self._cameras)
            for kind in TESTS:
                joints, trusted = self._seen(sample, kind, rng)
                shown = marked(joints, trusted) if self.marked else joints
                yield f'{name} {kind}', (shown.astype(np.float32), sample.target_m)

    def _seen(
        self, sample: Sample, kind: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return joints and marks of one kind of test."""
        if kind == 'exact':
            return sample.exact, sample.inside
        if kind == 'noisy':
            noisy = add_noise(sample.exact, sample.half_height, self._noise, rng)
            seen = np.isfinite(noisy[..., 0])
            return JointFiller().fill_clips(noisy), seen & sample.inside
        hidden = hidden_for_test(sample.exact.shape[:3], kind, rng)
        guessed = guess(sample.exact, self.rate_hz, rng)
        joints = np.where(hidden[..., None], guessed, sample.exact)
        return joints, ~hidden & sample.inside


def _chances(clips: MotionPack, starts: np.ndarray, frames: int) -> np.ndarray:
    """Return (W,) the cumulative shares of windows: people near the floor are drawn more often."""
    middle = clips.joints_m[starts + frames // 2, 0, 2]
    chances = np.where(middle < _LOW_M, _LOW_WEIGHT, 1.0).cumsum()
    return np.asarray(chances / chances[-1])


def hidden_for_test(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return which joints (B, T, 17) a test hides; see ``MotionWindows.tests``."""
    hidden = np.zeros(shape, bool)
    if kind == 'part':
        hidden[:] = PARTS[np.arange(shape[0]) % len(PARTS)][:, None]
    elif kind == 'rand':
        hidden[:] = rng.random(shape) < _RANDOM
    else:
        first = shape[1] // 2 - rng.integers(0, _GAP, (shape[0], 1))
        t = np.arange(shape[1])
        hidden[:] = ((t >= first) & (t < first + _GAP))[..., None]
    return hidden


class DatasetWindows:
    """Windows around every annotated frame of a data set, its edges repeated.

    Its own 2D is what networks see; 'robust' hides parts of it.
    """

    def __init__(
        self,
        name: str,
        folder: str,
        keypoints: str,
        frames: int,
        recipe: str = 'clean',
        unlabelled: tuple[str, ...] = (),
    ) -> None:
        """Read the data set; raises what its loader raises, DataError when nothing can be used.

        ``unlabelled`` are subjects whose 2D alone is used.
        """
        options: dict[str, object] = {'keypoints': keypoints} if keypoints else {}
        self._name, self._frames, self.marked = name, frames, recipe == 'robust'
        self._clips: dict[str, list[Rooted]] = {'train': [], 'test': [], _UNLABELLED: []}
        self._centres: dict[str, list[np.ndarray]] = {part: [] for part in self._clips}
        rates = set()
        for sample in load_dataset(name, folder or None, **options):
            if sample.split in _SPLITS and self._add(sample, sample.split):
                rates.add(sample.fps)
        if unlabelled:
            for sample in load_dataset(name, folder or None, subjects=unlabelled, **options):
                self._add(sample, _UNLABELLED)
        if not self._clips['train']:
            raise DataError(f'{name} has no training clip with both 2D and 3D joints')
        self.rate_hz = float(np.median(sorted(rates)))
        self.credit = f'{name}, see docs/data.md for its licence'
        self._index = {part: _places(centres) for part, centres in self._centres.items()}

    def _add(self, sample: Clip, part: str) -> bool:
        labelled = part != _UNLABELLED
        if sample.joints_px is None or (labelled and sample.joints_m is None):
            return False
        sample = sample.to_skeleton('h36m_17')
        joints = sample.screen().astype(np.float32)
        good = np.asarray(np.isfinite(joints).all(axis=(1, 2)))
        target = np.full((*joints.shape[:2], 3), np.nan, np.float32)
        root = target[:, 0]
        if labelled:
            assert sample.joints_m is not None
            target = sample.relative_m().astype(np.float32)
            good &= np.isfinite(target).all(axis=(1, 2)) & sample.valid.all(axis=1)
            if not sample.root_relative:
                root = sample.joints_m[:, 0].astype(np.float32)
        if not good.any():
            return False
        # A frame that cannot be used shows the last one that can, as a stream would hold it.
        last = np.maximum.accumulate(np.where(good, np.arange(len(good)), np.argmax(good)))
        self._clips[part].append((joints[last], target[last], root[last], _screen_camera(sample)))
        self._centres[part].append(np.flatnonzero(good))
        return True

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """Return a batch, half of it mirrored."""
        joints, target, _, _ = self._drawn('train', rng, count)
        return joints, target

    def draw_rooted(self, rng: np.random.Generator, count: int, labelled: bool = True) -> Rooted:
        """Return a batch with its roots and cameras; see ``Windows``."""
        part = 'train' if labelled else _UNLABELLED
        if not len(self._index[part]):
            raise DataError(f'{self._name}: no subject without labels was named, or none has 2D')
        joints, target, root, camera = self._drawn(part, rng, count)
        if not np.isfinite(camera).all() or (labelled and not np.isfinite(root).all()):
            raise DataError(
                f'{self._name}: a trajectory model needs positions in the frame of a calibrated '
                'camera, and some clips have none'
            )
        return joints, target, root, camera

    def _drawn(self, part: str, rng: np.random.Generator, count: int) -> Rooted:
        rows = rng.integers(0, len(self._index[part]), count)
        joints, target, root, camera = self._windows(part, rows)
        half = count // 2
        for array in (joints, target):
            array[:half] = array[:half][:, :, _MIRROR]
            array[:half, ..., 0] *= -1
        root[:half, :, 0] *= -1
        camera[:half, 2] *= -1  # the principal point
        if not self.marked:
            return joints, target, root, camera
        hidden = draw_hidden(joints, rng)
        guessed = guess(joints, self.rate_hz, rng)
        seen = marked(np.where(hidden[..., None], guessed, joints), ~hidden)
        return seen, target, root, camera

    def tests(self, count: int, rng: np.random.Generator) -> Iterator[tuple[str, Batch]]:
        """Yield windows of the test split."""
        total = len(self._index['test'])
        if total:
            rows = np.sort(rng.choice(total, min(total, count), replace=False))
            joints, target = self._windows('test', rows)[:2]
            seen = np.ones(joints.shape[:3], bool)
            yield f'{self._name} test', (marked(joints, seen) if self.marked else joints, target)

    def _windows(self, part: str, rows: np.ndarray) -> Rooted:
        reach = np.arange(self._frames) - self._frames // 2
        windows = []
        for clip, centre in self._index[part][rows]:
            screen, metres, root, camera = self._clips[part][clip]
            frames = np.clip(centre + reach, 0, len(screen) - 1)
            windows.append((screen[frames], metres[frames], root[frames], camera))
        joints, target, roots, cameras = (np.stack(one) for one in zip(*windows, strict=True))
        return joints, target, roots, cameras


def _screen_camera(sample: Clip) -> np.ndarray:
    """Return fx fy cx cy in normalised screen coordinates, NaN for a camera that is not known."""
    if sample.camera is None:
        return np.full(4, np.nan, np.float32)
    matrix, half = sample.camera.matrix, sample.width / 2
    centre = normalise_screen(matrix[:2, 2], sample.width, sample.height)
    return np.array([matrix[0, 0] / half, matrix[1, 1] / half, *centre], np.float32)


def _places(centres: list[np.ndarray]) -> np.ndarray:
    """Return (N, 2): clip and frame of every window's centre."""
    rows = [np.stack([np.full(len(c), i), c], axis=1) for i, c in enumerate(centres)]
    return np.concatenate([np.zeros((0, 2), np.int64), *rows]).astype(np.int64)
