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
from trpose_ros.multiview.results import Facts, Fused, Row, result_of
from trpose_ros.multiview.rig import Extrinsics, Placement, Rig
from trpose_ros.multiview.sights import Sights, sights_of
from trpose_ros.multiview.views import View, Views, intrinsics_of
from trpose_ros.multiview.world_tracks import WorldTrack, WorldTracks
from trpose_ros.people import (
    Camera,
    People,
    Provenance,
    TrackState,
)

_BACK_NS = 1_000_000_000  # a stamp that goes back farther is a recording that starts again
_DOUBT_S = 1.0  # whom a camera has just taken for somebody else is not yet another person
_ALONE_S = 0.5  # somebody in the view of others whom one alone sees so long is somebody
_TORN_M = 0.6  # beside its rays, of a person whom a camera knows by number
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
        self._alone: dict[tuple[int, int], int] = {}  # whom one camera sees alone, since when
        self.restarts = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything but the numbers that were given."""
        self._views = Views(self.rig, self.config.silent_s)
        self._health.reset()
        self._tracks.clear()
        self._skeleton = ''
        self._last_ns = None
        self._alone = {}

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
        view.camera, view.placement = camera, placement
        view.remember(stamp_ns, people.provenance)
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
        frame = view.rig.frame_id or people.frame_id or name
        if self._extrinsics is self.rig:
            frame = view.rig.frame
        placement = self._extrinsics.extrinsics(frame, stamp_ns)
        if placement is None:
            raise ValueError(f'{name}: nobody knows where {frame!r:.80} was at its time')
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
        alone = [next(iter(self._links(one, sights))) for one in groups if len(one) == 1]
        self._alone = {link: self._alone.get(link, stamp_ns) for link in alone}
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
        rows = [
            Row(track, joined[track.id][0], [m.camera for m in joined[track.id][1]])
            if track.id in joined
            else Row(track)
            for track in everybody
        ]
        facts = Facts(stamp_ns, self.rig, self._skeleton, pacing.history.joints)
        return result_of(rows, facts, self._provenance(pacing, stamp_ns), config.most_sigma_m)

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
        by_id = {track.id: track for track in self._tracks.tracks}
        votes = [known[m.camera][m.row] for m in one if known[m.camera][m.row] in by_id]
        beside = {
            track.id: self._beside_m(track, one, sights, stamp_ns)
            for track in self._tracks.tracks
            if track.id not in taken and track.seen_ns < stamp_ns
        }
        # A camera may give somebody another one's number: then the body is not where that one was.
        free = sorted(
            {v for v in votes if beside.get(v, np.inf) <= _TORN_M},
            key=lambda v: (-votes.count(v), v),
        )
        if free:
            for other in free[1:]:  # one person after all
                if by_id[other].links <= links:
                    self._tracks.drop(by_id[other])
            return by_id[free[0]]
        nearest = min(((apart, number) for number, apart in beside.items()), default=(np.inf, -1))
        if nearest[0] <= _SAME_M:
            return by_id[nearest[1]]
        if any(v in taken for v in votes) and all(
            self._tracks.age_s(link, stamp_ns) < _DOUBT_S for link in links
        ):
            return None
        if len(one) < self.config.least_cameras or self._may_be_known(one, sights, stamp_ns):
            return None
        joints = next(s.rays.shape[1] for s in sights if s is not None)
        return self._tracks.start(links, joints, stamp_ns, self.config.remember_s)

    def _may_be_known(self, one: Group, sights: Sequence[Sights | None], stamp_ns: int) -> bool:
        """Say whether somebody whom one camera sees may be one whom others see, too.

        A distance that is wrong by a third hides for a moment who somebody is. Whom no other camera
        can have in its image is new at once.
        """
        view = sights[one[0].camera]
        since = [self._alone.get(link, stamp_ns) for link in self._links(one, sights)]
        if len(one) > 1 or view is None or stamp_ns - min(since) >= _ALONE_S * 1e9:
            return False
        points = view.points_m[one[0].row]
        points = points[np.isfinite(points).all(axis=-1)]
        others = [
            other
            for k, other in enumerate(self._views)
            if k != one[0].camera and sights[k] is not None and len(sights[k] or ())
        ]
        return bool(len(points)) and any(other.shows(points.mean(axis=0)) for other in others)

    def _beside_m(
        self, track: WorldTrack, one: Group, sights: Sequence[Sights | None], stamp_ns: int
    ) -> float:
        """Return how far a track's joints are beside a group's rays, of most of its cameras."""
        expected = track.predict(stamp_ns).joints_m
        found = []
        for member in one:
            view = sights[member.camera]
            assert view is not None
            offset = expected - view.origin_m
            along = np.einsum('jc,jc->j', view.rays[member.row], offset)
            apart = np.linalg.norm(offset - along[:, None] * view.rays[member.row], axis=-1)
            apart = apart[np.isfinite(apart)]
            found.append(float(np.median(apart)) if len(apart) else np.inf)
        return sorted(found)[(len(found) - 1) // 2]

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

    def _provenance(self, pacing: View, stamp_ns: int) -> Provenance:
        """Return the provenance of the first camera that sends, with the drops of all."""
        sending = [v for v in self._views if v.history.newest_ns is not None]
        return dataclasses.replace(
            pacing.provenances.get(stamp_ns, Provenance()),
            intrinsics_assumed=any(v.camera is not None and v.camera.assumed for v in sending),
            dropped_frames=sum(v.dropped_frames for v in sending),
        )
