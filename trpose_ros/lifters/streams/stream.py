"""LifterStream: people's 2D joints in, frame by frame; stable root-relative 3D skeletons out.

The stream owns tracks and time, its core (base.py) the network. For each track it

1. fills missing joints (missing.py), marks those that cannot be trusted where the network takes
   marks, and places the observation on the grid of network frames
   (clock.py), interpolating frames that were left out;
2. gives the new network frames of all tracks to the core, moment by moment, all tracks and their
   mirrored copies as one batch;
3. returns a skeleton for each observation as soon as ``look_ahead`` later network frames are
   known: the core's own look-ahead and, where poses are smoothed (smoothing.py), those of the
   mean. At the start of a track the first frame counts as repeated endlessly before it, at its
   end (``flush``) the last one after it, as the published evaluations pad their clips.

A track restarts after a gap longer than ``max_gap_s``; all restart when time runs backward. The
same stream serves live and replay: the same frames give the same numbers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import torch

from trpose_ros.frame_period import FramePeriod
from trpose_ros.lifters.streams.base import Core, Lifted, LifterConfig
from trpose_ros.lifters.streams.clock import FrameClock, Placement
from trpose_ros.lifters.streams.missing import JointFiller
from trpose_ros.lifters.streams.smoothing import Smoother
from trpose_ros.people import JointState
from trpose_ros.skeletons import get_skeleton

_LOG = logging.getLogger(__name__)
_FAR = 1.5  # factor between the camera's and the training rate that is worth a warning
_SURE = 4  # intervals that tell the camera's rate


@dataclass
class _Track:
    """State of one track. Indices count network frames since the track's first."""

    track_id: int
    clock: FrameClock
    slot: int
    filled: np.ndarray  # (J, values_in) last observation, stand-ins included
    newest: int = -1  # index of the newest network frame given to the core
    emitted: int = -1  # index up to which poses were computed
    waiting: list[tuple[int, float]] = field(default_factory=list)  # (stamp, position)
    poses: dict[int, np.ndarray] = field(default_factory=dict)  # index -> (J + roots, 3)
    frames: list[np.ndarray] = field(default_factory=list)  # network frames for the core
    closing: bool = False  # no further observation will come


