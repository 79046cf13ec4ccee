"""Each check alone, with a made machine."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from trpose_ros import weights as weights_room
from trpose_ros.doctor import dds, disk, extras, opencv, python, ros, shared_memory, torch_devices
from trpose_ros.doctor import weights as weights_check
from trpose_ros.resources import resource

GB, MB = 1 << 30, 1 << 20


def marks(findings):
    return [finding.mark for finding in findings]


def test_python():
    assert [python.version(v).mark for v in ((3, 9), (3, 10), (3, 13), (3, 14))] == [
        'problem',
        'ok',
        'ok',
        'note',
    ]
    assert marks(python.check()) == ['ok'] * 3 or sys.version_info[:2] > (3, 13)
    assert python.installed_version('no_such_module', 'x') == ''
    assert python.installed_version('json', 'no-such-package') == 'unknown'
    finding = python.needed(lambda module, _: '' if module == 'yaml' else '1')
    assert finding.mark == 'problem'
    assert 'pip install PyYAML' in finding.do


def test_no_rclpy():
    assert ros.without_rclpy({}).mark == 'note'
    finding = ros.without_rclpy({'ROS_DISTRO': 'jazzy'})
    assert finding.mark == 'problem'
    assert 'jazzy is sourced' in finding.text


@pytest.mark.parametrize(
    ('text', 'mark'),
    [
        ('', 'ok'),
        ('0', 'ok'),
        ('101', 'ok'),
        ('102', 'note'),
        ('232', 'note'),
        ('233', 'problem'),
        ('-1', 'problem'),
        ('x', 'problem'),
        ('²', 'problem'),
    ],
)
def test_domain(text, mark):
    assert ros.domain(text).mark == mark


RANGE, ONLY = 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY'


@pytest.mark.parametrize(
    ('environ', 'mark', 'words'),
    [
        ({}, 'ok', 'not set, as SUBNET'),
        ({RANGE: 'SUBNET'}, 'ok', 'SUBNET'),
        ({RANGE: 'SYSTEM_DEFAULT'}, 'ok', 'SYSTEM_DEFAULT'),
        ({RANGE: 'LOCALHOST'}, 'note', 'other machines are not seen'),
        ({RANGE: 'OFF'}, 'problem', 'not even on this machine'),
        ({RANGE: 'subnet'}, 'problem', 'give one of OFF'),
        ({RANGE: 'SUBNET', ONLY: '1'}, 'note', 'is ignored'),
        ({RANGE: 'SUBNET', ONLY: '0'}, 'ok', 'SUBNET'),
        ({'ROS_DISTRO': 'humble'}, 'ok', 'other machines'),
        ({'ROS_DISTRO': 'humble', ONLY: '1'}, 'note', 'are not seen'),
        ({'ROS_DISTRO': 'humble', RANGE: 'LOCALHOST'}, 'note', 'humble does not know it'),
    ],
)
def test_reach(environ, mark, words):
    finding = ros.reach(environ)
    assert finding.mark == mark
    assert words in f'{finding.text} {finding.means} {finding.do}'


def test_rclpy_of_another_python(monkeypatch):
    def fail(name):
        raise ImportError("No module named 'rclpy._rclpy_pybind11'")

    monkeypatch.setattr(ros.importlib, 'import_module', fail)
    (finding,) = ros.installation({'ROS_DISTRO': 'jazzy'})
    assert finding.mark == 'problem'
    assert 'another Python' in finding.means
    assert ros.our_messages().mark == 'problem'


def made_rclpy(monkeypatch, middleware, missing=()):
    def load(name):
        if name.partition('.')[0] in missing:
            raise ModuleNotFoundError(f'No module named {name!r}')
        return types.SimpleNamespace(get_rmw_implementation_identifier=middleware)

    monkeypatch.setattr(ros.importlib, 'import_module', load)


def test_middleware(monkeypatch):
    made_rclpy(monkeypatch, lambda: 'rmw_fastrtps_cpp', missing=('std_srvs',))
    assert marks(ros.installation({'ROS_DISTRO': 'jazzy'})) == ['ok', 'ok', 'problem']
    made_rclpy(monkeypatch, lambda: 'rmw_cyclonedds_cpp')
    found = ros.installation({'ROS_DISTRO': 'rolling', 'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'})
    assert marks(found) == ['note', 'note']

    def fail():
        raise RuntimeError('librmw_x.so: cannot open shared object file')

    made_rclpy(monkeypatch, fail)
    found = ros.installation({'RMW_IMPLEMENTATION': 'rmw_x'})
    assert found[1].mark == 'problem'
    assert 'ros-$ROS_DISTRO-rmw-x' in found[1].do


def test_built_messages(monkeypatch):
    pytest.importorskip('trpose_ros.msg')
    assert ros.our_messages().mark == 'ok'
    monkeypatch.setattr(ros, 'fields_of', lambda text: ['header', 'new_field'])
    finding = ros.our_messages()
    assert finding.mark == 'problem'
    assert 'PersonArray' in finding.facts['stale']


def test_fields_of_a_definition():
    text = '# c\nuint8 A=1\nuint8 B = 2 # d\nstd_msgs/Header header\n\nfloat64[9] k # e = f\n'
    assert ros.fields_of(text) == ['header', 'k']


def test_our_profile_is_good():
    ours = str(resource('config', 'fastdds.xml'))
    finding = dds.profile({'FASTRTPS_DEFAULT_PROFILES_FILE': ours})
    assert finding.mark == 'ok'
    assert finding.facts['segment_bytes'] == shared_memory.SEGMENT
    assert dds.profile({}).mark == 'note'


@pytest.mark.parametrize(
    ('xml', 'mark', 'words'),
    [
        ('', 'problem', 'no element found'),
        ('<profiles>', 'problem', 'ParseError'),
        ('<html/>', 'problem', 'no profile'),
        ('<profiles/>', 'note', 'no transport of shared memory'),
        ('<profiles xmlns="x"><transport_descriptor><type>SHM</type>'
         '</transport_descriptor></profiles>', 'problem', '0.5 MB'),
        ('<dds><profiles xmlns="x"><transport_descriptor><type>SHM</type><segment_size>99999999'
         '</segment_size></transport_descriptor></profiles></dds>', 'ok', '100 MB'),
        ('<profiles><transport_descriptor><type>SHM</type><segment_size>big</segment_size>'
         '</transport_descriptor></profiles>', 'problem', 'big'),
    ],
)  # fmt: skip
def test_profile(tmp_path, xml, mark, words):
    path = tmp_path / 'p.xml'
    path.write_text(xml)
    finding = dds.profile({'FASTDDS_DEFAULT_PROFILES_FILE': str(path)})
    assert finding.mark == mark
    assert words in f'{finding.text} {finding.means}'


def test_profile_that_is_not_there_or_a_folder_or_huge(tmp_path):
    huge = tmp_path / 'huge.xml'
    huge.write_bytes(b' ' * (1 << 21))
    for path in (tmp_path / 'none.xml', tmp_path, huge):
        assert dds.profile({'FASTRTPS_DEFAULT_PROFILES_FILE': str(path)}).mark == 'problem'


def test_buffers_and_other_middleware():
    assert dds.buffers(212_992, fast=True).mark == 'note'
    assert dds.buffers(212_992, fast=False).mark == 'problem'
    assert dds.buffers(16 << 20, fast=False).mark == 'ok'
    assert 'CYCLONEDDS_URI' in dds.other('rmw_cyclonedds_cpp', {}).text
    assert dds.other('rmw_zenoh_cpp', {}).mark == 'note'


def test_buffers_that_cannot_be_read(monkeypatch, tmp_path):
    monkeypatch.setattr(dds, '_RECEIVE', tmp_path / 'none')
    monkeypatch.setenv('RMW_IMPLEMENTATION', 'rmw_cyclonedds_cpp')
    assert marks(dds.check()) == ['note', 'note']


@pytest.mark.parametrize(
    ('free', 'mark'),
    [(0, 'problem'), (64 * MB - 1, 'problem'), (64 * MB, 'note'), (256 * MB, 'ok')],
)
def test_shared_memory(free, mark):
    assert shared_memory.size(GB, free).mark == mark


def test_segments_left_behind(tmp_path):
    assert shared_memory.left_behind(tmp_path, GB).facts == {'files': 0, 'bytes': 0}
    (tmp_path / 'fastrtps_1').write_bytes(b'x' * 8192)
    (tmp_path / 'other').write_bytes(b'x' * 8192)
    assert shared_memory.left_behind(tmp_path, GB).facts['files'] == 1
    assert shared_memory.left_behind(tmp_path, 8192).mark == 'note'


def test_no_shared_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(shared_memory, '_FOLDER', tmp_path / 'none')
    assert marks(shared_memory.check()) == ['problem']


@pytest.mark.parametrize(
    ('free', 'mark'), [(0, 'problem'), (GB, 'note'), (5 * GB, 'ok'), (OSError('x'), 'problem')]
)
def test_disk(tmp_path, free, mark):
    def free_bytes(folder):
        assert folder == tmp_path
        if isinstance(free, OSError):
            raise free
        return free

    assert disk.place('x', tmp_path / 'a' / 'b', free_bytes).mark == mark


def test_folder_without_rights(monkeypatch, tmp_path):
    monkeypatch.setattr(disk.os, 'access', lambda *_: False)
    finding = disk.place('x', tmp_path, lambda _: 99 * GB)
    assert finding.mark == 'note'
    assert 'may not write' in finding.text


class Cuda:
    """torch.cuda with so many GPUs."""

    def __init__(self, count):
        self.count = count

    def is_available(self):
        return self.count > 0

    def device_count(self):
        return self.count

    def get_device_properties(self, index):
        if index:
            raise RuntimeError('CUDA error: out of memory')
        return types.SimpleNamespace(name='H1', total_memory=80e9)

    def is_bf16_supported(self):
        return True


def made_torch(count=0, cuda=None):
    return types.SimpleNamespace(
        __version__='2.1', version=types.SimpleNamespace(cuda=cuda), cuda=Cuda(count)
    )


def test_gpus(monkeypatch):
    assert marks(torch_devices.devices(made_torch(), False, {})) == ['ok']
    assert marks(torch_devices.devices(made_torch(), True, {})) == ['note']
    (finding,) = torch_devices.devices(made_torch(0, '12'), True, {'CUDA_VISIBLE_DEVICES': ''})
    assert finding.mark == 'problem'
    assert 'unset it' in finding.do
    monkeypatch.setattr(torch_devices, 'multiply', lambda *_: 0.0)
    assert marks(torch_devices.devices(made_torch(2, '12'), True, {})) == ['ok', 'ok', 'problem']
    monkeypatch.setattr(torch_devices, 'multiply', lambda *_: 0.5)
    assert 'multiplies wrong' in torch_devices.gpu(made_torch(1, '12'), 0).text


def test_no_torch(monkeypatch):
    monkeypatch.setattr(torch_devices.importlib.util, 'find_spec', lambda name: None)
    assert marks(torch_devices.check()) == ['problem']
    monkeypatch.undo()

    def fail(name):
        raise OSError('libcudart.so.12: cannot open shared object file')

    monkeypatch.setattr(torch_devices.importlib, 'import_module', fail)
    assert 'libcudart' in torch_devices.check()[0].text


def test_processor_multiplies():
    torch = pytest.importorskip('torch')
    assert torch_devices.processor(torch).mark == 'ok'
    assert torch_devices.multiply(torch, 'cpu', 'bfloat16') == 0.0


def test_product_that_is_wrong():
    torch = pytest.importorskip('torch')

    class Wrong:
        def __getattr__(self, name):
            return getattr(torch, name)

        bfloat16 = torch.int32  # everything becomes zero

    assert torch_devices.multiply(Wrong(), 'cpu', 'bfloat16') == pytest.approx(1.0)
    assert torch_devices.processor(Wrong()).mark == 'problem'


def test_extras():
    extra = extras.Extra('made', ('made',), 'train', 'is of use')
    assert extras.look(extra, lambda *_: '').mark == 'note'
    assert 'trpose_ros[train]' in extras.look(extra, lambda *_: '').do
    assert extras.look(extra, lambda *_: '1.0').text == 'made 1.0'
    broken = extras.Extra('made', ('a', 'b'), 'train', 'is of use', door='no.such.module')
    finding = extras.look(broken, lambda _, package: '2.0' if package == 'b' else 'unknown')
    assert finding.mark == 'problem'
    assert 'made 2.0 cannot be imported' in finding.text


def test_extras_are_those_of_the_package():
    text = (Path(__file__).resolve().parents[2] / 'pyproject.toml').read_text()
    for extra in extras.EXTRAS:
        line = next(line for line in text.splitlines() if line.startswith(f'{extra.extra} = '))
        assert any(f"'{package}'" in line for package in extra.packages)


def test_opencv(monkeypatch):
    assert opencv.round_trip().mark == 'ok'
    import cv2

    assert opencv.backends(cv2).facts['opencv'] == cv2.__version__
    monkeypatch.setattr(opencv, '_FRAMES', 0)
    assert opencv.round_trip().mark == 'problem'


def test_opencv_without_ffmpeg_or_not_there(monkeypatch):
    registry = types.SimpleNamespace(
        getBackendName=str, getStreamBackends=lambda: ['X'], getCameraBackends=list
    )
    made = types.SimpleNamespace(
        __version__='4', videoio_registry=registry, getBuildInformation=lambda: 'FFMPEG:   NO'
    )
    finding = opencv.backends(made)
    assert finding.mark == 'note'
    assert 'cameras by nothing' in finding.text

    def fail(name):
        raise ImportError('libGL.so.1: cannot open shared object file')

    monkeypatch.setattr(opencv.importlib, 'import_module', fail)
    assert 'headless' in opencv.check()[0].do
    monkeypatch.setattr(opencv.importlib.util, 'find_spec', lambda name: None)
    assert marks(opencv.check()) == ['problem']


def made_weights(folder, name, licence='Apache-2.0'):
    meta = dict.fromkeys(weights_room.REQUIRED_META, 'x') | {'config': '{}', 'licence': licence}
    file = weights_room.save(folder / f'{name}.safetensors', {'a': np.ones(3)}, meta)
    weights_room.write_card(file)
    return file.path


def test_weights(tmp_path):
    shipped, others = tmp_path / 'shipped', tmp_path / 'others'
    shipped.mkdir()
    others.mkdir()
    (shipped / 'README.md').write_text('x')
    known = {
        'a': made_weights(shipped, 'a'),
        'b': made_weights(shipped, 'b', 'CC0-1.0'),
        'free': made_weights(others, 'free', 'MIT'),
        'own': made_weights(others, 'own', 'non-commercial research'),
    }
    assert marks(weights_check.judge(known, shipped)) == ['ok', 'ok', 'ok', 'note']
    with open(known['a'], 'r+b') as stream:
        stream.seek(-1, 2)
        stream.write(b'\x01')
    known['b'].unlink()
    del known['b']
    found = weights_check.judge(known, shipped)
    assert marks(found) == ['problem', 'ok', 'note', 'problem']
    assert 'the file was changed or damaged' in found[0].text
    assert found[3].facts['missing'] == ['b']


def test_no_weights(tmp_path):
    assert marks(weights_check.judge({}, tmp_path)) == ['problem']
