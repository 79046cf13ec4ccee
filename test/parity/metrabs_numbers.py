"""Comparing this MeTRAbs with reference numbers: one checker per kind of reference file.

A reference file is an .npz with a JSON entry ``meta`` (one object per case; arrays of case i end
in ``_i``) or a .json. Weights and inputs of networks are not stored but follow from a rule: every
value of a state dict is drawn from a generator seeded by the SHA-256 of its name (see
``filled_value``), every array with two or more dimensions is multiplied by ``conv_gain``, the
head's by ``head_gain``. Lengths in mm, pixels of the crop or the image.

A checker takes the path and yields ``Difference`` rows; a file that cannot be read raises.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parity.compare import Difference
from trpose_ros import cameras
from trpose_ros.metrabs import assembly, plausibility, warps
from trpose_ros.metrabs.augmentation import augmentation_table, mirrored_joints
from trpose_ros.metrabs.crops import (
    box_views,
    crop_views,
    distort_polynomial,
    undistort_fixed_point,
)
from trpose_ros.metrabs.heatmaps import HeatmapGeometry, decode
from trpose_ros.metrabs.loss import joint_groups, loss_2d, loss_3d
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.metrabs.reconstruction import Reconstruction, reconstruct
from trpose_ros.people import Camera

_MIXES = {'0': 0.0, '5': 0.5, '10': 1.0, 'None': None}
_INPUTS = ('coords2d', 'coords3d_rel', 'intrinsics')
_FEATURE_STEP = 16  # every 16th feature channel is stored
_LOGIT_STEPS = {122: 7}  # with this many joints every 7th logit channel is stored


def filled_value(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the reference value of the parameter ``key``; see the module's docstring."""
    leaf = key.rsplit('.', 1)[-1]
    if leaf == 'num_batches_tracked':
        return np.zeros(shape, np.int64)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], 'big')
    x = np.random.default_rng(seed).standard_normal(shape)
    if leaf == 'running_var':
        x = np.abs(x) + 0.5
    elif leaf == 'weight' and len(shape) >= 2:
        x = x / math.sqrt(math.prod(shape[1:]))
    elif leaf == 'weight':
        x = 1.0 + 0.1 * x
    else:
        x = 0.1 * x
    return np.asarray(x, np.float32)


def reference_network(meta: dict) -> Metrabs:
    """Return the network of a reference case, with the weights of the rule."""
    config = MetrabsConfig(
        backbone=f'efficientnetv2-{meta["size"]}',
        proc_side=meta['proc_side'],
        stride=meta['stride'],
        depth=meta['depth'],
        box_size_mm=meta['box_size_mm'],
        centered_stride=meta['centered_stride'],
        legacy_centered_stride_bug=meta['legacy_centered_stride_bug'],
        num_joints=meta['n_joints'],
    )
    model = Metrabs(config).eval()
    state = {}
    for key, value in model.state_dict().items():
        array = filled_value(key, tuple(value.shape))
        if array.ndim >= 2:
            gain = 'head_gain' if key == 'heatmap_heads.conv_final.weight' else 'conv_gain'
            array = array * np.float32(meta[gain])
        state[key] = torch.from_numpy(np.asarray(array))
    model.load_state_dict(state)
    return model


