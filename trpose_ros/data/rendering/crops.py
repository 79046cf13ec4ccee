"""Training crops from sprites: a virtual camera per crop, a scene around, truncation on top.

Each call makes a new picture of a stored person. The crop is what a pinhole camera would see that
turned towards a jittered, rescaled person box, as the estimator's own crops are made; labels are
transformed with it exactly. Truncation robustness is trained here: crops that cut the body off,
image borders (black beyond) through the person, and hidden rectangles of all shapes that the
truncation protocol knows (grid cells, a moving box, upper, middle and lower bands).

Everything is drawn from the generator that is passed in.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numba
import numpy as np

from trpose_ros.configuration import setting
from trpose_ros.data.rendering.backgrounds import Backgrounds, random_cut
from trpose_ros.data.rendering.hiding import (
    CONDITIONS,
    cut_border,
    draw_fragment,
    hide,
    hide_beyond,
    part_of,
)
from trpose_ros.data.rendering.posing import cross
from trpose_ros.data.rendering.sprites import SpriteStore
from trpose_ros.metrabs.visibility import HIDDEN, OUTSIDE, VISIBLE
from trpose_ros.skeletons import get_skeleton

_MIRROR = get_skeleton('body_39').mirror
_BOXED = 17  # boxes surround Human3.6M's joints, the first of body_39
UNSEEN, UNKNOWN = 254, 255  # further states: hidden or outside; no label
# Protocol v1: the reference box is the joints' box plus these shares of its own size.
_PAD_TOP, _PAD_BOTTOM, _PAD_SIDE = 0.12, 0.06, 0.12
BOX_PADDING = 0.10  # of the tracker's boxes, per side
_ALONE = 0.85  # share of fragments beyond which nothing is seen


_PROBABILITIES = (
    *('loose', 'near', 'fragments', 'border', 'hidden', 'people', 'objects'),
    *('furniture', 'coarse'),
)


@dataclass(frozen=True)
class CropConfig:
    """How training crops vary; probabilities in 0..1, angles in degrees."""

    side: int = setting(256, 'crop side in px', range=(32, 512))
    loose: float = setting(0.28, 'share of crops with a small person')
    near: float = setting(0.17, 'share of crops smaller than the body')
    fragments: float = setting(
        0.0, 'share of crops around a part, as a detector boxes who is cut off'
    )
    rotation_deg: float = setting(12.0, 'std of in-plane rotation')
    border: float = setting(0.3, 'probability of image borders')
    hidden: float = setting(0.45, 'probability of hidden rectangles')
    people: float = setting(0.2, 'probability of another person')
    objects: float = setting(0.2, 'probability of an object in front')
    furniture: float = setting(0.0, 'probability of a table or a back of a chair in front')
    coarse: float = setting(0.0, 'probability of a crop enlarged from fewer pixels')

    def __post_init__(self) -> None:
        """Validate ranges."""
        for name in _PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} is a probability, got {getattr(self, name)}')
        if self.side < 32:
            raise ValueError(f'side must be at least 32 px, got {self.side}')
        if self.loose + self.near > 1:
            raise ValueError(f'loose + near must not exceed 1, got {self.loose + self.near}')


@dataclass(frozen=True)
class Crop:
    """One training example; the camera is that of the crop (pixel centres at integers)."""

    image: np.ndarray  # (S, S, 3) uint8 RGB
    intrinsics: np.ndarray  # (3, 3) float32
    joints_m: np.ndarray  # (39, 3) float32, joints of body_39
    joints_px: np.ndarray  # (39, 2) float32
    box: np.ndarray  # (4,) x0 y0 x1 y1 of the reference box (protocol v1), crop px
    mask: np.ndarray  # (S, S) bool, pixels that show the person
    states: np.ndarray  # (39,) uint8 VISIBLE, HIDDEN (own body included) or OUTSIDE of the image

    @property
    def visible(self) -> np.ndarray:
        """(39,) bool: in the crop and the image, with nothing in front."""
        return self.states == VISIBLE


def project(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Return (J, 2) px of camera points (J, 3) under a pinhole matrix."""
    ray = points @ intrinsics.T
    return ray[:, :2] / ray[:, 2:]


def _view(point_px: np.ndarray, intrinsics: np.ndarray, angle: float, mirror: bool) -> np.ndarray:
    """Return the rotation (3, 3) towards a pixel; mirrored views have determinant -1."""
    z = np.linalg.solve(intrinsics, np.array([*point_px, 1.0]))
    z = z / np.linalg.norm(z)
    x = cross(z, np.array([0.0, -1.0, 0.0]))
    x = x / np.linalg.norm(x)
    view = np.stack([x, cross(z, x), z])
    c, s = np.cos(angle), np.sin(angle)
    view = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]]) @ view
    if mirror:
        view[0] *= -1
    return view


