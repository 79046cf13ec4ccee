"""Official checkpoints of the four lifters: read safely, identified, checked by name and shape.

* VideoPose3D and MixSTE: ``.bin``, a dictionary with ``model_pos`` (and ``model_traj``), optimizer,
  learning rate and the state of a random generator;
* MHFormer and P-STMO: ``.pth``, the bare state dict.

Keys may carry the ``module.`` of parallel training. Which network it is, and its sizes, follow
from names and shapes. What they cannot tell must be stated: VideoPose3D's causal and symmetric
networks have the same keys, and so may its dense ablation. The training rate is in no file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trpose_ros import weights
from trpose_ros.weights import WeightsError, WeightsFile, check_keys
from trpose_ros.weights.torch_files import read_torch_file

if TYPE_CHECKING:
    from torch import nn

SUFFIXES = ('.bin', '.pth', '.pt', '.tar')
LICENCE = 'as its publisher says; weights trained on Human3.6M are for academic use only'
TRAJECTORY = 'trajectory.'  # prefix of the trajectory model's parameters in our own files

_STE_BLOCK = r'STEblocks\.(\d+)\.'  # MixSTE's own; PoseFormer has a Temporal_pos_embed, too

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Checkpoint:
    """A lifter as its publisher saved it."""

    architecture: str  # a name in registry.LIFTERS
    config: dict[str, Any]  # of the network's configuration dataclass
    tensors: Tensors
    trajectory: Tensors | None  # VideoPose3D's trajectory model
    epoch: int | None
    path: Path


def is_checkpoint(path: str | Path) -> bool:
    """Whether a name means a checkpoint file rather than weights of ours."""
    return Path(str(path)).suffix in SUFFIXES


def read_checkpoint(
    path: str | Path, *, causal: bool | None = None, dense: bool | None = None, heads: int = 8
) -> Checkpoint:
    """Read and identify an official checkpoint.

    Args:
        path: ``.bin`` or ``.pth`` file.
        causal: VideoPose3D only, and there required: the file cannot tell.
        dense: VideoPose3D only: needed where the kernels could also be those of the undilated
            ablation (widths 3, 7, 19 of the dense network are 3, 3, 3 of the dilated one).
        heads: MixSTE only: attention heads, which no shape shows.

    Raises:
        WeightsError: the file cannot be read safely, is no lifter, lacks or has further
            parameters (named), or something that it cannot tell was not stated.

    """
    path = Path(path).expanduser()
    content = read_torch_file(path)
    if not isinstance(content, dict) or not content:
        raise WeightsError(f'{path} holds no state dict')
    tensors = _state_dict(content.get('model_pos', content), path)
    trajectory = content.get('model_traj')
    architecture, config = _identify(tensors, path, heads)
    if architecture == 'videopose3d':
        config |= _stated(config, causal, dense, path)
    elif causal is not None:
        raise WeightsError(
            f'{path} is {architecture}; causal is a property of VideoPose3D networks only'
        )
    checkpoint = Checkpoint(
        architecture,
        config,
        tensors,
        None if trajectory is None else _state_dict(trajectory, path),
        content.get('epoch') if isinstance(content.get('epoch'), int) else None,
        path,
    )
    _check(checkpoint)
    return checkpoint


def import_checkpoint(
    source: str | Path,
    target: str | Path | None = None,
    *,
    rate_hz: float,
    causal: bool | None = None,
    dense: bool | None = None,
    licence: str = LICENCE,
    training_data: str = 'see the publisher of the checkpoint',
) -> WeightsFile:
    """Convert an official checkpoint to a weights file with a model card.

    Args:
        source: checkpoint.
        target: file to write; by default in the user's folder under the checkpoint's name.
        rate_hz: rate of the training data (Human3.6M: 50).
        causal: see ``read_checkpoint``.
        dense: see ``read_checkpoint``.
        licence: goes into the header; the files themselves say nothing.
        training_data: goes into the header.

    """
    checkpoint = read_checkpoint(source, causal=causal, dense=dense)
    if target is None:
        target = weights.user_folder() / f'{checkpoint.path.stem}.safetensors'
    tensors = dict(checkpoint.tensors)
    for key, value in (checkpoint.trajectory or {}).items():
        tensors[TRAJECTORY + key] = value
    written = weights.save(
        target,
        tensors,
        {
            'architecture': checkpoint.architecture,
            'config': json.dumps(checkpoint.config),
            'skeleton': 'h36m_17',
            'rate_hz': f'{rate_hz:g}',
            'licence': licence,
            'training_data': training_data,
            'measured_error': 'not measured by this project',
            'imported_from': checkpoint.path.name,
            'imported_sha256': weights.sha256_of(checkpoint.path),
        },
    )
    weights.write_card(written)
    return written


def split_trajectory(tensors: Tensors) -> tuple[Tensors, Tensors | None]:
    """Return the parameters of the pose network and of the trajectory model, if there is one."""
    pose = {key: value for key, value in tensors.items() if not key.startswith(TRAJECTORY)}
    rest = {key[len(TRAJECTORY) :]: tensors[key] for key in tensors if key.startswith(TRAJECTORY)}
    return pose, rest or None


def trajectory_config(config: dict[str, Any], tensors: Tensors, source: str) -> dict[str, Any]:
    """Return the configuration of a trajectory model; ``config`` is its pose network's."""
    values_in = config.get('values_in', 2)
    try:
        found = _videopose3d(tensors, source, values_in)
    except (KeyError, IndexError, ValueError) as error:
        raise WeightsError(
            f'{source}: the trajectory model lacks {error!s:.200} or has it in a wrong shape'
        ) from error
    if found['joints_out'] != 1:
        raise WeightsError(
            f'{source}: the trajectory model gives {found["joints_out"]} joints instead of 1'
        )
    causal, dense = bool(config.get('causal')), bool(config.get('dense'))
    if dense:
        found['filter_widths'] = _dense_widths(found['filter_widths']) or found['filter_widths']
    scale = {name: config.get(name, 0.0) for name in ('relative', 'size_power')}
    return found | {'causal': causal, 'dense': dense, 'values_in': values_in} | scale


