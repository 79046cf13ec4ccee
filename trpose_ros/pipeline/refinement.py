"""Refinement: the learned way to join the estimator's 3D and the lifted 3D; see fusion.py.

In place of constants a small recurrent network decides frame by frame what is worth how much. It
knows the past of each track, never the future, and works without a lifter, too. It takes whatever
people a frame has: a skeleton without a lifted one, a lifted one without a position, a body that
nobody sees and the tracker predicts.

All memory is kept per track and by stamps, and is forgotten when the fusion's is. Metres, camera
optical frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trpose_ros.people import Camera, People, RootSource, TrackState
from trpose_ros.pipeline.fusion import Fusion, FusionConfig, reprojection_errors_px
from trpose_ros.refinement.model import RefinementModel, State
from trpose_ros.refinement.moments import ROOT, SKELETON, Memory, observe, step


@dataclass
class _TrackMemory:
    """What is remembered of one track."""

    stamp_ns: int
    memory: Memory
    state: State


class Refinement(Fusion):
    """Joins the estimator's and the lifted skeletons of a stream of frames by a network."""

    alone = True

    def __init__(self, model: RefinementModel, config: FusionConfig | None = None) -> None:
        """Keep the network; of the fusion's settings ``root_smoothing_s`` counts here, too."""
        super().__init__(config)
        self.model, self.weights_id = model, model.weights_id
        self._tracks: dict[int, _TrackMemory] = {}

    def reset(self, track_id: int | None = None) -> None:
        """Forget one track, or all of them."""
        super().reset(track_id)
        if track_id is None:
            self._tracks.clear()
        else:
            self._tracks.pop(track_id, None)

    def fuse(
        self, people: People, lifted_m: np.ndarray, camera: Camera, root: int = ROOT
    ) -> People:
        """Return ``people`` with refined 3D joints, covariances and root sources.

        Arguments as those of ``Fusion.fuse``; people in other skeletons than the lifters' stay as
        they are, and so do those who are in no track, who are lost, or of whom nothing is known.

        Raises:
            ValueError: if the shapes do not match.

        """
        if lifted_m.shape != people.joints_m.shape:
            raise ValueError(
                f'lifted_m must have shape {people.joints_m.shape}, got {lifted_m.shape}; '
                "convert the people to the lifter's skeleton first"
            )
        for track_id in people.track_ids[people.track_states == TrackState.LOST]:
            self.reset(int(track_id))
        rows = _known(people, lifted_m)
        if people.skeleton != SKELETON or not len(rows):
            return people
        tracks = [self._track(int(people.track_ids[i]), people.stamp_ns) for i in rows]
        elapsed_s = np.array([people.stamp_ns - t.stamp_ns for t in tracks]) * 1e-9
        observation = observe(people.select(rows), lifted_m[rows], camera, elapsed_s)
        alone = len(tracks) == 1
        memory = tracks[0].memory if alone else Memory.join([track.memory for track in tracks])
        state = tracks[0].state if alone else State.join([track.state for track in tracks])
        moment, memory = step(observation, memory)
        found, state = self.model(moment, state)
        for i, track in enumerate(tracks):
            row = np.array([i])
            track.stamp_ns = people.stamp_ns
            track.memory = memory if alone else memory.select(row)
            track.state = state if alone else state.select(row)
        joints, covariances = people.joints_m.copy(), people.covariances_m2.copy()
        sources = people.root_sources.copy()
        roots = [self._root_of(people, int(i)) for i in rows]
        joints[rows] = found.joints_m + np.array([position for position, _ in roots])[:, None]
        covariances[rows] = found.covariances_m2
        sources[rows] = [source for _, source in roots]
        errors = reprojection_errors_px(joints, people, camera)
        errors[sources == RootSource.NONE] = np.nan  # relative to the root: nowhere in the image
        return people.replace(
            joints_m=joints,
            covariances_m2=covariances,
            root_sources=sources,
            reprojection_errors_px=errors,
        )

    def _root_of(self, people: People, i: int) -> tuple[np.ndarray, int]:
        """Return position (3,) and source of a root, filtered as by the fusion."""
        memory = self._step(int(people.track_ids[i]), people.stamp_ns)
        elapsed_s = (people.stamp_ns - memory.stamp_ns) * 1e-9
        memory.stamp_ns = people.stamp_ns
        position, _, source = self._root(
            memory, people.joints_m[i, ROOT].astype(np.float64), elapsed_s
        )
        return position, source

    def _track(self, track_id: int, stamp_ns: int) -> _TrackMemory:
        """Return the memory of a track, empty when it is new or time did not move forward."""
        track = self._tracks.get(track_id)
        if track is None or stamp_ns <= track.stamp_ns:
            track = _TrackMemory(stamp_ns, Memory.empty(1), self.model.start())
            self._tracks[track_id] = track
        return track


def _known(people: People, lifted_m: np.ndarray) -> np.ndarray:
    """Return the rows of people in tracks of whom a skeleton is known."""
    tracked = (people.track_ids >= 0) & (people.track_states != TrackState.LOST)
    estimated = people.joints_m - people.joints_m[:, ROOT : ROOT + 1]
    some = np.isfinite(estimated).all(axis=2).any(axis=1)
    some |= np.isfinite(lifted_m).all(axis=2).any(axis=1)
    return np.flatnonzero(tracked & some)
