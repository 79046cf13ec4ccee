"""PoseStage: one frame becomes tracked people.

Boxes of tracked people come from the tracker, which re-projects their last 3D skeleton: a box
does not shrink to the visible part of a body. A box source finds the others. One that has to look
at the image is asked while nobody who is tracked is seen, and every ``detect_every_s`` of stamps;
one that is told about people (``told``: boxes from a topic) is asked in every frame, which costs
nothing, and its boxes may be those of an image a little older: whoever was tracked there is no new
person.

A box source that looks at the image may also say from which score on its boxes are people
(``sure_score``). Weaker ones then make no new people, but tell that tracked ones are still there; a
track that has none for some searches in a row is given up: the estimator sees a body in every box.
Where that source also looks for joints one by one (``joint_evidence``) a track goes on as long as
it sees some of the joints that the estimator sees, and boxes are told apart by whose joints they
hold (joint_evidence.py). Whoever looks like a piece of a body that was taken for a whole one is
looked at again in a larger box (second_look.py). Of frames so far apart that people have left their
boxes in between, the boxes found count alone.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.people import Frame, People, TrackState, with_scores, with_visibility
from trpose_ros.pipeline.appearance import colours
from trpose_ros.pipeline.association import same_box
from trpose_ros.pipeline.joint_evidence import TrackedJoints
from trpose_ros.pipeline.second_look import SUSPICIOUS, disagreement, look_again
from trpose_ros.pipeline.turning import TURN_HELP, TURNS, Turned, turn_boxes

if TYPE_CHECKING:
    from trpose_ros.estimators import Estimator
    from trpose_ros.estimators.boxes import BoxSource
    from trpose_ros.pipeline.tracking import Tracker

_INSIDE, _AS_SURE = 0.8, 0.5  # shares of the smaller box's area and score
_TOO_SMALL = 0.4  # share of a found box's area; a body's own box, padded, has more than all of it
_APART_S = 0.3  # between frames: somebody who walks is about a body's width farther
_SEARCHES = 4  # in a row without a box of its own, until a track is given up
_FRAMES_KEPT = 128  # whose tracked boxes are remembered, for boxes that come late


@dataclass(frozen=True)
class PoseStageConfig:
    """Where the boxes of people come from."""

    boxes: str = setting(
        'detector',
        "source of boxes for people not tracked yet: 'detector', 'topic': another "
        "node's, 'model': a SavedModel's own detector, or 'image': all of it, as a last resort",
    )
    detect_every_s: float = setting(
        0.5,
        'look for new people this often while others are tracked, s; '
        "while nobody is tracked every frame is searched; boxes 'topic' are taken as they come",
        range=(0.0, 3600.0),
    )
    max_people: int = setting(4, 'at most this many people are estimated per frame', range=(1, 64))
    overlap: float = setting(
        0.5,
        'a found box is a tracked person when their intersection covers this share of '
        'the smaller box',
        range=(0.0, 1.0),
    )

    tiles: int = setting(
        1,
        "'detector' looks at the image and, above 1, at tiles x tiles parts of it: "
        'for crowds and far people; each look costs as much as the first',
        range=(1, 8),
    )
    rotate_deg: int = setting(0, TURN_HELP, choices=TURNS)

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


class PoseStage:
    """Frame to tracked people: boxes, estimator, tracker.

    A box that is the whole image says nothing about where a person is, so the estimator runs
    twice: the box of the second run is that of the joints of the first.
    """

    def __init__(
        self,
        *,
        estimator: Estimator,
        box_source: BoxSource,
        tracker: Tracker,
        config: PoseStageConfig | None = None,
        clock: Callable[[], float] | None = perf_counter,
    ) -> None:
        """Take the parts; ``clock`` (s) measures inference, None leaves the times unknown."""
        self.estimator = estimator
        self.config = config or PoseStageConfig()
        self._box_source = box_source
        self._turned = Turned(self.config.rotate_deg)
        self._given: Frame | None = None  # the frame as it came, which boxes of a topic are of
        self._tracker = tracker
        self._clock = clock
        self._last_ns: int | None = None
        self._apart = False  # this frame and the last one
        self._searched_ns: int | None = None
        self._doubted_ns: int | None = None  # when somebody tracked was looked at again
        self._unfound: dict[int, int] = {}  # searches in a row without a box, by track
        self._tracked: deque[tuple[int, np.ndarray]] = deque(maxlen=_FRAMES_KEPT)

    def reset(self) -> None:
        """Forget everybody."""
        self._tracker.reset()
        self._last_ns = None
        self._searched_ns = None
        self._doubted_ns = None
        self._unfound.clear()
        self._tracked.clear()

    def close(self) -> None:
        """Free what the estimator holds."""
        self.estimator.close()

    def process(self, frame: Frame) -> People:
        """Return everybody in the frame, with track ids.

        Stamps may repeat; a stamp before the last one resets the stage first. Exceptions of the
        estimator reach the caller, and the next frame goes on with the tracks as they were.
        """
        if self._last_ns is not None and frame.stamp_ns < self._last_ns:
            self.reset()
        self._apart = frame.stamp_ns - (self._last_ns or frame.stamp_ns) >= _APART_S * 1e9
        self._last_ns = frame.stamp_ns
        self._given, frame = frame, self._turned.frame(frame)
        return self._turned.back(self._upright(frame))

    def _upright(self, frame: Frame) -> People:
        begin = self._now()
        ids, tracked, new = self._boxes(frame)
        middle = self._now()
        people = with_visibility(self.estimator.estimate(frame, np.concatenate([tracked, new])))
        origins = np.append(ids, -1)[same_box(people.boxes_px, tracked)]
        people, mended = self._looked_again(frame, people, origins)
        end = self._now()
        people = self._tracker.update(
            people, frame.camera, colours(frame.image, people), origins, mended
        )
        self._remember(people)
        # Behind the tracker, which tells two estimates of one person apart by other evidence.
        return with_scores(people).replace(
            provenance=dataclasses.replace(
                people.provenance,
                estimator=self.estimator.name,
                weights_id=self.estimator.weights_id,
                intrinsics_assumed=frame.camera.assumed,
                preprocess_ms=(middle - begin) * 1e3,
                inference_ms=(end - middle) * 1e3,
            )
        )

    def _looked_again(
        self, frame: Frame, people: People, origins: np.ndarray
    ) -> tuple[People, np.ndarray]:
        """Look again at people who may be pieces: at new ones, and at tracked ones now and then."""
        new = origins < 0
        waited = self._doubted_ns is None or (
            (frame.stamp_ns - self._doubted_ns) * 1e-9 >= self.config.detect_every_s
        )
        doubtful = (disagreement(people) > SUSPICIOUS) & (new | waited)
        if (doubtful & ~new).any():
            self._doubted_ns = frame.stamp_ns
        return look_again(self.estimator, frame, people, doubtful)

    def _now(self) -> float:
        return float('nan') if self._clock is None else self._clock()

    def _boxes(self, frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids (N,) and boxes (N, 4) of tracked people, and boxes (M, 4) of new ones."""
        ids, tracked = self._tracker.predict_boxes(frame.camera, frame.stamp_ns)
        tracked = np.asarray(tracked, np.float32).reshape(-1, 4)
        seen = self._tracker.present(ids)
        due = self._search_due(frame.stamp_ns, len(tracked))
        if not due and seen.any():  # next to others in sight, half a person is easily found twice
            return ids[: self.config.max_people], tracked[: self.config.max_people], tracked[:0]
        if due:
            self._searched_ns = frame.stamp_ns
        found = self._found(frame)
        found = found[np.argsort(-found[:, 4], kind='stable')]
        sure = found[found[:, 4] >= self._sure_score()] if self._sure_score() else found
        sure = sure[~_parts_of_others(sure)][:, :4]
        joints = self._tracked_joints(ids, frame)
        kept, own = np.ones(len(tracked), bool), np.ones(len(tracked), bool)
        if self._sure_score():
            given_up, own = self._given_up(ids, tracked, sure, found[:, :4], joints.seen, due)
            kept = ~given_up
        present = kept & seen
        new = sure[self._nobodys(sure, tracked, present, joints.held_by(sure) & kept)]
        earlier = self._tracked_at(frame.stamp_ns)
        new = [box for box in new if not self._covered(box, earlier).any()]
        if self._apart and new:  # perhaps those who have left the boxes that hold nobody
            kept &= own
        ids, tracked = ids[kept][: self.config.max_people], tracked[kept][: self.config.max_people]
        new = new[: self.config.max_people - len(tracked)]
        boxes = [self._refined(frame, box) for box in new]
        return ids, tracked, np.array(boxes, np.float32).reshape(-1, 4)

    def _tracked_joints(self, ids: np.ndarray, frame: Frame) -> TrackedJoints:
        expected = self._tracker.expected(ids, frame.camera, frame.stamp_ns)
        return TrackedJoints(*expected, self.estimator.skeleton, self._box_source)

    def _nobodys(
        self, found: np.ndarray, tracked: np.ndarray, present: np.ndarray, held: np.ndarray
    ) -> np.ndarray:
        """Return (K,) bool: found boxes (K, 4) that hold nobody who is tracked.

        A box holds a track whose joints it has (``held`` (K, N)). One that covers the box of
        somebody who was seen in the last frame (``present`` (N,)) holds it, too, unless another box
        has that track's joints: then these are two people who stand close together.
        """
        covered = np.array([self._covered(box, tracked) for box in found], bool)
        covered = covered.reshape(len(found), len(tracked)) & present
        elsewhere = held.sum(axis=0) > held
        return np.asarray(~held.any(axis=1) & ~(covered & ~elsewhere).any(axis=1))

    def _found(self, frame: Frame) -> np.ndarray:
        """Ask the box source; return (N, 5) in px of the turned frame."""
        told = getattr(self._box_source, 'told', False)
        asked = self._given if told and self._given is not None else frame
        found = np.asarray(self._box_source.boxes(asked), np.float32).reshape(-1, 5)
        if asked is not frame and self._turned.rotate_deg:
            size = asked.camera.width, asked.camera.height
            found[:, :4] = turn_boxes(found[:, :4], self._turned.rotate_deg, *size)
        return found

    def _sure_score(self) -> float:
        """Return the score from which boxes are people; 0: all are, and their lack says nothing."""
        return float(getattr(self._box_source, 'sure_score', 0.0))

    def _search_due(self, stamp_ns: int, tracked: int) -> bool:
        if tracked == 0 or self._searched_ns is None:
            return True
        told = getattr(self._box_source, 'told', False)
        return told or (stamp_ns - self._searched_ns) * 1e-9 >= self.config.detect_every_s

    def _given_up(
        self,
        ids: np.ndarray,
        tracked: np.ndarray,
        sure: np.ndarray,
        found: np.ndarray,
        seen: np.ndarray,
        due: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (N,) bool twice, by this search: tracks without their body, those that are seen.

        What a box shows of a body may be less than the body, never several times as much. So a
        track much smaller than a sure box around it holds on to a piece of a body, and is given up
        at once when no track has that body. A track without any box of its own size, whose
        joints are not seen either (``seen`` (N,)), is given up after some searches that were
        ``due``, because somebody behind something may come out again.
        """
        sizes = tracked[:, 2:].prod(axis=1)

        def covered(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Return (boxes, N) bool: track is covered by a box of its size, or a far larger."""
            covers = np.array([self._covered(box, tracked) for box in boxes], bool)
            covers = covers.reshape(len(boxes), len(tracked))
            small = sizes < _TOO_SMALL * boxes[:, 2:].prod(axis=1)[:, None]
            return covers & ~small, covers & small

        confirmed = covered(found)[0].any(axis=0) | seen
        own, small = covered(sure)
        piece = (small & ~np.asarray(own.any(axis=1))[:, None]).any(axis=0) & ~confirmed
        self._unfound = {
            int(i): self._unfound.get(int(i), 0) + due for i in np.asarray(ids)[~confirmed]
        }
        often = np.array([self._unfound.get(int(i), 0) >= _SEARCHES for i in ids], bool)
        given_up = np.asarray(piece | often)
        self._tracker.doubt(np.asarray(ids)[given_up])
        return given_up, np.asarray(confirmed)

    def _remember(self, people: People) -> None:
        """Keep the boxes around the bodies tracked in a frame, for boxes that come late."""
        if getattr(self._box_source, 'told', False):
            seen = people.track_states != TrackState.LOST
            boxes = zip(people.joints_px[seen], people.boxes_px[seen], strict=True)
            rows = [body_box(joints_px, box) for joints_px, box in boxes]
            self._tracked.append((people.stamp_ns, np.array(rows, np.float32).reshape(-1, 4)))

    def _tracked_at(self, now_ns: int) -> np.ndarray:
        """Return the boxes (N, 4) tracked in the frame that the box source's last answer is of."""
        stamp_ns = getattr(self._box_source, 'answer_ns', now_ns)
        if stamp_ns == now_ns or not self._tracked:
            return np.zeros((0, 4), np.float32)
        return min(self._tracked, key=lambda entry: abs(entry[0] - stamp_ns))[1]

    def _covered(self, box: np.ndarray, tracked: np.ndarray) -> np.ndarray:
        """Return (N,) bool: tracked people that a box covers, by intersection over smaller area."""
        low = np.maximum(box[:2], tracked[:, :2])
        high = np.minimum(box[:2] + box[2:], tracked[:, :2] + tracked[:, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        smaller = np.minimum(box[2:].prod(), tracked[:, 2:].prod(axis=1))
        return np.asarray(shared > self.config.overlap * np.maximum(smaller, 1e-6))

    def _refined(self, frame: Frame, box: np.ndarray) -> np.ndarray:
        """Return a better box: the source's own, or one from a look at the whole image."""
        whole = getattr(self._box_source, 'body_box', None)
        if whole is not None:
            return np.asarray(whole(box), np.float32)
        if box[2] < 0.98 * frame.camera.width or box[3] < 0.98 * frame.camera.height:
            return box
        people = self.estimator.estimate(frame, box[None])
        if len(people) == 0:
            return box
        return body_box(people.joints_px[0], box)


def _parts_of_others(found: np.ndarray) -> np.ndarray:
    """Return (N,) bool: boxes (N, 5) that lie in a larger one which is about as sure.

    Where something hides a person's middle, head and legs are found as well as the whole.
    """
    low, high = found[:, :2], found[:, :2] + found[:, 2:4]
    shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    areas = found[:, 2:4].prod(axis=1)
    inside = np.clip(shared, 0, None).prod(axis=2) > _INSIDE * np.maximum(areas, 1e-6)[:, None]
    sure = found[:, 4] >= _AS_SURE * found[:, 4][:, None]
    return np.asarray((inside & sure & (areas > areas[:, None])).any(axis=1))


def body_box(joints_px: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Box (4,) around (J, 2) joints with 10 % air on each side; ``fallback`` without joints."""
    joints = joints_px[np.isfinite(joints_px).all(axis=1)]
    if len(joints) < 2:
        return fallback
    low, high = joints.min(axis=0), joints.max(axis=0)
    air = 0.1 * np.maximum((high - low).max(), 1.0)
    return np.concatenate([low - air, high - low + 2 * air]).astype(np.float32)