def joint_box(joints_px: np.ndarray, first: int = _BOXED) -> tuple[np.ndarray, float]:
    """Return centre (2,) and larger side of the padded box around the first joints of (J, 2)."""
    joints_px = joints_px[:first]
    low, high = joints_px.min(axis=0), joints_px.max(axis=0)
    return (low + high) / 2, float((high - low).max()) * (1 + 2 * BOX_PADDING)


def reference_box(joints_px: np.ndarray, first: int = _BOXED) -> np.ndarray:
    """Return (4,) x0 y0 x1 y1: the reference box of protocol v1 around the first joints."""
    joints_px = joints_px[:first]
    x0, y0 = joints_px.min(axis=0)
    x1, y1 = joints_px.max(axis=0)
    w, h = x1 - x0, y1 - y0
    return np.array(
        [x0 - _PAD_SIDE * w, y0 - _PAD_TOP * h, x1 + _PAD_SIDE * w, y1 + _PAD_BOTTOM * h]
    )


class Composer:
    """Makes crops out of a store of sprites and a set of backgrounds."""

    def __init__(
        self, store: SpriteStore, backgrounds: Backgrounds, config: CropConfig | None = None
    ) -> None:
        self.store = store
        self.backgrounds = backgrounds
        self.config = config or CropConfig()
        noise = np.random.default_rng(17).standard_normal((512, 512, 3))
        self._noise = noise.astype(np.float32)

    def training_crop(self, index: int, rng: np.random.Generator) -> Crop:
        """Return sprite ``index`` in a random crop with every augmentation."""
        sprite = self.store[index]
        part = None
        if self.config.fragments and rng.random() < self.config.fragments:
            part = draw_fragment(rng)
        crop, layer, size = self._place(sprite, rng, part)
        side = self.config.side
        image = self.backgrounds.draw(side, side, rng)
        other = rng.random() < self.config.people
        in_front = rng.random() < 0.4
        if other and not in_front:
            self._add_person(image, size, rng, front=False)
        _over(image, layer)
        covered, beyond = np.zeros((2, side, side), bool)
        if other and in_front:
            covered |= self._add_person(image, size, rng, front=True)
        if rng.random() < self.config.objects:
            covered |= self._add_object(image, crop.box, rng)
        if rng.random() < self.config.furniture:
            covered |= self._add_furniture(image, crop.box, rng)
        image = self._photograph(image, rng)
        if part is not None and rng.random() < _ALONE:
            hide_beyond(image, crop.box, part, beyond)
        elif rng.random() < self.config.border:
            cut_border(image, crop.box, rng, beyond)
        if rng.random() < self.config.hidden:
            condition = str(rng.choice((*CONDITIONS, 'boxes')))
            hide(image, crop.box, condition, rng, covered=covered)
        return _seen(crop, image, covered, beyond)

    def test_crop(self, index: int, condition: str, rng: np.random.Generator) -> Crop:
        """Return sprite ``index`` as a tracker would crop it, clean or under one condition."""
        sprite = self.store[index]
        joints = sprite['joints_m'].astype(np.float64)
        intrinsics = sprite['intrinsics'].astype(np.float64)
        centre, size = joint_box(project(joints, intrinsics))
        crop, layer = self._warp(sprite, centre, size, 0.0, False)
        image = self.backgrounds.draw(self.config.side, self.config.side, rng)
        _over(image, layer)
        image = self._grain(image, rng, 4.0)
        covered = np.zeros(image.shape[:2], bool)
        if condition != 'clean':
            hide(image, crop.box, condition, rng, exact=True, covered=covered)
        return _seen(crop, image, covered, np.zeros_like(covered))

    def _place(
        self, sprite: dict, rng: np.random.Generator, part: np.ndarray | None
    ) -> tuple[Crop, np.ndarray, float]:
        joints = sprite['joints_m'].astype(np.float64)
        intrinsics = sprite['intrinsics'].astype(np.float64)
        seen = project(joints, intrinsics)
        centre, size = joint_box(seen)
        draw = rng.random()
        if part is not None:
            box = part_of(reference_box(seen), part)
            extent = float((box[2:] - box[:2]).max())
            factor = extent * rng.uniform(0.85, 1.25) / size
            shift = (box[:2] + box[2:]) / 2 + rng.normal(0, 0.06, 2) * extent - centre
        elif draw < self.config.loose:
            factor = float(np.exp(rng.uniform(np.log(1.2), np.log(2.8))))
            shift = rng.uniform(-0.5, 0.5, 2) * size * (factor - 0.9)
        elif draw < self.config.loose + self.config.near:
            factor = rng.uniform(0.55, 0.95)
            shift = rng.uniform(-0.3, 0.3, 2) * size
        else:
            factor = rng.uniform(0.9, 1.25)
            shift = rng.normal(0, 0.05, 2) * size
        angle = float(np.clip(rng.normal(0, self.config.rotation_deg), -35, 35))
        mirror = bool(rng.random() < 0.5)
        if part is not None and mirror:
            part[[0, 2]] = 1 - part[[2, 0]]
        crop, layer = self._warp(sprite, centre + shift, size * factor, np.radians(angle), mirror)
        return crop, layer, self.config.side / factor

    def _warp(self, sprite, centre, size, angle, mirror) -> tuple[Crop, np.ndarray]:
        side = self.config.side
        source = sprite['intrinsics'].astype(np.float64)
        view = _view(centre, source, angle, mirror)
        intrinsics = np.eye(3)
        intrinsics[0, 0] = intrinsics[1, 1] = source[0, 0] * side / size
        intrinsics[:2, 2] = side / 2
        rgba = sprite['rgba']
        if size / side > 1.5:  # a small person: average first, so that nothing is skipped
            rgba = cv2.resize(np.asarray(rgba), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            source = np.diag([0.5, 0.5, 1.0]) @ source
            source[:2, 2] -= 0.25
        homography = source @ view.T @ np.linalg.inv(intrinsics)
        layer = cv2.warpPerspective(
            rgba, homography, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        joints, visible = sprite['joints_m'] @ view.T, np.asarray(sprite['visible'], bool)
        if mirror:
            joints, visible = joints[_MIRROR], visible[_MIRROR]
        px = project(joints, intrinsics)
        return (
            Crop(
                image=layer,
                intrinsics=intrinsics.astype(np.float32),
                joints_m=joints.astype(np.float32),
                joints_px=px.astype(np.float32),
                box=reference_box(px),
                mask=layer[..., 3] > 127,
                states=np.where(visible, VISIBLE, HIDDEN).astype(np.uint8),
            ),
            layer,
        )

    def _add_person(
        self, image: np.ndarray, size: float, rng: np.random.Generator, front: bool
    ) -> np.ndarray:
        """Put another person beside; return what is covered (S, S)."""
        other = self.store[int(rng.integers(len(self.store)))]['rgba']
        side = self.config.side
        scale = size / other.shape[0] * rng.uniform(0.5, 1.6)
        offset = rng.uniform(0.35 if front else 0.2, 0.8) * size * rng.choice([-1, 1])
        height = other.shape[0] * scale / 2
        x = side / 2 + offset - height
        y = side / 2 + rng.normal(0, 0.15) * size - height
        flip = rng.random() < 0.5
        other = np.ascontiguousarray(other[:, ::-1]) if flip else np.asarray(other)
        matrix = np.array([[scale, 0, x], [0, scale, y]])
        layer = cv2.warpAffine(other, matrix, (side, side), flags=cv2.INTER_AREA)
        _over(image, layer)
        return np.asarray(layer[..., 3] > 127)

    def _add_object(
        self, image: np.ndarray, box: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Paste a piece of a photograph, a polygon or an ellipse, somewhere over the person.

        Returns what is covered (S, S).
        """
        side = self.config.side
        extent = np.maximum(box[2:] - box[:2], 8)
        half = extent * rng.uniform(0.08, 0.3, 2)
        centre = rng.uniform(np.clip(box[:2], 0, side), np.clip(box[2:], 1, side))
        mask = np.zeros((side, side), np.uint8)
        if rng.random() < 0.5:
            axes = tuple(int(v) for v in np.maximum(half, 2))
            at = tuple(int(v) for v in centre)
            cv2.ellipse(mask, at, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
        else:
            corners = rng.uniform(-1, 1, (int(rng.integers(4, 8)), 2)) * half + centre
            cv2.fillPoly(mask, [cv2.convexHull(corners.astype(np.int32))], 255)
        cut = random_cut(self.backgrounds.picture(rng), 1.0, rng)
        texture = cv2.resize(np.ascontiguousarray(cut), (side, side))
        cv2.copyTo(texture, mask, image)
        return np.asarray(mask > 0)

    def _add_furniture(
        self, image: np.ndarray, box: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Put a table, a desk or the back of a chair before the lower body, in place.

        Returns what is covered (S, S): a wide board with a front below it, drawn as a piece of a
        photograph or in one colour.
        """
        side = self.config.side
        width, height = np.maximum(box[2:] - box[:2], 8)
        top = box[1] + rng.uniform(0.42, 0.85) * height
        left = box[0] + rng.uniform(-0.6, 0.45) * width
        right = left + rng.uniform(0.7, 2.2) * width
        slope = rng.uniform(-0.1, 0.1) * (right - left)
        thick = rng.uniform(0.03, 0.16) * height
        covered = np.zeros((side, side), np.uint8)
        board = np.array([[left, top], [right, top + slope]])
        lower = board[::-1] + np.array([0, thick])
        cv2.fillPoly(covered, [np.concatenate([board, lower]).astype(np.int32)], 255)
        if rng.random() < 0.6:  # closed below, else legs at both ends
            lower[:, 1] = 2 * side
            cv2.fillPoly(covered, [np.concatenate([board, lower]).astype(np.int32)], 255)
        else:
            leg = max(int(0.04 * (right - left)), 2)
            for x in (left, right - leg):
                cv2.rectangle(covered, (int(x), int(top)), (int(x) + leg, 2 * side), 255, -1)
        if rng.random() < 0.6:
            cut = random_cut(self.backgrounds.picture(rng), 1.0, rng)
            texture = cv2.resize(np.ascontiguousarray(cut), (side, side))
        else:
            texture = np.empty((side, side, 3), np.uint8)
            texture[:] = rng.integers(10, 245, 3).astype(np.uint8)
        cv2.copyTo(texture, covered, image)
        return np.asarray(covered > 0)

    def _grain(self, image: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
        side = self.config.side
        y, x = rng.integers(0, 512 - side, 2)
        return _add_noise(image, self._noise[y : y + side, x : x + side], np.float32(sigma))

    def _photograph(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply what a camera does: exposure, colour cast, gamma, blur, noise, JPEG."""
        image = adjust_colours(image, rng)
        if rng.random() < self.config.coarse:  # a small person in a large image
            small = int(self.config.side * rng.uniform(0.22, 0.7))
            image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
            image = cv2.resize(image, (self.config.side,) * 2, interpolation=cv2.INTER_LINEAR)
        draw = rng.random()
        blur = self.config.side / 128
        if draw < 0.25:
            image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.3)) * blur)
        elif draw < 0.35:
            image = motion_blur(image, rng, blur)
        if rng.random() < 0.6:
            image = self._grain(image, rng, float(rng.uniform(1, 14)))
        if rng.random() < 0.2:
            quality = int(rng.integers(18, 90))
            _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        return image


def _seen(crop: Crop, image: np.ndarray, covered: np.ndarray, beyond: np.ndarray) -> Crop:
    """Return the crop with its final image, and what is still seen of the person.

    ``covered`` (S, S) is hidden by things, ``beyond`` (S, S) lies outside the image.
    """
    column, row = np.rint(crop.joints_px).astype(int).T
    side = len(covered)
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    at = np.clip(row, 0, side - 1), np.clip(column, 0, side - 1)
    states = np.where(covered[at], HIDDEN, crop.states)
    states = np.where(inside & ~beyond[at], states, OUTSIDE).astype(np.uint8)
    mask = crop.mask & ~covered & ~beyond
    return dataclasses.replace(crop, image=image, mask=mask, states=states)


def adjust_colours(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image under another exposure, gamma, contrast, saturation and colour cast."""
    if rng.random() < 0.3:
        grey = image.mean(axis=2, keepdims=True)
        share = rng.uniform(-0.4, 0.8) if rng.random() < 0.85 else 1.0
        image = np.clip(image + (grey - image) * share, 0, 255).astype(np.uint8)
    level = np.arange(256, dtype=np.float32) / 255
    gamma = np.exp(rng.normal(0, 0.25))
    contrast, offset = np.exp(rng.normal(0, 0.2)), rng.normal(0, 0.06)
    gains = np.exp(rng.normal(0, 0.07, 3))
    curve = (level**gamma - 0.5) * contrast + 0.5 + offset
    table = np.clip(curve[:, None] * gains * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table[:, None, :])


def motion_blur(image: np.ndarray, rng: np.random.Generator, scale: float = 1.0) -> np.ndarray:
    """Return the image smeared along a random direction, 3 to 7 px times ``scale``."""
    length = int(rng.choice([3, 5, 7]) * scale) // 2 * 2 + 1
    kernel = np.zeros((length, length), np.float32)
    middle = length // 2
    angle = rng.uniform(0, np.pi)
    end = np.array([np.cos(angle), np.sin(angle)]) * middle
    start = tuple(int(v) for v in np.rint(middle - end))
    stop = tuple(int(v) for v in np.rint(middle + end))
    cv2.line(kernel, start, stop, 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


@numba.njit(cache=True, nogil=True)
def _over(image, layer):
    """Put a premultiplied RGBA layer over an image of the same size, in place."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            clear = 255 - np.int32(layer[y, x, 3])
            if clear == 255:
                continue
            for k in range(3):
                value = layer[y, x, k] + (image[y, x, k] * clear + 127) // 255
                image[y, x, k] = min(value, 255)


@numba.njit(cache=True, nogil=True)
def _add_noise(image, noise, sigma):
    out = np.empty_like(image)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            for k in range(3):
                value = image[y, x, k] + noise[y, x, k] * sigma
                out[y, x, k] = np.uint8(min(max(value, 0.0), 255.0))
    return out
