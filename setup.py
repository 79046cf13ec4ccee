"""Packaging: the Python package plus the files of msg/, config/, launch/, cmake/ as its ``share``.

cmake/ is for building the messages where there is no colcon (``trpose messages``).

The metadata stands in pyproject.toml. On a robot colcon builds with CMakeLists.txt instead, which
adds the generated messages.
"""

from setuptools import find_packages, setup

SHARE = {f'trpose_ros.share.{name}': name for name in ('msg', 'config', 'launch', 'cmake')}

setup(
    packages=[*find_packages(include=['trpose_ros', 'trpose_ros.*']), *SHARE],
    package_dir={'trpose_ros': 'trpose_ros', **SHARE},
    package_data={
        'trpose_ros': [
            'py.typed',
            'weights/*.safetensors',
            'weights/*.md',
            'samples/*.mcap',
            'samples/*.jpg',
            'samples/*.md',
            'data/*.npz',
            'data/motion/noise/*.json',
            'report/templates/*',
        ],
        'trpose_ros.share.msg': ['*.msg'],
        'trpose_ros.share.config': ['*'],
        'trpose_ros.share.launch': ['*.launch.py'],
        'trpose_ros.share.cmake': ['*.cmake'],
    },
)
