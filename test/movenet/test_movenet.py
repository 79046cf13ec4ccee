"""MoveNet: network, decoding, import; what TensorFlow says about the graphs is held to."""

import os
from pathlib import Path

import numpy as np
import pytest
import tfjs_reference
import torch
from drawn_figure import figure
from hypothesis import given
from hypothesis import strategies as st
from movenet_stand_in import small_movenet, write_graph

from trpose_ros import weights
from trpose_ros.metrabs.backbones import BACKBONES
from trpose_ros.metrabs.backbones.mobilenet_v2 import PADDINGS, mobilenet_v2
from trpose_ros.movenet.checkpoints import convert, load_movenet
from trpose_ros.movenet.decoding import decode_people, decode_single
from trpose_ros.movenet.importing import import_movenet
from trpose_ros.movenet.network import MoveNetConfig, MoveNetMaps
from trpose_ros.weights import WeightsError
from trpose_ros.weights.packing import INT8
from trpose_ros.weights.tensorflowjs import read_graph_model

SHIPPED = {'movenet-thunder': 'single', 'movenet-multipose': 'multi'}
GRAPHS = os.environ.get('TRPOSE_TFJS', '')
LEFT, RIGHT = [5, 7, 9, 11, 13, 15], [6, 8, 10, 12, 14, 16]


@pytest.fixture(scope='module')
def shipped():
    return {name: load_movenet(name) for name in SHIPPED}


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def decoded(network, image):
    """Return heatmaps, centres and people as tfjs_reference.maps does, by our network."""
    height, width = image.shape[:2]
    with torch.inference_mode():
        maps = network(tensor(image))
    if network.config.kind == 'single':
        joints, scores = (v[0].numpy() for v in decode_single(maps))
        joints = (joints + 0.5) / [width, height]
        people = np.concatenate([joints[:, ::-1], scores[:, None]], axis=1)
    else:
        (found,) = decode_people(maps, 0.0, 6)
        joints = (found.joints_px.numpy() + 0.5) / [width, height]
        rows = np.concatenate([joints[..., ::-1], found.joint_scores.numpy()[..., None]], axis=2)
        low = (found.boxes[:, :2].numpy() + 0.5) / [width, height]
        high = low + found.boxes[:, 2:].numpy() / [width, height]
        columns = [rows.reshape(len(rows), -1), low[:, ::-1], high[:, ::-1]]
        people = np.concatenate([*columns, found.scores.numpy()[:, None]], axis=1)
    return maps.heatmaps[0].permute(1, 2, 0).numpy(), maps.centre[0].numpy(), people


@pytest.mark.parametrize('name', SHIPPED)
def test_the_shipped_networks_give_what_tensorflow_says(shipped, name):
    stored, every = np.load(tfjs_reference.STORED), tfjs_reference.EVERY
    image = tfjs_reference.picture(SHIPPED[name], 256)
    heat, centre, people = decoded(shipped[name], image)
    for numbers, most, most_px in (('shipped', 1e-3, 0.01), ('own', 0.05, 1.5)):
        wanted = {key: stored[f'{name}/{numbers}/{key}'] for key in ('heatmaps', 'centres')}
        assert np.abs(heat[::every, ::every] - wanted['heatmaps']).max() < most
        assert np.abs(centre[::every, ::every] - wanted['centres']).max() < most
        for row, ours in zip(stored[f'{name}/{numbers}/people'], people, strict=True):
            if row[-1] > 0.3:  # a joint, or a person
                assert np.abs(ours[:2] - row[:2]).max() < most_px / 192
                np.testing.assert_allclose(ours[-1], row[-1], atol=most)
    assert stored[f'{name}/own/people'][:2, -1].min() > 0.4  # there is somebody to compare


@pytest.mark.skipif(not GRAPHS, reason='TRPOSE_TFJS names no folder with MoveNet graph models')
@pytest.mark.parametrize('name', ['movenet-thunder', 'movenet-lightning', 'movenet-multipose'])
def test_imported_networks_give_what_tensorflow_makes_of_the_graph(tmp_path, name):
    pytest.importorskip('tensorflow')
    path = Path(GRAPHS) / f'{name}.json'
    network = load_movenet(convert(path, tmp_path / f'{name}.safetensors').path)
    config = network.config
    image = tfjs_reference.picture(config.kind, config.input_side)
    heat, centre, people = decoded(network, image)
    wanted = tfjs_reference.maps(read_graph_model(path), image)
    assert np.abs(heat - wanted[0]).max() < 1e-3
    assert np.abs(centre - wanted[1]).max() < 1e-3
    # Lightning's graph multiplies by 1/48 in half precision: 0.05 px at the far edge.
    np.testing.assert_allclose(people, wanted[2], atol=3e-4)


