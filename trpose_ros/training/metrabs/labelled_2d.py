"""Crops of pictures that have 2D labels only, from any data set with images.

MeTRAbs learns from them through the projection alone (T-BIOM 2020, section III-D): they bring real
clothes, places and cameras where no metric truth exists. A picture without calibration is taken
for one of 8 degrees, which makes its projection nearly orthographic. Augmentation as published:
turned by up to 20 degrees, scaled by up to 25 %, moved within a disc of 10 % of the side, mirrored,
cut to a part of the person, colours changed, parts hidden.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from trpose_ros.cameras import camera_from_fov, undistort_points
from trpose_ros.data.registry import load_dataset
from trpose_ros.data.rendering.crops import (
    UNKNOWN,
    UNSEEN,
    Crop,
    adjust_colours,
    joint_box,
    reference_box,
)
from trpose_ros.data.rendering.hiding import CONDITIONS, hide
from trpose_ros.data.samples import DataError, Sample
from trpose_ros.metrabs import warps_cpu
from trpose_ros.metrabs.augmentation import AugmentationTable
from trpose_ros.metrabs.crops import box_views, crop_views
from trpose_ros.metrabs.visibility import HIDDEN, OUTSIDE, VISIBLE
from trpose_ros.people import Camera
from trpose_ros.skeletons import get_skeleton

_SKELETON = 'body_39'
_ASSUMED_FOV_DEG = 8.0
_LEAST_JOINTS = 4
_TURN_DEG, _SCALE, _SHIFT = 20.0, 0.25, 0.1
_PART, _HIDDEN = 0.5, 0.5  # probabilities of a crop smaller than the body, and of hidden parts
_GUESSED = 0.5  # share of people cut off whose crop is as large as the whole body might be
_COARSE, _BLURRED = 0.25, 0.25
_ANKLES = [get_skeleton('body_39').index(name) for name in ('lank', 'rank')]


class Labelled2d:
    """People in the pictures of samples."""

    def __init__(self, samples: Iterable[Sample], side: int) -> None:
        """Keep the frames with an image and at least four labelled joints.

        Raises DataError when there are none.
        """
        self.side = side
        self.samples: list[Sample] = []
        rows = []
        for sample in samples:
            if sample.images is None or sample.joints_px is None:
                continue
            if sample.skeleton != _SKELETON:
                sample = sample.to_skeleton(_SKELETON)
            assert sample.joints_px is not None
            labelled = np.isfinite(sample.joints_px).all(axis=-1) & sample.valid
            rows += [
                (len(self.samples), int(t))
                for t in np.flatnonzero(labelled.sum(axis=1) >= _LEAST_JOINTS)
            ]
            self.samples.append(sample)
        if not rows:
            raise DataError('no training sample has images with 2D joints')
        self.rows = np.array(rows)

    @classmethod
    def of(cls, dataset: str, side: int) -> Labelled2d:
        """Open the training split of an installed data set; raises as load_dataset does."""
        return cls(load_dataset(dataset, split='train'), side)

    def __len__(self) -> int:
        """Return the number of labelled people."""
        return len(self.rows)

    def crop(self, rng: np.random.Generator) -> Crop:
        """Return a random crop of a random person."""
        number, t = self.rows[int(rng.integers(len(self)))]
        sample = self.samples[number]
        assert sample.images is not None
        assert sample.joints_px is not None
        image = np.ascontiguousarray(sample.images[t])
        camera = sample.camera or camera_from_fov(image.shape[1], image.shape[0], _ASSUMED_FOV_DEG)
        joints = np.where(sample.valid[t][:, None], sample.joints_px[t], np.nan).astype(np.float64)
        labelled = np.asarray(np.isfinite(joints).all(axis=1))
        centre, size = joint_box(joints[labelled], len(joints))
        size = max(size, 2.0)
        angle, radius = rng.uniform(0, 2 * np.pi), _SHIFT * size * np.sqrt(rng.random())
        centre = centre + radius * np.array([np.cos(angle), np.sin(angle)])
        size *= rng.uniform(1 - _SCALE, 1 + _SCALE)
        whole = labelled[_ANKLES].any()
        if not whole and rng.random() < _GUESSED:
            # Somebody cut off: a tracker's box grows to the whole body, of which little is seen.
            factor = rng.uniform(1.2, 2.3)
            centre = centre + np.array([rng.normal(0, 0.06), 0.5 * (factor - 1) - 0.02]) * size
            size *= factor
        elif rng.random() < _PART:
            part = rng.uniform(0.5, 0.95)
            centre = centre + rng.uniform(-0.5, 0.5, 2) * (1 - part) * size
            size *= part
        box = np.array([*(centre - size / 2), size, size])
        unseen = np.zeros(len(joints), bool) if sample.occluded is None else sample.occluded[t]
        return self._drawn(image, camera, joints, unseen, box, rng)

    def _drawn(
        self,
        image: np.ndarray,
        camera: Camera,
        joints: np.ndarray,
        unseen: np.ndarray,
        box: np.ndarray,
        rng: np.random.Generator,
    ) -> Crop:
        table = AugmentationTable(
            scale=np.ones(1),
            angle_rad=np.radians(rng.uniform(-_TURN_DEG, _TURN_DEG, 1)),
            gamma=np.ones(1),
            flip=rng.random(1) < 0.5,
        )
        views = crop_views(box_views(box[None], camera, self.side), camera, self.side, table)
        crop = warps_cpu.render(image, camera, views, table.gamma)[0, 0]
        rays = undistort_points(joints, camera)
        rays = np.concatenate([rays, np.ones_like(rays[:, :1])], axis=1)
        seen = rays @ (views.intrinsics[0, 0] @ views.rotation[0, 0]).T
        px = np.where(seen[:, 2:] > 1e-6, seen[:, :2] / seen[:, 2:], np.nan)
        if table.flip[0]:
            mirror = get_skeleton(_SKELETON).mirror
            px, unseen = px[mirror], unseen[mirror]
        crop = self._photographed(crop, rng)
        labelled = np.asarray(np.isfinite(px).all(axis=1))
        covered = np.zeros(crop.shape[:2], bool)
        box = reference_box(px[labelled], len(px)) if labelled.any() else np.zeros(4)
        if labelled.any() and rng.random() < _HIDDEN:
            condition = str(rng.choice((*CONDITIONS, 'boxes')))
            hide(crop, box, condition, rng, covered=covered)
        return Crop(
            image=crop,
            intrinsics=views.intrinsics[0, 0].astype(np.float32),
            joints_m=np.full((len(px), 3), np.nan, np.float32),
            joints_px=px.astype(np.float32),
            box=box,
            mask=np.zeros_like(covered),
            states=joint_states(px, labelled, unseen, covered),
        )

    def _photographed(self, crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        crop = adjust_colours(crop, rng)
        if rng.random() < _COARSE:
            small = int(self.side * rng.uniform(0.25, 0.7))
            crop = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
            crop = cv2.resize(crop, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        if rng.random() < _BLURRED:
            crop = cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.5, 2.2)) * self.side / 256)
        return crop


def joint_states(
    px: np.ndarray, labelled: np.ndarray, unseen: np.ndarray, covered: np.ndarray
) -> np.ndarray:
    """Return (J,) uint8 states of joints (J, 2) under a cover (S, S) bool."""
    column, row = np.rint(np.where(labelled[:, None], px, -1)).astype(int).T
    side = len(covered)
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    hidden = covered[np.clip(row, 0, side - 1), np.clip(column, 0, side - 1)]
    states = np.where(inside, np.where(hidden, HIDDEN, VISIBLE), OUTSIDE)
    return np.where(labelled, states, np.where(unseen, UNSEEN, UNKNOWN)).astype(np.uint8)
