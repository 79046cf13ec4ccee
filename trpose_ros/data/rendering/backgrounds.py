"""Photographs and procedural pictures to put people in front of, split by scene.

All crops of one panorama, and all pictures of one source theme, count as one scene and stay in one
split, so that a test picture's room was never seen in training.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from trpose_ros.data.rendering.bodies import PackError, shared_data_dir
from trpose_ros.recordings.picture_headers import ImageError
from trpose_ros.recordings.pictures import read_picture


def scene_of(name: str) -> str:
    """Return the scene of a picture's file name: all but the number at its end."""
    return Path(name).stem.rsplit('_', 1)[0]


def split_of(scene: str) -> str:
    """Return 'train', 'val' or 'test': a fixed pseudo-random choice by the scene's name."""
    draw = hashlib.sha256(scene.encode()).digest()[0]
    return 'train' if draw < 192 else ('val' if draw < 216 else 'test')


class Backgrounds:
    """The pictures of one split in memory (RGB, longer side at most 320 px)."""

    def __init__(self, split: str | None, folder: Path | None = None) -> None:
        folder = Path(folder) if folder else shared_data_dir('backgrounds')
        names = sorted(p.name for p in folder.glob('*.jpg'))
        self.names = [n for n in names if split in (None, split_of(scene_of(n)))]
        self.images = []
        for name in self.names:
            try:
                self.images.append(read_picture(folder / name).image)
            except ImageError as error:
                raise PackError(f'{folder / name} {error}; restore the pack') from error
        if not self.images:
            raise PackError(f'no backgrounds of split {split!r} in {folder}')

    def picture(self, rng: np.random.Generator) -> np.ndarray:
        """Return one picture at its full size; not a copy."""
        return self.images[int(rng.integers(len(self.images)))]

    def draw(self, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
        """Return a (height, width, 3) uint8 background: mostly a random cut of a photograph."""
        if rng.random() < 0.12:
            return procedural(width, height, rng)
        image = self.picture(rng)
        cut = random_cut(image, width / height, rng)
        if rng.random() < 0.5:
            cut = cut[:, ::-1]
        shrinks = cut.shape[1] > width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(np.ascontiguousarray(cut), (width, height), interpolation=how)


def random_cut(image: np.ndarray, aspect: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random part of ``image`` with width / height = aspect, at least 40 % of it."""
    height, width = image.shape[:2]
    largest = min(width, height * aspect)
    w = max(int(largest * rng.uniform(0.4, 1.0)), 8)
    h = max(min(int(w / aspect), height), 8)
    x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    return image[y : y + h, x : x + w]


def procedural(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Return a gradient, a noise field or a wall and floor, (height, width, 3) uint8."""
    first, second = rng.uniform(0, 255, (2, 3)).astype(np.float32)
    kind = int(rng.integers(3))
    if kind == 0:
        x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        angle = rng.uniform(0, 2 * np.pi)
        share = np.clip(0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), 0, 1)
    elif kind == 1:
        cells = int(rng.integers(2, 24))
        coarse = rng.random((cells, cells)).astype(np.float32)
        share = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    else:
        horizon = int(height * rng.uniform(0.3, 0.8))
        share = np.zeros((height, width))
        share[horizon:] = 1
    share = share[..., None].astype(np.float32)
    picture = first * (1 - share) + second * share
    grain = rng.normal(0, rng.uniform(0, 6), (height, width, 1)).astype(np.float32)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)
