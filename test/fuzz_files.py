"""What comes in by files: a valid file of each kind, its damage, its reader."""

from __future__ import annotations

import io
import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from fuzz_damage import (
    damaged_bytes,
    damaged_database,
    damaged_mcap,
    damaged_pickle,
    damaged_text,
    damaged_value,
    damaged_zip,
)
from fuzz_messages import CAMERA, Make, Read, door, encoded, people_message, picture
from metrabs_stand_in import save_network, stand_in_network

from trpose_ros import weights
from trpose_ros.archives import load_arrays
from trpose_ros.cameras import camera_to_info_fields
from trpose_ros.data.datasets.custom_2d import load as load_keypoints
from trpose_ros.data.datasets.mat_files import read_mat
from trpose_ros.data.datasets.pickled_numbers import load_npz
from trpose_ros.data.motion.files import read_amc, read_asf, read_bvh
from trpose_ros.data.motion.keypoint_errors import DetectorErrors, load_fitted
from trpose_ros.data.samples import DataError
from trpose_ros.lifters import LifterConfig
from trpose_ros.lifters.checkpoints import read_checkpoint
from trpose_ros.lifters.networks.build import build_network
from trpose_ros.lifters.registry import create_lifter
from trpose_ros.metrabs.checkpoints import load_network
from trpose_ros.multiview.rig_file import is_rig, read_rig
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagError, BagReader, BagWriter
from trpose_ros.recordings.calibration import read_calibration
from trpose_ros.recordings.image_codec import ImageError
from trpose_ros.recordings.pictures import read_picture
from trpose_ros.recordings.sources import SourceError, SourceOptions, open_source
from trpose_ros.recordings.video import VideoError
from trpose_ros.skeletons import SKELETONS
from trpose_ros.weights import WeightsError
from trpose_ros.weights.pickles import read_numbers
from trpose_ros.weights.tensorflowjs import read_graph_model
from trpose_ros.yaml_files import load_yaml

_SIZES = {
    'videopose3d': {'filter_widths': [3, 3], 'channels': 8},
    'mhformer': {'frames': 9, 'channels': 8, 'hidden': 8, 'layers': 2},
    'mixste': {'frames': 3, 'channels': 8, 'depth': 1, 'heads': 2},
    'pstmo': {'frames': 27, 'channels': 8, 'hidden': 8, 'layers': 1},
}
_META = {'skeleton': 'h36m_17', 'licence': 'x', 'training_data': 'x', 'measured_error': 'x'}


@door('picture files', 60, ImageError)
def pictures(folder: Path) -> Make:
    seeds, path = tuple(encoded().values()), folder / 'picture'

    def damage(r: random.Random) -> Read:
        path.write_bytes(damaged_bytes(r, r.choice(seeds), seeds))
        return lambda: read_picture(path)

    return damage


@door('pickles', 130, pickle.UnpicklingError)
def _pickles(_: Path) -> Make:
    content = {'a': np.arange(6.0).reshape(2, 3), 'b': [1, 'x', (None, 2.5)], 'c': np.float32(1)}
    content['d'] = np.array([np.zeros(3, 'u1'), 'text'], object)
    seeds = tuple(pickle.dumps(content, protocol) for protocol in (0, 2, 4))

    def damage(r: random.Random) -> Read:
        data = damaged_pickle(r, r.choice(seeds), seeds)
        return lambda: read_numbers(io.BytesIO(data))

    return damage


def _network(architecture: str) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    network = build_network(architecture, _SIZES[architecture])
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}


@door('torch checkpoints', 60, WeightsError)
def _checkpoints(folder: Path) -> Make:
    state = {name: torch.as_tensor(value) for name, value in _network('videopose3d').items()}
    seeds = []
    for zipped in (True, False):
        out = io.BytesIO()
        content = {'model_pos': state, 'epoch': 3, 'lr': 0.1}
        torch.save(content, out, _use_new_zipfile_serialization=zipped)
        seeds.append(out.getvalue())
    path = folder / 'a.bin'

    def damage(r: random.Random) -> Read:
        data = (damaged_zip, damaged_pickle)[k := r.randrange(2)](r, seeds[k], tuple(seeds))
        path.write_bytes(data)
        return lambda: read_checkpoint(path, causal=True, dense=False)

    return damage


