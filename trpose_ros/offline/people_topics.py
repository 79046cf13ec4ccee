"""People in a recording as a node publishes them: people, markers, and the skeleton's names."""

from __future__ import annotations

from trpose_ros.drawing.markers import MarkerStream
from trpose_ros.people import People
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter


class PeopleTopics:
    """Writes to the three topics of one node; the skeleton only where it changes."""

    def __init__(
        self, bag: BagWriter, maker: MessageMaker, people: str, markers: str, skeleton: str
    ) -> None:
        self._bag, self._maker = bag, maker
        self._people, self._markers, self._skeleton = people, markers, skeleton
        self._stream = MarkerStream()
        self._announced = ''

    def write(self, people: People, log_ns: int) -> None:
        """Write the people of a frame under the time of the recording, ns."""
        stamp_ns, frame_id = people.stamp_ns, people.frame_id
        if people.skeleton != self._announced:
            self._announced = people.skeleton
            info = self._maker.skeleton_info(people.skeleton, stamp_ns, frame_id)
            self._bag.write(self._skeleton, info, log_ns)
        self._bag.write(self._people, self._maker.people(people), log_ns)
        shapes, gone, lifetime_s = self._stream.update(people)
        markers = self._maker.markers(shapes, gone, stamp_ns, frame_id, lifetime_s)
        self._bag.write(self._markers, markers, log_ns)
