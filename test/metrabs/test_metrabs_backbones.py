"""Backbones: sizes, names, centred stride, and the transformations that make them fast."""

import pytest
import torch
from torch import nn

from trpose_ros.metrabs.backbones import BACKBONES
from trpose_ros.metrabs.backbones.layers import DropPath, conv2d, every_second
from trpose_ros.runtimes.folding import fold_batch_norm
from trpose_ros.runtimes.modules import prepare_backbone
from trpose_ros.runtimes.packed_convolutions import PackedConv2d, can_pack, pack_convolutions

LARGE = {'efficientnetv2-m', 'efficientnetv2-l', 'resnet-101', 'resnet-152'}
SMALL = sorted(name for name in BACKBONES if not name.startswith('test-') and name not in LARGE)


def randomise(module):
    """Give batch norms statistics that matter."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean.normal_(0, 0.1)
            child.running_var.uniform_(0.5, 1.5)
            child.weight.data.uniform_(0.8, 1.2)
    return module.eval()


@pytest.mark.parametrize('name', SMALL)
def test_shapes_centred_stride_and_folding(name):
    torch.manual_seed(0)
    image = torch.rand(1, 3, 128, 128)
    state = None
    features = {}
    for centred in (False, True):
        module, channels = BACKBONES[name](32, centred)
        if state is None:
            state = randomise(module).state_dict()
        module.load_state_dict(state)  # padding has no parameters: the same names
        module.eval()
        with torch.no_grad():
            features[centred] = module(image)
            assert features[centred].shape == (1, channels, 4, 4)
            fold_batch_norm(module)
            torch.testing.assert_close(module(image), features[centred], atol=1e-3, rtol=1e-3)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())
    assert not torch.allclose(features[False], features[True], rtol=1e-2)


@pytest.mark.parametrize('kernel', [3, 5])
def test_a_shifted_convolution_samples_one_pixel_further(kernel):
    torch.manual_seed(0)
    shifted = conv2d(2, 3, kernel, 2, shifted=True)
    plain = conv2d(2, 3, kernel, 1)
    plain.load_state_dict(shifted.state_dict())
    image = torch.rand(1, 2, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(shifted(image), plain(image)[:, :, 1::2, 1::2])
    torch.testing.assert_close(every_second(image, 1), image[:, :, 1::2, 1::2])
    torch.testing.assert_close(every_second(image, 0), image[:, :, ::2, ::2])


@pytest.mark.parametrize('name', ['efficientnetv2-s', 'resnet-50', 'mobilenetv3-small'])
def test_a_stride_that_a_family_does_not_have_is_refused(name):
    with pytest.raises(ValueError, match=f'{name} has stride 32, got 16'):
        BACKBONES[name](16, True)
    with pytest.raises(ValueError, match="unknown backbone 'vgg'"):
        BACKBONES['vgg'](32, True)


def test_stochastic_depth_keeps_the_mean_and_does_nothing_in_inference():
    torch.manual_seed(0)
    drop, ones = DropPath(0.25), torch.ones(4000, 2, 1, 1)
    assert torch.equal(drop.eval()(ones), ones)
    kept = drop.train()(ones)
    assert kept.mean() == pytest.approx(1.0, abs=0.05)
    assert kept.unique().tolist() == pytest.approx([0.0, 4 / 3])


@pytest.mark.skipif(not can_pack(), reason='this PyTorch lacks the oneDNN operators')
@pytest.mark.parametrize('name', SMALL)
def test_a_packed_backbone_gives_the_numbers_of_the_plain_one(name):
    """Blocks that do not list their layers in the order they run them keep their activations."""
    torch.manual_seed(0)
    module, _ = BACKBONES[name](32, True)
    randomise(module)
    image = torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        wanted = module(image)
        packed = prepare_backbone(module, torch.device('cpu'), torch.float32)
        found = packed(image.contiguous(memory_format=torch.channels_last))
    assert any(isinstance(m, PackedConv2d) for m in packed.modules())
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.skipif(not can_pack(), reason='this PyTorch lacks the oneDNN operators')
@pytest.mark.parametrize('side', [16, 18, 17])  # odd maps: 9 behind the first layer of the second
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_packed_convolutions_give_the_same_numbers(dtype, side):
    if not can_pack(dtype):
        pytest.skip(f'this processor does not multiply {dtype}')
    torch.manual_seed(0)
    net = nn.Sequential(
        conv2d(3, 8, 3, 2), nn.Identity(), nn.SiLU(), conv2d(8, 8, 3, groups=8), nn.ReLU6(),
        conv2d(8, 8, 3, 2, 8, True, shifted=True), nn.ReLU(), conv2d(8, 8, 1), nn.Hardswish(),
        conv2d(8, 6, 3, 2, shifted=True), nn.ReLU6(), conv2d(6, 4, 1), nn.Sigmoid(),
    )  # fmt: skip
    image = torch.rand(2, 3, side, side).contiguous(memory_format=torch.channels_last)
    close = {'atol': 1e-5, 'rtol': 1e-5} if dtype == torch.float32 else {'atol': 0.05, 'rtol': 0}
    with torch.inference_mode():
        net[9].weight *= 20 / net[:10](image).abs().max()  # so that ReLU6 has something to cut off
        wanted = net(image)
        assert net[:10](image).max() > 6 > 0 > net[:10](image).min()
        pack_convolutions(net.to(dtype))
        image = image.to(dtype)
        torch.testing.assert_close(net(image).float(), wanted, **close)
        torch.testing.assert_close(net(image[:1]).float(), wanted[:1], **close)
    kinds = [type(m) for m in net]
    assert kinds == [PackedConv2d, nn.Identity, *[nn.Identity, PackedConv2d] * 5, nn.Sigmoid]


@pytest.mark.parametrize('kernel', [3, 5])
@pytest.mark.parametrize('side', [5, 6, 7, 8])
@pytest.mark.skipif(not can_pack(), reason='this PyTorch lacks the oneDNN operators')
def test_a_packed_shifted_convolution_pads_as_the_plain_one(kernel, side):
    torch.manual_seed(0)
    plain = conv2d(4, 4, kernel, 2, groups=4, bias=True, shifted=True)
    packed = PackedConv2d(plain)
    image = torch.rand(1, 4, side, side + 1).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(packed(image), plain(image), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_every_number_format_runs_on_every_processor(dtype):
    """Slowly, where the processor does not have it and there are no operators for it."""
    torch.manual_seed(0)
    net = nn.Sequential(conv2d(3, 8, 3, 2), nn.ReLU6(), conv2d(8, 4, 1, bias=True))
    image = torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        wanted = net(image)
        found = prepare_backbone(net, torch.device('cpu'), dtype)(image.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), wanted, atol=0.02, rtol=0)
