"""What a door is; and what comes in by topics: valid messages, their damage, their readers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fuzz_damage import REAL, WHOLE, damaged_bytes

from trpose_ros.cameras import camera_from_fov, camera_to_info_fields, project, unproject
from trpose_ros.recordings import messages
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import make_typestore
from trpose_ros.recordings.image_codec import ENCODINGS, ImageError, Stream, encode_compressed
from trpose_ros.skeletons import SKELETONS

Read = Callable[[], object]
Make = Callable[[random.Random], Read]  # damages the valid input; what comes back reads it


@dataclass(frozen=True)
class Door:
    """One way in."""

    share: int  # of all inputs
    refuses: tuple[type[Exception], ...]  # what its reader says it raises
    open: Callable[[Path], Make]  # given an empty folder


DOORS: dict[str, Door] = {}
CAMERA = camera_from_fov(24, 18, assumed=False)
STORE = make_typestore()


def door(name: str, share: int, *refuses: type[Exception]) -> Callable[[Any], Any]:
    """Enter a door under its name."""

    def enter(prepare: Callable[[Path], Make]) -> Callable[[Path], Make]:
        DOORS[name] = Door(share, refuses, prepare)
        return prepare

    return enter


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (18, 24, 3), np.uint8)


def encoded() -> dict[str, bytes]:
    image = picture()
    made = {kind: cv2.imencode(f'.{kind}', image)[1].tobytes() for kind in ('webp', 'tiff', 'bmp')}
    made |= {kind: encode_compressed(image, kind) for kind in ('jpeg', 'png')}
    made['ppm'] = cv2.imencode('.ppm', image)[1].tobytes()
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    return made | {'scans': cv2.imencode('.jpg', image, progressive)[1].tobytes()}


def _uint(r: random.Random) -> int:
    return min(r.choice((*range(8), 24, 640, *WHOLE)), 2**32 - 1)


@door('raw images', 200, ImageError)
def _raw(_: Path) -> Make:
    make, other = MessageMaker(STORE), ('', 'RGB8', '32FC1', '16UC1', 'x' * 1000, '\0', '8UC9')

    def damage(r: random.Random) -> Read:
        encoding = r.choice((*ENCODINGS, *ENCODINGS, *other))
        width, height = (
            (r.randint(1, 40), r.randint(1, 40)) if r.random() < 0.8 else (_uint(r), _uint(r))
        )
        values = 3 if encoding[:3] in ('rgb', 'bgr') else 2 if encoding[:2] in ('yu', 'uy') else 1
        step = width * values * (2 if '16' in encoding else 1)
        step = min(step + r.choice((0, 0, 0, 1, 2, 9)), 2**32 - 1) if r.random() < 0.8 else _uint(r)
        size = min(step * height * (3 if encoding in ('nv12', 'i420') else 2) // 2, 100_000)
        size = max(0, size - r.choice((0, 0, 0, 0, 1, 7))) if r.random() < 0.9 else r.randint(0, 99)
        message = make.new(messages.IMAGE, encoding=encoding, width=width, height=height, step=step)
        make.fill(message, 'data', np.frombuffer(r.randbytes(size), np.uint8))
        message.is_bigendian = r.choice((0, 1, 255))
        stream = r.choice((None, Stream()))

        def read() -> None:
            image = messages.read_image(message, stream)
            assert image.shape == (height, width, 3)
            assert image.dtype == np.uint8

        return read

    return damage


@door('compressed images', 170, ImageError)
def _compressed(_: Path) -> Make:
    make, seeds = MessageMaker(STORE), tuple(encoded().values())
    forms = ('jpeg', 'png', 'rgb8; jpeg compressed bgr8', '16UC1; compressedDepth png', '', '\0')

    def damage(r: random.Random) -> Read:
        data = damaged_bytes(r, r.choice(seeds), seeds) + r.choice((b'', b'', b'\xff\xd9', b'IEND'))
        message = make.new(messages.COMPRESSED_IMAGE, format=r.choice(forms))
        make.fill(message, 'data', np.frombuffer(data, np.uint8))
        return lambda: messages.read_image(message)

    return damage


@door('camera_info', 120, ValueError)
def _camera_info(_: Path) -> Make:
    make = MessageMaker(STORE)
    points = np.array([[0, 0, 1.0], [1, 2, 3], [100, -4, 0.5], [np.nan, 0, 1], [0, 0, -1]])
    pixels = np.array([[0.0, 0], [640, 480], [-5000, 1e5], [np.nan, 1]])
    lenses = ('plumb_bob', '', 'rational_polynomial', 'equidistant', 'fisheye', 'none', 'x' * 500)

    def damage(r: random.Random) -> Read:
        def real() -> float:
            return r.choice(REAL) if r.random() < 0.3 else r.uniform(-1000, 1000)

        info = make.camera_info(CAMERA, 0, 'c')
        info.width, info.height = r.choice((24, _uint(r))), r.choice((18, _uint(r)))
        for _ in range(r.choice((0, 1, 1, 2))):
            r.choice((info.k, info.p))[r.randrange(9)] = real()
        info.distortion_model = r.choice(lenses)
        count = r.choice((0, 1, 4, 5, 6, 8, 12, 14, 15, 100))
        info.d = np.array([r.choice((r.uniform(-1, 1), real())) for _ in range(count)])
        info.binning_x, info.binning_y = r.choice((0, 1, 2, _uint(r))), r.choice((0, 1, 2))
        for name in ('x_offset', 'y_offset', 'width', 'height'):
            setattr(info.roi, name, r.choice((0, 0, 6, _uint(r))))
        rectified = r.random() < 0.3

        def read() -> None:
            camera = messages.read_camera(info, rectified=rectified)
            project(points, camera)
            unproject(pixels, np.ones(4), camera)
            camera_to_info_fields(camera)

        return read

    return damage


def people_message(r: random.Random, make: MessageMaker) -> Any:
    def real() -> float:
        value = r.choice(REAL) if r.random() < 0.2 else r.uniform(-1000, 1000)
        return float(np.clip(value, -3e38, 3e38)) if abs(value) < float('inf') else value

    name = r.choice((*SKELETONS, 'h36m_17', 'h36m_17', '', 'H36M_17', 'x' * 9999))
    joints = SKELETONS[name].num_joints if name in SKELETONS else 17
    array = make.new(messages.PERSON_ARRAY, skeleton=name, image_width=_uint(r))
    array.image_height = _uint(r)
    stamps = (array.header.stamp, array.provenance.received, array.provenance.published)
    for stamp in stamps:
        stamp.sec, stamp.nanosec = r.choice((0, 1, -1, 2**31 - 1, -(2**31))), _uint(r)
    for _ in range(r.choice((0, 1, 1, 2))):
        flat, solid = (joints if r.random() < 0.95 else r.choice((0, 1, 16)) for _ in 'ab')
        person = make.new('trpose_ros/msg/Person', score=real(), visible_fraction=real())
        person.track_id, person.track_state = r.choice((-1, 0, 2**31 - 1)), r.randrange(256)
        person.root_source, person.cut_edges = r.randrange(256), r.randrange(256)
        person.bbox = np.array([real() for _ in range(4)], np.float32)
        joint = {'score': real(), 'state': r.randrange(256)}
        person.joints_2d = [
            make.new('trpose_ros/msg/Joint2D', x=real(), y=real(), **joint) for _ in range(flat)
        ]
        place = make.new('geometry_msgs/msg/Point', x=real(), y=real(), z=real())
        person.joints_3d = [
            make.new('trpose_ros/msg/Joint3D', position=place, covariance=np.full(9, real()))
            for _ in range(solid)
        ]
        array.persons.append(person)
    return array


@door('people', 40, ValueError)
def _people(_: Path) -> Make:
    make = MessageMaker(STORE)

    def damage(r: random.Random) -> Read:
        array = people_message(r, make)

        def read() -> None:
            messages.read_person_boxes(array)
            people = messages.read_people(array)
            assert len(messages.read_people(make.people(people))) == len(people)

        return read

    return damage