@door('weights files', 50, WeightsError, ValueError)
def _weights(folder: Path) -> Make:
    path, seeds = folder / 'damaged.safetensors', []
    for name, sizes in _SIZES.items():
        meta = _META | {'architecture': name, 'config': json.dumps(sizes), 'rate_hz': '50'}
        seed = folder / f'{name}.safetensors'
        weights.save(seed, _network(name), meta)
        seeds.append((name, seed.read_bytes()))
    save_network(folder / 'metrabs.safetensors', stand_in_network())
    seeds.append(('metrabs', (folder / 'metrabs.safetensors').read_bytes()))

    def damage(r: random.Random) -> Read:
        name, data = r.choice(seeds)
        end = 8 + int.from_bytes(data[:8], 'little')
        kind = r.randrange(3)
        if kind == 0:
            data = damaged_bytes(r, data)
        else:
            header = json.loads(data[8:end])
            if kind == 1:
                header = damaged_value(r, header)
            else:
                sizes = json.loads(header['__metadata__']['config'])
                header['__metadata__']['config'] = json.dumps(damaged_value(r, sizes))
            text = json.dumps(header).encode()
            data = len(text).to_bytes(8, 'little') + text + data[end:]
        path.write_bytes(data)
        if name == 'metrabs':
            return lambda: load_network(path)
        return lambda: create_lifter(LifterConfig(name=name, model=str(path)))

    return damage


@door('npz archives', 50, ValueError, DataError)
def _npz(folder: Path) -> Make:
    path, numbers = folder / 'a.npz', {'a': np.arange(60.0), 'names': np.array(['x', 'yy'])}
    objects = {'positions_2d': np.array({'x': [np.zeros((2, 17, 2))]}, object)}
    seeds = []
    for save in (np.savez, np.savez_compressed):
        for content in (numbers, numbers | objects):
            save(out := io.BytesIO(), **content)  # type: ignore[operator]
            seeds.append(out.getvalue())

    def damage(r: random.Random) -> Read:
        path.write_bytes(damaged_zip(r, r.choice(seeds), tuple(seeds)))
        read = r.choice((load_arrays, load_npz))
        return lambda: read(path)

    return damage


def _pixels(values: Any) -> Any:
    try:
        return np.array(values, np.float32)
    except (ValueError, TypeError, OverflowError):
        return np.array([values], object)


@door('keypoint archives', 20, DataError)
def _keypoints(folder: Path) -> Make:
    path, sides = folder / 'data_2d_custom_x.npz', SKELETONS['coco_17'].sides
    symmetry = [[i for i, s in enumerate(sides) if s == side] for side in ('left', 'right')]
    facts = {'layout_name': 'coco', 'num_joints': 17, 'keypoints_symmetry': symmetry}
    facts['video_metadata'] = {'v': {'w': 640, 'h': 480}}
    people = np.arange(136.0).reshape(4, 17, 2).tolist()

    def damage(r: random.Random) -> Read:
        meta, place = facts, people
        if r.random() < 0.5:
            meta = damaged_value(r, facts)
        else:
            place = damaged_value(r, people)
        positions = {'v': {'custom': [_pixels(place)]}}
        if r.random() < 0.2:
            positions = damaged_value(r, {'v': {'custom': [place]}})
        content = {'metadata': np.array(meta, object), 'positions_2d': np.array(positions, object)}
        np.savez(path, **content)  # type: ignore[arg-type]
        return lambda: list(load_keypoints(folder))

    return damage


@door('TensorFlow.js models', 40, WeightsError)
def _graphs(folder: Path) -> Make:
    path = folder / 'model.json'
    (folder / 'a.bin').write_bytes(bytes(range(24)))
    entries = [{'name': 'a', 'shape': [2, 2], 'dtype': 'float32'}]
    how = {'dtype': 'uint8', 'scale': 0.5, 'min': -1.0}
    entries.append({'name': 'b', 'shape': [8], 'dtype': 'float32', 'quantization': how})
    graph = {'node': [{'name': 'a', 'op': 'Const', 'attr': {}}, {'name': 'b', 'op': 'Const'}]}
    model = {'format': 'graph-model', 'generatedBy': 'x', 'modelTopology': graph}
    model['weightsManifest'] = [{'paths': ['a.bin'], 'weights': entries}]

    def damage(r: random.Random) -> Read:
        text = json.dumps(damaged_value(r, model), indent=1)
        path.write_text(text if r.random() < 0.7 else damaged_text(r, text))
        return lambda: read_graph_model(path)

    return damage


