"""The folders in which MeTRAbs networks for PyTorch are published.

    config.yaml                 crop size, strides, depth, ...
    ckpt.pt                     state dict
    joint_info.npz              joint_names, joint_edges
    joint_transform_matrix.npy  (J, K): from the network's joints to those of all skeletons
    skeleton_infos.pkl          {name: {indices, names, edges}}

Nothing in a folder is trusted: the checkpoint is read by PyTorch's loader for tensors alone, the
pickle by one that knows numbers and containers alone, and arrays without objects. What a state
dict says by itself (size of the backbone, number of joints) is taken from there. Published
weights are for non-commercial research; that goes into the header of what is imported.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trpose_ros import weights
from trpose_ros.archives import ARCHIVE_ERRORS, ARRAY_ERRORS, load_arrays
from trpose_ros.metrabs.backbones import efficientnet_v2
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.metrabs.tensors import TRANSFORM_KEY, check_tensors
from trpose_ros.skeletons import SKELETONS
from trpose_ros.weights import WeightsError, WeightsFile
from trpose_ros.weights.pickles import read_numbers
from trpose_ros.weights.torch_files import read_torch_file
from trpose_ros.yaml_files import load_yaml

FILES = (
    'config.yaml',
    'ckpt.pt',
    'joint_info.npz',
    'joint_transform_matrix.npy',
    'skeleton_infos.pkl',
)
LICENCE = 'non-commercial research only (published MeTRAbs weights)'
_PREFERRED = ('h36m_17', 'smpl+head_30', 'smpl_24', 'coco_19')  # lifters take the first
_BIAS = 'heatmap_heads.conv_final.bias'
# Options of the original whose head predicts other points; its PyTorch code cannot run them.
_UNSUPPORTED = ('transform_coords', 'predict_all_and_latents')


def is_package(path: str | Path) -> bool:
    """Whether a path is a folder that looks like a published package."""
    return (Path(path) / 'ckpt.pt').is_file()


def read_package(folder: str | Path) -> WeightsFile:
    """Read a published folder into the form of a weights file.

    The checkpoint is read without PyTorch's unpickler (weights/torch_files.py).
    Raises WeightsError for a missing, damaged or malicious file and for a checkpoint that does
    not fit, naming it and the remedy.
    """
    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f'{folder} lacks {missing}; a published MeTRAbs package holds {list(FILES)}: '
            'unpack it again'
        )
    settings = _settings(folder / 'config.yaml')
    tensors = _state_dict(folder / 'ckpt.pt')
    transform = _array(folder / 'joint_transform_matrix.npy')
    config = _config(settings, tensors, folder)
    _refuse_unfit(config, tensors, folder / 'ckpt.pt')
    names = _joint_names(folder / 'joint_info.npz', config.num_joints, transform.shape)
    skeletons = _skeletons(folder / 'skeleton_infos.pkl', transform.shape[-1])
    preferred = [name for name in _PREFERRED if name in skeletons] or sorted(skeletons)
    meta = {
        'architecture': 'metrabs',
        'config': json.dumps(config.to_dict() | {'skeleton': preferred[0]}),
        'skeleton': preferred[0],
        'licence': LICENCE,
        'training_data': 'see the publisher of the weights',
        'measured_error': 'not measured by this project',
        'joint_names': json.dumps(names),
        'skeletons': json.dumps(skeletons),
        'preprocessing': json.dumps({'linear_light': True, 'augmentation': 'pytorch'}),
        'source': folder.name,
    }
    tensors[TRANSFORM_KEY] = transform.astype(np.float32)
    return WeightsFile(tensors, meta, _checksum(folder), folder)


def _settings(path: Path) -> dict[str, Any]:
    """Return the settings of config.yaml, nested groups flattened."""
    try:
        loaded = load_yaml(path)
    except ValueError as error:
        raise WeightsError(f'{error}; unpack the package again') from error
    if not isinstance(loaded, dict):
        raise WeightsError(f'{path} must hold settings by name, got {type(loaded).__name__}')
    flat: dict[str, Any] = {}

    def add(settings: dict) -> None:
        for key, value in settings.items():
            if isinstance(value, dict):
                add(value)
            else:
                flat.setdefault(str(key), value)

    add(loaded)
    refused = [key for key in _UNSUPPORTED if flat.get(key)]
    if refused:
        raise WeightsError(
            f'{path} asks for {refused}: a network that predicts latent points; only networks '
            'that predict their joints directly are supported'
        )
    return flat


def _state_dict(path: Path) -> dict[str, np.ndarray]:
    state = read_torch_file(path)
    if not isinstance(state, dict) or not all(isinstance(v, np.ndarray) for v in state.values()):
        raise WeightsError(f'{path} must hold a plain state dict, name -> tensor')
    return {str(key).removeprefix('module.'): value for key, value in state.items()}


def _config(
    settings: dict[str, Any], tensors: dict[str, np.ndarray], folder: Path
) -> MetrabsConfig:
    """Return the architecture; sizes that the tensors show are taken from them."""
    depth = int(settings.get('depth', 8))
    if _BIAS not in tensors:
        raise WeightsError(f'{folder / "ckpt.pt"} is no MeTRAbs crop network: it lacks {_BIAS}')
    channels = len(tensors[_BIAS])
    if channels % (1 + depth):
        raise WeightsError(
            f'{folder / "ckpt.pt"}: {channels} heatmap channels do not divide by 1 + depth '
            f'{depth} of config.yaml'
        )
    lacking = [key for key in ('proc_side', 'centered_stride') if key not in settings]
    if lacking:
        raise WeightsError(f'{folder / "config.yaml"} lacks {lacking}')
    box_mm = settings.get('box_size_mm') or 1000 * float(settings.get('box_size_m', 2.2))
    try:
        return MetrabsConfig(
            backbone=f'efficientnetv2-{_size(tensors, folder)}',
            proc_side=int(settings['proc_side']),
            stride=int(settings.get('stride_train', 32)),
            depth=depth,
            box_size_mm=float(box_mm),
            centered_stride=bool(settings['centered_stride']),
            legacy_centered_stride_bug=bool(settings.get('legacy_centered_stride_bug', False)),
            num_joints=channels // (1 + depth),
        )
    except (TypeError, ValueError) as error:
        raise WeightsError(f'{folder / "config.yaml"}: {error}') from error


def _size(tensors: dict[str, np.ndarray], folder: Path) -> str:
    """Return 's', 'm' or 'l': the one with the checkpoint's number of blocks in every stage."""
    found = {tuple(key.split('.')[2:4]) for key in tensors if '.block.' in key}
    for size, stages in efficientnet_v2.SIZES.items():
        blocks = {(str(i), str(k)) for i, s in enumerate(stages, 1) for k in range(s[5])}
        if blocks == found:
            return size
    raise WeightsError(
        f'{folder / "ckpt.pt"} has blocks of no EfficientNetV2 of size '
        f'{sorted(efficientnet_v2.SIZES)}: other backbones are not published for PyTorch'
    )


