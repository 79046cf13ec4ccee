"""Compare the lifters with reference numbers of the published implementations.

A reference is a pair NAME.json and NAME.npz. The json names the network, its sizes, its state dict
(official keys and shapes, in official order) and its input; the npz holds outputs, each also as
``_float64``. Weights and inputs are not stored: both follow from rules (``filled_state_dict``,
``reference_input``) that the references were made with.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.compare import Difference

# Absolute tolerances; float32 further has 1e-4 of the value.
TOLERANCES = {'float64': 1e-9, 'float32': 2e-5}
_RELATIVE = {'float64': 0.0, 'float32': 1e-4}


Outputs = dict[str, Callable[[], Tensor]]


def check_file(path: str | Path) -> list[Difference]:
    """Compare every output of a reference, named by its json or npz, in float64 and float32.

    Raises:
        ValueError: the file is not a reference of a lifter.
        OSError: one of the pair is missing.

    """
    path = Path(path).with_suffix('.json')
    description = json.loads(path.read_text(encoding='utf-8'))
    name = description.get('model')
    if name not in _MAKERS:
        raise ValueError(f'{path} is a reference of {name!r}; known lifters: {sorted(_MAKERS)}')
    with np.load(path.with_suffix('.npz')) as archive:
        arrays = dict(archive)
    rows = []
    for dtype in TOLERANCES:
        model, outputs = build_reference(description, arrays, dtype)
        keys = {key: list(value.shape) for key, value in model.state_dict().items()}
        rows.append(_keys_row(path.stem, dtype, keys, description['state_dict']))
        for output in description['outputs']:
            wanted = arrays[output if dtype == 'float32' else f'{output}_float64']
            with torch.no_grad():
                given = outputs[output]().numpy()
            rows.append(_row(path.stem, output, dtype, given, wanted))
    return rows


def build_reference(
    description: dict[str, Any], arrays: dict[str, np.ndarray], dtype: str
) -> tuple[nn.Module, Outputs]:
    """Return a reference's network with its weights, and how to compute each of its outputs."""
    model, make_outputs = _MAKERS[description['model']](description)
    filled = filled_state_dict(description['state_dict'])
    model.load_state_dict({key: torch.from_numpy(value) for key, value in filled.items()})
    model.eval().to(getattr(torch, dtype))
    return model, make_outputs(model, arrays, getattr(torch, dtype))


def filled_state_dict(schema: Mapping[str, Iterable[int]]) -> dict[str, np.ndarray]:
    """Return the weights of a reference, {key: float32 array}, from its {key: shape}."""
    return {key: _fill(key, tuple(shape)) for key, shape in schema.items()}


def _fill(key: str, shape: tuple[int, ...]) -> np.ndarray:
    leaf = key.rsplit('.', 1)[-1]
    if leaf == 'num_batches_tracked':
        return np.zeros(shape, np.int64)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], 'big')
    drawn = np.random.default_rng(seed).standard_normal(shape)
    if leaf == 'running_var':
        filled = np.abs(drawn) + 0.5
    elif leaf == 'weight' and len(shape) >= 2:
        filled = drawn / math.sqrt(math.prod(shape[1:]))
    elif leaf in ('weight', 'a_2') and len(shape) == 1:
        filled = 1 + 0.1 * drawn
    else:
        filled = 0.1 * drawn
    return np.asarray(filled, np.float32)


def reference_input(batch: int, frames: int, coordinates: int = 2) -> np.ndarray:
    """Return the input of the references, (batch, frames, 17, coordinates) float32."""
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (batch, frames, 17, coordinates)).astype(np.float32)


def _keys_row(
    file: str, dtype: str, given: dict[str, list[int]], wanted: dict[str, list[int]]
) -> Difference:
    """Compare names, shapes and order of the parameters (counts mismatches)."""
    apart = sum(a != b for a, b in zip_longest(given.items(), wanted.items()))
    return Difference(file, f'state dict {dtype}', float(apart), 0.0, apart == 0)


