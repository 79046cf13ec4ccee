"""Boxes of people from a topic: what other detectors say becomes a box source of the pose stage.

``PersonArray`` is our own message; ``vision_msgs/Detection2DArray`` is what most detector nodes
publish, understood where that package is installed. The stamp in the header must be that of the
image in which the people were found.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.estimators.boxes import BoxesByStamp, StampedBoxes
from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base.people_limit import MOST_PEOPLE, bounded
from trpose_ros.nodes.base.stage_node import StageNode, Topic
from trpose_ros.people import TrackState
from trpose_ros.recordings import messages

BOXES = Topic(
    'boxes',
    PersonArray,
    'in',
    'boxes of people, stamped like their image; vision_msgs/Detection2DArray by `boxes_type`',
    'best effort',
    depth=10,
    when="boxes is 'topic'",
)


@dataclass(frozen=True)
class BoxTopicConfig:
    """How boxes of people come in when ``boxes`` is 'topic'."""

    boxes_type: str = setting(
        'PersonArray',
        "message of the topic `boxes` when boxes is 'topic'",
        choices=('PersonArray', 'Detection2DArray'),
    )
    boxes_max_age_s: float = setting(
        0.5,
        'stamps of boxes and image may differ by this; older boxes are not used, s',
        range=(0.0, 60.0),
    )
    boxes_classes: str = setting(
        'person', 'class_id of people in a Detection2DArray, several with commas; empty: all'
    )
    boxes_most: int = setting(
        MOST_PEOPLE, 'boxes of a message beyond this number are left out', range=(1, 1000)
    )
    boxes_min_score: float = setting(0.3, 'boxes with a lower score are left out', range=(0.0, 1.0))

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


def message_type(name: str) -> type:
    """Return the class of a ``boxes_type``.

    Raises ValueError with the remedy where its package is not installed.
    """
    if name == 'PersonArray':
        return PersonArray
    try:
        from vision_msgs.msg import Detection2DArray
    except ImportError as error:
        raise ValueError(
            f'boxes_type {name!r} needs the package vision_msgs, which is not installed: '
            "apt install ros-$ROS_DISTRO-vision-msgs, or let boxes_type be 'PersonArray'"
        ) from error
    return Detection2DArray


def boxes_from_people(message: PersonArray) -> StampedBoxes:
    """Return the boxes of people who were seen in the image; predicted ones are left out."""
    unseen = (TrackState.SEARCHING, TrackState.LOST)
    found, size = messages.read_person_boxes(message)
    rows = [row for state, row in found if state not in unseen]
    return StampedBoxes(messages.stamp_ns(message), _array(rows), size)


def boxes_from_detections(message: Any, classes: Collection[str]) -> tuple[StampedBoxes, set[str]]:
    """Return the boxes of people in a Detection2DArray, and the classes that were left out.

    A detection counts by its hypothesis of the highest score among ``classes`` (all, if empty);
    one without hypotheses has no class, and counts without a score. A turned box becomes the
    upright one around it.
    """
    rows, others = [], set()
    for (x, y, size_x, size_y, turned), named in messages.read_detections(message):
        fitting = [score for score, kind in named if not classes or kind in classes]
        if named and not fitting:
            others |= {kind for _, kind in named}
            continue
        cosine, sine = abs(np.cos(turned)), abs(np.sin(turned))
        width = cosine * size_x + sine * size_y
        height = sine * size_x + cosine * size_y
        score = max(fitting, default=np.nan)
        rows.append([x - width / 2, y - height / 2, width, height, score])
    return StampedBoxes(messages.stamp_ns(message), _array(rows)), others


def _array(rows: list) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 5)


class BoxListener:
    """Subscribes to boxes, keeps them for the pose stage, and says when they are of no use."""

    def __init__(self, node: StageNode, config: BoxTopicConfig) -> None:
        """Make the box source; raises ValueError where the type of message is not installed."""
        self._node, self._config = node, config
        self._type = message_type(config.boxes_type)
        names = config.boxes_classes.split(',')
        self._classes = frozenset(name.strip() for name in names if name.strip())
        self.source = BoxesByStamp(config.boxes_max_age_s)

    def start(self) -> None:
        """Subscribe; called when the node is activated."""
        self.source.clear()
        topic = Topic(BOXES.name, self._type, 'in', BOXES.help, BOXES.quality, BOXES.depth)
        self._node.subscribe(topic, self._on_boxes)

    def facts(self) -> dict[str, str]:
        """Return what became of the messages."""
        return {f'boxes {name}': str(count) for name, count in self.source.counts.items()}

    def _on_boxes(self, message: Any) -> None:
        others: set[str] = set()
        message = bounded(self._node, message, self._config.boxes_most)
        if isinstance(message, PersonArray):
            found = boxes_from_people(message)
        else:
            found, others = boxes_from_detections(message, self._classes)
        if found.stamp_ns == 0:
            self._node.warn('boxes', _NO_STAMP)
            return
        if others and len(found.rows) == 0:
            self._node.warn(
                'boxes',
                f'boxes are of the classes {sorted(others)[:10]} alone, people would be '
                f'{sorted(self._classes)}: set boxes_classes if a detector names them otherwise',
            )
        else:
            self._node.statistics.clear_warning('boxes')
        sure = ~(found.rows[:, 4] < self._config.boxes_min_score)  # those without a score stay
        self.source.add(StampedBoxes(found.stamp_ns, found.rows[sure], found.size))


_NO_STAMP = (
    'boxes have stamp zero, so nobody can tell which image they are of: let the detector copy the '
    'header of its image'
)
