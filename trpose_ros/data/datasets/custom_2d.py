"""2D keypoints of one's own videos, in the format of VideoPose3D: data_2d_custom_NAME.npz.

One action called ``custom`` for each video, whose size is in the archive's metadata. There is no
3D: samples can be lifted, not evaluated. Frames without a detection are NaN in the file and are
interpolated over time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trpose_ros.data.datasets.keypoint_archives import KeypointArchive, read_archive
from trpose_ros.data.registry import DATASETS, register_dataset
from trpose_ros.data.samples import DataError, Sample, finite_rows, interpolate_missing


@register_dataset(
    name='custom_2d',
    title='2D keypoints of your own videos',
    obtain='archives data_2d_custom_NAME.npz as the custom-data scripts of VideoPose3D write them',
    licence='that of your videos',
    layout=(('data_2d_custom_NAME.npz', 'keypoints and image sizes of your videos'),),
    needs=('data_2d_custom_*.npz',),
)
def load(folder: Path, split: str | None = None, fps: float = 50.0) -> Iterator[Sample]:
    """Iterate over the videos of all archives, one sample per video and person.

    The archives do not know their frame rate: give it. All samples are of the test split; those
    joints that were found in a frame are valid, the others interpolated. Raises MissingDataError
    and DataError (no image size, a joint never seen).
    """
    paths = sorted(folder.glob('data_2d_custom_*.npz'))
    if not paths:
        raise DATASETS['custom_2d'].missing(folder, 'no archive is there')
    if split not in (None, 'test'):
        return
    for path in paths:
        archive = read_archive(path)
        for video, actions in archive.positions.items():
            for action, people in actions.items():
                for person in range(len(people)):
                    if people[person] is None:  # a camera that saw nothing
                        continue
                    yield _sample(archive, str(video), str(action), person, fps)


def _sample(archive: KeypointArchive, video: str, action: str, person: int, fps: float) -> Sample:
    if video not in archive.sizes:
        raise DataError(
            f'{archive.path}: video_metadata has no size of {video!r}; without it keypoints '
            'cannot be normalised'
        )
    px = archive.take(video, action, person)
    valid = finite_rows(px)
    width, height = archive.sizes[video]
    return Sample(
        dataset='custom_2d',
        subject=video,
        action=action,
        camera_name=str(person),
        split='test',
        fps=fps,
        skeleton=archive.skeleton,
        width=width,
        height=height,
        valid=valid,
        joints_px=interpolate_missing(px, f'{archive.path}: {video}') if len(px) else px,
        person=person,
        frame_numbers=np.arange(len(px)),
    )
