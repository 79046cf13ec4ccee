"""Images that belong to annotations: numbered files or frames of a video, read when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from trpose_ros.data.samples import DataError
from trpose_ros.recordings.picture_headers import ImageError
from trpose_ros.recordings.pictures import read_picture


class ImageFiles:
    """One image file per frame."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return image ``index`` as (H, W, 3) uint8 RGB; raises DataError when unreadable."""
        path = self.paths[index]
        try:
            return read_picture(path).image
        except (ImageError, OSError) as error:
            raise DataError(f'{path} is not a readable image ({error}); extract it again') from (
                error
            )


class VideoFrames:
    """The frames of a video file; going forward is cheap, going back seeks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        capture = cv2.VideoCapture(str(path))
        self._count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if self._count <= 0:
            raise DataError(f'{path} is not a readable video; obtain it again')
        self._capture: cv2.VideoCapture | None = None
        self._next = 0

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._count

    def __getstate__(self) -> dict:
        """Leave the open file behind when a worker process gets a copy."""
        return {**self.__dict__, '_capture': None, '_next': 0}

    def __getitem__(self, index: int) -> np.ndarray:
        """Return frame ``index`` as (H, W, 3) uint8 RGB; raises DataError past the end."""
        if not 0 <= index < self._count:
            raise IndexError(f'{self.path} has {self._count} frames, asked for {index}')
        if self._capture is None:
            self._capture, self._next = cv2.VideoCapture(str(self.path)), 0
        if index != self._next:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        good, image = self._capture.read()
        self._next = index + 1
        if not good:
            raise DataError(f'{self.path}: frame {index} of {self._count} cannot be decoded')
        return np.ascontiguousarray(image[..., ::-1])