def test_a_figure_is_found_where_it_was_drawn(shipped):
    with torch.inference_mode():
        joints, scores = decode_single(shipped['movenet-thunder'](tensor(figure(256, 256))))
        assert (scores > 0.3).all()
        pairs = (joints[0, LEFT, 0] + joints[0, RIGHT, 0]) / 2
        assert abs(pairs.mean() - 128) < 1  # symmetric about pixel 128: centres are integers
        assert (pairs - 128).abs().max() < 2
        image = tensor(figure(256, 192, (0.3, 0.7), 0.8))
        (found,) = decode_people(shipped['movenet-multipose'](image), 0.3, 6)
    middles = (found.boxes[:, :2] + found.boxes[:, 2:] / 2).numpy()
    np.testing.assert_allclose(sorted(middles[:, 0]), [0.3 * 256, 0.7 * 256], atol=3)
    np.testing.assert_allclose(middles[:, 1], 96, atol=4)
    np.testing.assert_allclose(found.boxes[:, 3], 0.8 * 192, atol=12)


def test_the_backbone_of_metrabs_takes_the_weights_and_sees_the_same_picture(shipped):
    """Cells lie at 32 i + 31 in MoveNet, at 32 i + 16 with and at 32 i without centred stride."""
    ours = shipped['movenet-thunder'].backbone
    image = 2 * tensor(figure(384, 384)) - 1
    inner = (..., slice(5, 8), slice(5, 8))  # away from the image's border
    with torch.inference_mode():
        wanted = ours[1][:15](image)
        for centred, shift in ((True, 15), (False, 31)):
            backbone, channels = BACKBONES['mobilenetv2-1.75'](32, centred)
            backbone.load_state_dict(ours.state_dict())
            body = backbone.eval()[1][:15]  # up to the last strided layer
            moved, unmoved = body(image.roll((-shift, -shift), (2, 3))), body(image)
            assert moved.shape == wanted.shape == (1, 280, 12, 12)
            assert channels == 1280
            scale = wanted[inner].abs().mean()
            assert (moved - wanted)[inner].abs().mean() < 0.03 * scale
            assert (unmoved - wanted)[inner].abs().mean() > 0.3 * scale


@pytest.mark.parametrize('padding', PADDINGS)
def test_a_body_can_be_cut_in_two(padding):
    torch.manual_seed(0)
    network = mobilenet_v2(1.0, padding).eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        scale, body = network
        first = body[:11](scale(image))
        assert first.shape == (1, 64, 4, 6)
        torch.testing.assert_close(body[11:](first), network(image))


def test_what_a_network_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"padding must be one of .*, got 'valid'"):
        mobilenet_v2(1.0, 'valid')
    for bad, words in (
        ({'width': 1.25}, 'width must be one of'),
        ({'kind': 'crowd'}, 'kind must be one of'),
        ({'input_side': 100}, 'input_side must be a multiple of 32, got 100'),
    ):
        with pytest.raises(ValueError, match=words):
            MoveNetConfig(**bad)
    with torch.inference_mode(), pytest.raises(ValueError, match='no boxes'):
        decode_people(small_movenet()(torch.zeros(1, 3, 64, 64)), 0.3, 6)


def made_maps(people, height=32, width=40):
    """Return maps of people (centre y, x; joints (17, 2) y, x), all in cells, without doubt."""
    centre = torch.zeros(1, height, width)
    heat = torch.zeros(1, 17, height, width)
    displacements = torch.zeros(1, 17, 2, height, width)
    offsets = torch.zeros(1, 17, 2, height, width)
    size = torch.zeros(1, 2, height, width)
    for number, ((y, x), joints) in enumerate(people):
        centre[0, y, x] = 0.9 - 0.1 * number
        size[0, :, y, x] = torch.tensor([12.0, 10.0])
        for j, place in enumerate(joints):
            row, column = (int(v) for v in place)
            heat[0, j, row, column] = 0.8
            offsets[0, j, :, row, column] = torch.tensor(place - np.floor(place))
            displacements[0, j, :, y, x] = torch.tensor(np.round(place) - [y, x])
    return MoveNetMaps(centre, heat, displacements, offsets, size, torch.zeros_like(size))


@given(seed=st.integers(0, 10**6), y=st.integers(8, 24), x=st.integers(8, 30))
def test_joints_come_back_that_were_put_into_maps(seed, y, x):
    rng = np.random.default_rng(seed)
    joints = rng.uniform([y - 5, x - 4], [y + 5, x + 4], (17, 2))
    maps = made_maps([((y, x), joints)])
    found, scores = decode_single(maps)
    np.testing.assert_allclose(found[0], joints[:, ::-1] * 4 - 0.5, atol=1e-3)
    np.testing.assert_allclose(scores, 0.8, atol=1e-6)
    (people,) = decode_people(maps, 0.3, 6)
    assert len(people.boxes) == 1
    np.testing.assert_allclose(people.joints_px[0], joints[:, ::-1] * 4 - 0.5, atol=1e-3)
    np.testing.assert_allclose(people.centres, 0.9)
    np.testing.assert_allclose(people.boxes[0], [4 * x - 20.5, 4 * y - 24.5, 40, 48])


