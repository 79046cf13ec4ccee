"""Photographs of people that two free networks have labelled: MoveNet's MultiPose and Thunder.

Nobody marked these pictures by hand. MultiPose finds people in the whole picture, Thunder looks at
each of them closely, and a joint is labelled only where both agree within 6 % of the person's box
and Thunder is sure. Where both see nothing of a joint it is marked as not seen. ``trpose data
label`` writes what they say into labels.npz; the pictures stay where they are.

Splits are by theme, the first part of a file's name up to its last underscore: pictures of one
theme show the same people.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from trpose_ros.archives import load_arrays
from trpose_ros.data.datasets.image_sources import ImageFiles
from trpose_ros.data.registry import DATASETS, register_dataset
from trpose_ros.data.rendering.bodies import PackError, shared_data_dir
from trpose_ros.data.samples import DataError, Sample
from trpose_ros.recordings.picture_headers import ImageError
from trpose_ros.recordings.pictures import read_picture
from trpose_ros.skeletons import get_skeleton
from trpose_ros.writing import whole_stream

_SUFFIXES = ('.jpg', '.jpeg', '.png')
_SURE, _UNSEEN = 0.35, 0.12  # scores of joints
_AGREE = 0.06  # of the longer side of a person's box
_PERSON = 0.3  # least chance of a centre
_MARGIN = 1.25  # of Thunder's crop around the joints that MultiPose found
_LONGER_SIDE = 448  # px of what MultiPose sees

# Where COCO's joints stand in body_39; its hips are not Human3.6M's.
COCO_IN_BODY = np.array(
    [
        get_skeleton('body_39').index({'lhip': 'lhip_coco', 'rhip': 'rhip_coco'}.get(name, name))
        for name in get_skeleton('coco_17').joint_names
    ]
)


def theme_of(name: str) -> str:
    """Return the theme of a picture: its name up to the last underscore."""
    return Path(name).stem.rpartition('_')[0] or Path(name).stem


def split_of_theme(theme: str) -> str:
    """Return 'test' for about a tenth of the themes, 'train' for the others."""
    return 'test' if zlib.crc32(theme.encode()) % 10 == 3 else 'train'


def label(
    folder: Path, out: Path, progress: Callable[[int, int], object] | None = None
) -> dict[str, int]:
    """Label the pictures of a folder and write ``out`` (labels.npz); return counts.

    Files that are no pictures are counted as unreadable; ``progress`` is called with the pictures
    so far and in all. Raises DataError when no picture can be
    read, WeightsError without MoveNet's weights.
    """
    from trpose_ros.movenet.checkpoints import load_movenet  # imports torch

    several, single = load_movenet('movenet-multipose'), load_movenet('movenet-thunder')
    rows: dict[str, list] = {k: [] for k in ('name', 'joints_px', 'scores', 'unseen', 'box_px')}
    counts = {'pictures': 0, 'unreadable': 0, 'people': 0, 'joints': 0}
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)
    for done, path in enumerate(paths):
        if progress is not None:
            progress(done, len(paths))
        try:
            image = read_picture(path).image
        except (ImageError, OSError):
            counts['unreadable'] += 1
            continue
        counts['pictures'] += 1
        for joints, scores, unseen, box in _agreed(image, several, single):
            for key, value in zip(rows, (path.name, joints, scores, unseen, box), strict=True):
                rows[key].append(value)
            counts['people'] += 1
            counts['joints'] += int(np.isfinite(joints[:, 0]).sum())
    if not counts['pictures']:
        raise DataError(f'{folder} holds no readable .jpg or .png picture')
    arrays = {
        'name': np.array(rows['name'], np.str_),
        'joints_px': np.array(rows['joints_px'], np.float32).reshape(-1, 17, 2),
        'scores': np.array(rows['scores'], np.float32).reshape(-1, 17),
        'unseen': np.array(rows['unseen'], bool).reshape(-1, 17),
        'box_px': np.array(rows['box_px'], np.float32).reshape(-1, 4),
    }
    with whole_stream(out) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    return counts


def _agreed(image, several, single) -> Iterator[tuple]:
    """Yield joints (17, 2) px (NaN where unsure), scores, unseen (17,) and box of each person."""
    import torch

    from trpose_ros.movenet.decoding import decode_people, decode_single

    height, width = image.shape[:2]
    scale = _LONGER_SIDE / max(height, width)
    size = (round(width * scale), round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    below, right = -size[1] % 32, -size[0] % 32
    small = cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT)
    with torch.inference_mode():
        found = decode_people(several(_tensor(small)), _PERSON, 6)[0]
    for joints, scores, box in zip(found.joints_px, found.joint_scores, found.boxes, strict=True):
        first = (joints.numpy() + 0.5) / scale - 0.5
        seen = scores.numpy() > 0
        half = np.array([0.5, 0.5, 0, 0])
        box = (box.numpy() + half) / scale - half
        low, high = box[:2], box[:2] + box[2:]
        if seen.any():
            low = np.minimum(low, first[seen].min(axis=0))
            high = np.maximum(high, first[seen].max(axis=0))
        side = max(float((high - low).max()) * _MARGIN, 16.0)
        corner = (low + high) / 2 - side / 2
        matrix = np.array([[256 / side, 0, 0], [0, 256 / side, 0]])
        matrix[:, 2] = -(corner + 0.5) * 256 / side - 0.5 + 0.5 * 256 / side
        crop = cv2.warpAffine(image, matrix, (256, 256), flags=cv2.INTER_LINEAR)
        with torch.inference_mode():
            second, sure = (v[0].numpy() for v in decode_single(single(_tensor(crop))))
        second = (second - matrix[:, 2]) * side / 256
        apart = np.linalg.norm(first - second, axis=1)
        agree = seen & (sure >= _SURE) & (apart <= _AGREE * float((high - low).max()))
        unseen = (sure < _UNSEEN) & ~seen
        yield np.where(agree[:, None], second, np.nan), sure, unseen, box


def _tensor(image: np.ndarray):
    import torch

    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@register_dataset(
    name='photographs',
    title='photographs that two networks labelled',
    obtain='any photographs of people that you may train on, labelled by `trpose data label`',
    licence='that of the photographs',
    layout=(('labels.npz', 'what `trpose data label FOLDER` wrote; pictures beside it'),),
    needs=('labels.npz',),
)
def load(folder: Path, split: str | None = None) -> Iterator[Sample]:
    """Iterate over the people, one sample each: 2D joints of body_39 that COCO has.

    Pictures lie beside labels.npz or in the pack ``photos``. Raises MissingDataError without
    labels.npz and DataError for a picture that is missing or unreadable.
    """
    path = folder / 'labels.npz'
    if not path.is_file():
        raise DATASETS['photographs'].missing(folder, 'labels.npz is not there')
    try:
        data = load_arrays(path)
    except ValueError as error:
        raise DataError(f'{path} cannot be read: {error}') from error
    missing = sorted({'name', 'joints_px', 'unseen'} - set(data))
    if missing:
        raise DataError(f'{path} lacks the arrays {missing}; write it by `trpose data label`')
    names, joints, unseen = data['name'], data['joints_px'], data['unseen']
    for number, name in enumerate(names.tolist()):
        part = split_of_theme(theme_of(name))
        if split in (None, part):
            yield _sample(folder, name, number, part, joints[number], unseen[number])


def _sample(folder, name, number, split, joints_px, unseen) -> Sample:
    image = ImageFiles([_found(folder, name)])
    height, width = image[0].shape[:2]
    body = np.full((1, 39, 2), np.nan, np.float32)
    body[0, COCO_IN_BODY] = joints_px
    occluded = np.zeros((1, 39), bool)
    occluded[0, COCO_IN_BODY] = unseen
    return Sample(
        dataset='photographs',
        subject=theme_of(name),
        action=f'{Path(name).stem}#{number}',
        camera_name='0',
        split=split,
        fps=1.0,
        skeleton='body_39',
        width=width,
        height=height,
        valid=np.isfinite(body[..., 0]),
        joints_px=body,
        occluded=occluded,
        person=number,
        images=image,
    )


def _found(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise DataError(f'{folder / "labels.npz"} names {name!r}, which is not a plain file name')
    if (folder / name).is_file():
        return folder / name
    try:
        path = shared_data_dir('photos') / name
    except PackError:
        path = folder / name
    if not path.is_file():
        raise DataError(f'the picture {name} lies neither in {folder} nor in the pack photos')
    return path
