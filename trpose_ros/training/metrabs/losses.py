"""The losses of a MeTRAbs training step: people with 3D labels, and people of photographs.

Rendered people pay what the paper asks (metrabs/loss.py), an L1 on the 2D heads and a cross-entropy
on the heatmaps, which let a small network learn faster. People of photographs, whose 3D is not
known, pay for projection and 2D heads, and a little where a bone is longer or shorter than those
of nearly all people, or than its twin on the other side. All pay for what they say is seen.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trpose_ros.data.rendering.crops import UNKNOWN, UNSEEN
from trpose_ros.metrabs.heatmaps import HeatmapGeometry
from trpose_ros.metrabs.loss import LossConfig, loss_2d, loss_3d
from trpose_ros.metrabs.reconstruction import in_view_mask
from trpose_ros.metrabs.visibility import VISIBLE
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.metrabs.batches import Batch
from trpose_ros.training.metrabs.heatmap_targets import hats, plane_cross_entropy, plane_target

_MORE_3D = 2.0  # further weight of the root-free pose: the 3D heads of a small network learn late
_CELLS = 0.05  # weight of the cross-entropy of heatmaps
_FLAT, _FLAT_HEADS, _BONES = 0.3, 0.3, 0.3  # weights of what photographs pay
_STATES = 0.05
_BODY = get_skeleton('body_39')
_LIMBS = [
    (_BODY.index(a), _BODY.index(b))
    for side in 'lr'
    for a, b in (
        (f'{side}sho', f'{side}elb'),
        (f'{side}elb', f'{side}wri'),
        (f'{side}hip', f'{side}kne'),
        (f'{side}kne', f'{side}ank'),
    )
] + [(_BODY.index('pelv'), _BODY.index('neck')), (_BODY.index('lsho'), _BODY.index('rsho'))]
# Means and half ranges of their lengths, metres: 98 % of rendered people lie inside.
_LENGTHS = [0.26, 0.24, 0.415, 0.43] * 2 + [0.48, 0.335]
_RANGES = [0.055, 0.055, 0.1, 0.075] * 2 + [0.09, 0.08]


class Heads(NamedTuple):
    """What a network says about B crops."""

    poses: Tensor  # (B, J, 3) mm in the crop camera's frame
    coords2d: Tensor  # (B, J, 2) px
    relative: Tensor  # (B, J, 3) mm, origin unknown
    logits: Tensor  # of the heatmaps

    def part(self, rows: slice) -> Heads:
        """Return some of the crops."""
        return Heads(*(value[rows] for value in self))


def rendered_loss(
    found: Heads,
    batch: Batch,
    step: int,
    geometry: HeatmapGeometry,
    config: LossConfig,
) -> dict[str, Tensor]:
    """Return the losses of people with 3D labels, metres; 'total' is their weighted sum."""
    poses, coords2d, relative, logits = found
    valid = torch.ones(poses.shape[:2], dtype=torch.bool, device=poses.device)
    true_mm = 1000 * batch.joints_m
    losses = loss_3d(poses, true_mm, batch.intrinsics, valid, step, geometry, config)
    inside = in_view_mask(batch.joints_px, geometry)
    losses['heads'] = heads_loss(coords2d, batch.joints_px, inside, geometry)
    losses['cells'] = cell_loss(logits, batch, relative, inside, geometry)
    losses['total'] = (
        losses['total'] + losses['heads'] + _MORE_3D * losses['relative'] + _CELLS * losses['cells']
    )
    return losses


def photograph_loss(found: Heads, batch: Batch, geometry: HeatmapGeometry) -> dict[str, Tensor]:
    """Return the losses of people with 2D labels only, arguments as in rendered_loss."""
    poses, coords2d, relative, logits = found
    labelled = torch.isfinite(batch.joints_px).all(dim=-1)
    px = torch.where(labelled[..., None], batch.joints_px, 0.0)
    joints = [[k] for k in range(poses.shape[1])]
    losses = {'flat': loss_2d(poses, px, batch.intrinsics, labelled, joints, geometry)}
    inside = labelled & in_view_mask(px, geometry)
    losses['flat_heads'] = heads_loss(coords2d, px, inside, geometry)
    losses['bones'] = bone_loss(relative)
    crossed = plane_cross_entropy(logits[:, : poses.shape[1]], px, geometry)
    cells = (crossed * inside).sum() / inside.sum().clamp(min=1)
    losses['total'] = (
        _FLAT * losses['flat']
        + _FLAT_HEADS * losses['flat_heads']
        + _BONES * losses['bones']
        + _FLAT_HEADS * _CELLS * cells
    )
    return losses


def heads_loss(
    coords2d: Tensor, joints_px: Tensor, inside: Tensor, geometry: HeatmapGeometry
) -> Tensor:
    """Return the mean L1 distance of the 2D heads (B, J, 2), metres at the size of the volume."""
    metres = geometry.box_size_mm / 1000 / geometry.proc_side
    distance = (coords2d - joints_px).abs().mean(dim=-1) * metres
    return (distance * inside).sum() / inside.sum().clamp(min=1)


def bone_loss(relative_mm: Tensor) -> Tensor:
    """Return how far limbs of (B, 39, 3) mm lie outside the usual, and apart from twins, metres."""
    ends = relative_mm[:, [b for _, b in _LIMBS]] - relative_mm[:, [a for a, _ in _LIMBS]]
    length = (ends / 1000).square().sum(dim=-1).clamp(min=1e-6).sqrt()  # (B, limbs)
    beyond = (length - length.new_tensor(_LENGTHS)).abs() - length.new_tensor(_RANGES)
    twins = (length[:, :4] - length[:, 4:8]).abs()
    return beyond.clamp(min=0).mean() + 0.5 * twins.mean()


def state_loss(logits: Tensor, states: Tensor) -> Tensor:
    """Return the cross-entropy of states (B, J) uint8 with logits (B, J, 3), times its weight.

    UNSEEN is either hidden or outside; joints of UNKNOWN state do not count.
    """
    chance = logits.log_softmax(dim=-1)
    known = states < UNSEEN
    exact = F.nll_loss(
        chance.flatten(0, 1), torch.where(known, states, 0).flatten().long(), reduction='none'
    ).reshape(states.shape)
    unseen = -torch.logsumexp(chance[..., VISIBLE + 1 :], dim=-1)
    loss = torch.where(known, exact, unseen) * (states != UNKNOWN)
    return _STATES * loss.sum() / (states != UNKNOWN).sum().clamp(min=1)


def cell_loss(
    logits: Tensor, batch: Batch, relative: Tensor, inside: Tensor, geometry: HeatmapGeometry
) -> Tensor:
    """Return the cross-entropy of the heatmaps with the cells around the true joints.

    The target spreads over neighbouring cells such that its mean is the true place, so this and
    the soft-argmax agree. The metric volume is known up to a shift: its target is the true pose
    moved to the mean of the estimated one, ``relative`` (B, J, 3) mm. ``inside`` (B, J): joints
    that the 2D heatmaps can show.
    """
    joints, depth = batch.joints_px.shape[1], geometry.depth
    stride, first = geometry.stride, geometry.first_px
    crossed = plane_cross_entropy(logits[:, :joints], batch.joints_px, geometry)
    image = (crossed * inside).sum() / inside.sum().clamp(min=1)
    true_mm = 1000 * batch.joints_m
    true_mm = true_mm - true_mm.mean(dim=1, keepdim=True)
    true_mm = true_mm + relative.detach().mean(dim=1, keepdim=True)
    across = (true_mm[..., :2] * geometry.proc_side / geometry.box_size_mm - first) / stride
    along = hats(true_mm[..., 2] / geometry.box_size_mm * (depth - 1), depth)
    volume = logits[:, joints:].unflatten(1, (depth, joints)).transpose(1, 2).flatten(3)
    volume = volume.flatten(2).log_softmax(dim=-1).unflatten(-1, (depth, -1))
    near = -(along * volume.logsumexp(dim=3)).sum(dim=-1).mean()
    beside = plane_target(across, logits.shape[-1]) * volume.logsumexp(dim=2)
    return image + near - beside.sum(dim=-1).mean()
