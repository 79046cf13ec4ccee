"""OpenVINO gives PyTorch's numbers, says why where it cannot run, and reports to nobody."""

import importlib.util
import json
import logging
import os
import platform
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trpose_ros.estimators import EstimatorConfig
from trpose_ros.estimators.metrabs_torch import MetrabsTorch
from trpose_ros.metrabs.backbones import BACKBONES
from trpose_ros.metrabs.checkpoints import LoadedNetwork, SkeletonTable
from trpose_ros.metrabs.inference import CropRunner
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.movenet.network import MoveNet, MoveNetConfig
from trpose_ros.runtimes import modules as runtimes
from trpose_ros.runtimes.modules import fast_module, pick_runtime
from trpose_ros.skeletons import get_skeleton

CPU = torch.device('cpu')
ROOT = Path(__file__).resolve().parents[2]
HAS_OPENVINO = importlib.util.find_spec('openvino') is not None
needs_openvino = pytest.mark.skipif(
    not HAS_OPENVINO, reason="needs OpenVINO: pip install 'trpose_ros[openvino]'"
)


def fast(module, side=64, dtype=torch.float32):
    return fast_module(module, (1, 3, side, side), CPU, dtype, 'openvino')


def images_of(count, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def assert_close(found, wanted, share=1e-4):
    assert found.dtype == torch.float32
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= share * wanted.abs().max()


@needs_openvino
@pytest.mark.parametrize(
    'name',
    ['mobilenetv2-1.0', 'mobilenetv3-small', 'efficientnetv2-s', 'resnet-18', 'resnet-plain-xs'],
)
def test_backbones_give_the_same_features(name):
    torch.manual_seed(0)
    module = BACKBONES[name](32, True)[0].eval().requires_grad_(False)
    images = images_of(2, 64, 64)
    with torch.inference_mode():
        wanted = module(images / 255)
        assert_close(fast(module)(images), wanted)


@needs_openvino
def test_batches_sizes_and_number_formats_of_images(monkeypatch):
    from trpose_ros.runtimes import openvino_module as openvino_runtime

    monkeypatch.setattr(openvino_runtime, '_KEPT', 2)
    torch.manual_seed(0)
    module = BACKBONES['mobilenetv2-1.0'](32, True)[0].eval().requires_grad_(False)
    compiled = fast(module)
    assert compiled.runtime == 'openvino'
    for height, width in ((64, 64), (32, 96), (64, 64), (96, 64), (32, 32)):
        for count in (0, 1, 3):
            images = images_of(count, height, width)
            with torch.inference_mode():
                wanted = module(images / 255)
            found = compiled(images.contiguous(memory_format=torch.channels_last))
            assert found.shape == wanted.shape
            if count:
                assert_close(found, wanted)
                assert_close(compiled(images / 255), wanted)
        assert len(compiled._sizes) <= 2


@needs_openvino
@pytest.mark.parametrize('kind', ['single', 'multi'])
def test_movenet_gives_the_same_maps(kind):
    torch.manual_seed(0)
    module = MoveNet(MoveNetConfig(1.0, kind, 64)).eval().requires_grad_(False)
    images = images_of(2, 64, 96)
    with torch.inference_mode():
        wanted = module(images / 255)
    found = fast_module(module, (1, 3, 64, 96), CPU, torch.float32, 'auto')(images)
    assert type(found) is type(wanted)
    for name, value in wanted._asdict().items():
        if value is None:
            assert getattr(found, name) is None
        else:
            assert_close(getattr(found, name), value)


@needs_openvino
def test_a_result_is_not_overwritten_by_the_next_one_even_from_another_thread():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    module[0].weight.data.fill_(1)
    module[0].bias.data.fill_(0)
    compiled = fast(module, 8)
    results = {}

    def run(level):
        images = torch.full((3, 3, 8, 8), level, dtype=torch.uint8)
        results[level] = [compiled(images) for _ in range(20)]

    threads = [threading.Thread(target=run, args=(level,)) for level in (51, 102, 204)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for level, found in results.items():
        for one in found:
            torch.testing.assert_close(one, torch.full((3, 2, 8, 8), 3 * level / 255))


def crop_network():
    """A network of random weights whose heatmaps have peaks."""
    torch.manual_seed(0)
    config = MetrabsConfig('mobilenetv2-1.0', 128, 32, skeleton='h36m_17')
    model = Metrabs(config).eval()
    with torch.no_grad():
        logits = model.logits(images_of(4, 128, 128) / 255)
        model.heatmap_heads.conv_final.weight *= 6 / logits.std()
    return model


@needs_openvino
def test_poses_differ_by_less_than_a_millimetre_from_those_of_pytorch():
    model = crop_network()
    camera = np.broadcast_to(np.array([[256.0, 0, 64], [0, 256, 64], [0, 0, 1]]), (5, 3, 3))
    crops = images_of(5, 128, 128)
    plain = CropRunner(model, CPU, torch.float32).run(crops, camera)
    runner = CropRunner(model, CPU, torch.float32, runtime='auto')
    found = runner.run(crops, camera)
    assert runner.runtime == 'openvino'
    relative = [pose.abs_mm - pose.abs_mm[:, :1] for pose in (plain, found)]
    assert np.linalg.norm(relative[0][1] - relative[0][0], axis=-1).max() > 100  # crops matter
    assert np.linalg.norm(relative[1] - relative[0], axis=-1).max() < 1
    assert np.abs(found.coords2d - plain.coords2d).max() < 0.1
    np.testing.assert_allclose(found.spread_mm, plain.spread_mm, atol=1)


@needs_openvino
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_a_number_format_that_the_processor_lacks_is_float32(dtype):
    torch.manual_seed(0)
    module = BACKBONES['mobilenetv2-1.0'](32, True)[0].eval().requires_grad_(False)
    images = images_of(1, 64, 64)
    with torch.inference_mode():
        assert_close(fast(module, dtype=dtype)(images), module(images / 255), share=0.1)


class Sorting(nn.Module):
    def forward(self, images):
        return F.relu(images).sort(dim=1).values


class Looking(nn.Module):
    """Decides by what it sees; only one branch would be noted."""

    def forward(self, images):
        return images * 2 if images.mean() > 0.5 else images


class Scaling(nn.Module):
    def forward(self, images):
        return images / float(images.max())


class Detached(nn.Module):
    def forward(self, images):
        return images + images.data


class Strange(nn.Module):
    def forward(self, images):
        return F.interpolate(images, scale_factor=2.0, mode='bicubic')


@needs_openvino
@pytest.mark.parametrize(
    ('module', 'word'),
    [(Sorting(), 'sort'), (Looking(), 'mean|gt|bool'), (Scaling(), 'max'), (Detached(), 'get'),
     (Strange(), 'interpolate')],
)  # fmt: skip
def test_what_openvino_cannot_run_is_refused_or_left_to_pytorch(module, word, caplog):
    """And never becomes a constant."""
    with pytest.raises(ValueError, match=f"runtime 'openvino'.*({word}).*set it to 'torch'"):
        fast(module, 8)
    with caplog.at_level(logging.WARNING):
        found = fast_module(module, (1, 3, 8, 8), CPU, torch.float32, 'auto')
    assert found.runtime == 'torch'
    assert 'OpenVINO cannot run this network, PyTorch does' in caplog.text
    images = images_of(1, 8, 8)
    torch.testing.assert_close(found(images), module(images / 255))


def test_without_the_package_auto_is_pytorch_and_a_wish_is_an_error_with_a_remedy(monkeypatch):
    monkeypatch.setattr(runtimes.importlib.util, 'find_spec', lambda name: None)
    assert pick_runtime('auto', CPU) == 'torch'
    assert fast_module(nn.ReLU(), (1, 3, 8, 8), CPU, torch.float32, 'auto').runtime == 'torch'
    with pytest.raises(ValueError, match=r"not installed: pip install 'trpose_ros\[openvino\]'"):
        fast_module(nn.ReLU(), (1, 3, 8, 8), CPU, torch.float32, 'openvino')


def test_a_gpu_and_the_wish_for_pytorch_get_pytorch(caplog):
    gpu = torch.device('cuda')
    assert [pick_runtime(wish, device) for wish, device in
            (('torch', CPU), ('torch', gpu), ('auto', gpu))] == ['torch'] * 3  # fmt: skip
    assert not caplog.records
    assert pick_runtime('openvino', gpu) == 'torch'
    assert "runtime 'openvino' is for processors: PyTorch runs on cuda" in caplog.text
    with pytest.raises(ValueError, match=r"runtime must be one of .* got 'onnx'"):
        pick_runtime('onnx', CPU)
    with pytest.raises(ValueError, match=r"runtime must be one of .* got 'onnx'"):
        EstimatorConfig(runtime='onnx')


@needs_openvino
@pytest.mark.parametrize(
    ('settings', 'wanted'),
    [({}, 'openvino'), ({'runtime': 'torch'}, 'torch'), ({'compatible': True}, 'torch')],
)
def test_an_estimator_runs_what_its_configuration_says(settings, wanted):
    skeleton = get_skeleton('h36m_17')
    table = SkeletonTable(np.arange(17), skeleton.joint_names, np.array(skeleton.bones))
    network = LoadedNetwork(
        crop_network(), skeleton.joint_names, {'h36m_17': table}, None, True, 'pytorch', 'x', 'y'
    )
    estimator = MetrabsTorch(EstimatorConfig(device='cpu', **settings), network)
    assert estimator._runner.runtime == wanted


REPORTER = """
import os, pathlib
pathlib.Path(os.environ['HOME'], 'reported').touch()
class Telemetry:
    def __init__(self, *a, **k): pass
    def send_event(self, *a, **k): pass
"""
WATCHED = """
import json, os, sys
events = []
def watch(event, args):
    if event.startswith(('socket.', 'subprocess.', 'os.fork', 'os.posix_spawn', 'urllib.')):
        events.append(event)
    elif event == 'open' and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        events.append(f'open {args[0]}')
"""


def watched(tmp_path, code):
    """Run code with a package that notes when it is imported; return what was opened."""
    folder = tmp_path / 'packages' / 'openvino_telemetry' / 'backend'
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / '__init__.py').write_text(REPORTER)
    for name in ('__init__.py', 'backend_ga4.py'):
        (folder / name).write_text('')
    environment = {
        **os.environ,
        'HOME': str(tmp_path),
        'PYTHONPATH': os.pathsep.join([str(folder.parent.parent), str(ROOT)]),
        'PYTHONDONTWRITEBYTECODE': '1',
    }
    done = subprocess.run(
        [sys.executable, '-c', WATCHED + textwrap.dedent(code)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), (tmp_path / 'reported').exists()


@needs_openvino
def test_nothing_is_reported_to_anybody_and_nothing_written(tmp_path):
    code = """
    import torch
    from torch import nn
    from trpose_ros.runtimes.modules import fast_module
    sys.addaudithook(watch)
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    fast = fast_module(module, (1, 3, 8, 8), torch.device('cpu'), torch.float32, 'openvino')
    assert fast(torch.zeros(1, 3, 8, 8)).shape == (1, 2, 8, 8)
    print(json.dumps(events))
    """
    assert watched(tmp_path, code) == ([], False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['packages']


@needs_openvino
def test_the_test_before_would_see_a_report(tmp_path):
    code = """
    sys.addaudithook(watch)
    import openvino, socket
    socket.socket().close()
    print(json.dumps(events))
    """
    assert watched(tmp_path, code) == ([f'open {tmp_path}/reported', 'socket.__new__'], True)


def test_openvino_is_imported_in_one_place():
    importing = [
        path.name
        for path in (ROOT / 'trpose_ros').rglob('*.py')
        if any(line.split()[:2] in (['import', 'openvino'], ['from', 'openvino'])
               for line in path.read_text(encoding='utf-8').splitlines())
    ]  # fmt: skip
    assert importing == ['openvino_quiet.py'] * len(importing)
    assert importing


_MEMORY = """
import ctypes, resource, sys
import torch
from trpose_ros.runtimes.processor import keep_freed_memory

mallopt = ctypes.CDLL(None).mallopt
assert mallopt(-1, 128 << 10) and mallopt(-3, 128 << 10)  # what glibc begins with
assert sys.argv[1] == 'not' or keep_freed_memory()

def use():
    blocks = [torch.empty(750_000).fill_(1.0) for _ in range(16)]  # as the maps of a network
    return sum(float(block[-1]) for block in blocks)

for _ in range(6):  # until all blocks have found their places on the heap
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
assert use() == 16
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another C library')
@pytest.mark.parametrize('kept', ['kept', 'not'])
def test_freed_memory_is_kept(kept):
    """Else glibc would give 48 MB back at the end of each round: 12,000 page faults.

    In a process of its own: what else lies free on the heap counts towards what glibc keeps.
    """
    done = subprocess.run(
        [sys.executable, '-c', _MEMORY, kept],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    assert (int(done.stdout) < 3000) == (kept == 'kept')
