"""MeTRAbs in PyTorch: boxes -> rectified crops -> network -> people in the camera frame.

Every stage is a function or object of its own in trpose_ros.metrabs; this class puts them in
order and counts whom it leaves out: the reasons of outliers.py, and

    box_without_view          the box is behind the camera or beyond its lens
    too_few_joints_in_view    the 2D joints do not determine a depth

Millimetres of the network become metres in ``_to_people``, and nowhere else.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trpose_ros.estimators.base import ESTIMATORS, EstimatorConfig
from trpose_ros.estimators.outliers import box_problems, keep_plausible, usual_bones
from trpose_ros.metrabs import assembly, warps, warps_cpu
from trpose_ros.metrabs.augmentation import AugmentationTable, augmentation_table, mirrored_joints
from trpose_ros.metrabs.checkpoints import LoadedNetwork, load_network
from trpose_ros.metrabs.crops import CropViews, box_views, crop_views, sampling_positions
from trpose_ros.metrabs.inference import CropPoses, CropRunner, pick_device, pick_precision
from trpose_ros.metrabs.uncertainty import covariances_mm2, features_of, mix_variants, near
from trpose_ros.metrabs.visibility import VISIBLE
from trpose_ros.people import Camera, Frame, JointState, People, RootSource, with_visibility
from trpose_ros.runtimes.processor import cpu_has_bfloat16

_LOG = logging.getLogger(__name__)
_SURE = 0.5  # score from which a joint counts as visible


@dataclass(frozen=True)
class _Poses:
    """Poses of the people in one frame, all variants, camera frame, skeleton selected."""

    mm: np.ndarray  # (A, N, J, 3)
    # Jnet: the skeleton's joints J, or with a joint transform those of the network.
    px_heads: np.ndarray  # (A, N, Jnet, 2): 2D heads mapped into the image
    in_view: np.ndarray  # (A, N, Jnet) bool
    visible: np.ndarray | None  # (A, N, Jnet) chance of being seen; None: no head says so
    solvable: np.ndarray  # (A, N) bool
    covariances_mm2: np.ndarray | None  # (A, N, J, 3, 3); None: the network cannot say


@ESTIMATORS.register('metrabs_torch')
class MetrabsTorch:
    """The MeTRAbs estimator on PyTorch, for networks trained here and for published ones."""

    name = 'metrabs_torch'
    metric_3d = True

    def __init__(self, config: EstimatorConfig, network: LoadedNetwork | None = None) -> None:
        """Load, prepare and warm up; ``network`` replaces loading (tests, training).

        Raises WeightsError for weights that are missing, corrupt or of another architecture, and
        ValueError for a device, runtime or skeleton that is not there.
        """
        began = time.perf_counter()
        self._config = config
        if config.threads:
            torch.set_num_threads(config.threads)
        device = pick_device(config.device)
        network = network or load_network(chosen_weights(config.model, device))
        loaded = time.perf_counter()
        self.skeleton = _chosen_skeleton(network, config.skeleton)
        self.weights_id, self.licence = network.weights_id, network.licence
        self.skipped: Counter[str] = Counter()
        self._network = network
        self._geometry = network.model.config.geometry
        self._mirror = mirrored_joints(network.joint_names)
        table = network.skeletons[self.skeleton]
        self._bones = usual_bones(table.names, table.edges)
        self._table = augmentation_table(config.num_aug, network.augmentation)
        dtype = pick_precision(config.precision, device)
        # To repeat the original exactly is a matter of PyTorch alone.
        runtime = 'torch' if config.compatible and config.runtime == 'auto' else config.runtime
        self._runner: CropRunner | None = CropRunner(
            network.model, device, dtype, config.batch_size, config.compatible, runtime=runtime
        )
        prepared = time.perf_counter()
        self._runner.warm_up(len(self._table))
        done = time.perf_counter()
        _LOG.info(
            'MeTRAbs %s on %s (%s, %s): read %.2f s, prepared %.2f s, warmed up %.2f s; '
            'licence of the weights: %s',
            self.weights_id,
            device,
            str(dtype).removeprefix('torch.'),
            self._runner.runtime,
            loaded - began,
            prepared - loaded,
            done - prepared,
            self.licence,
        )

    def close(self) -> None:
        """Free the network."""
        self._runner = None

    def estimate(self, frame: Frame, boxes_px: np.ndarray) -> People:
        """Return the people in the boxes (N, 4) x, y, w, h px; rows without a pose are left out.

        ``skipped`` counts those by reason. Raises RuntimeError after close().
        """
        if self._runner is None:
            raise RuntimeError('estimate called after close; create the estimator again')
        boxes = np.asarray(boxes_px, np.float64).reshape(-1, 4)
        view = box_views(
            boxes, frame.camera, self._geometry.proc_side, compatible=self._config.compatible
        )
        problem = box_problems(boxes, frame.camera)
        hidden = np.array(view.problem, dtype=object)
        problem = np.where(problem == '', hidden, problem)
        kept = np.flatnonzero(problem == '')
        self.skipped.update(problem[problem != ''].tolist())
        boxes = boxes[kept]
        if len(kept) == 0:
            return self._to_people(frame, boxes, None)
        chosen = type(view)(view.rotation[kept], view.scale[kept], ('',) * len(kept))
        views = crop_views(chosen, frame.camera, self._geometry.proc_side, self._table)
        poses = self._pose(frame, views)
        fine, dropped = keep_plausible(
            poses.mm.swapaxes(0, 1),
            self._config.suppress_implausible,
            self._bones,
            np.asarray(poses.solvable.all(axis=0)),
        )
        self.skipped.update(dropped)
        return self._to_people(frame, boxes[fine], _select(poses, fine))

    def _pose(self, frame: Frame, views: CropViews) -> _Poses:
        """Crop, run the network, and bring its answer into the camera frame."""
        assert self._runner is not None
        variants, people = views.magnification.shape
        crops = self._crops(frame, views)
        result = self._runner.run(crops, views.intrinsics.reshape(-1, 3, 3), variants)
        shape = (variants, people, -1)
        poses = assembly.to_camera_frame(
            result.abs_mm.reshape(*shape, 3).astype(np.float64),
            views.rotation,
            self._table.flip,
            self._mirror,
        )
        covariances = self._covariances(result, views, poses)
        poses = assembly.transform_joints(poses, self._network.joint_transform)
        chosen = self._network.skeletons[self.skeleton].indices
        heads = self._heads_in_image(result, views, self._table, frame.camera)
        in_view = self._unmirrored(result.in_view.reshape(shape))
        visible = None
        if result.chances is not None:
            visible = self._unmirrored(result.chances[..., VISIBLE].reshape(shape))
        if self._network.joint_transform is None:
            heads, in_view = heads[:, :, chosen], in_view[:, :, chosen]
            visible = None if visible is None else visible[:, :, chosen]
        return _Poses(
            mm=poses[:, :, chosen],
            px_heads=heads,
            in_view=in_view,
            visible=visible,
            solvable=result.solvable.reshape(variants, people),
            covariances_mm2=covariances,
        )

    def _unmirrored(self, values: np.ndarray) -> np.ndarray:
        """Return values (A, N, J) with the sides of mirrored variants exchanged."""
        return np.where(self._table.flip[:, None, None], values[:, :, self._mirror], values)

    def _covariances(
        self, result: CropPoses, views: CropViews, poses: np.ndarray
    ) -> np.ndarray | None:
        """Return covariances (A, N, J, 3, 3) of poses (A, N, J, 3) in the camera frame."""
        model = self._network.uncertainty
        if model is None or self._network.joint_transform is not None:
            return None
        features = features_of(result, views.intrinsics.reshape(-1, 3, 3), self._geometry)
        features = features.reshape(*poses.shape[:3], -1)
        flip = self._table.flip[:, None, None, None]
        features = np.where(flip, features[:, :, self._mirror], features)
        covariances = covariances_mm2(model, features, poses)
        return covariances[:, :, self._network.skeletons[self.skeleton].indices]

    def _crops(self, frame: Frame, views: CropViews) -> torch.Tensor:
        """Return the crops (A N, 3, S, S) of all variants of all people."""
        assert self._runner is not None
        gammas, side = self._table.gamma, views.side
        exact = self._config.compatible or self._config.antialias > 1
        if self._runner.device.type == 'cuda' or exact:
            linear = self._network.linear_light or self._config.compatible
            levels = warps.pyramid(frame.image, self._runner.device, linear)
            crops = warps.render(
                levels,
                frame.camera,
                views,
                gammas,
                self._config.antialias,
                self._config.compatible,
                linear,
            )
            return crops.reshape(-1, 3, side, side)
        drawn = warps_cpu.render(
            frame.image, frame.camera, views, gammas, self._network.linear_light
        )
        return torch.from_numpy(drawn.reshape(-1, side, side, 3)).permute(0, 3, 1, 2)

    def _heads_in_image(
        self, result: CropPoses, views: CropViews, table: AugmentationTable, camera: Camera
    ) -> np.ndarray:
        """Return the 2D heads' joints (A, N, J, 2) in image pixels."""
        variants, people = views.magnification.shape
        heads = result.coords2d.reshape(variants, people, -1, 2).astype(np.float64)
        mapped = np.empty_like(heads)
        for a in range(variants):
            for n in range(people):
                mapped[a, n] = sampling_positions(
                    views.rotation[a, n], views.intrinsics[a, n], camera, heads[a, n]
                )
        return np.where(table.flip[:, None, None, None], mapped[:, :, self._mirror], mapped)

    def _to_people(self, frame: Frame, boxes: np.ndarray, poses: _Poses | None) -> People:
        """Average the variants, convert to metres, project, and fill in what geometry says."""
        joints = len(self._network.skeletons[self.skeleton].indices)
        if poses is None or poses.mm.shape[1] == 0:
            empty = np.zeros((0, joints, 2))
            return self._build(frame, boxes[:0], np.zeros((0, joints, 3)), empty, np.zeros(0))
        joints_m = poses.mm.mean(axis=0) / 1000.0
        joints_px = assembly.project_poses(joints_m, frame.camera)
        if self._config.compatible:  # the original averages the variants' projections
            joints_px = assembly.project_poses(poses.mm, frame.camera, True).mean(axis=0)
        error = np.full(len(joints_m), np.nan)
        extra: dict[str, Any] = {}
        if poses.px_heads.shape[2] == joints:
            difference = np.linalg.norm(poses.px_heads.mean(axis=0) - joints_px, axis=-1)
            seen = poses.in_view.any(axis=0) & np.isfinite(difference)
            total = np.where(seen, difference, 0.0).sum(axis=-1)
            count = seen.sum(axis=-1)
            error = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        covariances = mix_variants(poses.mm, poses.covariances_mm2)
        if covariances is not None:
            extra = {'covariances_m2': covariances / 1e6, 'joint_scores': near(covariances)}
        if poses.visible is not None and poses.visible.shape[2] == joints:
            chance = poses.visible.mean(axis=0)
            extra['joint_scores'] = chance
            seen = chance >= _SURE
            extra['joint_states'] = np.where(seen, JointState.VISIBLE, JointState.OCCLUDED)
        elif poses.covariances_mm2 is not None:
            sure = poses.in_view.all(axis=0) & (extra['joint_scores'] > _SURE)
            extra['joint_states'] = np.where(sure, JointState.VISIBLE, JointState.UNKNOWN)
        return self._build(frame, boxes, joints_m, joints_px, error, **extra)

    def _build(
        self,
        frame: Frame,
        boxes: np.ndarray,
        joints_m: np.ndarray,
        joints_px: np.ndarray,
        reprojection_px: np.ndarray,
        **extra: Any,
    ) -> People:
        return with_visibility(
            People.build(
                stamp_ns=frame.stamp_ns,
                frame_id=frame.frame_id,
                skeleton=self.skeleton,
                width=frame.camera.width,
                height=frame.camera.height,
                joints_px=joints_px,
                joints_m=joints_m,
                boxes_px=boxes,
                root_sources=np.full(len(boxes), RootSource.ESTIMATOR, np.uint8),
                reprojection_errors_px=reprojection_px,
                **extra,
            )
        )


def chosen_weights(model: str, device: torch.device) -> str:
    """Return the weights that a model's name means; 'auto' depends on how fast the device is."""
    if model != 'auto':
        return model
    return 'metrabs-m' if device.type == 'cuda' or cpu_has_bfloat16() else 'metrabs-s'


def _chosen_skeleton(network: LoadedNetwork, wanted: str) -> str:
    if not wanted:
        preferred = network.model.config.skeleton
        return preferred if preferred in network.skeletons else next(iter(network.skeletons))
    if wanted not in network.skeletons:
        raise ValueError(
            f'model {network.weights_id} has no skeleton {wanted!r}; '
            f'it has {sorted(network.skeletons)}'
        )
    return wanted


def _select(poses: _Poses, people: np.ndarray) -> _Poses:
    return _Poses(
        poses.mm[:, people],
        poses.px_heads[:, people],
        poses.in_view[:, people],
        None if poses.visible is None else poses.visible[:, people],
        poses.solvable[:, people],
        None if poses.covariances_mm2 is None else poses.covariances_mm2[:, people],
    )
