"""Loading crop networks from weights files.

A weights file with architecture 'metrabs' holds the network's state dict and, for networks that
predict several skeletons at once, the tensor ``joint_transform_matrix`` (J, K) and in its header
``skeletons``: {name: {"indices": [...], "names": [...], "edges": [[a, b], ...]}}. The optional
header entry ``preprocessing`` is a JSON object: ``linear_light`` (bool, resample in linear light)
and ``augmentation`` (a convention of augmentation.py); both default to what the networks trained
here expect. ``uncertainty`` holds the weights of uncertainty.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trpose_ros import weights
from trpose_ros.metrabs import packages
from trpose_ros.metrabs.augmentation import CONVENTIONS
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.metrabs.tensors import TRANSFORM_KEY, check_tensors, load_tensors
from trpose_ros.metrabs.uncertainty import UncertaintyModel
from trpose_ros.skeletons import get_skeleton
from trpose_ros.weights import WeightsError, WeightsFile

# What a header that holds other things than it should makes the code stumble over.
_STRANGE = (
    *(ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError),
    RecursionError,
)


@dataclass(frozen=True)
class SkeletonTable:
    """Which of the network's (transformed) joints make up one skeleton."""

    indices: np.ndarray  # (S,) int
    names: tuple[str, ...]  # (S,)
    edges: np.ndarray  # (E, 2) int, into ``indices``


@dataclass(frozen=True)
class LoadedNetwork:
    """A crop network and what has to be known to use it."""

    model: Metrabs
    joint_names: tuple[str, ...]  # (J,) of the network itself, for mirroring
    skeletons: dict[str, SkeletonTable]
    joint_transform: np.ndarray | None  # (J, K)
    linear_light: bool
    augmentation: str
    weights_id: str
    licence: str
    uncertainty: UncertaintyModel | None = None


def load_network(name_or_path: str | Path) -> LoadedNetwork:
    """Load a network from a weights file or the folder of a published package.

    Raises WeightsError for anything that is missing, damaged or does not fit.
    """
    if packages.is_package(name_or_path):
        return network_from_file(packages.read_package(name_or_path))
    if Path(name_or_path).is_dir():
        raise WeightsError(
            f'{name_or_path} is a folder without ckpt.pt: not a published PyTorch package; a '
            'TensorFlow SavedModel needs the estimator metrabs_tensorflow'
        )
    return network_from_file(weights.load(name_or_path, architecture='metrabs'))


def network_from_file(file: WeightsFile) -> LoadedNetwork:
    """Build the network that a weights file describes."""
    try:
        config = MetrabsConfig.from_dict(file.config)
        with torch.device('meta'):  # first without memory: a file may state any sizes
            wanted = Metrabs(config)
    except (ValueError, TypeError) as error:
        raise WeightsError(f'{file.path}: {error}') from error
    tensors = dict(file.tensors)
    transform = tensors.pop(TRANSFORM_KEY, None)
    check_tensors(wanted, tensors, str(file.path))
    model = Metrabs(config)
    load_tensors(model, tensors, str(file.path))
    if transform is not None and (transform.ndim != 2 or len(transform) != config.num_joints):
        raise WeightsError(
            f'{file.path}: {TRANSFORM_KEY} has the shape {transform.shape}, not (joints, K)'
        )
    outputs = config.num_joints if transform is None else transform.shape[1]
    try:
        preprocessing = json.loads(file.meta.get('preprocessing', '{}'))
        convention = preprocessing.get('augmentation', 'centred')
        if convention not in CONVENTIONS:
            raise ValueError(f'unknown augmentation convention {convention!r:.80}')
        names, skeletons = _skeletons(file, config, outputs)
    except _STRANGE as error:
        words = f'{error!s:.200}' if isinstance(error, ValueError) else f'{error!r:.200}'
        raise WeightsError(f'{file.path}: header: {words}') from error
    uncertainty = None
    if 'uncertainty' in file.meta:
        try:
            uncertainty = UncertaintyModel.from_json(file.meta['uncertainty'], config.num_joints)
        except _STRANGE as error:
            raise WeightsError(f'{file.path}: header "uncertainty": {error!s:.200}') from error
    return LoadedNetwork(
        model=model.eval(),
        joint_names=names,
        skeletons=skeletons,
        joint_transform=None if transform is None else np.asarray(transform, np.float64),
        linear_light=bool(preprocessing.get('linear_light', False)),
        augmentation=convention,
        weights_id=file.weights_id,
        licence=file.meta['licence'],
        uncertainty=uncertainty,
    )


def _skeletons(
    file: WeightsFile, config: MetrabsConfig, outputs: int
) -> tuple[tuple[str, ...], dict[str, SkeletonTable]]:
    """Return the network's joint names and its skeletons, from the header or from our list.

    ``outputs`` is the number of joints that skeletons are taken from. Raises ValueError, or any
    other of _STRANGE, for a header that is no such thing.
    """
    if 'skeletons' not in file.meta:
        skeleton = get_skeleton(config.skeleton)
        if skeleton.num_joints != config.num_joints:
            raise ValueError(
                f'{config.num_joints} joints, but skeleton {skeleton.name!r} has '
                f'{skeleton.num_joints}'
            )
        table = SkeletonTable(
            np.arange(skeleton.num_joints), skeleton.joint_names, np.array(skeleton.bones)
        )
        return skeleton.joint_names, {skeleton.name: table}
    tables = {
        name: SkeletonTable(
            np.array(entry['indices'], np.intp),
            tuple(entry['names']),
            np.array(entry['edges'], np.intp).reshape(-1, 2),
        )
        for name, entry in json.loads(file.meta['skeletons']).items()
    }
    for name, table in tables.items():
        count = len(table.indices)
        fits = (
            table.indices.ndim == 1
            and len(table.names) == count
            and np.isin(table.indices, range(outputs)).all()
            and np.isin(table.edges, range(count)).all()
        )
        if not fits:
            raise ValueError(f'skeleton {name[:80]!r} names joints that are not there')
    names = tuple(str(name) for name in json.loads(file.meta['joint_names']))
    if len(names) != config.num_joints:
        raise ValueError(f'{len(names)} names of {config.num_joints} joints')
    return names, tables
