"""Running a crop network: device, number format, batches, and reconstruction of the poses.

The backbone is prepared by runtimes/modules.py, for PyTorch or OpenVINO, and runs in bfloat16 where
the processor multiplies it natively; the head, the softmax and the reconstruction always run in
float32 and float64 in PyTorch, because a heatmap's tails matter.

On a GPU the same model runs in float16. Crops are made there (warps.py) and stay there until the
poses are known, which come back in one transfer. New batch sizes make a GPU choose its kernels
anew, so that batches are filled up to a few sizes (``bucket_of``), which are warmed up at the
start.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trpose_ros.metrabs.heatmaps import decode_with_spread
from trpose_ros.metrabs.model import Metrabs
from trpose_ros.metrabs.reconstruction import reconstruct
from trpose_ros.runtimes.modules import fast_module
from trpose_ros.runtimes.processor import cpu_has_bfloat16

_DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


@dataclass(frozen=True)
class CropPoses:
    """What the network says about B crops; numpy."""

    coords2d: np.ndarray  # (B, J, 2) crop px
    abs_mm: np.ndarray  # (B, J, 3) crop camera frame
    in_view: np.ndarray  # (B, J) bool
    solvable: np.ndarray  # (B,) bool
    spread_px: np.ndarray  # (B, J) standard deviation of the 2D heatmaps
    spread_mm: np.ndarray  # (B, J) standard deviation of the 3D heatmaps
    chances: np.ndarray | None = None  # (B, J, 3) as in visibility.py; None: no such head


def pick_device(wanted: str) -> torch.device:
    """Return the device for 'auto', 'cpu', 'cuda' or 'cuda:N'; raise ValueError without CUDA."""
    if wanted == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if wanted.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError(f"device {wanted!r} asked for, but PyTorch sees no CUDA; use 'cpu'")
    return torch.device(wanted)


def pick_precision(wanted: str, device: torch.device) -> torch.dtype:
    """Return the dtype for the backbone; 'auto' is the fastest that the device has natively."""
    if wanted != 'auto':
        return _DTYPES[wanted]
    if device.type == 'cuda':
        return torch.float16
    return torch.bfloat16 if cpu_has_bfloat16() else torch.float32


def bucket_of(count: int, batch_size: int) -> int:
    """Return the size that a batch of ``count`` crops is filled up to: a power of two, or whole."""
    return min(1 << max(count - 1, 0).bit_length(), batch_size)


def buckets(batch_size: int) -> list[int]:
    """Return all sizes of bucket_of, in order."""
    return sorted({bucket_of(count, batch_size) for count in range(1, batch_size + 1)})


class CropRunner:
    """A crop network made ready for inference on one device."""

    def __init__(
        self,
        model: Metrabs,
        device: torch.device,
        dtype: torch.dtype,
        batch_size: int = 64,
        compatible: bool = False,
        fill_up: bool | None = None,
        runtime: str = 'torch',
    ) -> None:
        """Take a copy of ``model``; batches larger than ``batch_size`` crops are split.

        ``fill_up`` to the sizes of ``buckets``; None: on a GPU alone. ``runtime`` of the backbone
        as in runtimes.fast_module.
        """
        self.config = model.config
        self.device = device
        self.dtype = dtype
        self._batch_size = batch_size
        self._compatible = compatible
        self._fill_up = device.type == 'cuda' if fill_up is None else fill_up
        model = copy.deepcopy(model).eval().requires_grad_(False)
        side = model.config.proc_side
        self._backbone = fast_module(model.backbone, (1, 3, side, side), device, dtype, runtime)
        self.runtime = self._backbone.runtime
        self._head = model.heatmap_heads.to(device=device, dtype=torch.float32)
        self._states = model.state_head
        if self._states is not None:
            self._states = self._states.to(device=device, dtype=torch.float32)

    def warm_up(self, variants: int = 1) -> None:
        """Run every size of batch that will be run, twice: one person's, or all buckets."""
        side = self.config.proc_side
        camera = np.array([[2.0 * side, 0, side / 2], [0, 2.0 * side, side / 2], [0, 0, 1]])
        for count in buckets(self._batch_size) if self._fill_up else [variants]:
            crops = torch.zeros((count, side, side, 3), dtype=torch.uint8, device=self.device)
            for _ in range(2):
                self.run(crops.permute(0, 3, 1, 2), np.broadcast_to(camera, (count, 3, 3)), count)

    @torch.inference_mode()
    def run(self, crops: Tensor, intrinsics: np.ndarray, parts: int = 1) -> CropPoses:
        """Estimate crops (B, 3, S, S), 0..1 or uint8, with intrinsics (B, 3, 3).

        The crops are ``parts`` variants of B / parts people, variant by variant; a split of the
        batch never separates the variants of a person, as in the original.
        """
        camera = torch.from_numpy(np.array(intrinsics, np.float64)).to(self.device)
        heads = [self._heads(part) for part in crops.split(self._batch_size)]
        coords2d, relative, spread_px, spread_mm, chances = (
            torch.cat(column) for column in zip(*heads, strict=True)
        )
        groups = self._groups(len(crops), parts)
        results = [
            reconstruct(
                coords2d[g],
                relative[g],
                camera[g],
                self.config.geometry,
                compatible=self._compatible,
            )
            for g in groups
        ]
        order = torch.cat(groups).argsort()
        poses, in_view, solvable = (
            torch.cat(column)[order] for column in zip(*results, strict=True)
        )
        joints = [coords2d, poses, in_view[..., None], spread_px[..., None], spread_mm[..., None]]
        joints.append(chances)
        joints.append(solvable[:, None, None].expand(-1, coords2d.shape[1], 1))
        packed = torch.cat([part.float() for part in joints], dim=-1).cpu().numpy()  # one transfer
        return CropPoses(
            coords2d=packed[..., :2],
            abs_mm=packed[..., 2:5],
            in_view=packed[..., 5] > 0,
            spread_px=packed[..., 6],
            spread_mm=packed[..., 7],
            chances=packed[..., 8:11] if self._states is not None else None,
            solvable=packed[:, 0, 11] > 0,
        )

    def _heads(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        count = len(crops)
        crops = crops.to(self.device, non_blocking=True)
        if self._fill_up and count:
            missing = bucket_of(count, self._batch_size) - count
            crops = torch.cat([crops, crops[-1:].expand(missing, -1, -1, -1)])
        features = self._backbone(crops)[:count].float()
        logits = self._head(features)
        coords2d, relative, spread = decode_with_spread(logits, self.config.geometry)
        if self._states is None:
            chances = coords2d.new_zeros((*coords2d.shape[:2], 3))
        else:
            chances = self._states(features, logits).softmax(dim=-1)
        return coords2d, relative, spread.px, spread.mm, chances

    def _groups(self, count: int, parts: int) -> list[Tensor]:
        """Return the crops that are reconstructed together (matters in compatible mode only)."""
        index = torch.arange(count, device=self.device)
        if not self._compatible or count == 0:
            return [index]
        people = max(self._batch_size // parts, 1)
        by_person = index.reshape(parts, -1)
        return [part.reshape(-1) for part in by_person.split(people, dim=1)]