def _recording(folder: Path, ending: str, compression: str = 'none') -> Path:
    """Write two images, their camera_info and a person."""
    path = folder / f'{compression}{ending}'
    with BagWriter(path, compression=compression) as bag:
        make, r = MessageMaker(bag.typestore), random.Random(1)
        for k in range(2):
            bag.write('/c/camera_info', make.camera_info(CAMERA, 10**9 + k, 'c'), 10**9 + k)
            image = make.compressed_image(picture(), 10**9 + k, 'c')
            bag.write('/c/image/compressed', image, 10**9 + k)
            bag.write('/c/raw', make.image(picture(), 10**9 + k, 'c'), 10**9 + k)
            bag.write('/ground_truth/people', people_message(r, make), 10**9 + k)
    return path


def _read_recording(path: Path, topic: str, as_source: bool) -> None:
    """Read frames as a replay does, or all messages; building types is what takes the time."""
    if not as_source:
        with BagReader(path) as bag:
            for _ in bag.messages():
                pass
        return
    source = open_source(path, SourceOptions(image_topic=topic))
    for _ in source.frames():
        pass
    source.close()
    assert len(str(source.problems)) < 100_000


_BAG_ERRORS = (BagError, SourceError, VideoError)


@door('recordings, MCAP', 20, *_BAG_ERRORS)
def _mcap(folder: Path) -> Make:
    seeds = [_recording(folder, '.mcap', how).read_bytes() for how in ('none', 'storage')]
    path = folder / 'damaged.mcap'

    def damage(r: random.Random) -> Read:
        path.write_bytes(damaged_mcap(r, r.choice(seeds)))
        topic = r.choice(('/c/image/compressed', '/c/raw'))
        as_source = r.random() < 0.5
        return lambda: _read_recording(path, topic, as_source)

    return damage


@door('recordings, sqlite3', 15, *_BAG_ERRORS)
def _sqlite(folder: Path) -> Make:
    seed, path = _recording(folder, '.db3').read_bytes(), folder / 'damaged.db3'

    def damage(r: random.Random) -> Read:
        damaged_database(r, seed, path)
        as_source = r.random() < 0.5
        return lambda: _read_recording(path, '/c/raw', as_source)

    return damage


@door('recordings, metadata.yaml', 5, *_BAG_ERRORS)
def _metadata(folder: Path) -> Make:
    bag = _recording(folder, '')
    text = (bag / 'metadata.yaml').read_text()

    def damage(r: random.Random) -> Read:
        new = damaged_text(r, text)
        if r.random() < 0.5:
            new = yaml.safe_dump(damaged_value(r, yaml.safe_load(text)))
        (bag / 'metadata.yaml').write_text(new, errors='replace')
        as_source = r.random() < 0.5
        return lambda: _read_recording(bag, '/c/raw', as_source)

    return damage


@door('YAML and calibrations', 30, ValueError)
def _yaml(folder: Path) -> Make:
    fields = camera_to_info_fields(CAMERA)
    matrix = {'rows': 3, 'cols': 3, 'data': np.ravel(fields['k']).tolist()}
    content = {'image_width': 24, 'image_height': 18, 'camera_matrix': matrix}
    content |= {'distortion_model': 'plumb_bob', 'distortion_coefficients': {'data': [0.0] * 5}}
    text, path = yaml.safe_dump(content), folder / 'camera.yaml'

    def damage(r: random.Random) -> Read:
        new = damaged_text(r, text)
        if r.random() < 0.4:
            new = yaml.safe_dump(damaged_value(r, content))
        data = new.encode(errors='replace')
        path.write_bytes(damaged_bytes(r, data) if r.random() < 0.2 else data)
        read = r.choice((read_calibration, read_calibration, load_yaml))
        return lambda: read(path)

    return damage


