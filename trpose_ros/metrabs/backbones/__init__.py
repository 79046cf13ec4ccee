"""Backbones: image in, feature map out, total stride 16 or 32; a registry by name.

A backbone is a builder ``(stride, centered_stride) -> (module, channels)``. It takes an image
(B, 3, S, S) that its own first layer maps from 0..1 to what the family expects, and returns
features (B, channels, S / stride, S / stride).

Centred stride (MeTRAbs, section 1.2 of the T-BIOM paper's supplement): convolutions with stride 2
and symmetric padding sample pixel 0, 2, 4, ..., so that cell i of a stride-32 map is centred at
pixel 32 i and the last half cell of the image is seen by nobody. With a centred stride the first
convolution of the last strided stage samples one feature pixel further down and right, and cell i
is centred at 32 i + 16. The shift is a matter of padding: it has no parameters.

Imports: vocabulary, runtimes.
"""

from trpose_ros.metrabs.backbones import (  # each registers its names
    efficientnet_v2,
    mobilenet_v2,
    mobilenet_v3,
    plain_resnet,
    resnet,
)
from trpose_ros.metrabs.backbones.registry import BACKBONES

__all__ = [
    'BACKBONES',
    'efficientnet_v2',
    'mobilenet_v2',
    'mobilenet_v3',
    'plain_resnet',
    'resnet',
]
