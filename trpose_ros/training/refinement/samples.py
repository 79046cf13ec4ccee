"""Windows of tracks for training the refinement, changed in every way that live data may differ.

Rates from 1 to 120 Hz, frames left out, gaps of seconds, time running to and fro (a clip is as long
as a window may be that way), left and right, sizes of people, larger and smaller errors, other
errors beside them, and whatever may be missing: the lifted skeleton, the estimator's, joints,
scores, states, covariances. What is changed agrees: 2D, 3D and truth are those of one person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from trpose_ros.people import JointState
from trpose_ros.refinement.moments import (
    JOINTS,
    ROOT,
    SKELETON,
    Memory,
    Observation,
    fitted_roots,
    step,
)
from trpose_ros.refinement.network import Moments
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.refinement.sequences import Track

RATE_HZ = 30.0  # of the passes
_MIRROR = get_skeleton(SKELETON).mirror
_SPREAD = ('rays', 'scores', 'estimated_m', 'covariances_m2', 'lifted_m', 'true_m')  # interpolated


@dataclass
class Windows:
    """B windows of T frames."""

    elapsed_s: np.ndarray  # (B, T), 0 in the first frame
    rays: np.ndarray  # (B, T, 17, 2)
    scores: np.ndarray  # (B, T, 17)
    states: np.ndarray  # (B, T, 17)
    estimated_m: np.ndarray  # (B, T, 17, 3)
    covariances_m2: np.ndarray  # (B, T, 17, 3, 3)
    lifted_m: np.ndarray  # (B, T, 17, 3)
    true_m: np.ndarray  # (B, T, 17, 3)

    @classmethod
    def of(cls, track: Track) -> Windows:
        """Return a whole track as it is."""
        elapsed = np.diff(track.stamps_ns, prepend=track.stamps_ns[0]) * 1e-9
        names = [f.name for f in fields(cls)][1:]
        return cls(elapsed[None], *(getattr(track, name)[None] for name in names))

    @classmethod
    def stack(cls, parts: Sequence[Windows]) -> Windows:
        """Join windows of one length."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


def draw(
    tracks: Sequence[Track],
    weights: np.ndarray,
    count: int,
    frames: int,
    rng: np.random.Generator,
) -> Windows:
    """Return ``count`` changed windows."""
    chosen = [tracks[i] for i in rng.choice(len(tracks), count, p=weights)]
    windows = Windows.stack([_window(track, frames, rng) for track in chosen])
    _scale_errors(windows, rng)
    _add_errors(windows, rng)
    _resize(windows, rng)
    _mirror(windows)
    _leave_out(windows, rng)
    return windows


def moments_of(windows: Windows, dtype: torch.dtype = torch.float32) -> Moments:
    """Return what the network reads of windows."""
    w = windows
    batch, frames = w.elapsed_s.shape
    flat = (batch * frames, JOINTS)
    fitted = fitted_roots(
        w.lifted_m.reshape(*flat, 3), w.rays.reshape(*flat, 2), w.states.reshape(flat)
    ).reshape(batch, frames, 3)
    memory, found = Memory.empty(batch), []
    for t in range(frames):
        observation = Observation(
            w.elapsed_s[:, t],
            w.rays[:, t],
            w.scores[:, t],
            w.states[:, t],
            w.estimated_m[:, t],
            w.covariances_m2[:, t],
            w.lifted_m[:, t],
            fitted[:, t],
        )
        moment, memory = step(observation, memory)
        found.append(moment)
    arrays = [np.stack([getattr(m, name) for m in found], axis=1) for name in Moments._fields]
    return Moments(
        *(
            torch.from_numpy(array).to(torch.bool if array.dtype == bool else dtype)
            for array in arrays
        )
    )


def _window(track: Track, frames: int, rng: np.random.Generator) -> Windows:
    """Return one window of a track at a rate of its own, with frames left out."""
    kind = rng.random()
    stride = 1.0
    if kind < 0.1:
        stride = float(rng.choice([0.25, 0.5, 0.6]))  # 120, 60, 50 Hz
    elif kind < 0.3:
        stride = float(rng.integers(2, 5))
    elif kind < 0.37:
        stride = float(rng.integers(5, 31))
    steps = np.arange(4 * frames)
    kept = rng.random(len(steps)) >= (rng.uniform(0, 0.4) if rng.random() < 0.3 else 0.0)
    if rng.random() < 0.25:
        begin = int(rng.integers(1, frames))
        kept[begin : begin + int(rng.integers(2, frames))] = False
    kept[0] = True
    steps = np.flatnonzero(kept)[:frames]
    last = len(track) - 1
    places = rng.uniform(0, 2 * last) + stride * steps
    if stride == round(stride):
        places = np.round(places)
    places = last - np.abs(places % (2 * last) - last)  # to and fro
    seconds = np.interp(places, np.arange(len(track)), track.stamps_ns * 1e-9)
    elapsed = np.abs(np.diff(seconds, prepend=seconds[0]))
    elapsed[1:] = np.maximum(elapsed[1:], np.diff(steps) * stride / RATE_HZ)
    low = np.minimum(np.floor(places).astype(int), last - 1)
    share = places - low
    near = low + (share > 0.5)
    values = {}
    for f in fields(Windows)[1:]:
        array = getattr(track, f.name)
        if f.name in _SPREAD:
            mix = share.reshape(-1, *[1] * (array.ndim - 1))
            mixed = array[low] * (1 - mix) + array[low + 1] * mix
            # NaN beside a frame that is taken as it is says nothing about it
            exact = np.isclose(mix, np.round(mix))
            values[f.name] = np.where(exact, array[near], mixed)[None]
        else:
            values[f.name] = array[near][None]
    return Windows(elapsed[None], **values)


