"""The networks against reference numbers of the published implementations."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import lifters_numbers as parity

from trpose_ros.lifters.networks.mhformer import MHFormer, MHFormerConfig
from trpose_ros.lifters.networks.mixste import MixSTE, MixSTEConfig
from trpose_ros.lifters.networks.pstmo import PSTMO, PSTMOConfig
from trpose_ros.lifters.networks.pstmo_pretraining import MaskedPSTMO, back_project, draw_masks
from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig

REFERENCE = (Path(__file__).parents[1] / 'reference') / 'lifters'
FILES = sorted(REFERENCE.glob('*.json'))


def test_all_references_are_here():
    assert len(FILES) == 16
    assert all(path.with_suffix('.npz').is_file() for path in FILES)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_outputs_and_state_dicts_match_the_references(path):
    rows = parity.check_file(path)
    outputs = json.loads(path.read_text())['outputs']
    assert len(rows) == 2 * (1 + len(outputs))
    assert [row for row in rows if not row.fine] == []
    assert all(row.worst < 1e-13 for row in rows if row.quantity.endswith('float64'))


def test_the_folder_of_references_has_nothing_we_do_not_check(shared_dir):
    names = ('videopose3d', 'mhformer', 'mixste', 'pstmo')
    theirs = {
        path.name for path in (shared_dir / 'parity').glob('*.json') if path.name.startswith(names)
    }
    assert theirs == {path.name for path in FILES}


def test_windows_and_what_surrounds_a_network_match_the_references():
    rows = parity.check_windows(REFERENCE.with_name('geometry_and_eval.npz'))
    assert len(rows) == 10
    assert [row for row in rows if not row.fine] == []


def _set(attribute, value, select):
    def change(model):
        for name, module in model.named_modules():
            if isinstance(module, select[1]) and select[0] in name:
                setattr(module, attribute, value)

    return change


LN = torch.nn.LayerNorm


@pytest.mark.parametrize(
    ('name', 'change', 'size'),
    [
        ('mhformer_tiny27', _set('eps', 1e-6, ('norm_', LN)), 6.6e-5),
        ('mhformer_tiny27', _set('eps', 1e-5, ('', LN)), 4.8e-5),
        ('mixste_tiny27', _set('eps', 1e-6, ('head', LN)), 8.5e-6),
        ('mixste_tiny27', _set('eps', 1e-5, ('', LN)), 3.7e-5),
    ],
)
def test_wrong_constants_are_noticed(name, change, size):
    description = json.loads((REFERENCE / f'{name}.json').read_text())
    with np.load(REFERENCE / f'{name}.npz') as arrays:
        model, outputs = parity.build_reference(description, dict(arrays), 'float64')
        change(model)
        with torch.no_grad():
            given = outputs['output']().numpy()
        apart = np.abs(given - arrays['output_float64']).max()
    assert 0.5 * size < apart < 2 * size  # the published effect of that slip


def test_a_changed_reference_fails(tmp_path):
    for suffix in ('.json', '.npz'):
        shutil.copy(REFERENCE / f'pstmo_tiny9{suffix}', tmp_path)
    with np.load(tmp_path / 'pstmo_tiny9.npz') as archive:
        arrays = dict(archive)
    arrays['output_float64'] = arrays['output_float64'] + 2e-9
    np.savez(tmp_path / 'pstmo_tiny9.npz', **arrays)
    rows = parity.check_file(tmp_path / 'pstmo_tiny9.json')
    assert [row.quantity for row in rows if not row.fine] == ['output float64']
    description = json.loads((tmp_path / 'pstmo_tiny9.json').read_text())
    description['model'] = 'poseformer'
    (tmp_path / 'pstmo_tiny9.json').write_text(json.dumps(description))
    with pytest.raises(ValueError, match="'poseformer'"):
        parity.check_file(tmp_path / 'pstmo_tiny9.json')


def _parameters(model):
    return round(sum(p.numel() for p in model.parameters()) / 1e6, 2)


@pytest.mark.parametrize(
    ('build', 'millions'),
    [
        (lambda: VideoPose3D(VideoPose3DConfig((3, 3, 3))), 8.56),
        (lambda: VideoPose3D(VideoPose3DConfig()), 16.95),
        (lambda: MHFormer(MHFormerConfig(27)), 19.09 + 0.09),
        (lambda: MHFormer(MHFormerConfig()), 31.52),
        (lambda: MixSTE(MixSTEConfig()), 33.78),
        (lambda: PSTMO(PSTMOConfig()), 6.48),
        (lambda: PSTMO(PSTMOConfig(layers=4)), 7.01),
        (lambda: MaskedPSTMO(PSTMOConfig()), 2.66),
    ],
)
def test_sizes_of_the_published_configurations(build, millions):
    with torch.device('meta'):
        assert _parameters(build()) == pytest.approx(millions, abs=0.011)


@pytest.mark.parametrize('frames', [351])
def test_long_strides_of_pstmo_keep_the_published_token_counts(frames):
    model = PSTMO(PSTMOConfig(frames, 16, 16, 1)).eval()
    seen = []
    for layer in model.Transformer_reduce.model.layers:
        layer.self_attn.register_forward_hook(lambda m, i, o: seen.append(o.shape[1]))
    with torch.no_grad():
        assert model(torch.zeros(1, frames, 17, 2)).shape == (1, 1, 17, 3)
    assert seen == [351, 117, 13]


def test_training_mode_is_random_and_learns_something():
    torch.manual_seed(0)
    joints = torch.rand(4, 9, 17, 2)
    models = [
        MHFormer(MHFormerConfig(9, 32, 64, 2)),
        MixSTE(MixSTEConfig(9, 32, 4)),
        PSTMO(PSTMOConfig(9, 32, 64, 2)),
    ]
    for model in models:
        assert not torch.equal(model.train()(joints), model(joints))
        model(joints).square().mean().backward()
        without = [n for n, p in model.named_parameters() if p.grad is None]
        allowed = ('model.norm.', 'fcn_1.')  # owned by the published network, used by no output
        assert [name for name in without if not any(part in name for part in allowed)] == []
        with torch.no_grad():
            assert torch.equal(model.eval()(joints), model(joints))


def test_pstmo_layers_start_as_copies():
    model = PSTMO(PSTMOConfig(27, 16, 32, 3))
    layers = model.Transformer.model.layers
    assert torch.equal(layers[0].feed_forward.w_1.weight, layers[2].feed_forward.w_1.weight)
    linears = model.Transformer_reduce.model.layers[1].self_attn.linears
    assert torch.equal(linears[0].weight, linears[3].weight)
    strided = model.Transformer_reduce.model.layers
    assert not torch.equal(strided[0].feed_forward.w_1.weight, strided[1].feed_forward.w_1.weight)


def test_masks_hide_what_they_should():
    frames, joints = draw_masks(27, 0.6, 3, np.random.default_rng(0))
    assert frames.sum() == 16
    assert (joints.sum(axis=1) == 3).all()
    assert not joints[:, 16].any()


def test_back_projection_with_the_true_depth_is_the_pose():
    rng = np.random.default_rng(0)
    pose = torch.from_numpy(rng.normal(0, 0.4, (3, 1, 17, 3)))
    pose[:, :, 0] = 0
    root = torch.tensor([[0.3, -0.2, 4.0], [0, 0, 5], [1, 0.5, 3]], dtype=torch.float64)
    focal = torch.full((3, 2), 2.3, dtype=torch.float64)
    centre = torch.full((3, 2), 0.02, dtype=torch.float64)
    placed = pose + root[:, None, None]
    joints = focal[:, None, None] * placed[..., :2] / placed[..., 2:] + centre[:, None, None]
    found = back_project(joints, pose, root[:, 2], focal, centre)
    torch.testing.assert_close(found, pose)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: MHFormerConfig(10), 'multiple of 9, got 10'),
        (lambda: MHFormerConfig(27, channels=20), 'multiple of 8, got 20'),
        (lambda: MixSTEConfig(depth=0), r'depth must be a whole number in 1\.\.64, got 0'),
        (lambda: PSTMOConfig(100), r'\[9, 27, 81, 243, 351\], got 100'),
        (lambda: VideoPose3DConfig((3, 4)), r'odd and positive, got \[3, 4\]'),
    ],
)
def test_impossible_sizes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    'model',
    [
        MHFormer(MHFormerConfig(9, 32, 64, 2)),
        MixSTE(MixSTEConfig(9, 32, 2)),
        PSTMO(PSTMOConfig(9, 32, 64, 2)),
    ],
    ids=['mhformer', 'mixste', 'pstmo'],
)
def test_windows_of_another_length_are_refused(model):
    with pytest.raises(ValueError, match=r'\(B, 9, 17, 2\), got \(1, 10, 17, 2\)'):
        model(torch.zeros(1, 10, 17, 2))
