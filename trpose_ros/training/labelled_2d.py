"""Crops of pictures that have 2D labels only, from any data set with images.

MeTRAbs learns from them through the projection alone (T-BIOM 2020, section III-D): they bring real
clothes, places and cameras where no metric truth exists. A picture without calibration is taken
for one of 8 degrees, which makes its projection nearly orthographic. Augmentation as published:
turned by up to 20 degrees, scaled by up to 25 %, moved within a disc of 10 % of the side, mirrored,
cut to a part of the person, colours changed, parts hidden.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trpose_ros.cameras import camera_from_fov
from trpose_ros.cameras import undistort_points
from trpose_ros.data.compose import adjust_colours
from trpose_ros.data.compose import joint_box
from trpose_ros.data.compose import reference_box
from trpose_ros.data.hiding import CONDITIONS
from trpose_ros.data.hiding import hide
from trpose_ros.data.registry import load_dataset
from trpose_ros.data.samples import DataError
from trpose_ros.data.samples import Sample
from trpose_ros.metrabs import warps_cpu
from trpose_ros.metrabs.augmentation import AugmentationTable
from trpose_ros.metrabs.crops import box_views
from trpose_ros.metrabs.crops import crop_views
from trpose_ros.people import Camera
from trpose_ros.skeletons import get_skeleton

_SKELETON = 'h36m_17'
_ASSUMED_FOV_DEG = 8.0
_LEAST_JOINTS = 4
_TURN_DEG, _SCALE, _SHIFT = 20.0, 0.25, 0.1
_PART, _HIDDEN = 0.5, 0.5  # probabilities of a crop smaller than the body, and of hidden parts


@dataclass(frozen=True)
class Crop2d:
    """One crop; joints that are not labelled are NaN."""

    image: np.ndarray  # (S, S, 3) uint8 RGB
    intrinsics: np.ndarray  # (3, 3) float32 of the crop
    joints_px: np.ndarray  # (17, 2) float32


@dataclass(frozen=True)
class Batch2d:
    """B crops."""

    images: Tensor  # (B, 3, S, S) uint8
    intrinsics: Tensor  # (B, 3, 3)
    joints_px: Tensor  # (B, 17, 2), NaN = no label


def collect_2d(crops: list[Crop2d], side: int) -> Batch2d:
    """Put crops into a batch; there may be none."""
    images = np.array([crop.image for crop in crops], np.uint8).reshape(-1, side, side, 3)
    intrinsics = np.array([crop.intrinsics for crop in crops], np.float32).reshape(-1, 3, 3)
    joints = np.array([crop.joints_px for crop in crops], np.float32).reshape(-1, 17, 2)
    columns = (images.transpose(0, 3, 1, 2), intrinsics, joints)
    return Batch2d(*(torch.from_numpy(np.ascontiguousarray(column)) for column in columns))


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

    def crop(self, rng: np.random.Generator) -> Crop2d:
        """Return a random crop of a random person."""
        number, t = self.rows[int(rng.integers(len(self)))]
        sample = self.samples[number]
        assert sample.images is not None
        assert sample.joints_px is not None
        image = np.ascontiguousarray(sample.images[t])
        camera = sample.camera or camera_from_fov(image.shape[1], image.shape[0], _ASSUMED_FOV_DEG)
        joints = np.where(sample.valid[t][:, None], sample.joints_px[t], np.nan).astype(np.float64)
        labelled = np.isfinite(joints).all(axis=1)
        centre, size = joint_box(joints[labelled])
        size = max(size, 2.0)
        angle, radius = rng.uniform(0, 2 * np.pi), _SHIFT * size * np.sqrt(rng.random())
        centre = centre + radius * np.array([np.cos(angle), np.sin(angle)])
        size *= rng.uniform(1 - _SCALE, 1 + _SCALE)
        if rng.random() < _PART:
            part = rng.uniform(0.5, 0.95)
            centre = centre + rng.uniform(-0.5, 0.5, 2) * (1 - part) * size
            size *= part
        return self._drawn(image, camera, joints, np.array([*(centre - size / 2), size, size]), rng)

    def _drawn(
        self,
        image: np.ndarray,
        camera: Camera,
        joints: np.ndarray,
        box: np.ndarray,
        rng: np.random.Generator,
    ) -> Crop2d:
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
            px = px[get_skeleton(_SKELETON).mirror]
        crop = adjust_colours(crop, rng)
        labelled = np.isfinite(px).all(axis=1)
        if labelled.any() and rng.random() < _HIDDEN:
            hide(crop, reference_box(px[labelled]), str(rng.choice((*CONDITIONS, 'boxes'))), rng)
        return Crop2d(crop, views.intrinsics[0, 0].astype(np.float32), px.astype(np.float32))
