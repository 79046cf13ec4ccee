"""Backbones: image in, feature map out, total stride 16 or 32; a registry by name.

A backbone is a builder ``(stride, centered_stride) -> (module, channels)``. It takes an image
(B, 3, S, S) that its own first layer maps from 0..1 to what the family expects, and returns
features (B, channels, S / stride, S / stride).

Centred stride (MeTRAbs, section 1.2 of the T-BIOM paper's supplement): convolutions with stride 2
and symmetric padding sample pixel 0, 2, 4, ..., so that cell i of a stride-32 map is centred at
pixel 32 i and the last half cell of the image is seen by nobody. With a centred stride the first
convolution of the last strided stage samples one feature pixel further down and right, and cell i
is centred at 32 i + 16. The shift is a matter of padding: it has no parameters.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Builder = Callable[[int, bool], tuple[nn.Module, int]]
BACKBONES: dict[str, Builder] = {}


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """Return a decorator that files a builder under ``name``."""

    def register(builder: Builder) -> Builder:
        BACKBONES[name] = builder
        return builder

    return register


def build_backbone(name: str, stride: int, centered_stride: bool) -> tuple[nn.Module, int]:
    """Return the backbone called ``name`` and its number of output channels.

    Raises ValueError for an unknown name or a stride that the family does not have.
    """
    if name not in BACKBONES:
        raise ValueError(f'unknown backbone {name!r}; known are {sorted(BACKBONES)}')
    return BACKBONES[name](stride, centered_stride)


# Each module registers its names.
from trpose_ros.metrabs.backbones import efficientnet_v2  # noqa: E402, F401
from trpose_ros.metrabs.backbones import mobilenet_v2  # noqa: E402, F401
from trpose_ros.metrabs.backbones import mobilenet_v3  # noqa: E402, F401
from trpose_ros.metrabs.backbones import plain_resnet  # noqa: E402, F401
from trpose_ros.metrabs.backbones import resnet  # noqa: E402, F401
