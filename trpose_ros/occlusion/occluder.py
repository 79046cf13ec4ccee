"""The truncation simulators of protocol v1: one implementation for node, evaluator and trainer.

An Occluder hides parts of a frame, either by painting rectangles (``fill``) or by really cutting
pixels off (``crop``: a smaller image with shifted intrinsics, what a robot's camera gives). Where
it hides follows from the reference box of the person, the seed and the frame's stamp alone.

Seed: the first 8 bytes, read as a big-endian integer, of SHA-256 of the UTF-8 text
``v1|dataset|subject|action|camera|type|severity|k``, given to numpy's PCG64; severity is written
as in the protocol's table ('6', '0.5', '1/3'). A draw for the time key n is taken from that one
stream after advancing it by n * 2^24 values, which gives random access: dropped or repeated
frames change nothing. Key 0 serves what is drawn once for a sequence; drawing in every frame uses
the stamp in milliseconds.

All numbers are choices of this project's protocol v1, not of any published study.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass

import numpy as np

from trpose_ros.cameras import crop_camera
from trpose_ros.configuration import check_fields, setting
from trpose_ros.occlusion.boxes import reference_boxes, union_box
from trpose_ros.occlusion.profiles import (
    FIVE,
    PROFILES,
    Rectangle,
    Scene,
    complement,
    register_profile,
    snap,
    view,
)
from trpose_ros.people import Frame

__all__ = [
    'FILLS',
    'FIVE',
    'PROFILES',
    'Occluder',
    'Occlusion',
    'OcclusionConfig',
    'hidden_joints',
    'joints_in',
    'make_occluder',
    'reference_boxes',
    'register_profile',
    'seed_of',
    'union_box',
]

FILLS = ('black', 'mean', 'noise', 'texture')
_MEAN_RGB = (124, 116, 104)
_BLOCK = 1 << 24  # values of the random stream that belong to one time key
_NOISE_OFFSET = 1 << 20  # pixels are drawn behind the geometry of the same key
_TEXTURE_PX = 8  # side of a texture's cells


@dataclass(frozen=True)
class OcclusionConfig:
    """Which truncation condition, how severe and how realised."""

    profile: str = setting('none', 'truncation condition of protocol v1', choices=tuple(PROFILES))
    severity: int = setting(-1, 'index of the severity; -1 is the main one', range=(-1, 3))
    realisation: str = setting(
        'main',
        'paint the hidden part or cut it off; main: what the protocol says',
        choices=('main', 'fill', 'crop'),
    )
    fill: str = setting('black', 'what hidden pixels show', choices=FILLS)
    anchor: str = setting(
        'person', 'move with the person, or stand still in the image', choices=('person', 'image')
    )
    hold: str = setting(
        'frame', 'how long a draw of random_box lasts', choices=('frame', 'half_second', 'sequence')
    )
    draw: int = setting(0, 'k of the seed: repetition of the experiment', range=(0, 99))

    def __post_init__(self) -> None:
        """Validate every choice."""
        check_fields(self)
        profile = PROFILES[self.profile]
        if not -1 <= self.severity < len(profile.labels):
            raise ValueError(
                f'{self.profile} has severities 0 to {len(profile.labels) - 1} '
                f'({", ".join(profile.labels)}), got {self.severity}'
            )
        if self.realisation == 'crop' and profile.keep is None:
            able = [name for name, other in PROFILES.items() if other.keep is not None]
            raise ValueError(f'{self.profile} cannot be cropped; only {", ".join(able)} can')

    @property
    def severity_index(self) -> int:
        """Return the severity with the default resolved."""
        return PROFILES[self.profile].main if self.severity < 0 else self.severity

    @property
    def cuts(self) -> bool:
        """Return whether images become smaller."""
        main = PROFILES[self.profile].realisation
        return (main if self.realisation == 'main' else self.realisation) == 'crop'


@dataclass(frozen=True)
class Occlusion:
    """An altered frame and what was hidden; coordinates are those of the frame before."""

    frame: Frame
    rectangles_px: np.ndarray  # (R, 4) float64 x, y, w, h: disjoint, inside the original image
    hidden_fraction: float  # share of the reference box (inside the image) that is hidden
    profile: str
    seed: int
    offset_px: tuple[int, int] = (0, 0)  # original px of the altered image's first pixel
    original_size: tuple[int, int] = (0, 0)  # width, height


def seed_of(config: OcclusionConfig, identity: str) -> int:
    """Return the seed of a condition for ``identity`` = 'dataset|subject|action|camera'."""
    if identity.count('|') != 3:
        raise ValueError(f"identity must be 'dataset|subject|action|camera', got {identity!r}")
    label = PROFILES[config.profile].labels[config.severity_index]
    text = f'v1|{identity}|{config.profile}|{label}|{config.draw}'
    return int.from_bytes(hashlib.sha256(text.encode('utf-8')).digest()[:8], 'big')


class Occluder:
    """Hides parts of frames; random access by time, so it carries no state between frames."""

    def __init__(
        self,
        config: OcclusionConfig,
        seed: int,
        static_box_px: np.ndarray | None = None,
        start_ns: int = 0,
    ) -> None:
        """Keep configuration and seed; use make_occluder."""
        self.config = config
        self.seed = seed
        self._static_box = None if static_box_px is None else _checked_box(static_box_px)
        self._start_ns = start_ns
        self._texture: np.ndarray | None = None

    def reset(self) -> None:
        """Forget cached textures; masks depend on stamps alone and need no reset."""
        self._texture = None

    def rectangles(
        self,
        width: int,
        height: int,
        reference_box_px: np.ndarray | None,
        time_ns: int,
    ) -> np.ndarray:
        """Return the hidden rectangles (R, 4), x y w h, px, for an image of that size.

        They are disjoint, snapped to whole pixels and inside the image. ``reference_box_px`` is
        (4,) x y w h; None, or one without finite extent, stands for the whole image.
        """
        return self._hide(width, height, reference_box_px, time_ns)[0]

    def _hide(
        self, width: int, height: int, reference_box_px: np.ndarray | None, time_ns: int
    ) -> tuple[np.ndarray, Rectangle]:
        """Return the hidden rectangles (R, 4) and the window in view (the image for masks)."""
        profile = PROFILES[self.config.profile]
        scene = Scene(
            box=self._box(width, height, reference_box_px),
            width=width,
            height=height,
            severity=profile.values[self.config.severity_index],
            time_ns=int(time_ns) - self._start_ns,
            hold=self.config.hold,
            draw=self._draw,
        )
        window = scene.image
        if profile.keep is not None:
            window = view(profile.keep(scene), width, height)
            hidden = complement(window, width, height)
        else:
            assert profile.hide is not None
            hidden = [snap(rectangle, width, height) for rectangle in profile.hide(scene)]
        rows = [(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in hidden if x1 > x0 and y1 > y0]
        return np.array(rows, np.float64).reshape(-1, 4), window

    def apply(
        self,
        frame: Frame,
        reference_box_px: np.ndarray | None = None,
        time_s: float | None = None,
    ) -> Occlusion:
        """Return the frame with the condition applied.

        The time is the frame's own stamp, exact to the nanosecond, unless ``time_s`` is given (a
        clip without stamps). The input frame is never changed; with nothing to hide it is
        returned as it is.
        """
        time_ns = frame.stamp_ns if time_s is None else round(time_s * 1e9)
        width, height = frame.camera.width, frame.camera.height
        rectangles, window = self._hide(width, height, reference_box_px, time_ns)
        box = self._box(width, height, reference_box_px)
        altered, offset = frame, (0, 0)
        if len(rectangles) and self.config.cuts:
            altered, offset = _cut(frame, window)
        elif len(rectangles):
            image = self._paint(frame.image, rectangles, time_ns)
            altered = dataclasses.replace(frame, image=image)
        return Occlusion(
            frame=altered,
            rectangles_px=rectangles,
            hidden_fraction=_hidden_fraction(rectangles, snap(box, width, height)),
            profile=self.config.profile,
            seed=self.seed,
            offset_px=offset,
            original_size=(width, height),
        )

    def _box(self, width: int, height: int, reference_box_px: np.ndarray | None) -> Rectangle:
        given = self._static_box if self.config.anchor == 'image' else reference_box_px
        if given is not None:
            x, y, w, h = _checked_box(given)
            if np.isfinite([x, y, w, h]).all() and w > 0 and h > 0:
                return x, y, x + w, y + h
        return -0.5, -0.5, width - 0.5, height - 0.5

    def _draw(self, key: int, offset: int = 0) -> np.random.Generator:
        stream = np.random.PCG64(self.seed)
        stream.advance(key * _BLOCK + offset)
        return np.random.Generator(stream)

    def _paint(self, image: np.ndarray, rectangles: np.ndarray, time_ns: int) -> np.ndarray:
        out = image.copy()
        cover: np.ndarray | tuple[int, ...] = (0, 0, 0)
        if self.config.fill == 'mean':
            cover = _MEAN_RGB
        elif self.config.fill == 'noise':
            key = (time_ns - self._start_ns + 500_000) // 1_000_000
            cover = self._draw(key, _NOISE_OFFSET).integers(0, 256, image.shape, np.uint8)
        elif self.config.fill == 'texture':
            cover = self._texture_of(image.shape)
        for x, y, w, h in rectangles:
            rows = slice(math.ceil(y), math.ceil(y + h))
            columns = slice(math.ceil(x), math.ceil(x + w))
            out[rows, columns] = cover if isinstance(cover, tuple) else cover[rows, columns]
        return out

    def _texture_of(self, shape: tuple[int, ...]) -> np.ndarray:
        if self._texture is None or self._texture.shape != shape:
            cells = (-(-shape[0] // _TEXTURE_PX), -(-shape[1] // _TEXTURE_PX), 3)
            coarse = self._draw(0, _NOISE_OFFSET).integers(0, 256, cells, np.uint8)
            fine = coarse.repeat(_TEXTURE_PX, axis=0).repeat(_TEXTURE_PX, axis=1)
            self._texture = fine[: shape[0], : shape[1]]
        return self._texture


def make_occluder(
    config: OcclusionConfig,
    identity: str = 'live|none|none|none',
    static_box_px: np.ndarray | None = None,
    start_ns: int = 0,
) -> Occluder:
    """Return the occluder of a condition for one sequence.

    ``identity`` is 'dataset|subject|action|camera'. ``static_box_px`` (4,) serves the anchor
    'image': the union of the sequence's reference boxes (union_box), or None for the whole image.
    ``start_ns`` is the stamp at which the condition's time is zero.
    """
    return Occluder(config, seed_of(config, identity), static_box_px, start_ns)


def hidden_joints(joints_px: np.ndarray, occlusion: Occlusion) -> np.ndarray:
    """Say which joints (..., 2), px of the original image, are hidden; returns bool (...).

    A joint is hidden if it lies in a hidden rectangle or outside the (cropped) image, and also if
    it has no projection at all (NaN). Self-occlusion is ignored (protocol v1, section 3).
    """
    return joints_in(joints_px, occlusion.rectangles_px, *occlusion.original_size)


def joints_in(joints_px: np.ndarray, rectangles_px: np.ndarray, w: int, h: int) -> np.ndarray:
    """Say which points (..., 2) lie in one of the rectangles (R, 4) or outside a w x h image."""
    x, y = np.asarray(joints_px)[..., 0], np.asarray(joints_px)[..., 1]
    hidden = ~((x >= -0.5) & (x < w - 0.5) & (y >= -0.5) & (y < h - 0.5))
    for left, top, width, height in rectangles_px:
        hidden |= (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
    return hidden


def _checked_box(box: np.ndarray | tuple) -> tuple[float, float, float, float]:
    values = np.asarray(box, dtype=np.float64)
    if values.shape != (4,):
        raise ValueError(f'a reference box is (4,) x, y, w, h in px, got shape {values.shape}')
    return tuple(float(value) for value in values)  # type: ignore[return-value]


def _cut(frame: Frame, window: Rectangle) -> tuple[Frame, tuple[int, int]]:
    """Keep a window snapped to whole pixels; returns the frame and its first pixel."""
    x0, y0, x1, y1 = (round(value + 0.5) for value in window)
    image = np.ascontiguousarray(frame.image[y0:y1, x0:x1])
    camera = crop_camera(frame.camera, x0, y0, x1 - x0, y1 - y0)
    return dataclasses.replace(frame, image=image, camera=camera), (x0, y0)


def _hidden_fraction(rectangles: np.ndarray, box: Rectangle) -> float:
    x0, y0, x1, y1 = box
    area = (x1 - x0) * (y1 - y0)
    if area <= 0:
        return 0.0
    hidden = 0.0
    for x, y, w, h in rectangles:
        hidden += max(0.0, min(x + w, x1) - max(x, x0)) * max(0.0, min(y + h, y1) - max(y, y0))
    return hidden / area
