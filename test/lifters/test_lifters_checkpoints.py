"""Official checkpoints: the containers as they were published, identified, safe, strict."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from trpose_ros import weights
from trpose_ros.lifters import LifterConfig, create_lifter
from trpose_ros.lifters.checkpoints import import_checkpoint, read_checkpoint
from trpose_ros.lifters.networks.mhformer import MHFormer, MHFormerConfig
from trpose_ros.lifters.networks.mixste import MixSTE, MixSTEConfig
from trpose_ros.lifters.networks.pstmo import PSTMO, PSTMOConfig
from trpose_ros.lifters.networks.pstmo_pretraining import MaskedPSTMO, PSTMORefine
from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig
from trpose_ros.weights import WeightsError
from trpose_ros.weights.torch_files import Dropped, read_torch_file

torch.manual_seed(0)
MODELS = {
    'videopose3d': VideoPose3D(VideoPose3DConfig((3, 5, 3), 16)),
    'mhformer': MHFormer(MHFormerConfig(9, 32, 64, 2)),
    'mhformer_81': MHFormer(MHFormerConfig(81, 16, 24, 3)),
    'mixste': MixSTE(MixSTEConfig(9, 32, 2)),
    'pstmo': PSTMO(PSTMOConfig(9, 32, 64, 2)),
    'pstmo_full': PSTMO(PSTMOConfig(27, 16, 40, 4)),
}
ZIPPED = pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'sequence'])


def prefixed(model):
    """Return the state dict as DataParallel saves it."""
    return torch.nn.DataParallel(model).state_dict()


def save(content, path, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def training_state(model, **more):
    """Return what VideoPose3D and MixSTE save: optimizer, learning rate, random generator."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, amsgrad=True)
    model.train()
    if isinstance(model, MixSTE):
        model(torch.rand(1, 9, 17, 2)).sum().backward()
    else:
        model(torch.rand(2, model.config.receptive_field, 17, 2)).sum().backward()
    optimizer.step()
    model.eval()
    return {
        'epoch': 60,
        'lr': np.float64(1e-3) * 0.95,
        'random_state': np.random.RandomState(1234),
        'optimizer': optimizer.state_dict(),
        'model_pos': model.state_dict(),
        **more,
    }


class _OldRandomState:
    """A RandomState as numpy before 1.17 pickled it."""

    def __reduce__(self):
        state = ('MT19937', np.arange(624, dtype=np.uint32), 7, 0, 0.0)
        return vars(np.random)['__RandomState_ctor'], (), state