def _row(file: str, output: str, dtype: str, given: np.ndarray, wanted: np.ndarray) -> Difference:
    tolerance = TOLERANCES[dtype]
    quantity = f'{output} {dtype}'
    if given.shape != wanted.shape:
        quantity += f', shape {given.shape} instead of {wanted.shape}'
        return Difference(file, quantity, math.inf, tolerance, False)
    apart = np.abs(given.astype(np.float64) - wanted)
    fine = bool((apart <= tolerance + _RELATIVE[dtype] * np.abs(wanted)).all())
    return Difference(file, quantity, float(apart.max()), tolerance, fine)


Maker = Callable[
    [dict[str, Any]],
    tuple[nn.Module, Callable[[Any, dict[str, np.ndarray], torch.dtype], Outputs]],
]


def _input(description: dict[str, Any], output: str, dtype: torch.dtype) -> Tensor:
    given = description['input']
    frames = given['frames']
    frames = frames[output] if isinstance(frames, dict) else frames
    return torch.from_numpy(reference_input(given['batch'], frames)).to(dtype)


def _videopose3d(description: dict[str, Any]) -> Any:
    from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig

    sizes = dict(description['config'])
    if sizes.pop('in_features') != 2:
        raise ValueError('joints of other than two coordinates are not supported')

    def outputs(model: Any, arrays: Any, dtype: torch.dtype) -> Outputs:
        forms = {'strided': model.forward_windows}

        def compute(name: str) -> Tensor:
            return forms.get(name, model)(_input(description, name, dtype))

        return {name: partial(compute, name) for name in description['outputs']}

    return VideoPose3D(VideoPose3DConfig(**sizes)), outputs


def _mhformer(description: dict[str, Any]) -> Any:
    from trpose_ros.lifters.networks.mhformer import MHFormer, MHFormerConfig

    sizes = description['config']
    config = MHFormerConfig(sizes['frames'], sizes['channel'], sizes['d_hid'], sizes['layers'])
    return MHFormer(config), _one_output(description)


def _mixste(description: dict[str, Any]) -> Any:
    from trpose_ros.lifters.networks.mixste import MixSTE, MixSTEConfig

    sizes = description['config']
    config = MixSTEConfig(sizes['frames'], sizes['channel'], sizes['depth'], sizes['num_heads'])
    return MixSTE(config), _one_output(description)


def _one_output(description: dict[str, Any]) -> Any:
    def outputs(model: Any, arrays: Any, dtype: torch.dtype) -> Outputs:
        return {'output': lambda: model(_input(description, 'output', dtype))}

    return outputs


def _pstmo_config(description: dict[str, Any]) -> Any:
    from trpose_ros.lifters.networks.pstmo import PSTMOConfig

    sizes = description['config']
    return PSTMOConfig(sizes['frames'], sizes['channel'], sizes['d_hid'], sizes['layers'])


def _pstmo(description: dict[str, Any]) -> Any:
    from trpose_ros.lifters.networks.pstmo import PSTMO

    def outputs(model: Any, arrays: Any, dtype: torch.dtype) -> Outputs:
        return {
            'output': lambda: model(_input(description, 'output', dtype)),
            'vte': lambda: model.sequence(_input(description, 'vte', dtype)),
        }

    return PSTMO(_pstmo_config(description)), outputs


def _pstmo_pretrain(description: dict[str, Any]) -> Any:
    from trpose_ros.lifters.networks.pstmo_pretraining import MaskedPSTMO

    def outputs(model: Any, arrays: dict[str, np.ndarray], dtype: torch.dtype) -> Outputs:
        masks = [
            torch.from_numpy(arrays[key].astype(bool)) for key in ('temporal_mask', 'spatial_mask')
        ]
        return {'output': lambda: model(_input(description, 'output', dtype), *masks)}

    return MaskedPSTMO(_pstmo_config(description)), outputs


def _pstmo_refine(description: dict[str, Any]) -> Any:
    from trpose_ros.lifters.networks.pstmo_pretraining import PSTMORefine

    def outputs(model: Any, arrays: Any, dtype: torch.dtype) -> Outputs:
        rng = np.random.default_rng(0)
        shape = (description['input']['batch'], 1, 17, 3)
        poses = [rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(2)]
        return {'output': lambda: model(*(torch.from_numpy(pose).to(dtype) for pose in poses))}

    return PSTMORefine(description['config']['hidden']), outputs