def check_tensors(model: nn.Module, tensors: dict[str, Any], source: str) -> None:
    """Raise WeightsError that names missing, extra and wrongly shaped parameters, if any."""
    wanted = model.state_dict()
    check_keys(wanted, tensors, source)
    wrong = [
        f'{key} is {tuple(tensors[key].shape)}, not {tuple(value.shape)}'
        for key, value in wanted.items()
        if tuple(tensors[key].shape) != tuple(value.shape)
    ]
    if wrong:
        raise WeightsError(f'{source} does not fit the model: {"; ".join(wrong[:6])}')


def _state_dict(content: Any, path: Path) -> Tensors:
    """Return name -> array without the prefix of parallel training."""
    if not isinstance(content, dict) or not content:
        raise WeightsError(f'{path} holds no state dict, name -> tensor')
    strange = [key for key, value in content.items() if not isinstance(value, np.ndarray)]
    if strange:
        raise WeightsError(
            f'{path} is no official checkpoint of a lifter: {strange[:4]!s:.200} are no tensors'
        )
    odd = [key for key, value in content.items() if value.dtype.kind not in 'fiub']
    if odd:
        raise WeightsError(f'{path} holds no numbers in {odd[:4]!s:.200}')
    bad = [key for key, value in content.items() if not np.isfinite(value).all()]
    if bad:
        raise WeightsError(f'{path} holds NaN or infinity in {bad[:4]!s:.200}')
    return {str(key).removeprefix('module.'): value for key, value in content.items()}


def _identify(tensors: Tensors, path: Path, heads: int) -> tuple[str, dict[str, Any]]:
    """Return the architecture and the configuration that names and shapes show."""
    if 'Transformer_dec.model.norm.a_2' in tensors or 'post_refine.0.weight' in tensors:
        part = 'refine module' if 'post_refine.0.weight' in tensors else 'masked model of stage 1'
        raise WeightsError(f"{path} is P-STMO's {part}, which does not lift; give the stage 2 file")
    makers: dict[str, tuple[str, Callable[[Tensors, str], dict[str, Any]]]] = {
        'expand_conv.weight': ('videopose3d', _videopose3d),
        'Transformer_hypothesis.pos_embed_1': ('mhformer', _mhformer),
        'Temporal_pos_embed': ('mixste', _mixste),
        'Transformer_reduce.model.pos_embedding_1': ('pstmo', _pstmo),
    }
    for key, (architecture, make) in makers.items():
        if key in tensors and (architecture != 'mixste' or _count(tensors, _STE_BLOCK)):
            try:
                config = make(tensors, str(path))
            except (KeyError, IndexError, ValueError) as error:
                raise WeightsError(
                    f'{path} looks like {architecture} but lacks {error} or has it in a wrong shape'
                ) from error
            return architecture, config | ({'heads': heads} if architecture == 'mixste' else {})
    raise WeightsError(
        f'{path} is none of {sorted(name for name, _ in makers.values())}: it has none of the '
        f'parameters {sorted(makers)}; it starts with {list(tensors)[:3]!s:.200}'
    )


