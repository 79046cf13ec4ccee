"""Depth images from a topic, for the people found in colour images of the same camera.

The depth image must be aligned to the colour image: seen from the same place by the same lens, so
that a pixel is the same direction in both. Drivers have a topic for that, with the frame_id of the
colour image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import Image

from trpose_ros.configuration import check_fields, setting
from trpose_ros.nodes.base.stage_node import StageNode, Topic
from trpose_ros.nodes.base.stamp_book import StampBook
from trpose_ros.people import People, RootSource
from trpose_ros.recordings import messages
from trpose_ros.recordings.depth_codec import misfit, read_depth
from trpose_ros.recordings.picture_headers import ImageError

DEPTH = Topic(
    'depth',
    Image,
    'in',
    'depth images that are aligned to the colour images: 16UC1 (mm) or 32FC1 (m)',
    'best effort',
    depth=5,
    when='depth is set',
    steady=True,
)
_KEPT = 45  # images: people come so much later than their depth


@dataclass(frozen=True)
class DepthTopicConfig:
    """Whether and how depth images come in."""

    depth: bool = setting(False, 'correct distances and sizes by depth images of the topic `depth`')
    depth_max_age_s: float = setting(
        0.02, 'stamps of a depth image and of the image may differ by this, s', range=(0.0, 1.0)
    )
    depth_scale: float = setting(
        1.0,
        'distances are multiplied by this: for cameras whose unit is neither mm nor m',
        range=(1e-4, 1e3),
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


class DepthTopic:
    """Keeps depth images by stamp, and says when there is none for an image."""

    def __init__(self, node: StageNode, config: DepthTopicConfig, any_frame: bool) -> None:
        """Listen until the node is deactivated."""
        self._node = node
        self._config = config
        self._any_frame = any_frame
        self._book: StampBook[Image] = StampBook(_KEPT)
        node.subscribe(DEPTH, self._on_depth)

    def _on_depth(self, message: Image) -> None:
        self._book.add(messages.origin_of(message)[0], message)

    def find(self, people: People) -> np.ndarray | None:
        """Return the depth image (H, W) of the people's image; None, counted and said, if none."""
        try:
            depth_m = self._find(people)
        except _NoDepthError as error:
            self._node.statistics.note(f'depth_{error.reason}')
            self._node.warn('depth', f'distances are not corrected by depth: {error}')
            return None
        self._node.statistics.clear_warning('depth')
        self._node.statistics.note('depth_used')
        return depth_m

    def count(self, people: People) -> None:
        """Count who was placed by depth, and who was not: out of sight, or depth was refused."""
        placed = int((people.root_sources == RootSource.DEPTH).sum())
        others = int((people.root_sources != RootSource.NONE).sum()) - placed
        for name, number in (('people_with_depth', placed), ('people_without_depth', others)):
            if number:
                self._node.statistics.note(name, number)

    def _find(self, people: People) -> np.ndarray:
        if people.provenance.occlusion not in ('', 'none'):
            raise _NoDepthError(
                'occluded',
                'parts of the images are hidden by occlusion_node, of depth they are not',
            )
        found = self._book.nearest(people.stamp_ns)
        if found is None:
            raise _NoDepthError('missing', f'nothing has come on {DEPTH.name!r}')
        stamp_ns, message = found
        apart_s = abs(stamp_ns - people.stamp_ns) * 1e-9
        if apart_s > self._config.depth_max_age_s:
            raise _NoDepthError(
                'missing',
                f'the depth image nearest to the image in time is {apart_s:.3f} s away from it; '
                'let the driver synchronise both, or raise depth_max_age_s for still scenes',
            )
        frame_id = message.header.frame_id
        if frame_id.lstrip('/') != people.frame_id.lstrip('/') and not self._any_frame:
            raise _NoDepthError(
                'frame',
                f'depth is of frame {frame_id!r}, the image of {people.frame_id!r}: take the topic '
                'that is aligned to the colour image; if it is: any_frame',
            )
        try:
            depth_m = read_depth(message, self._config.depth_scale)
        except ImageError as error:
            raise _NoDepthError('unusable', str(error)) from error
        reason = misfit(depth_m, (people.width, people.height))
        if reason:
            raise _NoDepthError('size', reason)
        return depth_m


class _NoDepthError(ValueError):
    """No depth image for an image; ``reason`` is a short name for it."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
