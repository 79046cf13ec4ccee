"""The plain 2D heatmap estimator: one heatmap per joint over the crop, and nothing metric.

It is what most 2D estimators do (Xiao et al., "Simple baselines for human pose estimation and
tracking", ECCV 2018; decoded by soft-argmax as in Sun et al., "Integral human pose regression",
ECCV 2018), with the backbone of the small MeTRAbs. It is the baseline that truncation robustness
is measured against: a joint can never be outside the crop, nor outside the image, and the weights
are trained on whole, unhidden people (training/heatmap2d.py). There is no metric 3D: ``joints_m``
is NaN, and 3D comes from a lifter.

The score of a joint is the largest share of its heatmap inside a square of 2 x 2 cells: 1 when
the network is sure of one place.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from dataclasses import field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from trpose_ros import weights
from trpose_ros.configuration import check_fields
from trpose_ros.estimators import EstimatorConfig
from trpose_ros.estimators.believing import box_problems
from trpose_ros.metrabs import warps_cpu
from trpose_ros.metrabs.augmentation import augmentation_table
from trpose_ros.metrabs.backbones import build_backbone
from trpose_ros.metrabs.checkpoints import load_tensors
from trpose_ros.metrabs.crops import CropViews
from trpose_ros.metrabs.crops import box_views
from trpose_ros.metrabs.crops import crop_views
from trpose_ros.metrabs.crops import sampling_positions
from trpose_ros.metrabs.heatmaps import HeatmapGeometry
from trpose_ros.metrabs.heatmaps import plane_coordinates
from trpose_ros.metrabs.inference import pick_device
from trpose_ros.metrabs.inference import pick_precision
from trpose_ros.people import Frame
from trpose_ros.people import JointState
from trpose_ros.people import People
from trpose_ros.people import with_visibility
from trpose_ros.runtimes import prepare_backbone
from trpose_ros.skeletons import get_skeleton
from trpose_ros.weights import WeightsError

_SURE = 0.5  # score from which a joint counts as visible
_LEAST_SCORE = 0.2  # mean over the joints; below, nobody is there (an even heatmap has 0.06)


@dataclass(frozen=True)
class Heatmap2dConfig:
    """Architecture of the network; stored as JSON beside its weights."""

    backbone: str = 'resnet-plain-s'
    proc_side: int = field(default=128, metadata={'help': 'side of the crop, px'})
    stride: int = field(default=16, metadata={'help': 'px per heatmap cell'})
    centered_stride: bool = True
    skeleton: str = 'h36m_17'
    num_joints: int = field(default=17, metadata={'range': (1, 1000)})

    def __post_init__(self) -> None:
        """Validate sizes; the backbone's name is checked when it is built."""
        check_fields(self)
        _ = self.geometry

    @property
    def geometry(self) -> HeatmapGeometry:
        """How cells map to pixels."""
        return HeatmapGeometry(self.proc_side, self.stride, centered_stride=self.centered_stride)


