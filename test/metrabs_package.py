"""A folder as MeTRAbs networks for PyTorch are published, with weights of a rule."""

import pickle
from functools import cache

import numpy as np
import torch
import yaml
from parity.metrabs_numbers import filled_value

from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.skeletons import get_skeleton

NAMES = ('smpl_24', 'h36m_17')


@cache
def network():
    """Return an EfficientNetV2-s network for the joints of two skeletons, names as published."""
    joints = sum(get_skeleton(name).num_joints for name in NAMES)
    config = MetrabsConfig('efficientnetv2-s', proc_side=256, stride=32, num_joints=joints)
    model = Metrabs(config).eval()
    state = {}
    for key, value in model.state_dict().items():
        gain = 8.0 if key == 'heatmap_heads.conv_final.weight' else 1.2 if value.ndim > 1 else 1
        state[key] = torch.from_numpy(np.asarray(filled_value(key, tuple(value.shape)))) * gain
    model.load_state_dict(state)
    return model


def write_package(folder, model=None):
    """Write the five files; the transform adds one joint, the mean of the first two."""
    model = model or network()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / 'ckpt.pt')
    config = model.config
    settings = {
        'proc_side': config.proc_side,
        'stride_train': 32,
        'stride_test': 32,
        'depth': 8,
        'box_size_mm': 2200,
        'centered_stride': config.centered_stride,
        'transform_coords': False,
        'predict_all_and_latents': False,
    }
    if config.legacy_centered_stride_bug:
        settings['legacy_centered_stride_bug'] = True
    (folder / 'config.yaml').write_text(yaml.safe_dump(settings))
    names, infos, start = [], {}, 0
    for name in NAMES:
        skeleton = get_skeleton(name)
        names += [f'{joint}_{name}' for joint in skeleton.joint_names]
        infos[name] = {
            'indices': np.arange(start, start + skeleton.num_joints),
            'names': list(skeleton.joint_names),
            'edges': [list(bone) for bone in skeleton.bones],
        }
        start += skeleton.num_joints
    infos['kinectv2_25'] = {'indices': [0, 1], 'names': ['a', 'b'], 'edges': [[0, 1]]}
    edges = np.array([[0, 1]])
    np.savez(folder / 'joint_info.npz', joint_names=np.array(names), joint_edges=edges)
    transform = np.eye(len(names), len(names) + 1, dtype=np.float32)
    transform[:2, -1] = 0.5
    np.save(folder / 'joint_transform_matrix.npy', transform)
    with open(folder / 'skeleton_infos.pkl', 'wb') as stream:
        pickle.dump(infos, stream)
    return folder
