"""Running the crop network: batches, number formats, and what stays on the device."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metrabs_stand_in import stand_in_network

from trpose_ros import cameras
from trpose_ros.metrabs import inference, warps
from trpose_ros.metrabs.augmentation import augmentation_table
from trpose_ros.metrabs.crops import box_views, crop_views
from trpose_ros.metrabs.inference import CropRunner, bucket_of, buckets, pick_precision

CPU = torch.device('cpu')
FIELDS = ('coords2d', 'abs_mm', 'in_view', 'solvable', 'spread_px', 'spread_mm')


def crops_of(count, side, seed=0):
    generator = torch.Generator().manual_seed(seed)
    camera = np.array([[2.0 * side, 0, side / 2], [0, 2.0 * side, side / 2], [0, 0, 1]])
    crops = torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    return crops, np.broadcast_to(camera, (count, 3, 3))


def watched(runner):
    """Note the sizes of batches that the backbone sees."""
    sizes = []
    runner._backbone.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    return sizes


@given(count=st.integers(1, 1000), batch_size=st.integers(1, 1024))
def test_batches_are_filled_up_to_few_sizes(count, batch_size):
    count = min(count, batch_size)
    size = bucket_of(count, batch_size)
    assert count <= size <= min(2 * count, batch_size)
    assert size in buckets(batch_size)
    assert len(buckets(batch_size)) <= 11


def test_filled_up_batches_give_the_same_poses():
    network = stand_in_network(image_gain=2.0)
    plain = CropRunner(network, CPU, torch.float32, batch_size=6)
    filled = CropRunner(network, CPU, torch.float32, batch_size=6, fill_up=True)
    sizes = watched(filled)
    for count in (1, 2, 3, 5, 6, 9):
        crops, camera = crops_of(count, network.config.proc_side)
        wanted, found = plain.run(crops, camera), filled.run(crops, camera)
        for name in FIELDS:
            a, b = getattr(found, name), getattr(wanted, name)
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3, err_msg=name)
    assert set(sizes) <= set(buckets(6)) == {1, 2, 4, 6}


def test_warming_up_runs_every_size_that_will_come():
    network = stand_in_network()
    runner = CropRunner(network, CPU, torch.float32, batch_size=6, fill_up=True)
    sizes = watched(runner)
    runner.warm_up(5)
    assert set(sizes) == set(buckets(6))
    runner = CropRunner(network, CPU, torch.float32)
    sizes = watched(runner)
    runner.warm_up(5)
    assert set(sizes) == {5}  # a processor has nothing to choose


def test_from_image_to_poses_nothing_goes_back_to_the_host_but_the_answer(monkeypatch):
    """On the device "meta" tensors have no values: whatever asked for one would raise."""
    device = torch.device('meta')
    network = stand_in_network()
    runner = CropRunner(network, device, torch.float16, fill_up=True)
    transfers = []

    def cpu(tensor):
        transfers.append(tuple(tensor.shape))
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(torch.Tensor, 'cpu', cpu)
    camera = cameras.camera_from_fov(640, 480)
    side, table = network.config.proc_side, augmentation_table(5)
    boxes = np.array([[200.0, 100, 100, 200], [10, 20, 400, 430], [300, 10, 30, 60]])
    views = crop_views(box_views(boxes, camera, side), camera, side, table)
    image = np.zeros((480, 640, 3), np.uint8)
    levels = warps.pyramid(image, device, linear=False)
    crops = warps.render(levels, camera, views, table.gamma, linear=False)
    assert crops.device == device
    answer = runner.run(crops.reshape(-1, 3, side, side), views.intrinsics.reshape(-1, 3, 3), 5)
    assert answer.abs_mm.shape == (15, 17, 3)
    assert transfers == [(15, 17, 12)]


@pytest.mark.parametrize(('native', 'wanted'), [(False, torch.float32), (True, torch.bfloat16)])
def test_bfloat16_is_picked_only_where_the_processor_multiplies_it(monkeypatch, native, wanted):
    monkeypatch.setattr(inference, 'cpu_has_bfloat16', lambda: native)
    assert pick_precision('auto', CPU) == wanted
    assert pick_precision('float32', CPU) == torch.float32
    assert pick_precision('auto', torch.device('cuda')) == torch.float16


def test_a_processor_without_bfloat16_instructions_is_known_by_its_flags():
    """What the kernel says about the processor decides, not that PyTorch can emulate it."""
    path = Path('/proc/cpuinfo')
    text = path.read_text(encoding='utf-8') if path.exists() else ''
    flags = set(text.partition('flags')[2].partition('\n')[0].split())
    if 'sse2' not in flags:
        pytest.skip('not an x86 processor')
    native = bool(flags & {'avx512_bf16', 'amx_bf16'})
    assert inference.cpu_has_bfloat16() == native
