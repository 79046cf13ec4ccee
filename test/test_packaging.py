"""The package as colcon, rosdep and pip see it."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import trpose_ros
from trpose_ros.resources import resource

ROOT = Path(__file__).resolve().parent.parent

# Keys of rosdep's python.yaml and packages of Humble and Jazzy.
KNOWN_KEYS = {
    *('ament_cmake', 'ament_cmake_python', 'ament_cmake_pytest', 'rosidl_default_generators'),
    *('rosidl_default_runtime', 'builtin_interfaces', 'cv_bridge', 'diagnostic_msgs'),
    *('domain_coordinator', 'geometry_msgs', 'launch', 'launch_ros', 'lifecycle_msgs', 'rclpy'),
    *('rcl_interfaces', 'sensor_msgs', 'std_msgs', 'std_srvs', 'visualization_msgs'),
    *('rosgraph_msgs', 'tf2_msgs', 'tf2_ros', 'vision_msgs'),
    *('python3-hypothesis', 'python3-numpy', 'python3-opencv', 'python3-pytest'),
    *('python3-pytest-timeout', 'python3-scipy', 'python3-torch', 'python3-yaml'),
}


def read(name):
    return (ROOT / name).read_text(encoding='utf-8')


def package():
    return ElementTree.fromstring(read('package.xml'))


def project_field(name):
    """A value of [project]; tomllib came only with Python 3.11."""
    return re.search(rf"^{name} = '([^']+)'", read('pyproject.toml'), flags=re.MULTILINE)[1]


def test_all_versions_are_equal():
    version = package().findtext('version')
    assert project_field('version') == version == trpose_ros.__version__
    assert re.search(rf'^{re.escape(version)} \(', read('CHANGELOG.rst'), flags=re.MULTILINE)
    assert f"version: '{version}'" in read('CITATION.cff')
    assert f'trpose_ros-{version}-py3' in read('docs/install.md')
    assert read('docs/upgrade.md').startswith('# From ')
    assert read('docs/upgrade.md').partition('\n')[0].endswith(f' {version.rpartition(".")[0]}')


def test_package_xml_is_format_3_of_a_message_package():
    root = package()
    assert root.get('format') == '3'
    assert root.findtext('name') == 'trpose_ros' == project_field('name')
    assert root.findtext('license') == 'Apache-2.0' == project_field('license')
    assert root.findtext('member_of_group') == 'rosidl_interface_packages'
    assert root.findtext('export/build_type') == 'ament_cmake'


def test_every_dependency_has_a_known_key_once():
    keys = [e.text for e in package() if e.tag.endswith('depend')]
    assert set(keys) <= KNOWN_KEYS
    assert len(keys) == len(set(keys))


def test_every_ros_module_that_is_imported_is_a_dependency():
    keys = {e.text for e in package() if e.tag.endswith('depend')}
    sources = [*(ROOT / 'trpose_ros').rglob('*.py'), *(ROOT / 'launch').glob('*.py')]
    pattern = re.compile(r'^\s*(?:from|import) (\w+)', flags=re.MULTILINE)
    modules = {name for path in sources for name in pattern.findall(path.read_text())}
    ros = {m for m in modules if m.endswith(('_msgs', '_interfaces', '_srvs'))}
    ros |= modules & {'rclpy', 'launch', 'launch_ros', 'cv_bridge', 'tf2_ros'}
    ros |= {'tf2_msgs'}  # taken by name: nodes without frames do without
    assert ros <= keys
    assert 'rclpy' in ros


def test_cmake_knows_every_message_and_every_node():
    text = read('CMakeLists.txt')
    messages = re.findall(r'"(msg/\w+\.msg)"', text)
    assert sorted(messages) == sorted(f'msg/{p.name}' for p in (ROOT / 'msg').glob('*.msg'))
    nodes = re.search(r'foreach\(node (.*?)\)', text, re.DOTALL)[1].split()
    with_main = {
        p.stem
        for p in (ROOT / 'trpose_ros' / 'nodes').glob('*.py')
        if '\ndef main(' in p.read_text()
    }
    assert set(nodes) == with_main - {'reference'}


def test_cmake_installs_the_data_and_not_before_the_messages():
    text = read('CMakeLists.txt')
    assert 'install(DIRECTORY msg config launch' in text
    assert text.index('rosidl_generate_interfaces(') < text.index('install(DIRECTORY trpose_ros/')


def test_setup_lists_every_kind_of_data_file():
    setup = read('setup.py')
    folder = ROOT / 'trpose_ros'
    kinds = {'.safetensors', '.mcap', '.jpg', '.npz', '.npy', '.json', '.yaml', '.typed'}
    for path in folder.rglob('*'):
        if path.suffix in kinds or path.name == 'py.typed':
            relative = path.relative_to(folder)
            pattern = str(relative.parent / f'*{path.suffix}') if path.stem != 'py' else 'py.typed'
            assert f"'{pattern}'" in setup, f'{relative} is not packaged by setup.py'


@pytest.mark.parametrize(
    'name',
    [
        'config/pose.yaml',
        'config/fastdds.xml',
        'launch/pose.launch.py',
        'launch/replay.launch.py',
        'cmake/wheel_compat.cmake',
    ],
)
def test_resources_are_found(name):
    kind, _, file = name.partition('/')
    assert resource(kind, file).is_file()


def test_importing_the_package_needs_neither_torch_nor_ros():
    code = (
        'import sys, trpose_ros; print([m for m in ("torch", "rclpy", "cv2") if m in sys.modules])'
    )
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout.strip() == '[]'


def test_pins_stand_in_one_place():
    assert '==' not in read('pyproject.toml').split('[project.optional-dependencies]')[0]
    assert 'torch==2.13.0' in read('constraints.txt')