def _scale_errors(w: Windows, rng: np.random.Generator) -> None:
    """Make errors of the skeletons larger or smaller, each in its own way."""
    count = len(w.elapsed_s)
    true = w.true_m - w.true_m[:, :, ROOT : ROOT + 1]
    factor = rng.uniform(0.7, 1.3, (2, count, 1, 1, 1))
    root = w.estimated_m[:, :, ROOT : ROOT + 1]
    relative = w.estimated_m - root
    w.estimated_m = true + factor[0] * (relative - true) + root
    w.covariances_m2 = w.covariances_m2 * factor[0][..., None] ** 2
    w.lifted_m = true + factor[1] * (w.lifted_m - true)


def _add_errors(w: Windows, rng: np.random.Generator) -> None:
    """Add offsets that stay and jitter that does not to skeletons, and to the distance."""
    shape = w.estimated_m.shape
    for name in ('estimated_m', 'lifted_m'):
        level = rng.uniform(0, 1, (shape[0], 1, 1, 1)) * (rng.random((shape[0], 1, 1, 1)) < 0.5)
        fixed = rng.normal(0, 0.02, (shape[0], 1, *shape[2:]))
        noise = level * (fixed + rng.normal(0, 0.01, shape))
        noise[:, :, ROOT] = 0
        setattr(w, name, getattr(w, name) + noise)
    factor = np.exp(rng.normal(0, 0.04, (shape[0], 1, 1, 1)))
    root = w.estimated_m[:, :, ROOT : ROOT + 1]
    w.estimated_m = w.estimated_m + (factor - 1) * root


def _resize(w: Windows, rng: np.random.Generator) -> None:
    """Make some people larger or smaller, and so much farther away: images stay the same."""
    count = len(w.elapsed_s)
    factor = np.where(rng.random(count) < 0.5, rng.uniform(0.92, 1.08, count), 1.0)
    factor = factor[:, None, None, None]
    w.estimated_m, w.lifted_m, w.true_m = (
        w.estimated_m * factor,
        w.lifted_m * factor,
        w.true_m * factor,
    )
    w.covariances_m2 = w.covariances_m2 * factor[..., None] ** 2


def _mirror(w: Windows) -> None:
    """Exchange left and right in half of the windows."""
    half = slice(0, len(w.elapsed_s) // 2)
    flip = np.array([-1.0, 1.0, 1.0])
    for name in ('rays', 'scores', 'states', 'estimated_m', 'covariances_m2', 'lifted_m', 'true_m'):
        array = getattr(w, name).copy()
        array[half] = array[half][:, :, _MIRROR]
        if name == 'covariances_m2':
            array[half] *= np.outer(flip, flip)
        elif name not in ('scores', 'states'):
            array[half] *= flip[: array.shape[-1]]
        setattr(w, name, array)


def _leave_out(w: Windows, rng: np.random.Generator) -> None:
    """Take away what may be missing, for a whole window or for a while."""
    count, frames = w.elapsed_s.shape

    def while_(share: float) -> np.ndarray:
        """Return (B, T) bool: a run of frames in a share of the windows."""
        begin = rng.integers(-frames // 2, frames, count)[:, None]
        length = rng.integers(1, frames // 2, count)[:, None]
        t = np.arange(frames)
        some = np.less(rng.random(count), share)[:, None]
        return np.asarray(some & (t >= begin) & (t < begin + length))

    w.lifted_m[np.less(rng.random(count), 0.08)[:, None] | while_(0.1)] = np.nan
    w.covariances_m2[np.less(rng.random(count), 0.15)] = np.nan
    w.scores[np.less(rng.random(count), 0.1)] = np.nan
    w.states[np.less(rng.random(count), 0.05)] = JointState.UNKNOWN
    joints = while_(0.1)[..., None] & (rng.random((count, 1, JOINTS)) < 0.3)
    w.rays[joints] = np.nan
    joints[..., ROOT] = False
    w.estimated_m[joints & (rng.random((count, 1, 1)) < 0.5)] = np.nan
    lost = while_(0.08)  # nothing was measured: the tracker holds the last skeleton
    lost[:, 0] = False
    for b, t in zip(*np.nonzero(lost), strict=True):
        w.estimated_m[b, t], w.rays[b, t] = w.estimated_m[b, t - 1], w.rays[b, t - 1]
        w.lifted_m[b, t] = w.covariances_m2[b, t] = w.scores[b, t] = np.nan
        w.states[b, t] = JointState.UNOBSERVED
