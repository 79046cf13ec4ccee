"""Networks and streams in their published sizes against a second implementation in numpy.

The references of the published programs are small; sizes, strides and forms that they leave out
are compared here, with the largest networks once in full size.
"""

import lifters_numpy
import numpy as np
import pytest
import torch
from parity.lifters_numbers import filled_state_dict, reference_input

from trpose_ros.lifters.networks.mhformer import MHFormer, MHFormerConfig
from trpose_ros.lifters.networks.mixste import MixSTE, MixSTEConfig
from trpose_ros.lifters.networks.precision import halve
from trpose_ros.lifters.networks.pstmo import PSTMO, PSTMOConfig
from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig
from trpose_ros.lifters.streams.videopose3d import VideoPose3DCore
from trpose_ros.lifters.streams.windows import mhformer_core, mixste_core, pstmo_core


def filled(model):
    """Return a network with reference weights in double precision, and its weights as arrays."""
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    arrays = filled_state_dict(shapes)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    model = model.eval().requires_grad_(False).double()
    return model, {key: value.astype(np.float64) for key, value in arrays.items()}


def frames_of(count, dtype=torch.float64):
    return torch.from_numpy(reference_input(1, count)).to(dtype)


def stream(core, joints):
    """Return what a core says after the frames (1, T, 17, 2) of one person."""
    slots = torch.tensor([0])
    core.reserve(1)
    core.start(slots, joints[:, 0])
    for frame in joints.unbind(1)[:-1]:
        core.step(slots, frame, 0)
    return core.step(slots, joints[:, -1], 1)[0, 0]


def agree(given, wanted, dtype):
    assert np.abs(wanted).max() > 0.5
    limits = {torch.float64: (1e-9, 0), torch.float32: (2e-5, 1e-4)}
    absolute, relative = limits[dtype]
    np.testing.assert_allclose(given.numpy(), wanted, atol=absolute, rtol=relative)


def check(model, wanted, core, row, joints):
    """Compare whole windows and the stream with (frames, 17, 3) in both number types."""
    for dtype in (torch.float64, torch.float32):
        model = model.to(dtype)
        window = joints.to(dtype)
        agree(model(window)[0], wanted, dtype)
        agree(stream(core(model), window), wanted[row], dtype)


WIDTHS = (3, 3, 3, 3, 3)


@pytest.mark.parametrize(('causal', 'channels'), [(False, 1024), (True, 128)])
def test_videopose3d_with_243_frames(causal, channels):
    model, weights = filled(VideoPose3D(VideoPose3DConfig(WIDTHS, channels, causal)))
    joints = frames_of(2 * 243)
    parts = [part[0].numpy() for part in joints.split(243, dim=1)]
    wanted = np.concatenate(
        [lifters_numpy.videopose3d(part, weights, WIDTHS, causal) for part in parts]
    )
    check(model, wanted[:1], VideoPose3DCore, 0, joints[:, :243])
    for dtype in (torch.float64, torch.float32):  # several windows side by side
        agree(model.to(dtype).forward_windows(joints.to(dtype))[0], wanted, dtype)


@pytest.mark.parametrize('causal', [False, True])
def test_dense_videopose3d(causal):
    config = VideoPose3DConfig((3, 5, 3), 64, causal, dense=True)
    model, weights = filled(VideoPose3D(config))
    joints = frames_of(50)
    wanted = lifters_numpy.videopose3d(joints[0].numpy(), weights, (3, 5, 3), causal, dense=True)
    assert len(wanted) == 6
    for dtype in (torch.float64, torch.float32):
        agree(model.to(dtype)(joints.to(dtype))[0], wanted, dtype)


@pytest.mark.parametrize(
    'config',
    [
        MHFormerConfig(),
        MHFormerConfig(27),
        MHFormerConfig(36, channels=24, hidden=20, layers=2),
        MHFormerConfig(36, channels=16, hidden=20, layers=1),
    ],
    ids=['351', '27', '36', '36, only crossing'],
)
def test_mhformer(config):
    model, weights = filled(MHFormer(config))
    joints = frames_of(config.frames)
    wanted = lifters_numpy.mhformer(joints[0].numpy(), weights, config.layers)
    check(model, wanted, mhformer_core, config.frames // 2, joints)


@pytest.mark.parametrize(
    'config',
    [
        MixSTEConfig(9),
        MixSTEConfig(243, channels=32, heads=4),
        MixSTEConfig(5, channels=24, depth=1, heads=3),
        MixSTEConfig(1, channels=24, depth=2, heads=2),
    ],
    ids=['9', '243', '5', '1'],
)
def test_mixste(config):
    model, weights = filled(MixSTE(config))
    joints = frames_of(config.frames)
    wanted = lifters_numpy.mixste(joints[0].numpy(), weights, config.depth, config.heads)
    check(model, wanted, mixste_core, -1, joints)


@pytest.mark.parametrize(
    'config',
    [PSTMOConfig(), PSTMOConfig(layers=4), PSTMOConfig(351), PSTMOConfig(81, 40, 24, 1)],
    ids=['S 243', '243', '351', '81'],
)
def test_pstmo(config):
    model, weights = filled(PSTMO(config))
    joints = frames_of(config.frames)
    pose, sequence = lifters_numpy.pstmo(joints[0].numpy(), weights, config.layers, config.strides)
    check(model, pose[None], pstmo_core, 0, joints)
    for dtype in (torch.float64, torch.float32):
        agree(model.to(dtype).sequence(joints.to(dtype))[0], sequence, dtype)


@pytest.mark.parametrize('name', ['mhformer', 'mixste', 'pstmo'])
def test_half_precision_of_full_sizes_stays_close(name):
    """Weights are random, not trained: the change is far below the size of what comes out."""
    makers = {
        'mhformer': lambda: (MHFormer(MHFormerConfig(81)), mhformer_core),
        'mixste': lambda: (MixSTE(MixSTEConfig(9)), mixste_core),
        'pstmo': lambda: (PSTMO(PSTMOConfig(81)), pstmo_core),
    }
    made, core = makers[name]()
    model = filled(made)[0].float()
    joints = frames_of(model.config.frames, torch.float32)
    full = stream(core(model), joints)
    if name == 'pstmo':
        reduced = stream(core(model, half=True), joints)
    else:
        reduced = stream(core(halve(model)), joints)
    assert 0 < (reduced - full).abs().mean() < 0.01 * full.abs().max()
