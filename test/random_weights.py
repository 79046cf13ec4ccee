"""Small weights of the real architectures with random numbers, for tests of processes."""

import json
from dataclasses import asdict

from trpose_ros import weights

META = {
    'skeleton': 'h36m_17',
    'licence': 'Apache-2.0',
    'training_data': 'none: random numbers for tests',
    'measured_error': 'none',
}


def _save(path, model, architecture, config, **meta):
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    header = {**META, 'architecture': architecture, 'config': json.dumps(config), **meta}
    return weights.save(path, tensors, header).path


def save_metrabs(path):
    import torch

    from trpose_ros.metrabs.model import Metrabs, MetrabsConfig

    torch.manual_seed(0)
    config = MetrabsConfig(backbone='resnet-plain-s', num_joints=17, proc_side=128)
    return _save(path, Metrabs(config).eval(), 'metrabs', config.to_dict())


def save_videopose3d(path):
    import torch

    from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig

    torch.manual_seed(0)
    config = VideoPose3DConfig(filter_widths=(3, 3), channels=16)
    return _save(path, VideoPose3D(config).eval(), 'videopose3d', asdict(config), rate_hz='30')


LIFTERS = {
    'videopose3d': {'filter_widths': (3, 3), 'channels': 16},
    'mhformer': {'frames': 36, 'channels': 16, 'hidden': 16, 'layers': 2},
    'mixste': {'frames': 9, 'channels': 16, 'depth': 2, 'heads': 2},
    'pstmo': {'frames': 9, 'channels': 16, 'hidden': 16, 'layers': 1},
}


def save_lifter(path, name, rate_hz='30'):
    import torch

    from trpose_ros.lifters.networks.build import build_network

    torch.manual_seed(0)
    model = build_network(name, LIFTERS[name]).eval()
    return _save(path, model, name, LIFTERS[name], rate_hz=rate_hz)
