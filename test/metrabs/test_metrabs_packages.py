"""Published PyTorch packages: read, run, and refused by name when anything about them is wrong."""

import pickle
import shutil

import numpy as np
import pytest
import torch
import yaml
from metrabs_package import network, write_package

from trpose_ros import cameras
from trpose_ros.estimators import EstimatorConfig, create_estimator
from trpose_ros.metrabs import packages
from trpose_ros.metrabs.checkpoints import load_network
from trpose_ros.people import Frame
from trpose_ros.weights import WeightsError


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    return write_package(tmp_path_factory.mktemp('published') / 'metrabs_s')


@pytest.fixture
def package(original, tmp_path):
    """A copy to damage; the checkpoint is linked, so tests replace it instead of changing it."""
    folder = tmp_path / 'metrabs_s'
    folder.mkdir()
    for path in original.iterdir():
        if path.name == 'ckpt.pt':
            (folder / path.name).symlink_to(path)
        else:
            shutil.copy(path, folder)
    return folder


def replace(path, value):
    path.unlink()
    torch.save(value, path)


def test_what_is_in_the_folder_arrives(original):
    loaded = load_network(original)
    config = loaded.model.config
    assert (config.backbone, config.proc_side, config.stride) == ('efficientnetv2-s', 256, 32)
    assert (config.num_joints, config.centered_stride) == (41, True)
    assert not config.legacy_centered_stride_bug
    assert loaded.joint_names[:2] == ('pelv_smpl_24', 'lhip_smpl_24')
    assert set(loaded.skeletons) == {'smpl_24', 'h36m_17'}  # kinectv2_25 is none of ours
    np.testing.assert_array_equal(loaded.skeletons['h36m_17'].indices, np.arange(24, 41))
    assert loaded.joint_transform.shape == (41, 42)
    assert (loaded.linear_light, loaded.augmentation) == (True, 'pytorch')
    assert 'non-commercial' in loaded.licence
    assert loaded.weights_id.startswith('metrabs_s@')
    wanted = network().state_dict()
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, wanted[key]), key


def test_the_legacy_flag_is_read_and_its_absence_means_no(package):
    settings = yaml.safe_load((package / 'config.yaml').read_text())
    settings |= {'legacy_centered_stride_bug': True, 'centered_stride': False}
    (package / 'config.yaml').write_text(yaml.safe_dump({'model': settings}))  # nested, too
    config = load_network(package).model.config
    assert config.legacy_centered_stride_bug
    assert config.geometry.first_px == 16
    assert config.geometry.view_px == (8, 216)


def test_both_skeletons_and_the_original_mode_run(original):
    camera = cameras.camera_from_fov(320, 240)
    frame = Frame(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8), 0, camera)
    box = np.array([[100.0, 40.0, 80.0, 160.0]])
    shapes = {}
    for skeleton in ('', 'smpl_24'):
        config = EstimatorConfig(
            model=str(original), skeleton=skeleton, precision='float32', runtime='torch'
        )
        estimator = create_estimator('metrabs_torch', config)
        people = estimator.estimate(frame, box)
        shapes[estimator.skeleton] = people.joints_m.shape[1:]
        assert len(people) + sum(estimator.skipped.values()) == 1
    assert shapes == {'h36m_17': (17, 3), 'smpl_24': (24, 3)}


@pytest.mark.parametrize('name', packages.FILES[:1] + packages.FILES[2:])
def test_a_missing_file_is_named(package, name):
    (package / name).unlink()
    with pytest.raises(WeightsError, match=name):
        load_network(package)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(WeightsError, match='metrabs_tensorflow'):
        load_network(tmp_path)


class Evil:
    """Writes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_a_checkpoint_that_would_execute_code_is_refused(package, tmp_path):
    replace(package / 'ckpt.pt', {'backbone': Evil(tmp_path / 'owned')})
    with pytest.raises(WeightsError, match=r'ckpt\.pt.*Nothing was executed'):
        load_network(package)
    assert not (tmp_path / 'owned').exists()


def test_skeletons_that_would_execute_code_are_refused(package, tmp_path):
    (package / 'skeleton_infos.pkl').write_bytes(pickle.dumps({'a': Evil(tmp_path / 'owned')}))
    with pytest.raises(WeightsError, match=r'skeleton_infos\.pkl.*Nothing was executed'):
        load_network(package)
    assert not (tmp_path / 'owned').exists()


def test_joint_names_with_objects_are_refused(package, tmp_path):
    names = np.array([Evil(tmp_path / 'owned')], dtype=object)
    np.savez(package / 'joint_info.npz', joint_names=names)
    with pytest.raises(WeightsError, match=r'joint_info\.npz'):
        load_network(package)
    assert not (tmp_path / 'owned').exists()


def test_a_cut_off_checkpoint_is_refused(package):
    whole = (package / 'ckpt.pt').read_bytes()
    (package / 'ckpt.pt').unlink()
    (package / 'ckpt.pt').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r'ckpt\.pt'):
        load_network(package)


def test_missing_extra_and_misshapen_parameters_are_listed(package):
    state = network().state_dict()
    first = 'backbone.1.0.0.weight'
    replace(
        package / 'ckpt.pt', {k: v for k, v in state.items() if k != first} | {'x.y': state[first]}
    )
    with pytest.raises(WeightsError, match=rf'missing 1 \({first}\); unexpected 1 \(x\.y\)'):
        load_network(package)
    replace(package / 'ckpt.pt', state | {first: state[first][:, :1]})
    with pytest.raises(WeightsError, match=rf'{first}: \(24, 1, 3, 3\) instead of \(24, 3, 3, 3\)'):
        load_network(package)
    replace(package / 'ckpt.pt', state | {first: state[first] * float('nan')})
    with pytest.raises(WeightsError, match=rf'NaN.*{first}'):
        load_network(package)


def test_another_network_is_refused(package):
    replace(package / 'ckpt.pt', {'head.weight': torch.zeros(3)})
    with pytest.raises(WeightsError, match=r'heatmap_heads\.conv_final\.bias'):
        load_network(package)
    state = {k: v for k, v in network().state_dict().items() if not k.startswith('backbone.1.6.14')}
    replace(package / 'ckpt.pt', state)
    with pytest.raises(WeightsError, match='no EfficientNetV2'):
        load_network(package)
    replace(package / 'ckpt.pt', [torch.zeros(3)])
    with pytest.raises(WeightsError, match='plain state dict'):
        load_network(package)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'transform_coords': True}, 'latent'),
        ({'proc_side': None}, 'config.yaml'),
        ({'proc_side': 40}, 'two strides'),
        ({'depth': 7}, 'depth'),
    ],
)
def test_settings_that_cannot_be_are_refused(package, settings, message):
    values = yaml.safe_load((package / 'config.yaml').read_text()) | settings
    (package / 'config.yaml').write_text(yaml.safe_dump(values))
    with pytest.raises(WeightsError, match=message):
        load_network(package)


def test_settings_that_would_execute_code_are_refused(package, tmp_path):
    path = tmp_path / 'owned'
    (package / 'config.yaml').write_text(f'a: !!python/object/apply:builtins.open ["{path}", "w"]')
    with pytest.raises(WeightsError, match='plain YAML'):
        load_network(package)
    assert not path.exists()


def test_a_transform_for_other_joints_is_refused(package):
    np.save(package / 'joint_transform_matrix.npy', np.eye(30))
    with pytest.raises(WeightsError, match='30'):
        load_network(package)
