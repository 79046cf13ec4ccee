"""Doors of a robot: depth images and transforms, damaged."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import numpy as np
from fuzz_damage import REAL, WHOLE
from fuzz_messages import STORE, Make, Read, door

from trpose_ros.nodes.base.transform_buffer import TransformBuffer, TransformError
from trpose_ros.pipeline.depth import read_at_joints
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.depth_codec import misfit, read_depth
from trpose_ros.recordings.image_codec import ImageError
from trpose_ros.recordings.messages import IMAGE
from trpose_ros.recordings.transform_messages import make_transforms, read_transforms
from trpose_ros.transforms import Transform


@door('depth images', 120, ImageError)
def _depth(_: Path) -> Make:
    make, encodings = MessageMaker(STORE), ('16UC1', '32FC1', 'mono16', '', 'rgb8', 'x' * 1000)

    def damage(r: random.Random) -> Read:
        encoding, width, height = r.choice(encodings), r.randint(1, 40), r.randint(1, 40)
        if r.random() < 0.2:
            width, height = (min(r.choice(WHOLE), 2**32 - 1) for _ in range(2))
        step = min(width * (4 if encoding == '32FC1' else 2) + r.choice((0, 0, 0, 1, 5)), 2**32 - 1)
        size = min(step * height, 50_000) + r.choice((0, 0, 0, -1, 7))
        message = make.new(IMAGE, encoding=encoding, width=width, height=height, step=step)
        make.fill(message, 'data', np.frombuffer(r.randbytes(max(size, 0)), np.uint8))
        message.is_bigendian = r.choice((0, 1, 255))
        places = [[r.choice(REAL), r.uniform(-9, 50)] for _ in range(5)]

        def read() -> None:
            depth = read_depth(message)
            assert depth.shape == (height, width)
            assert not np.isinf(depth).any()
            assert not (depth <= 0).any()
            misfit(depth, (24, 18))
            found = read_at_joints(depth, np.array([places]), (width, height), 30.0)
            assert not np.isinf(found).any()

        return read

    return damage


@door('transforms', 120, TransformError)
def _transforms(_: Path) -> Make:
    make, names = MessageMaker(STORE), ('map', 'base', '/base', 'camera', '', '/', 'x' * 5000)

    def damage(r: random.Random) -> Read:
        def value() -> float:
            return float(r.choice(REAL)) if r.random() < 0.1 else r.uniform(-1, 1)

        def transform() -> Transform:
            turn = np.array([value() for _ in range(4)])
            length = float(np.linalg.norm(turn))
            if r.random() < 0.9 and np.isfinite(length) and length > 0:
                turn = turn / length
            return Transform(turn, np.array([value() for _ in range(3)]))

        stamps = [min(abs(r.choice(WHOLE)), 2**31 * 10**9 - 1) for _ in range(12)]
        sent = [
            make_transforms(make, [(r.choice(names), transform())], r.choice(names), stamp)
            for stamp in stamps
        ]
        asked = [(r.choice(names), r.choice(names), r.choice(stamps)) for _ in range(6)]

        def read() -> None:
            buffer, answers = TransformBuffer(), 0
            for message in sent:
                for parent, child, stamp_ns, entry in read_transforms(message):
                    with contextlib.suppress(TransformError):
                        buffer.add(parent, child, stamp_ns, entry, static=stamp_ns % 2 == 0)
            for target, source, stamp_ns in asked:
                try:
                    found = buffer.lookup(target, source, stamp_ns)
                except TransformError:
                    continue
                answers += 1
                assert np.isfinite(found.translation_m).all()
                assert abs(float(np.linalg.norm(found.quaternion)) - 1) < 1e-9
            if not answers:
                raise TransformError('refused', 'nothing could be answered')

        return read

    return damage
