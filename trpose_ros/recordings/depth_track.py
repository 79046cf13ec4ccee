"""The depth images of a recording, for its colour images: by stamp, in one pass beside theirs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.people import Frame
from trpose_ros.recordings import messages
from trpose_ros.recordings.bags import BagError, BagMessage, BagReader
from trpose_ros.recordings.depth_codec import misfit, read_depth
from trpose_ros.recordings.picture_headers import ImageError

DEPTH_AGE_S = 0.02  # by which stamps of a depth image and an image may differ
_MOST_WAITING = 60  # depth images that are held at once


class DepthTrack:
    """Finds the depth image of each frame; frames come in the order of the recording.

    It reads the recording with a reader of its own: colour images are being read from another.
    """

    def __init__(
        self, path: str | Path, topic: str, time_ns: Callable[[BagMessage], int], any_frame: bool
    ) -> None:
        """Open the recording; raises BagError where it has no such topic."""
        self.topic = topic
        self._any_frame = any_frame
        self._time_ns = time_ns
        self._bag = BagReader(path)
        kinds = self._bag.topics
        images = sorted(name for name, kind in kinds.items() if kind == messages.IMAGE)
        if topic not in images:
            self._bag.close()
            raise BagError(f'no topic {topic!r} of depth images; topics of Image are {images}')
        self._waiting: deque[tuple[int, Any]] = deque(maxlen=_MOST_WAITING)
        self._entries: Iterator[BagMessage] = self._bag.messages([topic])
        self._first: dict[str, str] = {}  # the first words of each problem
        self._counts: Counter[str] = Counter()

    def find(self, frame: Frame) -> np.ndarray | None:
        """Return the depth image (H, W), m, of a frame; None, noted, where there is none."""
        within_ns = int(DEPTH_AGE_S * 1e9)
        while not self._waiting or self._waiting[-1][0] <= frame.stamp_ns + within_ns:
            entry = next(self._entries, None)
            if entry is None:
                break
            self._waiting.append((self._time_ns(entry), entry.message))
        while self._waiting and self._waiting[0][0] < frame.stamp_ns - within_ns:
            self._waiting.popleft()
        near = [one for one in self._waiting if abs(one[0] - frame.stamp_ns) <= within_ns]
        if not near:
            return self._missed('missing', f'no depth image within {DEPTH_AGE_S:g} s of an image')
        _, message = min(near, key=lambda one: abs(one[0] - frame.stamp_ns))
        frame_id = message.header.frame_id
        if frame_id.lstrip('/') != frame.frame_id.lstrip('/') and not self._any_frame:
            return self._missed(
                'frame',
                f'depth is of frame {frame_id!r:.80}, the image of {frame.frame_id!r:.80}: take '
                'the topic that is aligned to the colour image; if it is: --any-frame',
            )
        try:
            depth_m = read_depth(message)
        except ImageError as error:
            return self._missed('unusable', str(error))
        reason = misfit(depth_m, (frame.camera.width, frame.camera.height))
        return self._missed('size', reason) if reason else depth_m

    def _missed(self, kind: str, words: str) -> np.ndarray | None:
        """Note why a frame has no depth; return None."""
        self._first.setdefault(kind, words)
        self._counts[kind] += 1
        return None

    def problems(self) -> list[str]:
        """Return what was wrong, each kind once with its count."""
        return [
            f'{self.topic}: {words} ({self._counts[kind]} images without depth for that reason)'
            for kind, words in self._first.items()
        ]

    def close(self) -> None:
        """Close the recording."""
        self._bag.close()


def open_depth(
    path: str | Path,
    topic: str | None,
    time_ns: Callable[[BagMessage], int],
    any_frame: bool,
) -> DepthTrack | None:
    """Return the depth images of a recording, None where none are asked for; raises BagError."""
    return None if topic is None else DepthTrack(path, topic, time_ns, any_frame)