@door('calibrations of several cameras', 30, ValueError)
def _rigs(folder: Path) -> Make:
    k, eye = [600, 0, 320, 0, 600, 240, 0, 0, 1], np.eye(4).tolist()
    lens = {'K': k, 'size': [640, 480], 'distortion': [0.1, 0.0]}
    moved = [[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    turned = {'position_m': [0, 1, 2], 'quaternion_xyzw': [0, 0, 0, 1], 'time_offset_s': 0.1}
    ours = {'front': {'frame_id': 'f', 'camera_to_world': eye, 'intrinsics': lens}, 'rear': turned}
    chained = {'camera_model': 'pinhole', 'intrinsics': [600, 600, 320, 240],
               'distortion_model': 'radtan', 'distortion_coeffs': [0.1, 0, 0, 0],
               'resolution': [640, 480], 'T_cn_cnm1': moved}  # fmt: skip
    listed = [
        {'name': n, 'resolution': [640, 480], 'K': k, 'R': np.eye(3).tolist(), 't': [[x], [0], [0]]}
        for n, x in (('a', 0), ('b', 300))
    ]
    kinds = [
        {'cameras': ours, 'unit': 'm'},
        {'cam0': chained, 'cam1': chained},
        {'cameras': listed},
    ]

    def damage(r: random.Random) -> Read:
        content, suffix = r.choice(kinds), r.choice(('yaml', 'json'))
        if r.random() < 0.7:
            content = damaged_value(r, content)
        try:
            text = yaml.safe_dump(content) if suffix == 'yaml' else json.dumps(content, default=str)
        except (TypeError, ValueError, yaml.YAMLError):
            text = repr(content)
        text = damaged_text(r, text) if r.random() < 0.5 else text
        path = folder / f'rig.{suffix}'
        path.write_text(text, encoding='utf-8', errors='replace')
        read = r.choice((read_rig, read_rig, is_rig))
        return lambda: read(path)

    return damage


_BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Leg
  {
    OFFSET 0 -10 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -10 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.033
0 90 0 1 2 3 4 5 6
0 91 0 1 2 3 4 5 6
"""
_ASF = """:units
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
:bonedata
  begin
    id 1
    name leg
    direction 0 -1 0
    length 7
    axis 0 0 20 XYZ
    dof rx ry rz
:hierarchy
  begin
    root leg
  end
"""
_AMC = (
    ':FULLY-SPECIFIED\n:DEGREES\n1\nroot 1 2 3 4 5 6\nleg 1 2 3\n2\nroot 1 2 3 4 5 6\nleg 1 2 3\n'
)


@door('motion files', 50, DataError)
def _motion(folder: Path) -> Make:
    bvh, asf, amc = (folder / f'a.{ending}' for ending in ('bvh', 'asf', 'amc'))

    def damage(r: random.Random) -> Read:
        if r.random() < 0.5:
            bvh.write_text(damaged_text(r, _BVH))
            return lambda: read_bvh(bvh)
        asf.write_text(damaged_text(r, _ASF) if r.random() < 0.5 else _ASF)
        amc.write_text(damaged_text(r, _AMC) if r.random() < 0.5 else _AMC)
        return lambda: read_amc(amc, read_asf(asf))

    return damage


@door('errors of estimators (JSON)', 15, ValueError)
def _errors(folder: Path) -> Make:
    path = folder / 'errors.json'
    load_fitted('metrabs-small').save(path)
    text = path.read_text()
    content = json.loads(text)

    def damage(r: random.Random) -> Read:
        new = json.dumps(damaged_value(r, content))
        path.write_text(new if r.random() < 0.6 else damaged_text(r, text))

        def read() -> None:
            assert np.isfinite(DetectorErrors.load(path).table('pull')).all()

        return read

    return damage


@door('MATLAB files', 1, DataError)
def _mat(folder: Path) -> Make:
    import scipy.io

    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = np.arange(3.0), 'text'
    scipy.io.savemat(out := io.BytesIO(), {'x': np.arange(6.0).reshape(2, 3), 'c': cell})
    seed, path = out.getvalue(), folder / 'a.mat'

    def damage(r: random.Random) -> Read:
        path.write_bytes(damaged_bytes(r, seed))
        return lambda: read_mat(path, ('x', 'c'))

    return damage
