"""MoveNet Thunder as a plain 2D estimator: 17 joints of COCO in a person's crop, nothing metric.

An off-the-shelf network (movenet/), as the baseline of the study was: a joint cannot be outside
the crop, nor outside the image, and nothing was trained for truncation. There is no metric 3D:
``joints_m`` is NaN, and 3D comes from a lifter. Joints are expressed in Human3.6M's skeleton by
the formulas of skeletons.py (its torso and head are derived), or given as they are with
``skeleton: coco_17``. The score of a joint is the network's own, that of a derived joint the mean
of those that it was derived from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import torch

from trpose_ros import weights
from trpose_ros.estimators.base import ESTIMATORS, EstimatorConfig
from trpose_ros.estimators.outliers import box_problems
from trpose_ros.metrabs import warps_cpu
from trpose_ros.metrabs.augmentation import augmentation_table
from trpose_ros.metrabs.crops import CropViews, box_views, crop_views, sampling_positions
from trpose_ros.metrabs.inference import pick_device
from trpose_ros.movenet.checkpoints import network_from_file
from trpose_ros.movenet.decoding import decode_single
from trpose_ros.movenet.network import JOINTS
from trpose_ros.people import Frame, JointState, People, with_visibility
from trpose_ros.runtimes.modules import fast_module
from trpose_ros.skeletons import convert, convert_ranks

DEFAULT = 'movenet-thunder'
_SKELETONS = ('h36m_17', 'coco_17')
_LEAST_SCORE = 0.1  # mean of a person's joints; less is nobody
_SURE = 0.3  # score from which a joint counts as visible


@ESTIMATORS.register('movenet')
class MoveNetEstimator:
    """2D joints in the crops of the boxes."""

    name = 'movenet'
    metric_3d = False

    def __init__(self, config: EstimatorConfig) -> None:
        """Load, prepare and warm up.

        Raises WeightsError for weights that are missing, damaged or of another architecture, and
        ValueError for a device or skeleton that is not there.
        """
        if config.threads:
            torch.set_num_threads(config.threads)
        file = weights.load(
            DEFAULT if config.model == 'auto' else config.model, architecture='movenet'
        )
        network = network_from_file(file)
        if network.config.kind != 'single':
            raise weights.WeightsError(
                f'{file.path} finds people in an image; the estimator movenet needs the network '
                f'for one person on a crop, {DEFAULT}'
            )
        if config.skeleton not in ('', *_SKELETONS):
            raise ValueError(
                f'model {file.weights_id} has no skeleton {config.skeleton!r}; it has '
                f'{list(_SKELETONS)}'
            )
        self.skeleton = config.skeleton or _SKELETONS[0]
        self.weights_id, self.licence = file.weights_id, file.meta['licence']
        self.skipped: Counter[str] = Counter()
        self._side = network.config.input_side
        self._batch_size = config.batch_size
        self._suppress = config.suppress_implausible
        self._device = pick_device(config.device)
        shape = (1, 3, self._side, self._side)
        self._network: Callable | None = fast_module(
            network, shape, self._device, torch.float32, config.runtime
        )
        for _ in range(2):
            self._run(np.zeros((1, self._side, self._side, 3), np.uint8))

    def close(self) -> None:
        """Free the network."""
        self._network = None

    def estimate(self, frame: Frame, boxes_px: np.ndarray) -> People:
        """Return the people in the boxes (N, 4) x, y, w, h px; ``joints_m`` is NaN.

        Bad boxes, and with ``suppress_implausible`` people of whom hardly a joint is seen, are left
        out and counted in ``skipped``. Raises RuntimeError after close().
        """
        if self._network is None:
            raise RuntimeError('estimate called after close; create the estimator again')
        boxes = np.asarray(boxes_px, np.float64).reshape(-1, 4)
        side, camera = self._side, frame.camera
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
        """Return joints (N, 17, 2) in crop px and scores (N, 17) of crops (N, S, S, 3) uint8."""
        assert self._network is not None
        images = torch.from_numpy(crops).permute(0, 3, 1, 2)
        parts = [(np.zeros((0, JOINTS, 2)), np.zeros((0, JOINTS)))]
        for part in images.split(self._batch_size) if len(images) else ():
            joints, scores = decode_single(self._network(part.to(self._device)))
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
        mean = scores.mean(axis=1)
        if self.skeleton != 'coco_17':
            joints_px = convert(joints_px, 'coco_17', self.skeleton)
            scores = convert_ranks(scores, 'coco_17', self.skeleton)
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
                scores=mean,
                joint_scores=scores,
                joint_states=states,
            )
        )
