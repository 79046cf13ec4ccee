"""Rendered clips with a motion, a lens and a camera drawn at random: material for training."""

from __future__ import annotations

import numpy as np

from trpose_ros.data.rendering.bodies import BodyLibrary
from trpose_ros.data.rendering.clips import Clip, ClipConfig
from trpose_ros.data.rendering.sprites import load_motion

_ATTEMPTS = 20


def drawn_clip(
    split: str, seconds: float, near: bool, seed: list[int], library: BodyLibrary
) -> Clip:
    """Return a clip of a motion that is long enough; where nobody fits in, the next draw does.

    ``near``: the image itself cuts the person off. Raises ValueError where no motion lasts so many
    seconds, or no camera was found.
    """
    motion = load_motion(split)
    frames = round(seconds * motion.rate_hz)
    names = [n for n, length in zip(motion.names, motion.lengths, strict=True) if length >= frames]
    if not names:
        raise ValueError(f'no motion of split {split!r} lasts {seconds} s; choose fewer seconds')
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([*seed, attempt])
        config = ClipConfig(
            motions=(str(rng.choice(names)),),
            split=split,
            seconds=seconds,
            fov_deg=float(rng.uniform(50, 85)),
            framing='near' if near else 'whole',
            camera_height_m=float(rng.uniform(0.5, 2.0)),
            seed=int(rng.integers(1 << 31)),
        )
        try:
            return Clip(config, library)
        except ValueError:
            continue
    raise ValueError(f'no camera for clip {seed} in {_ATTEMPTS} draws; choose fewer seconds')