class LifterStream:
    """Streams any number of tracks through one lifter.

    Attributes:
        window: network frames that one result depends on.
        look_ahead: network frames of future that a result waits for, the core's own and the
            ``smoothing`` of the configuration together.
        hop: network frames between two runs of the network.
        rate_hz: training rate, to which input is resampled.
        delay_s: longest time from a frame's stamp to its result, in stamps (one frame more when
            the camera's rate does not fit the training rate).
        skeleton_in: order of the 2D joints.

    """

    skeleton_in = 'h36m_17'

    def __init__(
        self,
        core: Core,
        config: LifterConfig,
        *,
        rate_hz: float,
        weights_id: str,
        licence: str = '',
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = 'cpu',
    ) -> None:
        if config.hop > core.most:
            raise ValueError(
                f'hop must be 1..{core.most} for {config.name} with look_ahead '
                f'{core.look_ahead}, got {config.hop}'
            )
        self.core, self.config = core, config
        self.name, self.weights_id, self.licence = config.name, weights_id, licence
        self._smoother = Smoother(config.smoothing)
        self.window = core.window + 2 * config.smoothing
        self.look_ahead, self.hop = core.look_ahead + config.smoothing, config.hop
        self.rate_hz = rate_hz
        self.delay_s = (self.look_ahead + config.hop - 1) / rate_hz
        self._dtype, self._device = dtype, device
        self._numpy_dtype = np.float64 if dtype == torch.float64 else np.float32
        self._mirror = get_skeleton(self.skeleton_in).mirror.tolist()
        self._filler = JointFiller(self.skeleton_in)
        self._tracks: dict[int, _Track] = {}
        self._free: list[int] = []
        self._capacity = 0
        self._last_ns: int | None = None
        self._period = FramePeriod()
        self._warned = False

    def __len__(self) -> int:
        """Return the number of tracks that hold state."""
        return len(self._tracks)

    def push(
        self,
        stamp_ns: int,
        track_ids: np.ndarray,
        joints: np.ndarray,
        states: np.ndarray | None = None,
    ) -> list[Lifted]:
        """Take the people of one frame; return the skeletons that became sure.

        Args:
            stamp_ns: of the frame. Before the last one: everything restarts, what was still
                waiting is dropped. Equal to the last one: the frame is ignored.
            track_ids: (N,) distinct integers.
            joints: (N, 17, 2) normalised screen coordinates, NaN = missing.
            states: (N, 17) JointState; UNOBSERVED joints count as missing, because they are
                predictions and no measurements. A person without any joint is not in this frame.
                Networks with marks see missing, OCCLUDED and TRUNCATED joints marked.

        Returns:
            Results ordered by stamp, then by track.

        Raises:
            ValueError: shapes do not fit or a track id occurs twice.

        """
        track_ids, joints = self._checked(track_ids, joints, states)
        trusted = np.isfinite(joints).all(axis=2)
        if states is not None:
            trusted &= ~np.isin(states, (JointState.OCCLUDED, JointState.TRUNCATED))
        if self._last_ns is not None and stamp_ns < self._last_ns:
            self.reset()
        if stamp_ns == self._last_ns:
            return []
        self._last_ns = stamp_ns
        self._period.push(stamp_ns)
        self._warn_rate()
        results = self._retire(stamp_ns)
        present = np.isfinite(joints).all(axis=2).any(axis=1)
        self._observe(stamp_ns, track_ids[present].tolist(), joints[present], trusted[present])
        results += self._advance([self._tracks[i] for i in track_ids[present].tolist()])
        return self._sorted(results)

    def flush(self) -> list[Lifted]:
        """End all tracks and return what was still waiting, with the last frame repeated."""
        results = self._end(list(self._tracks))
        self._last_ns = None
        return self._sorted(results)

    def reset(self, track_id: int | None = None) -> None:
        """Forget one track, or all; what was waiting is dropped. An unknown track is fine."""
        for key in list(self._tracks) if track_id is None else [track_id]:
            self._forget(key)
        if track_id is None:
            self._last_ns = None

    def _checked(
        self, track_ids: np.ndarray, joints: np.ndarray, states: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        track_ids = np.asarray(track_ids)
        joints = np.array(joints, dtype=self._numpy_dtype)
        count = len(self._mirror)
        if joints.shape != (len(track_ids), count, 2):
            raise ValueError(
                f'joints must be ({len(track_ids)}, {count}, 2) for {len(track_ids)} track ids, '
                f'got {joints.shape}'
            )
        if len(set(track_ids.tolist())) != len(track_ids):
            raise ValueError(f'track ids must be distinct, got {track_ids.tolist()}')
        joints[~np.isfinite(joints).all(axis=2)] = np.nan
        if states is not None:
            states = np.asarray(states)
            if states.shape != joints.shape[:2]:
                raise ValueError(f'states must be {joints.shape[:2]}, got {states.shape}')
            joints[states == JointState.UNOBSERVED] = np.nan
        return track_ids, joints

    def _retire(self, stamp_ns: int) -> list[Lifted]:
        """End the tracks whose last observation is too long ago."""
        limit = stamp_ns - int(self.config.max_gap_s * 1e9)
        return self._end([i for i, t in self._tracks.items() if t.clock.stamp_ns < limit])

    def _observe(
        self, stamp_ns: int, track_ids: list[int], joints: np.ndarray, trusted: np.ndarray
    ) -> None:
        """Turn observations into network frames of their tracks."""
        unknown = np.full(joints.shape[1:], np.nan, joints.dtype)
        tracks = self._tracks
        previous = [tracks[i].filled[:, :2] if i in tracks else unknown for i in track_ids]
        filled = self._filler.fill(joints, np.array(previous).reshape(joints.shape))
        if self.core.values_in == 3:
            filled = np.concatenate([filled, trusted[..., None].astype(filled.dtype)], axis=2)
        for track_id, frame in zip(track_ids, filled, strict=True):
            track = self._tracks.get(track_id)
            if track is None:
                track = _Track(track_id, FrameClock(self.rate_hz), self._allocate(), frame)
                self._tracks[track_id] = track
                placement = track.clock.first(stamp_ns)
            else:
                placement = track.clock.place(stamp_ns)
            self._append(track, frame, placement)
            track.waiting.append((stamp_ns, placement.position))
            track.filled = frame

    @staticmethod
    def _append(track: _Track, frame: np.ndarray, placement: Placement) -> None:
        for share in placement.shares:
            mixed = frame if share == 1.0 else (1 - share) * track.filled + share * frame
            track.frames.append(mixed)

    def _warn_rate(self) -> None:
        """Say once that frames come at a rate that the network does not know."""
        period_s = self._period.seconds
        if self._warned or len(self._period) < _SURE:
            return
        if 1 / _FAR <= period_s * self.rate_hz <= _FAR:
            return
        self._warned = True
        _LOG.warning(
            'people arrive at %.1f Hz but %s was trained at %.1f Hz; input is resampled by its '
            'stamps, and results are best near the training rate%s',
            1 / period_s,
            self.name,
            self.rate_hz,
            '; frames are further apart than max_gap_s, so every one is lifted by itself, as if '
            'the person stood still'
            if period_s > self.config.max_gap_s
            else '',
        )

    def _advance(self, tracks: list[_Track]) -> list[Lifted]:
        """Give the tracks' network frames to the core, one per track and round."""
        active = [track for track in tracks if track.frames]
        while active:
            groups: dict[int, list[_Track]] = {}
            for track in active:
                track.newest += 1
                groups.setdefault(self._due(track), []).append(track)
            for count, members in sorted(groups.items()):
                self._step(members, count)
            active = [track for track in active if track.frames]
        return [result for track in tracks for result in self._ready(track)]

    def _due(self, track: _Track) -> int:
        """Return how many poses the core should compute with the next frame, 0 for none."""
        sure = track.newest - self.core.look_ahead
        count = sure - track.emitted
        final = track.closing and len(track.frames) == 1
        if count < (1 if final else self.hop):
            return 0
        if self.hop == 1 and not self._wanted(track, sure):
            track.emitted = sure
            return 0
        return count

    def _wanted(self, track: _Track, index: int) -> bool:
        """Say whether an observation waits for the pose of this network frame."""
        side = self._smoother.side
        for _, position in track.waiting:  # in ascending order
            if np.floor(position) - side > index:
                return False
            if index <= np.ceil(position) + side:
                return True
        return False

    def _step(self, tracks: list[_Track], count: int) -> None:
        """Give one network frame of each track to the core and keep the poses it returns."""
        frames = torch.from_numpy(np.stack([track.frames.pop(0) for track in tracks]))
        frames = frames.to(self._device, self._dtype)
        if self.config.flip:
            signs = [-1, 1, 1][: frames.shape[2]]
            mirrored = frames[:, self._mirror] * frames.new_tensor(signs)
            frames = torch.cat([frames, mirrored])
        slots = self._slots(tracks)
        fresh = [i for i, track in enumerate(tracks) if track.newest == 0]
        if fresh:
            both = fresh + [i + len(tracks) for i in fresh] if self.config.flip else fresh
            self.core.start(slots[both], frames[both])
        self._keep(tracks, self.core.step(slots, frames, count), count)

    def _slots(self, tracks: list[_Track]) -> torch.Tensor:
        slots = [track.slot for track in tracks]
        if self.config.flip:
            slots = slots + [slot + 1 for slot in slots]
        return torch.tensor(slots, device=self._device)

    def _keep(self, tracks: list[_Track], poses: torch.Tensor | None, count: int) -> None:
        """Store (N, count, J, 3) poses under the network frames they belong to."""
        if poses is None:
            return
        if self.config.flip:
            poses = self._averaged(poses)
        for track, pose in zip(tracks, poses.cpu().numpy(), strict=True):
            track.emitted = track.newest - self.core.look_ahead
            for k in range(count):
                track.poses[track.emitted - count + 1 + k] = pose[k]

    def _averaged(self, poses: torch.Tensor) -> torch.Tensor:
        """Average the poses of the first half of the batch with those of the mirrored half."""
        order = [*self._mirror, *range(len(self._mirror), poses.shape[2])]
        plain, mirrored = poses.chunk(2)
        return (plain + mirrored[:, :, order] * poses.new_tensor([-1, 1, 1])) / 2

    def _ready(self, track: _Track) -> list[Lifted]:
        """Return results for the observations whose poses are there."""
        results = []
        side = self._smoother.side
        while track.waiting and np.ceil(track.waiting[0][1]) + side <= track.emitted:
            stamp_ns, position = track.waiting.pop(0)
            low, share = int(np.floor(position)), position - np.floor(position)
            pose = self._smoother(track.poses, low)
            if share > 0:
                pose = (1 - share) * pose + share * self._smoother(track.poses, low + 1)
            joints = pose[: len(self._mirror)].copy()
            joints[0] = 0
            root = pose[-1].copy() if self.core.root_joints else None
            results.append(Lifted(track.track_id, stamp_ns, joints, root))
        keep = np.floor(track.waiting[0][1]) if track.waiting else track.emitted
        for index in [i for i in track.poses if i < keep - side]:
            del track.poses[index]
        return results

    def _end(self, track_ids: list[int]) -> list[Lifted]:
        """Repeat the last frame of these tracks until nothing waits, return it, forget them."""
        results: list[Lifted] = []
        tracks = [self._tracks[i] for i in track_ids]
        for track in tracks:
            if not track.waiting:
                continue
            stamp_ns, position = track.waiting[-1]
            if position != np.floor(position):
                closing = track.clock.close()
                self._append(track, track.filled, closing)
                track.waiting[-1] = (stamp_ns, closing.position)
            track.frames += [track.filled] * self.look_ahead
            if self.hop == self.core.most > 1:
                # Disjoint windows: a clip shorter than the window is repeated to its length.
                track.frames += [track.filled] * (
                    self.core.window - 1 - track.newest - len(track.frames)
                )
            track.closing = True
        results += self._advance([track for track in tracks if track.waiting])
        for track in tracks:
            if track.waiting:  # hops do not end where the clip ends
                count = track.newest - self.core.look_ahead - track.emitted
                self._keep([track], self.core.step(self._slots([track]), None, count), count)
                results += self._ready(track)
        for key in track_ids:
            self._forget(key)
        return results

    @staticmethod
    def _sorted(results: list[Lifted]) -> list[Lifted]:
        return sorted(results, key=lambda result: (result.stamp_ns, result.track_id))

    def _allocate(self) -> int:
        """Return a free slot of the core (the first of two with flip averaging)."""
        width = 2 if self.config.flip else 1
        if not self._free:
            new = max(1, self._capacity)
            self._free = [width * i for i in range(self._capacity, self._capacity + new)][::-1]
            self._capacity += new
            self.core.reserve(width * self._capacity)
        return self._free.pop()

    def _forget(self, track_id: int) -> None:
        """Free a track's state; the rings go with the last track."""
        track = self._tracks.pop(track_id, None)
        if track is None:
            return
        self._free.append(track.slot)
        if not self._tracks:
            self._free, self._capacity = [], 0
            self.core.reserve(0)
