"""A crop network whose answer is known: heads that are exact on a backbone of coordinates.

Softmax of a linear function over a grid has an expectation that can be set to anything between
the first and the last cell, so with features (x, y, 1) the head's weights alone place every joint.
Such a network ignores its image; what comes out of an estimator tests everything around it. With
``image_gain`` the logits depend on the colours of the crop as well, so that crops matter, too.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from trpose_ros import weights
from trpose_ros.metrabs.backbones import BACKBONES
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig

# A standing person, mm, x right, y down, z away from the camera; joints of h36m_17.
PERSON_MM = np.array(
    [
        [0, 0, 0], [-130, 10, 20], [-140, 450, 0], [-150, 880, 60], [130, -10, -20],
        [150, 440, -60], [160, 860, 40], [0, -240, 10], [0, -480, -10], [10, -600, -60],
        [0, -700, -20], [170, -450, 20], [300, -230, 80], [330, -20, -60], [-170, -450, -20],
        [-330, -250, -120], [-280, -30, -300],
    ],
    float,
)  # fmt: skip


class Coordinates(nn.Module):
    """Features (x, y, 1) in 0..1 on the grid of a stride, then the cell's mean colour."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, image):
        n, (h, w) = len(image), (s // self.stride for s in image.shape[-2:])
        x = torch.linspace(0, 1, w).expand(h, w)
        y = torch.linspace(0, 1, h)[:, None].expand(h, w)
        maps = torch.stack([x, y, torch.ones(h, w)])[None].expand(n, 3, h, w).to(image)
        return torch.cat([maps, F.avg_pool2d(image, self.stride)], dim=1)


if 'test-coordinates' not in BACKBONES:

    @BACKBONES.register('test-coordinates')
    def _build(stride, centered_stride):
        return Coordinates(stride), 6


def tilt(expectation, cells):
    """Slope of the logits over linspace(0, 1, cells) whose softmax has this expectation."""
    at = np.linspace(0, 1, cells)
    low, high = np.full(np.shape(expectation), -500.0), np.full(np.shape(expectation), 500.0)
    for _ in range(100):
        middle = (low + high) / 2
        p = np.exp((at - 0.5) * middle[..., None])
        p /= p.sum(-1, keepdims=True)
        over = (p * at).sum(-1) > expectation
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return (low + high) / 2


def stand_in_network(person_mm=PERSON_MM, distance_mm=3000.0, image_gain=0.0, **settings):
    """Return a Metrabs that sees ``person_mm`` at a distance at which it fills the crop."""
    config = MetrabsConfig(backbone='test-coordinates', num_joints=len(person_mm), **settings)
    geometry = config.geometry
    network = Metrabs(config).eval()
    absolute = person_mm + np.array([0.0, 0.0, distance_mm])
    plane = absolute[:, :2] / absolute[:, 2:]
    focal = 0.8 * config.proc_side / np.ptp(plane, axis=0).max()
    middle = (plane.min(0) + plane.max(0)) / 2
    px = (plane - middle) * focal + config.proc_side / 2
    u = (px - geometry.first_px) / geometry.last_px
    metric = person_mm - (person_mm.min(0) + person_mm.max(0)) / 2 + config.box_size_mm / 2
    xy = metric[:, :2] * config.proc_side / config.box_size_mm
    xy = (xy - geometry.first_px) / geometry.last_px
    z = metric[:, 2] / config.box_size_mm
    cells, depth, joints = config.proc_side // config.stride, config.depth, len(person_mm)
    weight = np.zeros((1 + depth, joints, 6))
    weight[0, :, :2] = tilt(u.clip(0.001, 0.999), cells)
    weight[1:, :, :2] = tilt(xy.clip(0.001, 0.999), cells)
    slope = tilt(z, depth)
    weight[1:, :, 2] = np.linspace(0, 1, depth)[:, None] * slope
    weight[..., 3:] = image_gain * np.random.default_rng(0).standard_normal((1 + depth, joints, 3))
    conv = network.heatmap_heads.conv_final
    conv.weight.data = torch.tensor(weight.reshape(-1, 6, 1, 1), dtype=torch.float32)
    conv.bias.data.zero_()
    return network


def save_network(path, network, **meta):
    """Write a network as a weights file."""
    entries = {
        'architecture': 'metrabs',
        'config': json.dumps(network.config.to_dict()),
        'skeleton': network.config.skeleton,
        'licence': 'Apache-2.0',
        'training_data': 'none: set by hand for tests',
        'measured_error': 'none',
    }
    tensors = {k: v.numpy() for k, v in network.state_dict().items()}
    return weights.save(path, tensors, entries | meta)
