"""A lifter's network as it can run elsewhere: a whole window in, its skeletons out.

Windows are filled by whoever runs it, with what the streams know of stamps, gaps and missing
joints. VideoPose3D's trajectory model is left out.
"""

from __future__ import annotations

import json
from pathlib import Path

from trpose_ros.lifters.registry import load_network, load_weights
from trpose_ros.lifters.streams.base import LifterConfig
from trpose_ros.runtimes.onnx_export import Exportable

_TOLERANCES = {'joints_m': 1e-4}


def exportable(architecture: str, model: str | Path) -> Exportable:
    """Return a lifter and what its file has to say; raises WeightsError."""
    config = LifterConfig(name=architecture, model=str(model), device='cpu')
    loaded = load_weights(config)
    network = load_network(architecture, loaded, config)
    sizes = network.config
    frames = getattr(sizes, 'receptive_field', None) or sizes.frames
    shape = (frames, getattr(sizes, 'joints_in', 17), sizes.values_in)
    marks = ', 1 where they can be trusted, else 0' if sizes.values_in > 2 else ''
    return Exportable(
        network,
        'joints',
        shape,
        _TOLERANCES,
        {
            'weights_id': loaded.weights_id,
            'licence': loaded.licence,
            'rate_hz': str(loaded.rate_hz),
            'skeleton': 'h36m_17',
            'input': f'joints (batch, {", ".join(map(str, shape))}): x from -1 to 1 over the '
            f'width, y on the same scale{marks}',
            'outputs': 'joints_m (batch, frames, 17, 3), metres, relative to the pelvis',
            'config': json.dumps(loaded.config),
        },
    )