class Heatmap2d(nn.Module):
    """Crop (B, 3, S, S) in 0..1, RGB -> logits (B, J, H, W)."""

    def __init__(self, config: Heatmap2dConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone, channels = build_backbone(
            config.backbone, config.stride, config.centered_stride
        )
        self.head = nn.Conv2d(channels, config.num_joints, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the heatmaps before the softmax."""
        return self.head(self.backbone(image))


def decode(logits: Tensor, geometry: HeatmapGeometry) -> tuple[Tensor, Tensor]:
    """Return joints (B, J, 2) in crop px and scores (B, J) of logits (B, J, H, W), in float32."""
    plane = logits.float().flatten(2).softmax(dim=-1).unflatten(-1, logits.shape[-2:])
    peaks = 4 * F.avg_pool2d(plane, 2, 1)
    return plane_coordinates(plane, geometry), peaks.flatten(2).amax(dim=-1).clamp(max=1.0)


def load_network(name_or_path: str) -> tuple[Heatmap2d, weights.WeightsFile]:
    """Load a network; raises WeightsError for a file that is missing, damaged or does not fit."""
    file = weights.load(name_or_path, architecture='heatmap2d')
    try:
        config = Heatmap2dConfig(**file.config)
        skeleton = get_skeleton(config.skeleton)
        if skeleton.num_joints != config.num_joints:
            raise ValueError(
                f'{config.num_joints} joints, but skeleton {skeleton.name!r} has '
                f'{skeleton.num_joints}'
            )
        model = Heatmap2d(config)
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f'{file.path}: {error}') from error
    load_tensors(model, file.tensors, str(file.path))
    return model.float().eval(), file


class Heatmap2dEstimator:
    """2D joints in the crops of the boxes."""

    name = 'heatmap2d'
    metric_3d = False

    def __init__(self, config: EstimatorConfig) -> None:
        """Load, prepare and warm up.

        Raises WeightsError for weights that are missing, damaged or of another architecture, and
        ValueError for a device or skeleton that is not there.
        """
        if config.threads:
            torch.set_num_threads(config.threads)
        network, file = load_network('heatmap2d-small' if config.model == 'auto' else config.model)
        self.skeleton = network.config.skeleton
        if config.skeleton not in ('', self.skeleton):
            raise ValueError(
                f'model {file.weights_id} has no skeleton {config.skeleton!r}; '
                f'it has {[self.skeleton]}'
            )
        self.weights_id, self.licence = file.weights_id, file.meta['licence']
        self.skipped: Counter[str] = Counter()
        self._geometry, self._joints = network.config.geometry, network.config.num_joints
        self._batch_size = config.batch_size
        self._suppress = config.suppress_implausible
        self._device = pick_device(config.device)
        self._dtype = pick_precision(config.precision, self._device)
        network = copy.deepcopy(network).requires_grad_(False)
        self._backbone: nn.Module | None = prepare_backbone(
            network.backbone, self._device, self._dtype
        )
        self._head = network.head.to(self._device)
        side = self._geometry.proc_side
        for _ in range(2):
            self._run(np.zeros((1, side, side, 3), np.uint8))

    def close(self) -> None:
        """Free the network."""
        self._backbone = None

    def estimate(self, frame: Frame, boxes_px: np.ndarray) -> People:
        """Return the people in the boxes (N, 4) x, y, w, h px; ``joints_m`` is NaN.

        Bad boxes, and with ``suppress_implausible`` people whose heatmaps point nowhere, are left
        out and counted in ``skipped``. Raises RuntimeError after close().
        """
        if self._backbone is None:
            raise RuntimeError('estimate called after close; create the estimator again')
        boxes = np.asarray(boxes_px, np.float64).reshape(-1, 4)
        side, camera = self._geometry.proc_side, frame.camera
        view = box_views(boxes, camera, side)
        problem = box_problems(boxes, camera)
        problem = np.where(problem == '', np.array(view.problem, dtype=object), problem)
        kept = np.flatnonzero(problem == '')
        self.skipped.update(problem[problem != ''].tolist())
        boxes = boxes[kept]
        chosen = type(view)(view.rotation[kept], view.scale[kept], ('',) * len(kept))
        table = augmentation_table(1)
        views = crop_views(chosen, camera, side, table)
        crops = warps_cpu.render(frame.image, camera, views, table.gamma)[0]
        joints, scores = self._run(crops)
        joints_px = self._in_image(joints, views, frame)
        fine = np.isfinite(joints_px).all(axis=(1, 2))
        self._count('not_finite', fine)
        if self._suppress:
            sure = scores.mean(axis=1) >= _LEAST_SCORE
            self._count('low_score', sure | ~fine)
            fine &= sure
        return self._to_people(frame, boxes[fine], joints_px[fine], scores[fine])

    def _count(self, reason: str, fine: np.ndarray) -> None:
        if not fine.all():
            self.skipped[reason] += int((~fine).sum())

    @torch.inference_mode()
    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return joints (N, J, 2) in crop px and scores (N, J) of crops (N, S, S, 3) uint8."""
        assert self._backbone is not None
        images = torch.from_numpy(crops).permute(0, 3, 1, 2)
        parts = [(np.zeros((0, self._joints, 2)), np.zeros((0, self._joints)))]
        for part in images.split(self._batch_size) if len(images) else ():
            part = part.to(self._device).to(self._dtype, memory_format=torch.channels_last)
            logits = self._head(self._backbone(part * (1 / 255)).float())
            joints, scores = decode(logits, self._geometry)
            parts.append((joints.cpu().numpy(), scores.cpu().numpy()))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return columns[0], columns[1]

    def _in_image(self, joints: np.ndarray, views: CropViews, frame: Frame) -> np.ndarray:
        """Carry joints (N, J, 2) from their crops into the image, where they stay."""
        camera = frame.camera
        mapped = np.empty(joints.shape, np.float64)
        for n in range(len(joints)):
            mapped[n] = sampling_positions(
                views.rotation[0, n], views.intrinsics[0, n], camera, joints[n].astype(float)
            )
        return np.clip(mapped, 0.0, [camera.width - 1, camera.height - 1])

    def _to_people(
        self, frame: Frame, boxes: np.ndarray, joints_px: np.ndarray, scores: np.ndarray
    ) -> People:
        states = np.where(scores > _SURE, JointState.VISIBLE, JointState.UNKNOWN)
        return with_visibility(
            People.build(
                stamp_ns=frame.stamp_ns,
                frame_id=frame.frame_id,
                skeleton=self.skeleton,
                width=frame.camera.width,
                height=frame.camera.height,
                joints_px=joints_px,
                boxes_px=boxes,
                scores=scores.mean(axis=1),
                joint_scores=scores,
                joint_states=states,
            )
        )