def _refuse_unfit(config: MetrabsConfig, tensors: dict[str, np.ndarray], path: Path) -> None:
    """Raise WeightsError unless names, shapes and values make sense for the network."""
    with torch.device('meta'):  # without memory: a file may state any sizes
        wanted = Metrabs(config)
    check_tensors(wanted, tensors, str(path))
    bad = sorted(key for key, value in tensors.items() if not np.isfinite(value).all())
    if bad:
        raise WeightsError(f'{path} holds NaN or infinity in {bad[:6]}')


def _array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, *ARRAY_ERRORS, *ARCHIVE_ERRORS) as error:
        raise WeightsError(f'{path} is not a plain numpy array ({error})') from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or not np.isfinite(array).all():
        raise WeightsError(f'{path} must hold a finite matrix (J, K)')
    return array


def _joint_names(path: Path, joints: int, transform: tuple[int, ...]) -> list[str]:
    """Return the names of the network's joints; transformed joints may follow them."""
    try:
        names = [_text(name) for name in load_arrays(path)['joint_names']]
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(f'{path} holds no plain array joint_names ({error})') from error
    if transform[0] != joints:
        raise WeightsError(
            f'joint_transform_matrix.npy takes {transform[0]} joints, the network has {joints}'
        )
    if len(names) not in (joints, transform[1]) or len(names) < joints:
        raise WeightsError(f'{path} names {len(names)} joints, the network has {joints}')
    return names[:joints]


def _skeletons(path: Path, joints: int) -> dict[str, dict[str, list]]:
    """Return the skeletons that we know and whose joints are in our order."""
    try:
        with path.open('rb') as stream:
            loaded = read_numbers(stream)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f'{path} is damaged or would execute code: {error}. Nothing was executed: obtain it '
            'again from its publisher'
        ) from error
    try:
        tables: dict[str, dict[str, list]] = {
            str(name): {
                'indices': [int(i) for i in info['indices']],
                'names': [_text(joint).split('_')[0] for joint in info['names']],
                'edges': [[int(a), int(b)] for a, b in info['edges']],
            }
            for name, info in dict(loaded).items()
        }
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise WeightsError(
            f'{path} must hold name -> indices, names, edges ({error!r:.200})'
        ) from error
    for name, table in tables.items():
        if not all(0 <= i < joints for i in table['indices']):
            raise WeightsError(f'{path}: skeleton {name!r:.80} names a joint beyond the {joints}')
    known = {
        name: table
        for name, table in tables.items()
        if name in SKELETONS and tuple(table['names']) == SKELETONS[name].joint_names
    }
    if not known:
        raise WeightsError(
            f'{path} has none of the skeletons {sorted(SKELETONS)}; it has {sorted(tables)!s:.200}'
        )
    return known


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _checksum(folder: Path) -> str:
    """Return one checksum over all files of the package."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(weights.sha256_of(folder / name).encode())
    return digest.hexdigest()