def reference_image(meta: dict) -> torch.Tensor:
    """Return the input (B, 3, S, S) of a reference case: noise, or noise in blocks."""
    rng, side, kind = np.random.default_rng(meta['image_seed']), meta['proc_side'], 'noise'
    cells = side
    if meta['image_kind'] != kind:
        cells = int(meta['image_kind'].removeprefix('blk'))
    image = rng.uniform(0, 1, (meta['batch'], 3, cells, cells)).astype(np.float32)
    return torch.from_numpy(image.repeat(side // cells, 2).repeat(side // cells, 3))


def check_network(path: Path) -> Iterator[Difference]:
    """Compare features, logits, coordinates and absolute poses of a whole network."""
    meta, data = _read(path)
    model, image = reference_network(meta), reference_image(meta)
    intrinsics = torch.from_numpy(data['intrinsics'])
    with torch.inference_mode():
        features = model.backbone(image)
        logits = model.heatmap_heads(features)
        coords2d, coords3d = decode(logits, model.config.geometry)
        forward = model(image, intrinsics, compatible=True).abs_mm
    step = _LOGIT_STEPS.get(meta['n_joints'], 1)
    found = {
        'feat_sample': (features[:, ::_FEATURE_STEP], 1e-3),
        'logits': (logits[:, ::step], 1e-3),
        'coords2d': (coords2d, 0.01),
        'coords3d_rel': (coords3d, 0.1),
        'forward': (forward, 1.0),
    }
    for name, (value, tolerance) in found.items():
        relative = 1e-3 if name in ('feat_sample', 'logits') else 0.0
        yield _row(path, name, value, data[name], tolerance, relative)
    for name, weak, mix in (
        ('abs_full_mix05', False, 0.5),
        ('abs_full_nomix', False, None),
        ('abs_weak_mix05', True, 0.5),
        ('abs_weak_nomix', True, None),
    ):
        result = reconstruct(
            torch.from_numpy(data['coords2d']),
            torch.from_numpy(data['coords3d_rel']),
            intrinsics,
            model.config.geometry,
            mix=mix,
            weak=weak,
            compatible=True,
        )
        yield _row(path, name, result.abs_mm, data[name], 0.05)


def check_schema(path: Path) -> Iterator[Difference]:
    """Compare the names and shapes of a state dict; the difference is the number of others."""
    schema = {k: tuple(v) for k, v in json.loads(path.read_text(encoding='utf-8')).items()}
    size = path.stem.split('_')[2]
    joints = schema['heatmap_heads.conv_final.bias'][0] // 9
    config = MetrabsConfig(
        backbone=f'efficientnetv2-{size}', proc_side=256, stride=32, num_joints=joints
    )
    ours = {k: tuple(v.shape) for k, v in Metrabs(config).state_dict().items()}
    others = len(ours.items() ^ schema.items())
    yield Difference(path.name, 'names and shapes', others, 0, others == 0)


def check_decode(path: Path) -> Iterator[Difference]:
    """Compare the decoding of heatmaps."""
    metas, data = _read(path)
    for i, meta in enumerate(metas):
        rng = np.random.default_rng(meta['logits_seed'])
        logits = rng.standard_normal(meta['logits_shape']) * meta['logits_scale']
        coords2d, coords3d = decode(torch.from_numpy(logits.astype(np.float32)), _geometry(meta))
        yield _row(path, 'coords2d', coords2d, data[f'coords2d_{i}'], 0.01)
        yield _row(path, 'coords3d_rel', coords3d, data[f'coords3d_rel_{i}'], 0.1)


def check_reconstruct(path: Path) -> Iterator[Difference]:
    """Compare the absolute reconstruction: models, mixing shares, float64, person by person."""
    metas, data = _read(path)
    for i, meta in enumerate(metas):
        case, geometry = _case(data, i), _geometry(meta)

        def run(
            dtype: torch.dtype = torch.float32,
            case: dict[str, np.ndarray] = case,
            geometry: HeatmapGeometry = geometry,
            **settings: Any,
        ) -> Reconstruction:
            given = [torch.from_numpy(case[name]).to(dtype) for name in _INPUTS]
            return reconstruct(given[0], given[1], given[2], geometry, **settings)

        yield _row(path, 'in_fov', run().in_view, case['in_fov'], 0)
        if meta['special'] == 'coincident':
            continue  # degenerate: the reference itself is noise there
        for model in ('full', 'weak'):
            weak = model == 'weak'
            for label, mix in _MIXES.items():
                name = f'abs_{model}_mix{label}'
                found = run(mix=mix, weak=weak, compatible=True).abs_mm
                yield _row(path, name, found, case[name], 0.05)
            name = f'abs_{model}_mix5_f64'
            found = run(torch.float64, weak=weak, compatible=True).abs_mm
            yield _row(path, name, found, case[name], 1e-3)
        name = 'abs_full_mix5_one_by_one'  # our default: every person alone
        yield _row(path, name, run().abs_mm, case[name], 0.05)


def check_crop(path: Path) -> Iterator[Difference]:
    """Compare crop geometry, resampling and the way back to the world frame."""
    metas, data = _read(path)
    for i, meta in enumerate(metas):
        yield from _crop_case(path, meta, _case(data, i))


def _crop_case(path: Path, meta: dict, case: dict[str, np.ndarray]) -> Iterator[Difference]:
    height, width = meta['image_hw']
    matrix = case['intrinsics_used']
    if 'intrinsics' not in case:
        assumed = cameras.camera_from_fov(width, height, meta['default_fov_degrees'])
        yield _row(path, 'assumed intrinsics', assumed.matrix, matrix, 1e-3)
    camera = Camera(width, height, matrix, case['distortion'])
    up = case['extrinsic'][:3, :3] @ case['world_up']
    side = meta['crop_res']
    view = box_views(case['boxes'][:, :4], camera, side, up, compatible=True)
    yield _row(path, 'R_noaug', view.rotation, case['R_noaug'], 1e-5)
    yield _row(path, 'box_scale', view.scale, case['box_scale'], 1e-5, 1e-5)
    table = augmentation_table(meta['num_aug'], meta['tta_convention'], meta['rot_aug_deg'])
    views = crop_views(view, camera, side, table)
    yield _row(path, 'new_intrinsics', views.intrinsics, case['new_intrinsics'], 1e-3)
    if 'image' in case:
        levels = warps.pyramid(case['image'])
        crops = warps.render(
            levels, camera, views, table.gamma, meta['antialias_factor'], compatible=True
        )
        yield _row(path, 'crops', crops, case['crops'], 2e-3)
        mean = float(np.abs(crops.numpy() - case['crops']).mean())
        yield Difference(path.name, 'crops, mean', mean, 1e-5, mean <= 1e-5)
    mirror = mirrored_joints(meta['joint_names'])
    poses = assembly.to_camera_frame(
        case['crop_model_poses'].astype(np.float64), views.rotation, table.flip, mirror
    )
    poses = assembly.transform_joints(poses, case.get('joint_transform'))
    poses = poses[:, :, : case['poses3d_all'].shape[2]]  # the named skeletons here come first
    poses2d = assembly.project_poses(poses, camera, compatible=True)
    world = assembly.to_world_frame(poses, case['extrinsic'])
    for name, value in (('poses3d', world), ('poses2d', poses2d)):
        yield _row(path, f'{name}_all', value.swapaxes(0, 1), case[f'{name}_all'], 0.05)
        yield _row(path, f'{name}_avg', value.mean(axis=0), case[f'{name}_avg'], 0.05)


def check_tta(path: Path) -> Iterator[Difference]:
    """Compare the tables of test-time augmentation."""
    for count, conventions in json.loads(path.read_text(encoding='utf-8')).items():
        for convention, want in conventions.items():
            table = augmentation_table(int(count), convention)
            for name, value in (
                ('scale', table.scale),
                ('angle_deg', np.rad2deg(table.angle_rad)),
                ('gamma', table.gamma),
                ('flip', table.flip),
            ):
                yield _row(path, name, value, np.array(want[name]), 1e-5)


def check_filter(path: Path) -> Iterator[Difference]:
    """Compare the plausibility filter and the suppression of duplicates."""
    metas, data = _read(path)
    config = plausibility.PlausibilityConfig()
    edges, lengths = data['edges'], data['bone_lengths']
    for i in range(len(metas)):
        poses, boxes = data[f'poses3d_{i}'], data[f'boxes_{i}']
        mean, spread = poses.mean(axis=1), plausibility.variant_spread(poses)
        similarity = plausibility.pose_similarity(mean, config)
        everybody = np.ones(len(poses), bool)
        found = {
            'bone_ok': plausibility.bones_plausible(mean, edges, lengths, config),
            'aug_ok': plausibility.variants_agree(spread, config),
            'keep_nms_only': plausibility.suppress_duplicates(
                similarity, boxes[:, 4], everybody, config
            ),
        }
        for name, value in found.items():
            yield _row(path, name, value, data[f'{name}_{i}'], 0)
        yield _row(path, 'aug_stdev', spread, data[f'aug_stdev_{i}'], 0.05)
        yield _row(path, 'similarity', similarity, data[f'similarity_{i}'], 1e-4)


def check_distortion(path: Path) -> Iterator[Difference]:
    """Compare lens distortion and its five-step inverse."""
    with np.load(path) as data:
        for i in range(sum(name.startswith('coeffs_') for name in data.files)):
            points, coefficients = data[f'points_{i}'], data[f'coeffs_{i}']
            there = distort_polynomial(points, coefficients)
            back = undistort_fixed_point(points, coefficients)
            yield _row(path, 'distorted', there, data[f'distorted_{i}'], 1e-5, 1e-5)
            yield _row(path, 'undistorted', back, data[f'undistorted_{i}'], 1e-5, 1e-5)


def check_loss(path: Path) -> Iterator[Difference]:
    """Compare the training losses."""
    metas, data = _read(path)
    for i, meta in enumerate(metas):
        case = {k: torch.from_numpy(v) for k, v in _case(data, i).items() if v.ndim}
        geometry = HeatmapGeometry(meta['proc_side'])
        pose = loss_3d(
            case['pred'], case['true'], case['intrinsics'], case['valid'], meta['step'], geometry
        )['total']
        groups = joint_groups(meta['joint_names'], meta['joint_names_2d'])
        flat = loss_2d(
            case['pred'], case['true2d'], case['intrinsics'], case['valid2d'], groups, geometry
        )
        for name, value in (('loss_3d', pose), ('loss_2d', flat), ('total', pose + 0.2 * flat)):
            yield _row(path, name, value, data[f'{name}_{i}'], 1e-5, 1e-4)


CHECKERS: dict[str, Callable[[Path], Iterator[Difference]]] = {
    'metrabs_net_*.npz': check_network,
    'metrabs_schema_*.json': check_schema,
    'metrabs_decode*.npz': check_decode,
    'metrabs_reconstruct*.npz': check_reconstruct,
    'metrabs_crop*.npz': check_crop,
    'metrabs_tta*.json': check_tta,
    'metrabs_filter*.npz': check_filter,
    'metrabs_distortion*.npz': check_distortion,
    'metrabs_loss*.npz': check_loss,
}


def _case(data: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    """Return the arrays of case i without their number."""
    return {k.rsplit('_', 1)[0]: v for k, v in data.items() if k.endswith(f'_{i}')}


def _read(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    with np.load(path) as data:
        return json.loads(str(data['meta'])), {k: data[k] for k in data.files if k != 'meta'}


def _geometry(meta: dict) -> HeatmapGeometry:
    return HeatmapGeometry(
        proc_side=meta['proc_side'],
        stride=meta['stride_train'],
        centered_stride=meta['centered_stride'],
        legacy_centered_stride_bug=meta.get('legacy_centered_stride_bug', False),
    )


def _row(
    path: Path,
    name: str,
    found: object,
    wanted: np.ndarray,
    tolerance: float,
    relative: float = 0.0,
) -> Difference:
    """Compare with ``tolerance`` + ``relative`` |wanted|; another shape is infinitely far."""
    a = np.asarray(found, np.float64)
    b = np.asarray(wanted, np.float64)
    if a.shape != b.shape:
        return Difference(path.name, name, math.inf, tolerance, False)
    gap = np.abs(a - b)
    fine = bool((gap <= tolerance + relative * np.abs(b)).all())  # false for NaN
    return Difference(path.name, name, float(gap.max(initial=0.0)), tolerance, fine)
