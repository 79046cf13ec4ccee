"""What is seen of each joint: visible, hidden by the body or a thing, or outside the image.

One 1x1 convolution gives three logits per joint and cell; they are averaged where the joint's 2D
heatmap lies. Gradients do not reach the heatmap on this way: where a joint is does not depend on
whether it is seen. Published MeTRAbs networks have no such head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

VISIBLE, HIDDEN, OUTSIDE = 0, 1, 2
COUNT = 3


class StateHead(nn.Module):
    """Features and heatmap logits -> logits of the three states."""

    def __init__(self, channels: int, num_joints: int) -> None:
        super().__init__()
        self.joints = num_joints
        self.conv = nn.Conv2d(channels, COUNT * num_joints, 1)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return (B, J, 3) logits of (B, C, H, W) features.

        ``logits`` are those of the heatmaps, (B, J + D J, H, W); the J 2D ones are used.
        """
        weight = logits[:, : self.joints].detach().flatten(2).float().softmax(dim=-1)
        maps = self.conv(features).float().flatten(2).unflatten(1, (self.joints, COUNT))
        return torch.einsum('bjsc,bjc->bjs', maps, weight)
