"""How good a crop network is: on rendered people that were not trained on, and on real ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from trpose_ros.cameras import camera_from_fov
from trpose_ros.data.registry import load_dataset
from trpose_ros.data.rendering.crops import Composer, Crop, joint_box, reference_box
from trpose_ros.data.rendering.hiding import CONDITIONS, hide
from trpose_ros.evaluation.metrics.uncertainty import ellipsoid_coverage, projected_covariances
from trpose_ros.metrabs import warps_cpu
from trpose_ros.metrabs.augmentation import augmentation_table
from trpose_ros.metrabs.crops import box_views, crop_views
from trpose_ros.metrabs.heatmaps import decode
from trpose_ros.metrabs.inference import CropRunner
from trpose_ros.metrabs.loss import project_mm
from trpose_ros.metrabs.model import Metrabs
from trpose_ros.metrabs.reconstruction import reconstruct
from trpose_ros.metrabs.uncertainty import UncertaintyModel, covariances_mm2, features_of
from trpose_ros.metrabs.visibility import VISIBLE
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.metrabs.batches import Batch, collect, held_out_batches
from trpose_ros.training.metrabs.labelled_2d import joint_states

_HUMAN36M = 17  # the first joints of body_39
_PCK = 0.2  # of the torso
_FOV_DEG = 40.0  # assumed of photographs
_BODY = get_skeleton('body_39')


def measured(model: Metrabs, composer: Composer, data_2d: str = '', most: int = 1008) -> dict:
    """Return {'rendered': ..., 'photographs': ...}, the second only when ``data_2d`` is named."""
    results = {'rendered': on_rendered(model, composer, most)}
    if data_2d:
        results[data_2d] = on_photographs(model, data_2d)
    return results


@torch.no_grad()
def on_rendered(model: Metrabs, composer: Composer, most: int = 1008, seed: int = 5) -> dict:
    """Measure on held-out people, bodies and rooms, by condition.

    Returns:
        ``{'clean': {'mpjpe_mm', 'p90_mm', 'px', 'seen_auc'}, 'random_box': ...}``: mean
        root-relative joint distance, its 90 % quantile over people, the mean 2D distance in px of
        the crop over all joints, hidden ones too, and the area under the ROC curve of the score
        for "visible", where the network has one.

    """
    model.eval()
    joints = min(_HUMAN36M, model.config.num_joints)
    results = {}
    for condition in ('clean', *CONDITIONS):
        errors, pixels, scores, seen = [], [], [], []
        for batch in held_out_batches(composer, condition, most, seed):
            poses, chance = run(model, batch)
            truth = 1000 * batch.joints_m
            difference = (poses - poses[:, :1])[:, :joints] - (truth - truth[:, :1])[:, :joints]
            errors.append(difference.norm(dim=-1).mean(dim=1))
            distance = project_mm(poses, batch.intrinsics)[:, :joints] - batch.joints_px[:, :joints]
            pixels.append(distance.norm(dim=-1).mean(dim=1))
            if chance is not None:
                scores.append(chance[..., VISIBLE])
                seen.append(batch.states == VISIBLE)
        error = torch.cat(errors)
        results[condition] = {
            'mpjpe_mm': round(float(error.mean()), 1),
            'p90_mm': round(float(error.quantile(0.9)), 1),
            'px': round(float(torch.cat(pixels).mean()), 2),
        }
        if scores:
            area = roc_area(torch.cat(scores).numpy(), torch.cat(seen).numpy())
            results[condition]['seen_auc'] = round(area, 3)
    return results


def run(model: Metrabs, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Return poses (B, J, 3) mm in the crop camera's frame and the chances of states (B, J, 3)."""
    assert batch.images is not None
    features = model.backbone(batch.images.float() / 255)
    logits = model.heatmap_heads(features)
    coords2d, relative = decode(logits, model.config.geometry)
    poses = reconstruct(coords2d, relative, batch.intrinsics, model.config.geometry).abs_mm
    if model.state_head is None:
        return poses, None
    return poses, model.state_head(features, logits).softmax(dim=-1)


def roc_area(scores: np.ndarray, true: np.ndarray) -> float:
    """Return the area under the ROC curve of scores for what is ``true``; NaN without both."""
    scores, true = scores.ravel(), true.ravel()
    positive, negative = int(true.sum()), int((~true).sum())
    if not positive or not negative:
        return float('nan')
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # ties share their mean rank
    return float((rank[true].sum() - positive * (positive + 1) / 2) / (positive * negative))


@torch.no_grad()
def on_photographs(model: Metrabs, dataset: str, split: str = 'test') -> dict:
    """Return ``{'clean': {'pck', 'joints'}, ...}`` on people with 2D labels, by condition.

    A joint counts where it is labelled and not hidden by the condition; it is found when nearer
    than 0.2 of the torso (the longer of shoulder to hip and 1.25 times the shoulders).
    """
    model.eval()
    results = {}
    for condition in ('clean', *CONDITIONS):
        good, all_ = 0, 0
        for batch, torso in _photograph_batches(dataset, split, model.config.proc_side, condition):
            poses, _ = run(model, batch)
            found = project_mm(poses, batch.intrinsics)
            count = min(found.shape[1], batch.joints_px.shape[1])
            distance = (found[:, :count] - batch.joints_px[:, :count]).norm(dim=-1)
            seen = batch.states[:, :count] == VISIBLE
            good += int(((distance <= _PCK * torso[:, None]) & seen).sum())
            all_ += int(seen.sum())
        results[condition] = {'pck': round(good / max(all_, 1), 3), 'joints': all_}
    return results


