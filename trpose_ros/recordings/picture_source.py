"""Pictures as a source: files, folders and patterns, each picture a frame of its own.

A picture that is no picture, cut off or too large is named with the reason, and the next one
follows. What the models see is the upright picture, shrunk where it is longer than they need; the
whole one goes with it, and results can be brought back to its pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from trpose_ros.cameras import camera_from_fov, crop_camera
from trpose_ros.orientation import upright_camera
from trpose_ros.people import Camera, Frame
from trpose_ros.recordings.image_codec import ImageError
from trpose_ros.recordings.picture_files import NoPictureError, PictureFile, find_pictures
from trpose_ros.recordings.pictures import Picture, read_picture
from trpose_ros.recordings.sources import SourceError, SourceFrame, SourceOptions, misfit

_WORK_PX = 4096  # longest side that the models look at: they shrink a whole image further


@dataclass(frozen=True, kw_only=True)
class PictureFrame(SourceFrame):
    """A picture: the frame that the models see, perhaps shrunk, and the whole picture."""

    file: PictureFile
    picture: Picture
    camera: Camera  # of the whole upright picture


def open_pictures(
    names: Sequence[str | Path], options: SourceOptions | None = None
) -> PictureSource:
    """Open picture files, folders of pictures and patterns such as 'photos/*.jpg'.

    Raises:
        SourceError: when they name no picture, with what they name instead.

    """
    return PictureSource(names, options or SourceOptions())


def read_frame(path: str | Path, options: SourceOptions | None = None) -> Frame:
    """Return one picture as a frame, upright and no longer than the models look at.

    A picture does not say which camera took it: without a calibration in ``options`` that fits,
    its field of view is assumed, and the frame's camera says so (``camera.assumed``), as do all
    results; depths and sizes are as good as this guess.

    Raises:
        SourceError: ``path`` is no picture that can be read, with the reason.

    """
    if not Path(path).is_file():
        raise SourceError(f'{path} is no file')
    source = open_pictures([path], options)
    frame = next((entry.frame for entry in source.frames()), None)
    if frame is None:
        raise SourceError(f'{path} {source.skipped[0][1]}')
    return frame


class PictureSource:
    """Pictures one by one, in natural order; a context manager is not needed, nothing stays open.

    A picture that cannot be read is named in ``skipped`` with the reason, and the next one follows.
    Stamps are 0: there is no time between pictures.
    """

    def __init__(self, names: Sequence[str | Path], options: SourceOptions) -> None:
        try:
            self.files, notes = find_pictures(names, options.results)
        except NoPictureError as error:
            raise SourceError(str(error)) from error
        self.name = str(names[0]) if len(names) == 1 else f'{len(self.files)} pictures'
        self.identity = 'pictures|none|none|0'
        self.total = len(self.files)
        self.rate_hz = 0.0
        self.problems = list(notes)
        self.skipped: list[tuple[PictureFile, str]] = []
        self._options = options

    def frames(self) -> Iterator[PictureFrame]:
        """Yield the pictures that can be read."""
        for file in self.files:
            try:
                yield self._read(file)
            except (ImageError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                self.skipped.append((file, reason or type(error).__name__))

    def close(self) -> None:
        """Nothing is open between two pictures."""

    def _read(self, file: PictureFile) -> PictureFrame:
        picture = read_picture(file.path, self._options.max_megapixels)
        camera = self._camera(picture)
        image, small = _shrunk(picture.image, camera)
        frame = Frame(image, 0, small, 'camera')
        return PictureFrame(frame=frame, file=file, picture=picture, camera=camera)

    def _camera(self, picture: Picture) -> Camera:
        """Return the camera of the upright picture: the calibrated one where that fits."""
        header, calibration = picture.header, self._options.calibration
        stored, upright = (header.width, header.height), header.upright_size
        if calibration is not None:
            size = (calibration.width, calibration.height)
            if size == stored:
                try:
                    return upright_camera(calibration, header.orientation)
                except ValueError as error:
                    raise ImageError(str(error)) from error
            if size == upright:
                return calibration
            note = misfit(calibration, '{}x{}'.format(*upright), self._options)
            if note not in self.problems:
                self.problems.append(note)
        return camera_from_fov(*upright, self._options.camera.fov_deg)


def _shrunk(image: np.ndarray, camera: Camera) -> tuple[np.ndarray, Camera]:
    """Return image and camera no longer than _WORK_PX: models need no more, and memory is short."""
    scale = _WORK_PX / max(image.shape[:2])
    if scale >= 1:
        return image, camera
    try:
        small = crop_camera(camera, 0, 0, camera.width, camera.height, scale)
    except ValueError as error:
        raise ImageError(f'is {camera.width}x{camera.height} px, too thin for anybody') from error
    size = (small.width, small.height)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)), small
