"""Several cameras' people in, one skeleton each out, in the world frame.

``push`` takes what one camera saw in one frame, in whatever order cameras send. Results have the
stamps of the first camera of the rig that sends any. A time is worked on when all cameras that send
have got there, or after ``max_wait_s`` without those that are late; so the same people in the same
order give the same results, live and offline. All times are stamps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.multiview.grouping import Group, group
from trpose_ros.multiview.health import CameraHealth, Health
from trpose_ros.multiview.joining import Joined, join
from trpose_ros.multiview.rig import Extrinsics, Placement, Rig
from trpose_ros.multiview.sights import Sights, sights_of
from trpose_ros.multiview.views import View, Views, intrinsics_of
from trpose_ros.multiview.world_tracks import WorldTrack, WorldTracks
from trpose_ros.people import (
    Camera,
    JointState,
    People,
    Provenance,
    RootSource,
    TrackState,
)

_BACK_NS = 1_000_000_000  # a stamp that goes back farther is a recording that starts again
_DOUBT_S = 1.0  # whom a camera has just taken for somebody else is not yet another person
_SAME_M = 0.3  # beside its rays, of a person whom no camera knows any more


@dataclass(frozen=True)
class MultiviewConfig:
    """How people of several cameras are joined."""

    max_wait_s: float = setting(
        0.1, 'wait so long for cameras that are late, s by their stamps', range=(0.0, 5.0)
    )
    hold_s: float = setting(
        0.25, 'a frame says something about times this near to it, s', range=(0.01, 2.0)
    )
    gate: float = setting(
        2.5, 'two people of two cameras farther apart are not one, standard deviations',
        range=(0.5, 10.0),
    )  # fmt: skip
    least_cameras: int = setting(
        1, 'people whom fewer cameras see do not become new skeletons', range=(1, 64)
    )
    most_sigma_m: float = setting(
        0.5, 'joints that are less certain have no position, m', range=(0.01, 10.0)
    )
    confirm_s: float = setting(0.1, 'a person is NEW until so old, s', range=(0.0, 10.0))
    lost_s: float = setting(1.0, 'somebody not seen for longer is LOST, s', range=(0.0, 60.0))
    lost_new_s: float = setting(0.3, 'the same for somebody who is still NEW, s', range=(0.0, 60.0))
    remember_s: float = setting(
        8.0,
        'somebody whom a camera knows again within this gets the old id, s',
        range=(0.0, 600.0),
    )
    silent_s: float = setting(
        1.0, 'a camera of which nothing comes while the others go on for so long is silent, s',
        range=(0.1, 60.0),
    )  # fmt: skip
    any_frame: bool = setting(
        False, 'take people of another frame_id than the calibration says of their camera'
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass(frozen=True)
class Fused:
    """People at one time."""

    people: People  # in the world frame; joints_px are NaN: there is no image
    cameras: tuple[str, ...]  # those of the rig
    weights: np.ndarray  # (N, V, J) what each camera counted, 0 .. 1


class Multiview:
    """Joins the people of several cameras; see the module."""

    def __init__(
        self,
        rig: Rig,
        config: MultiviewConfig | None = None,
        extrinsics: Extrinsics | None = None,
    ) -> None:
        """Take the cameras of a rig; ``extrinsics`` knows where they are instead of the rig."""
        self.rig = rig
        self.config = config or MultiviewConfig()
        self._extrinsics: Extrinsics = extrinsics or rig
        self._health = Health(rig.names)
        self._tracks = WorldTracks()
        self._views = Views(rig, self.config.silent_s)
        self._skeleton = ''
        self._last_ns: int | None = None
        self.restarts = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything but the numbers that were given."""
        self._views = Views(self.rig, self.config.silent_s)
        self._health.reset()
        self._tracks.clear()
        self._skeleton = ''
        self._last_ns = None

    @property
    def health(self) -> list[CameraHealth]:
        """Return how each camera is, with what is wrong in words."""
        for camera, view in zip(self._health.cameras, self._views, strict=True):
            camera.idle_s = self._views.idle_s(view)
        return [
            dataclasses.replace(camera, problem=self._views.problem(view) or camera.problem)
            for camera, view in zip(self._health.cameras, self._views, strict=True)
        ]

    def push(self, name: str, people: People, camera: Camera | None = None) -> list[Fused]:
        """Take the people of one frame of a camera; return what became sure with it.

        Args:
            name: of the camera in the rig.
            people: in the optical frame of the camera.
            camera: intrinsics of the frame; None takes those of the rig.

        Raises:
            ValueError: the frame cannot be used; the message says why. The next one may.

        """
        place = self.rig.names.index(self.rig[name].name)
        view = self._views[place]
        stamp_ns = people.stamp_ns + round(view.rig.time_offset_s * 1e9)
        try:
            placement, camera = self._check(view, people, camera, stamp_ns)
        except ValueError as error:
            view.problem = str(error)
            raise
        view.problem = ''
        newest = view.history.newest_ns
        if newest is not None and stamp_ns < newest - _BACK_NS:
            self.restarts += 1
            self.reset()
            view = self._views[place]
        self._skeleton = people.skeleton
        self._views.add(view, sights_of(people, camera, placement, stamp_ns))
        view.camera, view.placement, view.provenance = camera, placement, people.provenance
        health = self._health.cameras[place]
        health.frames, health.people = health.frames + 1, len(people)
        return self._ready(self.config.max_wait_s)

    def flush(self) -> list[Fused]:
        """Return what still waits for other cameras, at the end of a recording."""
        return self._ready(-1.0)

    def _check(
        self, view: View, people: People, camera: Camera | None, stamp_ns: int
    ) -> tuple[Placement, Camera]:
        """Return where a frame was taken and with what; raises ValueError."""
        name, wanted = view.rig.name, view.rig.frame_id
        if wanted and people.frame_id and people.frame_id != wanted and not self.config.any_frame:
            raise ValueError(
                f'{name}: people have frame_id {people.frame_id!r:.80}, the calibration is of '
                f'{wanted!r:.80}: mend the topic or the calibration, or set any_frame'
            )
        others = [o for o in self._views if o is not view and o.history.newest_ns is not None]
        if others and people.skeleton != self._skeleton:
            raise ValueError(
                f'{name}: people have skeleton {people.skeleton!r:.80}, those of the other cameras '
                f'{self._skeleton!r:.80}: give all cameras the same'
            )
        camera = intrinsics_of(name, people, camera, view.rig.intrinsics)
        placement = self._extrinsics.extrinsics(view.rig.frame, stamp_ns)
        if placement is None:
            raise ValueError(f'{name}: nobody knows where {view.rig.frame!r:.80} was at its time')
        return placement, camera

    def _ready(self, wait_s: float) -> list[Fused]:
        """Work on all times that need not wait any more."""
        alive = self._views.alive()
        if not any(alive):
            return []
        pacing = self._views.pacing(alive, self.config.hold_s)
        found = []
        for stamp_ns in self._views.due(alive, pacing, self._last_ns, wait_s):
            self._last_ns = stamp_ns
            found.append(self._fuse(stamp_ns, alive, pacing))
        return found

    def _fuse(self, stamp_ns: int, alive: Sequence[bool], pacing: View) -> Fused:
        config = self.config
        sights = [
            view.history.at(stamp_ns, config.hold_s) if lives else None
            for view, lives in zip(self._views, alive, strict=True)
        ]
        known = [
            [] if s is None else [self._tracks.of((k, int(i))) for i in s.ids]
            for k, s in enumerate(sights)
        ]
        groups = group(sights, known, config.gate)
        joined: dict[int, tuple[Joined, Group]] = {}
        for one in groups:
            track = self._track_of(one, sights, known, set(joined), stamp_ns)
            if track is not None:
                joined[track.id] = self._join(track, one, sights, stamp_ns), one
        self._health.update(stamp_ns, self._strange(groups, sights, joined, alive), alive)
        for track in self._tracks.tracks:
            if track.id not in joined:
                track.state = TrackState.SEARCHING
        gone = self._tracks.remove_lost(stamp_ns, config.lost_s, config.lost_new_s)
        everybody = sorted([*self._tracks.tracks, *gone], key=lambda track: track.id)
        return self._result(stamp_ns, everybody, joined, pacing)

    def _links(self, one: Group, sights: Sequence[Sights | None]) -> set[tuple[int, int]]:
        views = [(member, sights[member.camera]) for member in one]
        return {(m.camera, int(view.ids[m.row])) for m, view in views if view is not None}

    def _track_of(
        self,
        one: Group,
        sights: Sequence[Sights | None],
        known: Sequence[Sequence[int]],
        taken: set[int],
        stamp_ns: int,
    ) -> WorldTrack | None:
        """Return the track that a group is; a new one where it is nobody's, None for nobody."""
        if len(one) == 1 and self._health.cameras[one[0].camera].ignored:
            return None
        links = self._links(one, sights)
        votes = [known[m.camera][m.row] for m in one if known[m.camera][m.row] >= 0]
        free = sorted({v for v in votes if v not in taken}, key=lambda v: (-votes.count(v), v))
        by_id = {track.id: track for track in self._tracks.tracks}
        if free:
            for other in free[1:]:  # one person after all
                if by_id[other].links <= links:
                    self._tracks.drop(by_id[other])
            return by_id[free[0]]
        if votes and all(self._tracks.age_s(link, stamp_ns) < _DOUBT_S for link in links):
            return None
        beside = [
            (self._beside_m(track, one, sights, stamp_ns), track.id)
            for track in self._tracks.tracks
            if track.id not in taken and track.id not in votes and track.seen_ns < stamp_ns
        ]
        nearest = min(beside, default=(np.inf, -1))
        if nearest[0] <= _SAME_M:
            return by_id[nearest[1]]
        if len(one) < self.config.least_cameras:
            return None
        joints = next(s.rays.shape[1] for s in sights if s is not None)
        return self._tracks.start(links, joints, stamp_ns, self.config.remember_s)

    def _beside_m(
        self, track: WorldTrack, one: Group, sights: Sequence[Sights | None], stamp_ns: int
    ) -> float:
        """Return how far a track's joints are beside the rays of a group, the worst camera's."""
        expected = track.predict(stamp_ns).joints_m
        worst = 0.0
        for member in one:
            view = sights[member.camera]
            assert view is not None
            offset = expected - view.origin_m
            along = np.einsum('jc,jc->j', view.rays[member.row], offset)
            apart = np.linalg.norm(offset - along[:, None] * view.rays[member.row], axis=-1)
            apart = apart[np.isfinite(apart)]
            worst = max(worst, float(np.median(apart)) if len(apart) else np.inf)
        return worst

    def _join(
        self, track: WorldTrack, one: Group, sights: Sequence[Sights | None], stamp_ns: int
    ) -> Joined:
        views = [(m, sights[m.camera]) for m in one]
        members = [(m.camera, view, m.row) for m, view in views if view is not None]
        links = [(camera, int(view.ids[row])) for camera, view, row in members]
        known = np.isfinite(track.joints_m).any()
        joined = join(
            members,
            [self._tracks.factor(link) for link in links],
            [self._health.cameras[camera].scale for camera, _, _ in members],
            track.predict(stamp_ns) if known else None,
        )
        elapsed_s = (stamp_ns - track.seen_ns) * 1e-9
        for link, factor in zip(links, joined.factors, strict=True):
            self._tracks.learn(link, float(factor), elapsed_s)
        self._health.compare(members, joined.solution, track.velocity_m_s)
        track.absorb(joined.solution, stamp_ns, self.config.confirm_s)
        self._tracks.link(track, set(links), stamp_ns)
        return joined

    def _strange(
        self,
        groups: Sequence[Group],
        sights: Sequence[Sights | None],
        joined: dict[int, tuple[Joined, Group]],
        alive: Sequence[bool],
    ) -> list[bool | None]:
        """Say of each camera whether its people are nobody's where others see somebody."""
        several = sum(alive) > 2
        result: list[bool | None] = []
        for k, view in enumerate(self._views):
            seen = sights[k]
            if not alive[k] or seen is None or not len(seen):
                result.append(None)
                continue
            least = 2 if several else 1
            others = [
                j.solution.joints_m.mean(axis=0)
                for j, one in joined.values()
                if len(one) >= least and all(m.camera != k for m in one)
            ]
            missed = any(view.shows(point) for point in others)
            alone = any(len(one) == 1 and one[0].camera == k for one in groups)
            shared = any(len(one) > 1 and any(m.camera == k for m in one) for one in groups)
            result.append(missed and alone if missed or shared else None)
        return result

    def _result(
        self,
        stamp_ns: int,
        everybody: Sequence[WorldTrack],
        joined: dict[int, tuple[Joined, Group]],
        pacing: View,
    ) -> Fused:
        n, v = len(everybody), len(self._views)
        j = everybody[0].joints_m.shape[0] if n else pacing.history.joints
        joints = np.full((n, j, 3), np.nan)
        covariances = np.full((n, j, 3, 3), np.nan)
        states = np.full((n, j), JointState.UNOBSERVED, np.uint8)
        scores, weights = np.full((n, j), np.nan), np.zeros((n, v, j))
        errors = np.full(n, np.nan)
        for row, track in enumerate(everybody):
            expected = track.predict(stamp_ns)
            joints[row] = expected.joints_m
            covariances[row] = np.eye(3) * expected.sigmas_m[:, None, None] ** 2
            if track.id in joined:
                one, members = joined[track.id]
                joints[row], covariances[row] = one.solution.joints_m, one.solution.covariances_m2
                states[row], errors[row] = one.states, one.error_px
                scores[row] = np.where(np.isfinite(one.scores), one.scores, np.nan)
                weights[row, [m.camera for m in members]] = one.solution.weights
        spread = np.sqrt(np.trace(covariances, axis1=2, axis2=3) / 3.0)
        unknown = ~(spread <= self.config.most_sigma_m)
        joints[unknown], covariances[unknown] = np.nan, np.nan
        known = np.isfinite(scores)
        mean = np.where(known, scores, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        inside = ~np.isin(states, (JointState.TRUNCATED, JointState.UNOBSERVED))
        people = People.build(
            stamp_ns=stamp_ns,
            frame_id=self.rig.world,
            skeleton=self._skeleton,
            width=0,
            height=0,
            joints_px=np.full((n, j, 2), np.nan),
            joints_m=joints,
            provenance=self._provenance(pacing),
            covariances_m2=covariances,
            joint_scores=scores,
            joint_states=states,
            scores=np.where(known.any(axis=1), mean, np.nan),
            track_ids=np.array([track.id for track in everybody], np.int32),
            track_states=np.array([track.state for track in everybody], np.uint8),
            visible_fractions=inside.mean(axis=1),
            root_sources=np.full(n, RootSource.FUSED),
            reprojection_errors_px=errors,
        )
        return Fused(people, self.rig.names, weights)

    def _provenance(self, pacing: View) -> Provenance:
        """Return the provenance of the first camera that sends, with the drops of all."""
        sending = [v for v in self._views if v.history.newest_ns is not None]
        return dataclasses.replace(
            pacing.provenance,
            intrinsics_assumed=any(v.camera is not None and v.camera.assumed for v in sending),
            dropped_frames=sum(v.provenance.dropped_frames for v in sending),
        )
