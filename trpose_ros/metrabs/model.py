"""The MeTRAbs crop network: image crop in, absolute joints in the crop camera's frame out.

backbone -> one 1x1 convolution -> soft-argmax (heatmaps.py) -> absolute pose (reconstruction.py).
Lengths are millimetres here, as in the published checkpoints; the estimator converts to metres.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from trpose_ros.configuration import check_sizes
from trpose_ros.metrabs.backbones import BACKBONES
from trpose_ros.metrabs.heatmaps import HeatmapGeometry, HeatmapHead, decode
from trpose_ros.metrabs.reconstruction import reconstruct
from trpose_ros.metrabs.visibility import StateHead


@dataclass(frozen=True)
class MetrabsConfig:
    """Architecture of one crop network; stored as JSON beside its weights."""

    backbone: str = 'resnet-plain-s'
    proc_side: int = 128  # side of the crop, px
    stride: int = 16  # px per heatmap cell
    depth: int = 8  # heatmap bins along z
    box_size_mm: float = 2200.0  # side of the metric volume
    centered_stride: bool = True
    legacy_centered_stride_bug: bool = False
    skeleton: str = 'h36m_17'
    num_joints: int = 17
    states: bool = False  # whether there is a head for what is seen of each joint

    def __post_init__(self) -> None:
        """Validate sizes; the backbone's name is checked when it is built."""
        # More than any published network has: what is made of them takes memory.
        check_sizes(self, proc_side=4096, stride=256, depth=256, num_joints=5000)
        _ = self.geometry

    @property
    def geometry(self) -> HeatmapGeometry:
        """The part that decoding and reconstruction need."""
        return HeatmapGeometry(
            self.proc_side,
            self.stride,
            self.depth,
            self.box_size_mm,
            self.centered_stride,
            self.legacy_centered_stride_bug,
        )

    def to_dict(self) -> dict[str, object]:
        """Return plain values, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> MetrabsConfig:
        """Build from plain values; an unknown key is an error that names it."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f'unknown MeTRAbs settings {unknown}; known are {sorted(known)}')
        return cls(**values)  # type: ignore[arg-type]


class MetrabsOutput(NamedTuple):
    """What the crop network says about B people with J joints."""

    coords2d: Tensor  # (B, J, 2) crop px
    coords3d_rel: Tensor  # (B, J, 3) mm, origin unknown
    abs_mm: Tensor  # (B, J, 3) mm, camera frame of the crop
    in_view: Tensor  # (B, J) bool
    solvable: Tensor  # (B,) bool


class Metrabs(nn.Module):
    """Crop network; state-dict keys are those of the published PyTorch checkpoints."""

    def __init__(self, config: MetrabsConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone, channels = BACKBONES[config.backbone](config.stride, config.centered_stride)
        self.heatmap_heads = HeatmapHead(channels, config.num_joints, config.depth)
        self.state_head = StateHead(channels, config.num_joints) if config.states else None

    def logits(self, image: Tensor) -> Tensor:
        """Return the heatmaps before the softmax, (B, J + D J, H, W), of images in 0..1."""
        return self.heatmap_heads(self.backbone(image))

    def heads(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return 2D joints (B, J, 2) in crop px and 3D joints (B, J, 3) in mm, float32."""
        return decode(self.logits(image), self.config.geometry)

    def forward(
        self,
        image: Tensor,
        intrinsics: Tensor,
        mix: float | Tensor | None = 0.5,
        weak: bool = False,
        compatible: bool = False,
    ) -> MetrabsOutput:
        """Estimate the people in crops ``image`` (B, 3, S, S), values 0..1, RGB.

        ``intrinsics`` (B, 3, 3) of the crops; ``mix``, ``weak`` and ``compatible`` as in
        reconstruction.reconstruct.
        """
        coords2d, coords3d_rel = self.heads(image)
        result = reconstruct(
            coords2d,
            coords3d_rel,
            intrinsics,
            self.config.geometry,
            mix=mix,
            weak=weak,
            compatible=compatible,
        )
        return MetrabsOutput(coords2d, coords3d_rel, *result)
