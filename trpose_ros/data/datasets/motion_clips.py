"""Motion packs of this project as a data set: real motion, seen by as many cameras as wanted.

A pack (see motion.py; ``trpose data prepare motion`` builds one) has no cameras and no images.
Without ``views`` a sample carries world joints only; with them every clip is seen by that many
random, still cameras at a robot's height, drawn from the seed and the clip's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trpose_ros.cameras import denormalise_screen
from trpose_ros.data.motion.packs import MotionPack, load_pack
from trpose_ros.data.motion.virtual_cameras import CameraConfig, view
from trpose_ros.data.registry import DATASETS, register_dataset
from trpose_ros.data.samples import DataError, Sample, check_metres, finite_rows

WIDTH = 1000  # of the virtual images, px; the height follows the camera's aspect


@register_dataset(
    name='motion',
    title='Motion packs (17 joints of motion capture)',
    obtain='CMU Motion Capture Database from mocap.cs.cmu.edu (ASF/AMC), or BVH files of the same '
    'motions; then: trpose data prepare motion',
    licence='of the originals; CMU: free for all uses, but the data themselves may not be resold',
    layout=(('*.npz', 'motion packs'),),
    needs=('mocap_*.npz', 'motion*.npz'),
)
def load(folder: Path, split: str | None = None, views: int = 0, seed: int = 0) -> Iterator[Sample]:
    """Iterate over the clips of all packs, one sample per clip (and view).

    Raises MissingDataError, and DataError for a file that is not a motion pack.
    """
    paths = sorted({*folder.glob('mocap_*.npz'), *folder.glob('motion*.npz')})
    if not paths:
        raise DATASETS['motion'].missing(folder, 'no pack is there')
    for path in paths:
        try:
            pack = load_pack(path)
        except Exception as error:  # numpy raises many types for a damaged archive
            raise DataError(f'{path} is not a readable motion pack ({error})') from error
        for index in range(len(pack)):
            if split not in (None, pack.splits[index]):
                continue
            if views < 1:
                yield _plain(pack, index, path)
            for number in range(views):
                yield _seen(_plain(pack, index, path), number, seed)


def _plain(pack: MotionPack, index: int, path: Path) -> Sample:
    world = pack.clip(index)
    check_metres(world, 'h36m_17', f'{path}: {pack.names[index]}')
    return Sample(
        dataset='motion',
        subject=pack.subjects[index],
        action=pack.names[index],
        camera_name='none',
        split=pack.splits[index],
        fps=pack.rate_hz,
        skeleton='h36m_17',
        width=0,
        height=0,
        valid=finite_rows(world),
        world_m=world,
        frame_numbers=np.arange(len(world)),
    )


def _seen(sample: Sample, number: int, seed: int) -> Sample:
    """Return the clip as camera ``number`` sees it."""
    digest = hashlib.sha256(f'{seed}|{sample.identity}|{number}'.encode()).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], 'little')))
    assert sample.world_m is not None
    config = CameraConfig(moving_share=0.0, rate_hz=sample.fps)
    joints_m, screen, half_height, _ = view(sample.world_m[None], config, rng)
    height = round(WIDTH * float(half_height[0]))
    return sample.replace(
        camera_name=f'virtual{number}',
        width=WIDTH,
        height=height,
        joints_m=joints_m[0].astype(np.float32),
        # Screen coordinates have their origin in the middle of the image; x spans -1..1.
        joints_px=denormalise_screen(screen[0], WIDTH, height).astype(np.float32),
    )