def renamed(path, before, after):
    """Replace a module's name in the pickles of a checkpoint."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
        with zipfile.ZipFile(path, 'w') as archive:
            for name, content in members.items():
                if name.endswith('data.pkl'):
                    assert before in content
                    content = content.replace(before, after)
                archive.writestr(name, content)
    else:
        content = path.read_bytes()
        assert before in content
        path.write_bytes(content.replace(before, after))
    return path


def same(tensors, model):
    wanted = model.state_dict()
    assert list(tensors) == list(wanted)
    for key, value in wanted.items():
        np.testing.assert_array_equal(tensors[key], value.numpy())
        assert tensors[key].shape == value.shape


@ZIPPED
@pytest.mark.parametrize('numpy_name', [b'numpy._core.multiarray', b'numpy.core.multiarray'])
def test_bin_with_optimizer_and_random_state(tmp_path, zipped, numpy_name):
    model = MODELS['videopose3d']
    content = training_state(model, model_traj=None, random_state_semi=_OldRandomState())
    path = save(content, tmp_path / 'pretrained_h36m_cpn.bin', zipped)
    installed = np._core.multiarray._reconstruct.__module__.encode()
    renamed(path, installed, numpy_name)
    loaded = read_torch_file(path)
    assert isinstance(loaded['random_state'], Dropped)
    assert isinstance(loaded['random_state_semi'], Dropped)
    assert loaded['optimizer']['param_groups'][0]['amsgrad'] is True
    assert loaded['lr'] == pytest.approx(0.95e-3)
    found = read_checkpoint(path, causal=False)
    assert found.architecture == 'videopose3d'
    assert VideoPose3DConfig(**found.config) == VideoPose3DConfig((3, 5, 3), 16, dropout=0.25)
    assert found.epoch == 60
    assert found.trajectory is None
    same(found.tensors, model)


@ZIPPED
@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('parallel', [True, False])
def test_every_network_is_recognised_with_its_sizes(tmp_path, zipped, name, parallel):
    model = MODELS[name]
    state = prefixed(model) if parallel else model.state_dict()
    if name == 'mixste':
        state = training_state(model) | {'model_pos': state}
    path = save(state, tmp_path / 'model.pth', zipped)
    causal = True if name == 'videopose3d' else None
    found = read_checkpoint(path, causal=causal)
    assert found.architecture == name.split('_')[0]
    config = type(model.config)(**found.config)
    for key in ('frames', 'channels', 'layers', 'hidden', 'depth', 'filter_widths'):
        assert getattr(config, key, None) == getattr(model.config, key, None)
    same(found.tensors, model)


def test_trajectory_model_gives_the_root(tmp_path):
    pose, root = MODELS['videopose3d'], VideoPose3D(VideoPose3DConfig((3, 5, 3), 8, joints_out=1))
    for bn in root.layers_bn:
        torch.nn.init.normal_(bn.running_mean)
    root.eval()
    path = save({'model_pos': pose.state_dict(), 'model_traj': prefixed(root)}, tmp_path / 'a.bin')
    config = LifterConfig(model=str(path), causal=False, rate_hz=50.0, dtype='float64', flip=False)
    imported = import_checkpoint(path, tmp_path / 'b.safetensors', rate_hz=50.0, causal=False)
    weights.verify(imported.path)
    ours = LifterConfig(model=str(imported.path), dtype='float64', flip=False)
    joints = np.random.default_rng(0).uniform(-1, 1, (60, 17, 2))
    padded = torch.from_numpy(np.concatenate([joints[:1].repeat(22, 0), joints]))[None]
    wanted = root.double()(padded)[0, :, 0].detach().numpy()
    root.float()
    for one in (config, ours):
        stream = create_lifter(one)
        assert stream.rate_hz == 50.0
        results = [
            r
            for t in range(60)
            for r in stream.push(t * 20_000_000, np.array([3]), joints[t, None])
        ]
        assert len(results) == 60 - 22
        got = np.array([result.root_m for result in results])
        np.testing.assert_allclose(got, wanted[: len(got)], atol=1e-9)
        assert all((result.joints_m[0] == 0).all() for result in results)


def test_what_the_file_cannot_tell_must_be_stated(tmp_path):
    path = save(MODELS['videopose3d'].state_dict(), tmp_path / 'v.bin')
    with pytest.raises(WeightsError, match='state causal'):
        read_checkpoint(path)
    with pytest.raises(ValueError, match='rate_hz'):
        create_lifter(LifterConfig(model=str(path), causal=True))
    dense = VideoPose3D(VideoPose3DConfig((3, 3, 3), 8, dense=True))
    path = save(dense.state_dict(), tmp_path / 'dense.bin')
    with pytest.raises(WeightsError, match='state dense'):
        read_checkpoint(path, causal=False)
    found = read_checkpoint(path, causal=False, dense=True)
    assert VideoPose3DConfig(**found.config) == VideoPose3DConfig((3, 3, 3), 8, dense=True)
    assert read_checkpoint(path, causal=False, dense=False).config['filter_widths'] == [3, 7, 19]
    path = save(MODELS['mixste'].state_dict(), tmp_path / 'm.pth')
    with pytest.raises(WeightsError, match='causal is a property'):
        read_checkpoint(path, causal=True)


@pytest.mark.parametrize('name', MODELS)
def test_missing_extra_and_wrong_parameters_are_named(tmp_path, name):
    causal = True if name == 'videopose3d' else None
    state = MODELS[name].state_dict()
    last = list(state)[-1]
    lacking = {key: value for key, value in state.items() if key != last}
    with pytest.raises(WeightsError, match=last.replace('.', r'\.')):
        read_checkpoint(save(lacking, tmp_path / 'a.pth'), causal=causal)
    more = {**state, 'surplus.weight': torch.zeros(3)}
    with pytest.raises(WeightsError, match=r'surplus\.weight'):
        read_checkpoint(save(more, tmp_path / 'b.pth'), causal=causal)
    other = {**state, last: torch.zeros(5, 4, 3, 2)}
    with pytest.raises(WeightsError, match=r'\(5, 4, 3, 2\)'):
        read_checkpoint(save(other, tmp_path / 'c.pth'), causal=causal)
    spoilt = {**state, last: torch.full(state[last].shape, torch.nan)}
    if state[last].is_floating_point():
        with pytest.raises(WeightsError, match='NaN'):
            read_checkpoint(save(spoilt, tmp_path / 'd.pth'), causal=causal)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'fc.weight': torch.zeros(2)}, 'none of'),
        ({}, 'no state dict'),
        ([1, 2], 'no state dict'),
        ({'model_pos': 3}, 'no state dict'),
        ({'epoch': 3, 'lr': 0.1}, 'no tensors'),
        (MaskedPSTMO(PSTMOConfig(9, 16, 16, 2)).state_dict(), 'stage 1'),
        (PSTMORefine(16).state_dict(), 'refine'),
        (
            {**MODELS['videopose3d'].state_dict(), 'expand_conv.weight': torch.zeros(16, 51, 3)},
            '51',
        ),
    ],
)
def test_other_files_say_what_they_are(tmp_path, content, message):
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(save(content, tmp_path / 'x.pth'), causal=False)


def test_another_network_than_asked_for(tmp_path):
    path = save(MODELS['mixste'].state_dict(), tmp_path / 'best_epoch.bin')
    with pytest.raises(WeightsError, match=r'checkpoint of .*mixste.*, not .*pstmo'):
        create_lifter(LifterConfig(name='pstmo', model=str(path), rate_hz=50.0))
    with pytest.raises(WeightsError, match='does not exist'):
        create_lifter(LifterConfig(model=str(tmp_path / 'none.bin'), rate_hz=50.0, causal=True))


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@ZIPPED
def test_nothing_in_a_file_is_executed(tmp_path, zipped):
    target = tmp_path / 'executed'
    path = save({'model_pos': _Payload(target)}, tmp_path / 'evil.bin', zipped)
    with pytest.raises(WeightsError, match='mkdir'):
        read_checkpoint(path)
    assert not target.exists()
    (tmp_path / 'plain.bin').write_bytes(pickle.dumps(_Payload(target)))
    with pytest.raises(WeightsError, match='mkdir'):
        read_checkpoint(tmp_path / 'plain.bin')
    assert not target.exists()


@ZIPPED
def test_damaged_files_are_refused(tmp_path, zipped):
    content = save(MODELS['mixste'].state_dict(), tmp_path / 'a.pth', zipped).read_bytes()
    for end in (0, 3, 100, len(content) // 3, len(content) - 9000):
        path = tmp_path / f'{end}.pth'
        path.write_bytes(content[:end])
        with pytest.raises(WeightsError, match='damaged'):
            read_checkpoint(path)


def test_tensors_that_reach_beyond_their_numbers_are_refused(tmp_path):
    path = save({'x': torch.arange(24.0).reshape(4, 6)}, tmp_path / 'a.pth')
    np.testing.assert_array_equal(read_torch_file(path)['x'], np.arange(24.0).reshape(4, 6))
    # (4, 6) with strides (6, 1): make it (4, 9)
    renamed(path, b'K\x04K\x06\x86', b'K\x04K\x09\x86')
    with pytest.raises(WeightsError, match='beyond'):
        read_torch_file(path)


@ZIPPED
def test_number_types_views_and_shared_storages(tmp_path, zipped):
    base = torch.arange(40.0).reshape(5, 8)
    content = {
        'half': base.half(),
        'bf16': (base / 7).bfloat16(),
        'double': base.double(),
        'part': base[1:4, 2:6],
        'turned': base.t(),
        'ints': torch.arange(5),
        'flag': torch.tensor([True, False]),
        'none': torch.zeros(0, 3),
        'scalar': torch.tensor(7),
        'parameter': torch.nn.Parameter(base.clone()),
    }
    loaded = read_torch_file(save(content, tmp_path / 'a.pt', zipped))
    for key, value in content.items():
        wanted = value.detach().float() if key == 'bf16' else value.detach()
        np.testing.assert_array_equal(loaded[key], wanted.numpy())
        assert loaded[key].dtype == wanted.numpy().dtype
    buffer = io.BytesIO()
    torch.save(content, buffer)
    assert buffer.tell() > 0
