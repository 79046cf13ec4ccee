"""What lifters of our own training take in besides screen coordinates, in streams as in windows.

Marks say which 2D joints can be trusted; joints may be relative to the root.
"""

import numpy as np
import pytest
import torch

from trpose_ros.lifters import offline
from trpose_ros.lifters.networks.build import build_network
from trpose_ros.lifters.networks.inputs import from_root
from trpose_ros.lifters.registry import LIFTERS, LoadedWeights
from trpose_ros.lifters.streams.base import LifterConfig
from trpose_ros.lifters.streams.missing import JointFiller
from trpose_ros.lifters.streams.stream import LifterStream
from trpose_ros.people import JointState

FRAMES, STEP_NS = 9, 20_000_000
CONFIGS = {
    'videopose3d': {'filter_widths': (3, 3), 'channels': 16},
    'mhformer': {'frames': FRAMES, 'channels': 16, 'hidden': 16, 'layers': 2},
    'mixste': {'frames': FRAMES, 'channels': 16, 'depth': 2},
    'pstmo': {'frames': FRAMES, 'channels': 16, 'hidden': 16, 'layers': 2},
}


def network(name, values_in=3, relative=0.0, size_power=0.0):
    torch.manual_seed(0)
    taken = {'values_in': values_in, 'relative': relative, 'size_power': size_power}
    model = build_network(name, CONFIGS[name] | taken)
    return model.double().eval().requires_grad_(False)


def stream_of(name, model, flip=False):
    config = LifterConfig(name=name, model='test', flip=flip, dtype='float64')
    taken = {key: getattr(model.config, key) for key in ('values_in', 'relative', 'size_power')}
    sizes = CONFIGS[name] | taken
    tensors = {key: value.numpy() for key, value in model.state_dict().items()}
    core = LIFTERS[name](LoadedWeights(tensors, sizes, 'test'), config)
    return LifterStream(core, config, rate_hz=50.0, weights_id='test', dtype=torch.float64)


def clip(frames=16):
    rng = np.random.default_rng(1)
    joints = rng.normal(0, 0.03, (frames, 17, 2)).cumsum(axis=0) + rng.uniform(-0.5, 0.5, (17, 2))
    states = rng.choice([JointState.VISIBLE, JointState.UNKNOWN], (frames, 17))
    states[4:9, 3] = JointState.TRUNCATED
    states[6:, 13] = JointState.OCCLUDED
    states[10, 5] = JointState.UNOBSERVED
    joints[3:6, 16] = np.nan
    return joints, states.astype(np.uint8)


def marked(joints, states):
    hidden = np.isin(
        states, (JointState.TRUNCATED, JointState.OCCLUDED, JointState.UNOBSERVED)
    ) | ~np.isfinite(joints).all(axis=-1)
    seen = np.where((states == JointState.UNOBSERVED)[..., None], np.nan, joints)
    filled = JointFiller().fill_clips(seen[None])[0]
    return np.concatenate([filled, ~hidden[..., None]], axis=-1)


def run(stream, joints, states):
    lifted = []
    for t, frame in enumerate(joints):
        lifted += stream.push(1000 + t * STEP_NS, np.array([7]), frame[None], states[t][None])
    lifted += stream.flush()
    assert [one.stamp_ns for one in lifted] == [1000 + t * STEP_NS for t in range(len(joints))]
    return np.stack([one.joints_m for one in lifted])


@pytest.mark.parametrize(
    ('flip', 'relative', 'size_power'),
    [(False, 0.0, 0.0), (True, 0.0, 0.0), (True, 4.0, 0.0), (False, 1.5, 0.8)],
)
@pytest.mark.parametrize('name', CONFIGS)
def test_streams_give_the_network_the_marks(name, flip, relative, size_power):
    model, (joints, states) = network(name, 3, relative, size_power), clip()
    stream = stream_of(name, model, flip)
    got = run(stream, joints, states)
    output = FRAMES - 1 - stream.look_ahead if name in ('mhformer', 'mixste') else 0
    target = output or FRAMES // 2
    indices = offline.window_indices(len(joints), FRAMES, target, stream.look_ahead)
    given = torch.from_numpy(marked(joints, states))
    want = offline.lift_windows(model, given, indices, output, flip).numpy()
    np.testing.assert_allclose(got, want, atol=1e-9)
    trusting = states.copy()
    trusting[trusting != JointState.UNOBSERVED] = JointState.VISIBLE
    other = run(stream_of(name, model, flip), joints, trusting)
    assert np.abs(other - got).max() > 1e-6  # marks matter


@pytest.mark.parametrize('name', CONFIGS)
def test_networks_without_marks_do_not_see_states(name):
    model, (joints, states) = network(name, 2), clip()
    got = run(stream_of(name, model), joints, states)
    trusting = np.where(states == JointState.UNOBSERVED, states, JointState.VISIBLE)
    np.testing.assert_array_equal(run(stream_of(name, model), joints, trusting), got)


@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('values_in', [2, 3])
def test_relative_networks_take_joints_less_the_root(name, values_in):
    joints = torch.from_numpy(marked(*clip()))[None, :FRAMES, :, :values_in]
    given = joints.clone()
    given[:, :, 1:, :2] = 4 * (joints[:, :, 1:, :2] - joints[:, :, :1, :2])
    relative, plain = network(name, values_in, 4.0), network(name, values_in)
    torch.testing.assert_close(relative(joints), plain(given))
    if name == 'videopose3d':
        torch.testing.assert_close(relative.forward_windows(joints), plain.forward_windows(given))
    assert not torch.allclose(relative(joints), plain(joints))


@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('values_in', [2, 3])
def test_networks_take_joints_by_the_size_of_their_person(name, values_in):
    joints = torch.from_numpy(marked(*clip()))[None, :FRAMES, :, :values_in]
    given = joints.clone()
    offsets = joints[:, :, 1:, :2] - joints[:, :, :1, :2]
    size = (offsets**2).sum(dim=(2, 3), keepdim=True).div(32).sqrt()
    given[:, :, 1:, :2] = 1.5 * offsets / size**0.8
    sized, plain = network(name, values_in, 1.5, 0.8), network(name, values_in)
    torch.testing.assert_close(sized(joints), plain(given))


def test_a_person_without_size_stays_finite():
    spot = torch.full((2, 17, 2), 0.3)
    assert torch.equal(from_root(spot, 1.5, 0.8)[:, 1:], torch.zeros(2, 16, 2))
    # With the whole power a person twice as large is the same person.
    joints = torch.randn(2, 17, 2, generator=torch.Generator().manual_seed(0))
    near = joints[:, :1] + 2 * (joints - joints[:, :1])
    torch.testing.assert_close(from_root(near, 1.5, 1.0), from_root(joints, 1.5, 1.0))


@pytest.mark.parametrize('name', CONFIGS)
def test_a_number_too_many_or_too_few_is_refused(name):
    with pytest.raises((ValueError, RuntimeError)):
        network(name)(torch.zeros(1, FRAMES, 17, 2).double())
    with pytest.raises(ValueError, match=r'values_in must be .* 1\.\.8, got 0'):
        build_network(name, CONFIGS[name] | {'values_in': 0})
