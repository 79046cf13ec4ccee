"""Reading and writing video files and cameras through OpenCV.

What OpenCV's wheels can encode is MPEG-4 part 2 (.mp4, players) and VP8 (.webm, browsers).

Stamps of a file are the presentation times that the container gives (variable frame rates
included); where a container gives none, or they do not move forward, frame number over frame rate.
A video is written to a temporary name and renamed when it is complete: OpenCV says nothing when a
disk is full, so the file is opened again before it gets its name.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from trpose_ros.recordings.opencv_quiet import quiet
from trpose_ros.recordings.picture_headers import MAX_MEGAPIXELS
from trpose_ros.writing import Draft

VIDEO_SUFFIXES = (
    *('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg'),
    *('.mts', '.m2ts', '.ts', '.wmv', '.3gp', '.flv', '.ogv'),
)


def is_url(source: str | Path) -> bool:
    """Whether a source is an address (rtsp://..., http://...) rather than a file."""
    return '://' in str(source)


def video_rate(rate_hz: float) -> float:
    """Return the rate of a source for a video of it; a usual one where it says none or nonsense."""
    return rate_hz if 1.0 <= rate_hz <= 240.0 else 30.0


class VideoError(Exception):
    """A video cannot be read or written; the message says why."""


class VideoReader:
    """Reads a video file or a camera device; a context manager.

    ``rate_hz`` and ``frame_count`` are what the container claims (0 when it claims nothing).
    """

    def __init__(self, source: str | Path) -> None:
        """Open a file, an address such as rtsp://HOST/PATH or a device such as /dev/video0.

        Raises:
            VideoError: if it cannot be opened.

        """
        self.source = str(source)
        self.live = self.source.startswith('/dev/') or is_url(self.source)
        if not self.live and not Path(self.source).is_file():
            raise VideoError(f'{self.source} does not exist')
        self._capture = cv2.VideoCapture(self.source)
        if not self._capture.isOpened():
            raise VideoError(
                f'{self.source} cannot be opened: '
                + ('is the camera connected?' if self.live else 'not a video that OpenCV reads')
            )
        if is_url(self.source) and self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0:
            self.live = False  # a file on a server has stamps of its own
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if not 0 < self.width * self.height <= 1e6 * MAX_MEGAPIXELS:
            self._capture.release()
            raise VideoError(
                f'{self.source} says that its images have {self.width}x{self.height} px, and the '
                f'limit is {MAX_MEGAPIXELS:g} megapixels; convert it to a smaller size'
            )
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate_hz = float(rate_hz) if 0.1 < rate_hz < 1000 else 0.0
        self.frame_count = (
            0 if self.live else max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        )

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def frames(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (stamp in ns, (H, W, 3) uint8 RGB image) to the end.

        Stamps of a camera are wall clock times, those of a file begin at 0.
        """
        period_ns = round(1e9 / (self.rate_hz or 30.0))
        last_ns, begin_ns = -1, None
        while True:
            stamp_ns = time.time_ns() if self.live else 0
            ok, image = self._capture.read()
            if not ok:
                return
            if not self.live:
                at_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
                begin_ns = at_ns if begin_ns is None else begin_ns
                stamp_ns = at_ns - begin_ns  # a file cut out of a longer one begins later
                if stamp_ns <= last_ns:
                    stamp_ns = last_ns + period_ns
            last_ns = stamp_ns
            yield stamp_ns, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class VideoWriter:
    """Writes a video of the kind that the file's suffix asks for; a context manager."""

    def __init__(self, path: str | Path, rate_hz: float) -> None:
        """Prepare; the file opens with the first frame, whose size the others must have."""
        if not 0.1 <= rate_hz <= 1000:
            raise VideoError(f'frame rate must lie in 0.1..1000 Hz, got {rate_hz}')
        self.path = Path(path)
        self.rate_hz = rate_hz
        self.count = 0
        self._draft: Draft | None = None
        self._writer: cv2.VideoWriter | None = None
        self._size: tuple[int, int] = (0, 0)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def write(self, image: np.ndarray) -> None:
        """Append an (H, W, 3) uint8 RGB image; odd sizes lose their last row or column."""
        height, width = (side - side % 2 for side in image.shape[:2])
        if self._writer is None:
            self._size = (width, height)
            self._draft = Draft(self.path, self.path.suffix)
            webm = self.path.suffix.lower() == '.webm'
            code = cv2.VideoWriter.fourcc(*('VP80' if webm else 'mp4v'))
            with quiet():  # WebM has no tag for VP8, and needs none
                self._writer = cv2.VideoWriter(
                    str(self._draft.temporary), code, self.rate_hz, (width, height)
                )
            if not self._writer.isOpened():
                self.discard()
                raise VideoError(
                    f'{self.path} cannot be written: this OpenCV does not encode {width}x{height} '
                    f'px as {"VP8" if webm else "MPEG-4"} in a file of that name'
                )
        if (width, height) != self._size:
            raise VideoError(
                f'a video has one image size: {self._size[0]}x{self._size[1]}, got {width}x{height}'
            )
        self._writer.write(cv2.cvtColor(image[:height, :width], cv2.COLOR_RGB2BGR))
        self.count += 1

    def close(self) -> None:
        """Finish the file; without any frame there is none."""
        if self._draft is None:
            return
        self._release()
        draft, self._draft = self._draft, None
        if not self._is_whole(draft.temporary):
            free = shutil.disk_usage(draft.temporary.parent).free
            draft.discard()
            raise VideoError(
                f'{self.path} cannot be written: what was encoded is no whole video; '
                f'{free / 1e6:.1f} MB are free on that disk: free some space, or choose another one'
            )
        draft.finish()

    def discard(self) -> None:
        """Give up: leave nothing behind."""
        self._release()
        if self._draft is not None:
            self._draft.discard()
            self._draft = None

    def _is_whole(self, path: Path) -> bool:
        """Say whether a player finds in a file what was written."""
        with quiet():
            capture = cv2.VideoCapture(str(path))
            try:
                good, image = capture.read() if capture.isOpened() else (False, None)
                count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            finally:
                capture.release()
        # Matroska says how long it is, not how many frames it has: one may be rounded away.
        if not good or image is None:
            return False
        return image.shape[1::-1] == self._size and count >= self.count - 1

    def _release(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None
