"""P-STMO's masked model, with which it is pre-trained, and its refine module.

Shan et al., ECCV 2022, arXiv 2203.07628. The masked model sees a part of the joints of a part of
the frames and draws all 2D joints; its encoder and transformer then go to ``pstmo.PSTMO`` by name.
The refine module blends a pose with its back-projection at the *true* depth of the root: it
reproduces published numbers and cannot be used where that depth is not known.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from trpose_ros.lifters.networks.inputs import from_root
from trpose_ros.lifters.networks.pstmo import (
    FrameEncoder,
    PSTMOConfig,
    Transformer,
    UnbiasedNorm,
    apply_head,
    make_head,
)

_JOINTS = 17
_MASKABLE = 16  # the published masks never hide the last joint


class MaskedPSTMO(nn.Module):
    """The network of stage 1."""

    def __init__(self, config: PSTMOConfig) -> None:
        super().__init__()
        if config.layers < 2:
            raise ValueError(f'the masked model needs at least 2 layers, got {config.layers}')
        self.config = config
        c, half = config.channels, config.channels // 2
        self.dec_pos_embedding = nn.Parameter(torch.randn(1, config.frames, half))
        self.mask_token = nn.Parameter(torch.randn(1, 1, half))
        self.spatial_mask_token = nn.Parameter(torch.randn(1, 1, config.values_in))
        self.encoder = FrameEncoder(c, config.values_in)
        self.Transformer = Transformer(config.layers, c, config.hidden, config.frames)
        self.Transformer_dec = Transformer(config.layers - 1, half, config.hidden // 2, None)
        self.encoder_to_decoder = nn.Linear(c, half, bias=False)
        self.encoder_LN = UnbiasedNorm(c)
        self.fcn_dec = make_head(half, 2)

    def forward(self, joints: Tensor, frame_mask: Tensor, joint_mask: Tensor) -> Tensor:
        """Draw all 2D joints from those that are left.

        Args:
            joints: (B, frames, 17, 2) normalised screen coordinates.
            frame_mask: (frames,) bool, true = hidden; one mask for the whole batch.
            joint_mask: (frames, 17) bool, true = replaced by the learned token.

        Returns:
            (B, frames, 17, 2): the visible frames first, then the hidden ones, each in time order
            (``frame_order`` gives it).

        """
        order = frame_order(frame_mask)
        visible = order[: int((~frame_mask).sum())]
        joints = from_root(joints, self.config.relative, self.config.size_power)
        x = torch.where(joint_mask[None, :, :, None], self.spatial_mask_token, joints)
        x = self.Transformer(self.encoder(x.flatten(2)), visible)
        x = self.encoder_to_decoder(self.encoder_LN(x))
        hidden = self.mask_token.expand(len(x), len(order) - len(visible), -1)
        x = torch.cat([x, hidden], dim=1) + self.dec_pos_embedding[:, order]
        return apply_head(self.fcn_dec, self.Transformer_dec(x), 2)


def frame_order(frame_mask: Tensor) -> Tensor:
    """Return (frames,) indices: visible frames, then hidden ones, each ascending."""
    return torch.argsort(frame_mask.to(torch.uint8), stable=True)


def draw_masks(
    frames: int, frame_rate: float, joints: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw masks of stage 1: (frames,) hidden frames and (frames, 17) replaced joints."""
    frame_mask = np.zeros(frames, bool)
    frame_mask[rng.choice(frames, math.floor(frames * frame_rate), replace=False)] = True
    joint_mask = np.zeros((frames, _JOINTS), bool)
    chosen = rng.random((frames, _MASKABLE)).argsort(axis=1)[:, :joints]
    np.put_along_axis(joint_mask, chosen, True, axis=1)
    return frame_mask, joint_mask


class PSTMORefine(nn.Module):
    """Blend x and y of a pose with those of its back-projection, joint by joint."""

    def __init__(self, hidden: int = 1024) -> None:
        super().__init__()
        self.post_refine = nn.Sequential(
            nn.Linear(6 * _JOINTS, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, 2 * _JOINTS),
            nn.Sigmoid(),
        )

    def forward(self, pose_m: Tensor, back_projected_m: Tensor) -> Tensor:
        """Map two (B, 1, 17, 3), root not zeroed, to (B, 1, 17, 3)."""
        both = torch.cat([pose_m, back_projected_m], dim=-1)
        share = self.post_refine(both.flatten(2)).unflatten(2, (_JOINTS, 2))
        flat = torch.lerp(back_projected_m[..., :2], pose_m[..., :2], share)
        return torch.cat([flat, pose_m[..., 2:]], dim=-1)


def back_project(
    joints: Tensor, pose_m: Tensor, root_depth_m: Tensor, focal: Tensor, centre: Tensor
) -> Tensor:
    """Place 2D joints at predicted depths behind the true root depth, relative to the root.

    Args:
        joints: (B, 1, 17, 2) normalised screen coordinates.
        pose_m: (B, 1, 17, 3) as the network gives it.
        root_depth_m: (B,) true depth of the root.
        focal: (B, 2) normalised focal lengths.
        centre: (B, 2) normalised principal point.

    Returns:
        (B, 1, 17, 3) metres, joint 0 zero.

    """
    depth = pose_m[..., 2] + root_depth_m[:, None, None]
    depth = torch.cat([root_depth_m[:, None, None], depth[..., 1:]], dim=2)
    flat = (joints - centre[:, None, None]) * depth[..., None] / focal[:, None, None]
    placed = torch.cat([flat, depth[..., None]], dim=-1)
    return placed - placed[:, :, :1]