_MAKERS: dict[str, Maker] = {
    'videopose3d': _videopose3d,
    'mhformer': _mhformer,
    'mixste': _mixste,
    'pstmo': _pstmo,
    'pstmo_pretrain': _pstmo_pretrain,
    'pstmo_refine': _pstmo_refine,
}


def check_windows(path: str | Path) -> list[Difference]:
    """Compare windows, paddings and chunks of clips, and what is computed around a network.

    Reads the lifters' part of a file of geometry and evaluation references.
    """
    path = Path(path).with_suffix('.npz')
    with np.load(path) as archive:
        arrays = dict(archive)
    given = _windows() | {
        'videopose3d_tiny27_clip_tta': _averaged_clip(),
        'pstmo_uvd2xyz': _back_projected(arrays['h36m_intrinsics']),
    }
    rows = []
    for name, values in given.items():
        wanted = arrays[name]
        if name.endswith('tta'):  # our clips have their root at zero
            values, wanted = values[:, 1:], wanted[:, 1:]
        dtype = 'float64' if np.issubdtype(wanted.dtype, np.integer) else 'float32'
        rows.append(_row(path.stem, name, dtype, values, wanted))
    return rows


def _windows() -> dict[str, np.ndarray]:
    """Return frame indices of windows; VideoPose3D pads whole clips, so its windows are joined."""
    from trpose_ros.lifters.offline import window_indices

    found = {'mhformer_windows_n12_f9': window_indices(12, 9, 4, 4)}
    for step in (1, 2):
        name = f'pstmo_windows_n30_f9_tds{step}'
        found[name] = window_indices(30, 9, 4, 4 * step, step)
    for name, target, ahead in (('symmetric', 13, 13), ('causal', 26, 0)):
        rows = window_indices(20, 27, target, ahead)
        joined = np.concatenate([rows[0], rows[1:, -1]])
        found[f'videopose3d_padding_rf27_n20_{name}'] = joined
    return found | {f'mixste_chunks_n{n}_f9': _chunks(n, 9) for n in (20, 18, 7)}


def _chunks(frames: int, window: int) -> np.ndarray:
    """Return the frames that MixSTE's evaluation runs its network on, window by window."""
    from trpose_ros.lifters.offline import lift_chunks

    seen = []

    def record(joints: Tensor) -> Tensor:
        seen.append(joints[0, :, 0, 0].numpy())
        return joints.new_zeros(*joints.shape[:3], 3)

    clip = torch.arange(float(frames))[:, None, None].expand(frames, 17, 2)
    lift_chunks(record, clip, window, flip=False)
    return np.array(sorted(seen, key=lambda row: row[0]))


def _averaged_clip() -> np.ndarray:
    """Return a clip lifted by the reference VideoPose3D with flip averaging, (40, 17, 3)."""
    from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig
    from trpose_ros.lifters.offline import lift_windows, window_indices

    model = VideoPose3D(VideoPose3DConfig((3, 3, 3), 32))
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    filled = filled_state_dict(shapes)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in filled.items()})
    clip = torch.from_numpy(reference_input(1, 40)[0])
    indices = window_indices(40, 27, 13, 13)
    return lift_windows(model.eval(), clip, indices, 0, flip=True).numpy()


def _back_projected(intrinsics: np.ndarray) -> np.ndarray:
    from trpose_ros.lifters.networks.pstmo_pretraining import back_project

    shape = (3, 1, 17, 3)
    pose = np.random.default_rng(5).uniform(-0.5, 0.5, shape).astype(np.float32)
    truth = np.random.default_rng(6).uniform(-0.5, 0.5, shape) + np.array([0, 0, 5])
    pose_m, camera = torch.from_numpy(pose), torch.from_numpy(intrinsics[:3])
    depth = torch.from_numpy(truth.astype(np.float32)[:, 0, 0, 2])
    return back_project(pose_m[..., :2], pose_m, depth, camera[:, :2], camera[:, 2:4]).numpy()


# File name patterns for the table of all reference files.
CHECKERS = {
    **{f'{name}_*.npz': check_file for name in ('videopose3d', 'mhformer', 'mixste', 'pstmo')},
    'geometry_and_eval.npz': check_windows,
}
