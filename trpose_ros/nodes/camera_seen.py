"""What was seen of a camera on its topics; camera_survey.py looks, the doctor judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

COMPRESSED = 'sensor_msgs/msg/CompressedImage'


@dataclass(frozen=True)
class Endpoint:
    """A publisher or subscription of a topic."""

    node: str
    reliability: str  # 'reliable', 'best_effort'
    durability: str  # 'volatile', 'transient_local'

    def __str__(self) -> str:
        return f'{self.node} ({self.reliability}, {self.durability})'


@dataclass
class CameraSeen:
    """One image topic, what came on it while somebody listened, and its camera_info."""

    topic: str
    type: str  # of its messages, as ROS names it
    publishers: list[Endpoint] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)  # publishers and subscriptions that misfit
    stamps_ns: list[int] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)  # by a steady clock
    frame_ids: set[str] = field(default_factory=set)
    encoding: str = ''  # of the last image, or its format
    width: int = 0
    height: int = 0
    unreadable: str = ''  # why the first image cannot be read
    info_topic: str = ''  # '' where there is none beside the images
    info_stamps_ns: list[int] = field(default_factory=list)
    info_frame_ids: set[str] = field(default_factory=set)
    assumed: str = ''  # why the nodes would assume intrinsics; '' when they would not
    rectified_note: str = ''

    @property
    def base(self) -> str:
        """The name to give as image_topic."""
        return self.topic.removesuffix('/compressed')

    @property
    def rate_hz(self) -> float:
        """Images per second by the times they came in; 0 below two."""
        if len(self.arrivals_s) < 2:
            return 0.0
        return (len(self.arrivals_s) - 1) / max(self.arrivals_s[-1] - self.arrivals_s[0], 1e-9)

    @property
    def paired(self) -> int:
        """How many images have a camera_info of the very same stamp."""
        known = set(self.info_stamps_ns)
        return sum(stamp_ns in known for stamp_ns in self.stamps_ns)


@dataclass(frozen=True)
class Survey:
    """All cameras that were found, and all topics that somebody publishes, with their types."""

    seconds: float
    cameras: list[CameraSeen]
    published: dict[str, list[str]]
    left_out: Sequence[str] = ()  # image topics beyond the most that are listened to


def info_topics_of(image_topic: str) -> list[str]:
    """Return where the camera_info of an image topic may be, the usual place first."""
    base = image_topic.removesuffix('/compressed')
    namespace = base.rpartition('/')[0]
    return [f'{namespace}/camera_info', f'{base}/camera_info']