def _videopose3d(tensors: Tensors, source: str, values_in: int = 2) -> dict[str, Any]:
    channels, coordinates, first = tensors['expand_conv.weight'].shape
    if coordinates % values_in:
        raise WeightsError(
            f'{source} takes {coordinates} numbers per frame, not {values_in} per joint (networks '
            'of another input, such as the first published ones, are not supported)'
        )
    layers = _count(tensors, r'layers_conv\.(\d+)\.weight')
    widths = [first, *(tensors[f'layers_conv.{i}.weight'].shape[2] for i in range(0, layers, 2))]
    return {
        'filter_widths': widths,
        'channels': channels,
        'joints_in': coordinates // values_in,
        'joints_out': tensors['shrink.weight'].shape[0] // 3,
    }


def _mhformer(tensors: Tensors, _: str) -> dict[str, Any]:
    frames, channels = tensors['Transformer_hypothesis.pos_embed_1'].shape[1:]
    return {
        'frames': frames,
        'channels': channels,
        'hidden': tensors['Transformer_hypothesis.CHI_blocks.0.mlp.fc1.weight'].shape[0],
        'layers': 1 + _count(tensors, r'Transformer_hypothesis\.SHR_blocks\.(\d+)\.'),
    }


def _mixste(tensors: Tensors, _: str) -> dict[str, Any]:
    frames, channels = tensors['Temporal_pos_embed'].shape[1:]
    depth = _count(tensors, _STE_BLOCK)
    return {'frames': frames, 'channels': channels, 'depth': depth}


def _pstmo(tensors: Tensors, _: str) -> dict[str, Any]:
    frames, channels = tensors['Transformer_reduce.model.pos_embedding_1'].shape[1:]
    return {
        'frames': frames,
        'channels': channels,
        'hidden': tensors['Transformer.model.layers.0.feed_forward.w_1.weight'].shape[0],
        'layers': _count(tensors, r'Transformer\.model\.layers\.(\d+)\.'),
    }


def _count(tensors: Tensors, pattern: str) -> int:
    """Return how many numbered parts match."""
    found = (re.match(pattern, key) for key in tensors)
    return len({match.group(1) for match in found if match})


def _stated(
    config: dict[str, Any], causal: bool | None, dense: bool | None, path: Path
) -> dict[str, Any]:
    """Return what a VideoPose3D file cannot tell."""
    if causal is None:
        raise WeightsError(
            f'{path} is VideoPose3D, whose file does not say whether it is causal; the wrong guess '
            'gives garbage: state causal (true or false, as its publisher says)'
        )
    widths = config['filter_widths']
    undilated = _dense_widths(widths)
    if dense is None and undilated is not None:
        raise WeightsError(
            f'{path} has kernels of {widths} frames: a dilated network of those widths or a dense '
            f'one of {undilated}; state dense'
        )
    if not dense:
        return {'causal': causal, 'dense': False}
    if undilated is None:
        raise WeightsError(f'{path} has kernels of {widths} frames, which no dense network has')
    return {'causal': causal, 'dense': True, 'filter_widths': undilated}


def _dense_widths(kernels: list[int]) -> list[int] | None:
    """Return the filter widths of a dense network with these kernels, or None."""
    if min(kernels) < 1:
        return None
    widths, span = [kernels[0]], kernels[0]
    for kernel in kernels[1:]:
        width, rest = divmod(kernel - 1, span)
        if rest or width < 2 or width % 2:
            return None
        widths.append(width + 1)
        span *= width + 1
    return widths if len(kernels) > 1 else None


def _check(checkpoint: Checkpoint) -> None:
    """Raise WeightsError unless the parameters are exactly those of the network."""
    import torch

    from trpose_ros.lifters.networks.build import build_network

    source = str(checkpoint.path)
    jobs = [(checkpoint.config, checkpoint.tensors, source)]
    if checkpoint.trajectory is not None:
        sizes = trajectory_config(checkpoint.config, checkpoint.trajectory, source)
        jobs.append((sizes, checkpoint.trajectory, f'{source} (trajectory)'))
    for sizes, tensors, name in jobs:
        try:
            with torch.device('meta'):
                model = build_network(checkpoint.architecture, sizes)
        except (ValueError, TypeError) as error:
            raise WeightsError(f'{name}: {error}') from error
        check_tensors(model, tensors, name)
