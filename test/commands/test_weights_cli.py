"""`trpose weights`: list, show, verify and import, on real files."""

import numpy as np
import pytest
import torch
from metrabs_package import network, write_package
from metrabs_stand_in import save_network, stand_in_network
from movenet_stand_in import small_movenet, write_graph
from random_weights import save_metrabs
from typer.testing import CliRunner

from trpose_ros import weights
from trpose_ros.commands.weights import app
from trpose_ros.metrabs.checkpoints import load_network


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('TRPOSE_WEIGHTS', str(tmp_path / 'mine'))
    monkeypatch.setenv('COLUMNS', '200')
    return tmp_path / 'mine'


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


@pytest.fixture
def ours(tmp_path):
    return save_network(tmp_path / 'ours.safetensors', stand_in_network()).path


def test_a_package_becomes_a_weights_file_that_gives_the_same_network(tmp_path, folder):
    code, text = run('import', write_package(tmp_path / 'metrabs_s'), '--name', 'official')
    assert code == 0, text
    assert 'non-commercial' in text
    assert (folder / 'official.md').is_file()
    loaded = load_network('official')
    assert set(loaded.skeletons) == {'h36m_17', 'smpl_24'}
    assert loaded.joint_transform.shape == (41, 42)
    wanted = network().state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in loaded.model.state_dict().items())
    code, text = run('list')
    assert code == 0
    assert 'official' in text
    code, text = run('verify', 'official')
    assert code == 0
    assert 'its network loads' in text
    code, text = run('show', 'official')
    assert 'joint_names' in text
    assert weights.load('official').sha256 in text


def test_our_own_file_is_copied_with_a_card(ours, folder):
    code, text = run('import', ours)
    assert code == 0, text
    given, copied = weights.load(ours), weights.verify('ours')
    assert copied.path.parent == folder
    assert copied.meta == given.meta
    for key, value in given.tensors.items():
        np.testing.assert_array_equal(copied.tensors[key], value)


def test_packed_weights_are_smaller_and_nearly_the_same(tmp_path):
    ours = save_metrabs(tmp_path / 'large.safetensors')
    code, text = run('pack', ours, tmp_path / 'small.safetensors')
    assert code == 0, text
    assert 'trpose train metrabs --measure' in text
    small = weights.verify(tmp_path / 'small.safetensors')
    assert small.path.stat().st_size < 0.3 * ours.stat().st_size  # of single precision
    for key, value in weights.load(ours).tensors.items():
        most = max(float(np.abs(value).max()), 1e-9)
        assert np.abs(small.tensors[key].astype(float) - value).max() <= 0.004 * most
    load_network(small.path)
    code, text = run('pack', 'nothing', tmp_path / 'x.safetensors')
    assert code == 1
    assert "'nothing'" in text


def test_damage_is_seen(ours, folder):
    run('import', ours)
    path = folder / 'ours.safetensors'
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    code, text = run('verify', 'ours')
    assert code == 1
    assert 'damaged' in text
    path.write_bytes(content[:100])
    assert run('verify', 'ours')[0] == 1
    code, text = run('list')
    assert code == 1
    assert 'cut off' in text or 'not a readable' in text


def test_what_cannot_be_imported_is_refused_by_name(tmp_path, folder):
    code, text = run('import', tmp_path / 'nowhere')
    assert code == 1
    assert 'does not exist' in text
    saved = tmp_path / 'saved'
    saved.mkdir()
    (saved / 'saved_model.pb').write_bytes(b'x')
    code, text = run('import', saved)
    assert code == 1
    assert 'metrabs_tensorflow' in text
    (tmp_path / 'bad.bin').write_bytes(b'not a checkpoint')
    code, text = run('import', tmp_path / 'bad.bin')
    assert code == 1
    assert 'bad.bin' in text
    code, text = run('import', tmp_path / 'bad.bin', '--name', '../evil')
    assert code == 1
    assert 'slash' in text
    assert not folder.exists() or not list(folder.iterdir())


def test_the_name_of_shipped_weights_is_kept(ours, monkeypatch, tmp_path):
    monkeypatch.setattr(weights, 'SHIPPED', tmp_path)
    code, text = run('import', ours)
    assert code == 1
    assert '--name' in text


def test_an_unknown_name_says_what_there_is(ours):
    run('import', ours)
    code, text = run('show', 'nobody')
    assert code == 1
    assert 'ours' in text


def test_a_movenet_comes_in_as_a_graph_model_and_others_do_not(tmp_path, folder):
    path = write_graph(tmp_path, small_movenet())
    code, text = run('import', path, '--name', 'thunder')
    assert code == 0, text
    assert 'Apache-2.0' in text
    code, text = run('verify', 'thunder')
    assert code == 0
    assert 'its network loads' in text
    (tmp_path / 'graph.bin').write_bytes(b'cut off')
    code, text = run('import', path, '--name', 'other')
    assert code == 1
    assert 'cut off' in text
    (tmp_path / 'package.json').write_text('{"name": "a package"}')
    code, text = run('import', tmp_path / 'package.json')
    assert code == 1
    assert 'no TensorFlow.js model' in text
    assert sorted(p.name for p in folder.iterdir()) == ['thunder.md', 'thunder.safetensors']
