"""Still scenes with several people for a person detector: cut-outs put into photographs.

Sizes run from a distant figure to a body three times as large as the image, so that close, cut-off
people are ordinary; some scenes have objects or blank rectangles in front, some are empty. The box
of a person surrounds what can be SEEN of it: not what lies outside the image, behind others or
behind a rectangle. Everything is drawn from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.data.rendering.backgrounds import Backgrounds, random_cut
from trpose_ros.data.rendering.crops import adjust_colours, motion_blur
from trpose_ros.data.rendering.hiding import CONDITIONS, hide
from trpose_ros.data.rendering.sprites import SIDE, SpriteStore

_SOLID = 127  # alpha from which a pixel belongs to a person


@dataclass(frozen=True)
class SceneConfig:
    """How scenes vary."""

    width: int = setting(256, range=(32, 4096))
    height: int = setting(192, range=(32, 4096))
    most_people: int = setting(4, range=(0, 50))
    empty: float = setting(0.08, 'share without people', range=(0, 1))
    smallest: float = setting(0.18, 'body height / image height', range=(0.01, 10.0))
    largest: float = setting(3.2, range=(0.01, 10.0))
    objects: float = setting(0.22, 'probability of each', range=(0, 1))
    truncated: float = setting(
        0.0, 'share in which somebody is hidden by a region of the protocol', range=(0, 1)
    )
    min_seen: float = setting(0.12, 'share of a body that must be seen to count', range=(0, 1))
    min_side_px: int = setting(8, 'of a box', range=(1, 1000))

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)
        if self.smallest > self.largest:
            raise ValueError(f'smallest must not exceed largest, got {self.smallest}')


@dataclass(frozen=True)
class Scene:
    """A picture and the people in it."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    boxes_px: np.ndarray  # (N, 4) float32 x, y, width, height of what is seen
    seen: np.ndarray  # (N,) float32, share of the body that is seen
    faint_px: np.ndarray  # (M, 4) boxes of people too hidden or too small to count
    owner: np.ndarray  # (H, W) int16: whose pixel, a row of boxes_px; -1 nobody's, -2 a faint one's