def test_two_people_keep_their_own_joints_and_nobody_is_nobody():
    rng = np.random.default_rng(0)
    places = [(10, 8), (14, 28)]
    joints = [rng.uniform([y - 5, x - 4], [y + 5, x + 4], (17, 2)) for y, x in places]
    maps = made_maps(list(zip(places, joints, strict=True)))
    (found,) = decode_people(maps, 0.3, 6)
    for ours, wanted in zip(found.joints_px, joints, strict=True):
        np.testing.assert_allclose(ours, wanted[:, ::-1] * 4 - 0.5, atol=1e-3)
    assert found.centres.tolist() == pytest.approx([0.9, 0.8])
    assert len(decode_people(maps, 0.85, 6)[0].boxes) == 1
    assert len(decode_people(maps, 0.3, 1)[0].boxes) == 1
    (nobody,) = decode_people(made_maps([]), 0.0, 6)
    assert [len(part) for part in nobody] == [0] * 5
    assert nobody.joints_px.shape == (0, 17, 2)


@pytest.mark.parametrize('kind', ['single', 'multi'])
def test_a_graph_becomes_the_network_that_it_was_written_from(tmp_path, kind):
    network = small_movenet(kind, 256)
    path = write_graph(tmp_path, network)
    imported = import_movenet(path)
    assert imported.config == network.config
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(imported.tensors[key], value)
    file = convert(path, tmp_path / 'mine.safetensors', packing=INT8)
    assert file.meta['licence'] == 'Apache-2.0'
    card = file.path.with_suffix('.md').read_text()
    for words in ('Google', 'Apache License', 'random numbers', 'int8', *imported.sha256.values()):
        assert words in card
    assert load_movenet(file.path).config == network.config


def no_bias(nodes, tensors):
    nodes[1]['input'].pop()


def one_more(nodes, tensors):
    nodes.append({'name': 'more', 'op': 'Conv2D', 'input': ['x', 'more/kernel']})


def wrong_shape(nodes, tensors):
    name = next(name for name in tensors if 'kpt_heatmap_0/conv2d' in name)
    tensors[name] = tensors[name][..., :13]


def wrong_type(nodes, tensors):
    name = next(name for name in tensors if 'kpt_heatmap_0/conv2d' in name)
    tensors[name] = tensors[name].astype(np.int32)


def not_finite(nodes, tensors):
    name = next(name for name in tensors if 'kpt_heatmap_0/conv2d' in name)
    tensors[name][:] = np.nan


def no_numbers(nodes, tensors):
    del tensors[next(name for name in tensors if 'kpt_heatmap_0/conv2d' in name)]


def other_stem(nodes, tensors):
    name = next(name for name in tensors if 'model/Conv1/Conv2D_w' in name)
    tensors[name] = tensors[name][..., :24]


def oblong(nodes, tensors):
    nodes[0]['attr']['shape']['shape']['dim'][1]['size'] = '96'


def no_input(nodes, tensors):
    nodes[0]['attr'] = {}


def inputs_are_no_list(nodes, tensors):
    nodes[1]['input'] = 'x'


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (no_bias, r"missing \['StatefulPartitionedCall/center_net.*/Conv1/Conv2D_bn_offset'\]"),
        (one_more, r"unexpected \['more/kernel'\]"),
        (wrong_shape, r'kpt_heatmap_0/conv2d.* \(13, 96, 1, 1\) where float32 \(17, 96, 1, 1\)'),
        (wrong_type, r'kpt_heatmap_0/conv2d.* is int32'),
        (not_finite, r'kpt_heatmap_0/conv2d.* holds NaN'),
        (no_numbers, r'kpt_heatmap_0/conv2d.* no numbers'),
        (other_stem, r'made from random numbers\) is not a MoveNet'),
        (oblong, '64 x 96 px, not square'),
        (no_input, 'no square input'),
        (inputs_are_no_list, 'no list of inputs'),
    ],
)
def test_other_networks_are_refused_by_name(tmp_path, change, words):
    path = write_graph(tmp_path, small_movenet(), change)
    with pytest.raises(WeightsError, match=words):
        convert(path, tmp_path / 'mine.safetensors')
    assert not (tmp_path / 'mine.safetensors').exists()


def test_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="architecture 'videopose3d', not 'movenet'"):
        load_movenet('videopose3d-robust')
    file = weights.load('movenet-thunder')
    tensors = dict(file.tensors)
    tensors.pop('centre.0.weight')
    lacking = weights.save(tmp_path / 'a.safetensors', tensors, file.meta)
    with pytest.raises(WeightsError, match=r'missing 1 .centre\.0\.weight'):
        load_movenet(lacking.path)
    other = weights.save(
        tmp_path / 'b.safetensors', file.tensors, file.meta | {'config': '{"width": 3}'}
    )
    with pytest.raises(WeightsError, match='width must be one of'):
        load_movenet(other.path)