def coverage_on_photographs(
    model: Metrabs, uncertainty: UncertaintyModel, dataset: str, split: str = 'test'
) -> dict:
    """Return ``{'clean': {'inside_50', 'inside_95'}, ...}``, percent, by condition.

    The share of labelled joints that are seen and lie in the projected ellipses around the
    estimated ones that should hold 50 and 95 percent. The distance of a joint does not matter, but
    the ellipse is as large as the estimated distance makes it. The labels' own errors are in it.
    """
    runner = CropRunner(model, torch.device('cpu'), torch.float32)
    results = {}
    for condition in ('clean', *CONDITIONS):
        errors, ellipses = [np.zeros((0, 2))], [np.zeros((0, 2, 2))]
        for batch, _ in _photograph_batches(dataset, split, model.config.proc_side, condition):
            assert batch.images is not None
            cameras = batch.intrinsics.numpy().astype(np.float64)
            poses = runner.run(batch.images, cameras)
            joints = poses.abs_mm.astype(np.float64)
            features = features_of(poses, cameras, model.config.geometry)
            covariances = covariances_mm2(uncertainty, features, joints)
            found = project_mm(torch.from_numpy(joints), torch.from_numpy(cameras)).numpy()
            seen = (batch.states.numpy() == VISIBLE) & poses.solvable[:, None]
            errors.append((found - batch.joints_px.numpy())[seen])
            ellipses.append(projected_covariances(covariances, joints, cameras[:, None])[seen])
        covered = ellipsoid_coverage(np.concatenate(errors), np.concatenate(ellipses), (0.5, 0.95))
        results[condition] = {
            'inside_50': round(float(covered[0]), 1),
            'inside_95': round(float(covered[1]), 1),
        }
    return results


def _photograph_batches(
    dataset: str, split: str, side: int, condition: str
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield crops of labelled people as a tracker would make them, and torsos (B,) px."""
    rng = np.random.default_rng(7)
    crops, torsos = [], []
    for sample in load_dataset(dataset, split=split):
        assert sample.images is not None
        assert sample.joints_px is not None
        joints = sample.joints_px[0].astype(np.float64)
        labelled = np.isfinite(joints).all(axis=1)
        torso = torso_of(joints)
        if labelled.sum() < 4 or not torso > 0:
            continue
        crop = photograph_crop(sample.images[0], joints, side, condition, rng)
        crops.append(crop)
        torsos.append(torso_of(crop.joints_px.astype(np.float64)))
    for first in range(0, len(crops), 32):
        part = slice(first, first + 32)
        yield collect(crops[part]), torch.tensor(torsos[part])


def torso_of(joints_px: np.ndarray) -> float:
    """Return the torso's length of joints (39, 2) px: NaN without shoulders and hips."""
    at = {n: joints_px[_BODY.index(n)] for n in ('lsho', 'rsho', 'lhip_coco', 'rhip_coco')}
    lengths = [
        np.linalg.norm(at['lsho'] - at['lhip_coco']),
        np.linalg.norm(at['rsho'] - at['rhip_coco']),
        1.25 * np.linalg.norm(at['lsho'] - at['rsho']),
    ]
    return float(np.nanmax(lengths)) if np.isfinite(lengths).any() else float('nan')


def photograph_crop(
    image: np.ndarray,
    joints_px: np.ndarray,
    side: int,
    condition: str,
    rng: np.random.Generator,
) -> Crop:
    """Return the crop around labelled joints (39, 2) px of a picture, under a condition."""
    height, width = image.shape[:2]
    camera = camera_from_fov(width, height, _FOV_DEG)
    labelled = np.isfinite(joints_px).all(axis=1)
    centre, size = joint_box(joints_px[labelled], len(joints_px))
    size = max(size, 8.0) * 1.15
    views = crop_views(
        box_views(np.array([[*(centre - size / 2), size, size]]), camera, side),
        camera,
        side,
        augmentation_table(1, 'centred'),
    )
    crop = warps_cpu.render(image, camera, views, np.ones(1))[0, 0]
    rays = np.concatenate([joints_px, np.ones((len(joints_px), 1))], axis=1)
    seen = rays @ np.linalg.inv(camera.matrix).T
    seen = seen @ (views.intrinsics[0, 0] @ views.rotation[0, 0]).T
    px = seen[:, :2] / seen[:, 2:]
    covered = np.zeros((side, side), bool)
    box = reference_box(px[labelled], len(px))
    if condition != 'clean':
        hide(crop, box, condition, rng, exact=True, covered=covered)
    return Crop(
        image=crop,
        intrinsics=views.intrinsics[0, 0].astype(np.float32),
        joints_m=np.full((len(px), 3), np.nan, np.float32),
        joints_px=px.astype(np.float32),
        box=box,
        mask=np.zeros_like(covered),
        states=joint_states(px, labelled, np.zeros_like(labelled), covered),
    )