class SceneComposer:
    """Makes scenes out of a store of sprites and a set of backgrounds."""

    def __init__(
        self, store: SpriteStore, backgrounds: Backgrounds, config: SceneConfig | None = None
    ) -> None:
        self.store, self.backgrounds = store, backgrounds
        self.config = config or SceneConfig()
        noise = np.random.default_rng(17).standard_normal((1024, 1024, 1))
        self._noise = noise.astype(np.float32)

    def scene(self, rng: np.random.Generator, size: tuple[int, int] | None = None) -> Scene:
        """Return a random scene; ``size`` (width, height) px replaces that of the config."""
        config = self.config
        width, height = size or (config.width, config.height)
        image = self.backgrounds.draw(width, height, rng)
        owner = np.full((height, width), -1, np.int16)
        whole = []  # body areas, px
        for number, scale in enumerate(self._scales(height, rng)):
            whole.append(self._add(image, owner, number, scale, rng))
        while rng.random() < config.objects:
            self._hide(image, owner, rng)
        image = self._photograph(image, rng)
        if whole and config.truncated and rng.random() < config.truncated:
            self._truncate(image, owner, len(whole), rng)
        boxes, areas = _owned(owner, len(whole))
        seen = areas / np.maximum(np.array(whole), 1.0)
        counts = (seen >= config.min_seen) & (boxes[:, 2:].min(axis=1, initial=1e9) >= 1)
        counts &= boxes[:, 2:].max(axis=1, initial=0) >= config.min_side_px
        faint = ~counts & (areas > 0)
        rows = np.append(np.where(counts, np.cumsum(counts) - 1, -2), -1).astype(np.int16)
        return Scene(
            image, boxes[counts], seen[counts].astype(np.float32), boxes[faint], rows[owner]
        )

    def _scales(self, height: int, rng: np.random.Generator) -> np.ndarray:
        """Return body heights in px, far people first."""
        config = self.config
        if config.most_people == 0 or rng.random() < config.empty:
            return np.zeros(0)
        count = min(1 + int(rng.geometric(0.5)) - 1, config.most_people)
        count = max(count, 1)
        low, high = np.log(config.smallest), np.log(config.largest)
        return np.sort(np.exp(rng.uniform(low, high, count))) * height

    def _add(
        self,
        image: np.ndarray,
        owner: np.ndarray,
        number: int,
        body_px: float,
        rng: np.random.Generator,
    ) -> float:
        """Put a person in, in place; return the area of its whole body in px."""
        sprite = self.store[int(rng.integers(len(self.store)))]['rgba']
        height, width = owner.shape
        scale = body_px / SIDE
        if scale < 0.6:  # average first, so that nothing is skipped
            sprite = cv2.resize(sprite, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        solid = sprite[..., 3] > _SOLID
        factor = body_px / sprite.shape[0]
        rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
        if len(rows) == 0:
            return 0.0
        flip = -1.0 if rng.random() < 0.5 else 1.0
        # Some part of the body, drawn at random, comes to lie somewhere in the image: a small
        # person is then mostly whole, of a large one mostly a part is seen.
        anchor = np.array([rng.choice(columns), rows[0] + rng.beta(1, 2.2) * np.ptp(rows)])
        place = np.array([rng.uniform(0.02, 0.98) * width, rng.uniform(0.02, 0.98) * height])
        matrix = np.array([[flip * factor, 0, 0], [0, factor, 0]])
        matrix[:, 2] = place - matrix[:, :2] @ anchor
        layer = cv2.warpAffine(sprite, matrix, (width, height), flags=cv2.INTER_LINEAR)
        _paste(image, owner, layer, number)
        return float(solid.sum()) * factor**2

    def _hide(self, image: np.ndarray, owner: np.ndarray, rng: np.random.Generator) -> None:
        """Cover a part: a band along an edge or a rectangle, blank or with a texture."""
        height, width = owner.shape
        if rng.random() < 0.4:
            edge, share = int(rng.integers(4)), rng.uniform(0.05, 0.45)
            across, down = int(width * share), int(height * share)
            rows, columns = [
                (slice(0, down), slice(None)),
                (slice(height - down, None), slice(None)),
                (slice(None), slice(0, across)),
                (slice(None), slice(width - across, None)),
            ][edge]
        else:
            w, h = (max(int(v), 2) for v in rng.uniform(0.05, 0.4, 2) * (width, height))
            x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            rows, columns = slice(y, y + h), slice(x, x + w)
        part = image[rows, columns]
        if part.size == 0:
            return
        draw = rng.random()
        if draw < 0.5:
            part[:] = 0
        elif draw < 0.65:
            part[:] = rng.integers(0, 256, 3).astype(np.uint8)
        else:
            aspect = part.shape[1] / part.shape[0]
            cut = np.ascontiguousarray(random_cut(self.backgrounds.picture(rng), aspect, rng))
            part[:] = cv2.resize(cut, (part.shape[1], part.shape[0]))
        owner[rows, columns] = -1

    def _truncate(
        self, image: np.ndarray, owner: np.ndarray, count: int, rng: np.random.Generator
    ) -> None:
        """Hide a region of somebody as the truncation protocol does; the box spans the rest."""
        boxes, areas = _owned(owner, count)
        x, y, w, h = boxes[int(rng.choice(np.flatnonzero(areas)))] if areas.any() else [0] * 4
        condition = str(rng.choice(CONDITIONS))
        covered = np.zeros(owner.shape, bool)
        hide(image, np.array([x, y, x + w, y + h]), condition, rng, covered=covered)
        owner[covered] = -1

    def _photograph(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        image = adjust_colours(image, rng)
        draw = rng.random()
        if draw < 0.2:
            image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.5)))
        elif draw < 0.3:
            image = motion_blur(image, rng)
        if rng.random() < 0.5:
            height, width = image.shape[:2]
            y, x = (int(rng.integers(1024 - min(s, 1023))) for s in (height, width))
            grain = self._noise[y : y + height, x : x + width]
            if grain.shape[:2] == image.shape[:2]:
                noisy = image + grain * np.float32(rng.uniform(1, 12))
                image = np.clip(noisy, 0, 255).astype(np.uint8)
        return image


@numba.njit(cache=True, nogil=True)
def _paste(image, owner, layer, number):
    """Put a premultiplied RGBA layer over an image and note whom solid pixels show, in place."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            alpha = np.int32(layer[y, x, 3])
            if alpha == 0:
                continue
            if alpha > 127:
                owner[y, x] = number
            for k in range(3):
                value = layer[y, x, k] + (image[y, x, k] * (255 - alpha) + 127) // 255
                image[y, x, k] = min(value, 255)


@numba.njit(cache=True, nogil=True)
def _owned(owner, count):
    """Return the boxes (count, 4) x, y, w, h and areas (count,) of numbers in an owner map."""
    low = np.full((count, 2), 1 << 30, np.int64)
    high = np.full((count, 2), -1, np.int64)
    area = np.zeros(count, np.float64)
    for y in range(owner.shape[0]):
        for x in range(owner.shape[1]):
            n = owner[y, x]
            if n < 0:
                continue
            area[n] += 1
            low[n, 0], low[n, 1] = min(low[n, 0], x), min(low[n, 1], y)
            high[n, 0], high[n, 1] = max(high[n, 0], x), max(high[n, 1], y)
    boxes = np.zeros((count, 4), np.float32)
    for n in range(count):
        if area[n] > 0:
            boxes[n, 0], boxes[n, 1] = low[n, 0] - 0.5, low[n, 1] - 0.5
            boxes[n, 2], boxes[n, 3] = high[n, 0] - low[n, 0] + 1, high[n, 1] - low[n, 1] + 1
    return boxes, area
