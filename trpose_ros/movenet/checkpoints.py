"""MoveNet's networks from weights files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from trpose_ros import weights
from trpose_ros.metrabs.tensors import load_tensors
from trpose_ros.movenet.importing import import_movenet
from trpose_ros.movenet.network import MoveNet, MoveNetConfig
from trpose_ros.weights import WeightsError, WeightsFile

LICENCE = 'Apache-2.0'
_CARD = """
Networks by Google, licensed under the Apache License, Version 2.0 (the text lies in the package's
file LICENSE; http://www.apache.org/licenses/LICENSE-2.0). Notice of changes: see `changes`.
"""


def load_movenet(name_or_path: str | Path) -> MoveNet:
    """Return the network of a weights file, in float32, ready for inference.

    Raises WeightsError for a file that is missing, damaged or does not fit.
    """
    return network_from_file(weights.load(name_or_path, architecture='movenet'))


def network_from_file(file: WeightsFile) -> MoveNet:
    """Build the network that a weights file describes."""
    try:
        model = MoveNet(MoveNetConfig(**file.config))
    except (ValueError, TypeError) as error:
        raise WeightsError(f'{file.path}: {error}') from error
    load_tensors(model, file.tensors, str(file.path))
    model = model.eval().requires_grad_(False)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def convert(
    path: str | Path,
    target: str | Path,
    *,
    packing: str = '',
    measured: str = '',
    text: str = '',
    licence: str = LICENCE,
) -> WeightsFile:
    """Import a graph model (importing.py) into a weights file with a card that says what it is.

    Half precision, as in the graph model, unless ``packing`` says otherwise. Raises WeightsError
    for a file that is no MoveNet.
    """
    given = import_movenet(path)
    changes = 'converted from TensorFlow.js to safetensors, parameters renamed and transposed'
    if packing:
        changes += f'; large kernels stored as {packing}'
    sums = ', '.join(f'{name} sha256 {digest}' for name, digest in given.sha256.items())
    meta = {
        'architecture': 'movenet',
        'config': json.dumps(given.config.to_dict()),
        'skeleton': 'coco_17',
        'licence': licence,
        'training_data': 'by Google, on COCO and an internal data set of fitness videos ("Active")',
        'measured_error': measured or 'not measured here',
        'authors': f'networks by Google ({given.origin})' if given.origin else 'networks by Google',
        'source': sums,
        'changes': changes,
    }
    if packing:
        meta['packing'] = packing
    tensors = {name: value.astype(np.float16) for name, value in given.tensors.items()}
    file = weights.save(target, tensors, meta)
    weights.write_card(file, text or _CARD)
    return file
