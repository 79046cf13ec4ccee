"""Published MeTRAbs models for TensorFlow: any SavedModel with their interface.

The SavedModel crops, augments, reconstructs and averages by itself; this class feeds it, checks
what the original does not (skeleton names, boxes, image type), drops people who cannot be and
says why. Results come in millimetres in the world frame of an identity extrinsic, that is the
camera frame, and become metres in ``_to_people``.

The model knows pinhole cameras with up to 12 distortion coefficients. For other lenses (fisheye,
tilted sensors) the image is rectified first.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trpose_ros import cameras
from trpose_ros.estimators.base import ESTIMATORS, EstimatorConfig
from trpose_ros.estimators.outliers import box_problems, keep_plausible, usual_bones
from trpose_ros.people import Camera, Frame, People, RootSource, with_visibility
from trpose_ros.skeletons import SKELETONS
from trpose_ros.weights import WeightsError, sha256_of

_LOG = logging.getLogger(__name__)
_METHODS = ('detect_poses', 'estimate_poses')
_ATTRIBUTES = ('per_skeleton_joint_names', 'per_skeleton_joint_edges')
_PREFERRED = ('h36m_17', 'smpl+head_30', 'smpl_24', 'coco_19')  # lifters take the first
_LICENCE = 'non-commercial research only, if these are published MeTRAbs weights'
_MAX_COEFFICIENTS = 12


@ESTIMATORS.register('metrabs_tensorflow')
class MetrabsTensorflow:
    """The MeTRAbs estimator on a TensorFlow SavedModel."""

    name = 'metrabs_tensorflow'
    metric_3d = True

    def __init__(self, config: EstimatorConfig) -> None:
        """Load the SavedModel and run it once, because the first call can take half a minute.

        Raises WeightsError when the folder is no SavedModel or lacks a method or attribute,
        ValueError for a skeleton that it does not have or a device that is not there, and
        RuntimeError when TensorFlow is not installed.
        """
        began = time.perf_counter()
        folder = _saved_model_folder(config.model)
        tf = _import_tensorflow(config)
        imported = time.perf_counter()
        _LOG.info('loading SavedModel %s (a large one takes a minute)', folder)
        self._tf, self._config = tf, config
        self._device = _device(tf, config.device)
        try:
            with tf.device(self._device):
                self._model: Any = tf.saved_model.load(str(folder))
        except Exception as error:  # TensorFlow raises anything for a damaged file
            reason = str(error).split('\n', maxsplit=1)[0]
            raise WeightsError(
                f'{folder} is not a readable SavedModel ({type(error).__name__}: {reason}); it '
                'may be cut off, or need another TensorFlow version: unpack it again'
            ) from error
        _check_interface(self._model, folder)
        self.skeleton = _chosen_skeleton(self._model, config.skeleton, folder)
        tree = SKELETONS[self.skeleton]
        self._bones = usual_bones(tree.joint_names, tree.bones)
        self.weights_id, self.licence = _identity(folder), _LICENCE
        self.skipped: Counter[str] = Counter()
        self._maps: tuple[Camera, np.ndarray] | None = None
        loaded = time.perf_counter()
        _LOG.info('running %s for the first time', self.weights_id)
        self._warm_up()
        _LOG.info(
            'MeTRAbs %s on TensorFlow %s: imported %.2f s, read %.2f s, warmed up %.2f s; '
            'licence of the weights: %s',
            self.weights_id,
            tf.__version__,
            imported - began,
            loaded - imported,
            time.perf_counter() - loaded,
            self.licence,
        )

    def close(self) -> None:
        """Free the model."""
        self._model = None

    def boxes(self, frame: Frame) -> np.ndarray:
        """Return (N, 5) float32 of the model's own detector: x, y, width, height px, score.

        The model thus is a box source as well. Raises RuntimeError after close().
        """
        model, tf = self._open(), self._tf
        with tf.device(self._device):
            detector: Any = getattr(model, 'detector', None)
            if hasattr(detector, 'predict_multi_image'):
                images = tf.constant(frame.image[None])
                found = detector.predict_multi_image(images, 0.3, 0.7, False, False)[0]
            else:
                found = model.detect_poses(tf.constant(frame.image), num_aug=1)['boxes']
        return np.asarray(found.numpy(), np.float32).reshape(-1, 5)

    def estimate(self, frame: Frame, boxes_px: np.ndarray) -> People:
        """Return the people in the boxes (N, 4) x, y, w, h px; rows without a pose are left out.

        ``skipped`` counts those by reason. Raises RuntimeError after close().
        """
        self._open()
        boxes = np.asarray(boxes_px, np.float64).reshape(-1, 4)
        problem = box_problems(boxes, frame.camera)
        self.skipped.update(problem[problem != ''].tolist())
        boxes = boxes[problem == '']
        if len(boxes) == 0:
            joints = SKELETONS[self.skeleton].num_joints
            return self._to_people(frame, boxes, np.zeros((0, 1, joints, 3)))
        image, camera, seen = frame.image, frame.camera, boxes
        if not _supported(camera):
            image, camera, seen = self._rectified(frame, boxes)
        fine = np.isfinite(seen).all(axis=1)
        self.skipped.update(['box_without_view'] * int((~fine).sum()))
        boxes, seen = boxes[fine], seen[fine]
        poses_mm = self._run(image, seen, camera)
        kept, dropped = keep_plausible(poses_mm, self._config.suppress_implausible, self._bones)
        self.skipped.update(dropped)
        return self._to_people(frame, boxes[kept], poses_mm[kept])

    def _open(self) -> Any:
        if self._model is None:
            raise RuntimeError('estimate called after close; create the estimator again')
        return self._model

    def _run(self, image: np.ndarray, boxes: np.ndarray, camera: Camera) -> np.ndarray:
        """Return poses (N, A, J, 3) mm in the camera frame."""
        tf, config = self._tf, self._config
        coefficients = np.zeros(max(5, camera.distortion.size), np.float32)
        coefficients[: camera.distortion.size] = camera.distortion
        with tf.device(self._device):
            result = self._open().estimate_poses(
                tf.constant(image),
                tf.constant(boxes, tf.float32),
                intrinsic_matrix=tf.constant(camera.matrix, tf.float32),
                distortion_coeffs=tf.constant(coefficients[:_MAX_COEFFICIENTS]),
                internal_batch_size=config.batch_size,
                antialias_factor=config.antialias,
                num_aug=config.num_aug,
                average_aug=False,
                skeleton=self.skeleton,
            )
        return result['poses3d'].numpy().astype(np.float64)

    def _rectified(self, frame: Frame, boxes: np.ndarray) -> tuple[np.ndarray, Camera, np.ndarray]:
        """Return image, camera and boxes (N, 4) as a lens without distortion would give them.

        Boxes that no ray of that lens reaches are NaN.
        """
        camera = frame.camera
        if self._maps is None or self._maps[0] is not camera:
            x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
            flat = (np.stack([x, y], axis=-1) - camera.matrix[:2, 2]) @ np.linalg.inv(
                camera.matrix[:2, :2]
            ).T
            self._maps = (camera, cameras.distort_points(flat, camera).astype(np.float32))
        # Two maps: with one map of two channels OpenCV 5.0 reads beyond the memory of the image.
        map_x, map_y = (np.ascontiguousarray(self._maps[1][..., axis]) for axis in (0, 1))
        image = cv2.remap(frame.image, map_x, map_y, cv2.INTER_LINEAR)
        pinhole = Camera(camera.width, camera.height, camera.matrix, assumed=camera.assumed)
        x, y, w, h = boxes.T
        middles = np.stack(
            [[x, y + h / 2], [x + w, y + h / 2], [x + w / 2, y], [x + w / 2, y + h]], axis=0
        ).transpose(2, 0, 1)  # (N, 4, 2): left, right, top, bottom
        flat = cameras.undistort_points(middles, camera)
        middles = flat @ camera.matrix[:2, :2].T + camera.matrix[:2, 2]
        low = np.stack([middles[:, 0, 0], middles[:, 2, 1]], axis=-1)
        high = np.stack([middles[:, 1, 0], middles[:, 3, 1]], axis=-1)
        return image, pinhole, np.concatenate([low, high - low], axis=1)

    def _to_people(self, frame: Frame, boxes: np.ndarray, poses_mm: np.ndarray) -> People:
        joints_m = poses_mm.mean(axis=1) / 1000.0
        return with_visibility(
            People.build(
                stamp_ns=frame.stamp_ns,
                frame_id=frame.frame_id,
                skeleton=self.skeleton,
                width=frame.camera.width,
                height=frame.camera.height,
                joints_px=cameras.project(joints_m, frame.camera),
                joints_m=joints_m,
                boxes_px=boxes,
                root_sources=np.full(len(boxes), RootSource.ESTIMATOR, np.uint8),
            )
        )

    def _warm_up(self) -> None:
        """Run what will be run, on a grey image."""
        camera = cameras.camera_from_fov(320, 240)
        frame = Frame(np.full((240, 320, 3), 128, np.uint8), 0, camera)
        self.estimate(frame, np.array([[100.0, 20.0, 80.0, 200.0]]))
        self.boxes(frame)
        self.skipped.clear()


def _saved_model_folder(model: str) -> Path:
    folder = Path(model).expanduser()
    if not folder.is_dir() or not (folder / 'saved_model.pb').is_file():
        raise WeightsError(
            f'{model} is not a SavedModel: metrabs_tensorflow takes a folder that holds '
            'saved_model.pb and variables/ (unpack the published archive and name its folder)'
        )
    return folder


def _import_tensorflow(config: EstimatorConfig) -> Any:
    """Import TensorFlow quietly; it leaves GPU memory to others and takes the threads it may."""
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    try:
        import tensorflow as tf
    except ImportError as error:
        raise RuntimeError(
            'metrabs_tensorflow needs TensorFlow, which is not installed: '
            "pip install 'trpose_ros[tensorflow]'"
        ) from error
    try:
        for gpu in tf.config.list_physical_devices('GPU'):
            tf.config.experimental.set_memory_growth(gpu, True)
        if config.threads:
            tf.config.threading.set_intra_op_parallelism_threads(config.threads)
    except RuntimeError as error:  # TensorFlow is already running in this process
        _LOG.warning('TensorFlow settings could not be changed: %s', error)
    return tf


def _device(tf: Any, wanted: str) -> str:
    gpus = tf.config.list_physical_devices('GPU')
    if wanted == 'cpu' or (wanted == 'auto' and not gpus):
        return '/CPU:0'
    number = int(wanted.partition(':')[2] or 0)
    if number >= len(gpus):
        raise ValueError(f"device {wanted!r} asked for, but TensorFlow sees {len(gpus)} GPU; 'cpu'")
    return f'/GPU:{number}'


def _check_interface(model: Any, folder: Path) -> None:
    lacking = [name for name in (*_METHODS, *_ATTRIBUTES) if not hasattr(model, name)]
    if lacking:
        raise WeightsError(
            f'{folder} is a SavedModel, but not of MeTRAbs: it lacks {", ".join(lacking)}'
        )


def _chosen_skeleton(model: Any, wanted: str, folder: Path) -> str:
    """Return a skeleton that the model has and whose joints are in our order.

    The original answers an unknown name with no joints at all, so names are checked here.
    """
    offered = {
        str(name): tuple(n.decode().split('_')[0] for n in np.atleast_1d(names.numpy()))
        for name, names in model.per_skeleton_joint_names.items()
    }
    if wanted and wanted not in offered:
        raise ValueError(f'{folder} has no skeleton {wanted!r}; it has {sorted(offered)}')
    known = [n for n, j in offered.items() if n in SKELETONS and SKELETONS[n].joint_names == j]
    if wanted and wanted not in known:
        raise ValueError(
            f'skeleton {wanted!r} of {folder} is not known here; both know {sorted(known)}'
        )
    if wanted:
        return wanted
    preferred = [name for name in _PREFERRED if name in known] or sorted(known)
    if not preferred:
        raise WeightsError(
            f'{folder} has none of the skeletons {sorted(SKELETONS)}; it has {sorted(offered)}'
        )
    return preferred[0]


def _identity(folder: Path) -> str:
    """Name and checksum of the graph; the variables are too large to read twice."""
    return f'{folder.resolve().name}@{sha256_of(folder / "saved_model.pb")[:12]}'


def _supported(camera: Camera) -> bool:
    return camera.model == 'pinhole' and not camera.distortion[_MAX_COEFFICIENTS:].any()
