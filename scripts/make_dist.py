"""Make the wheel and the source distribution, look into them, and try the wheel.

    python scripts/make_dist.py              # make dist: both into dist/, and what is in them
    python scripts/make_dist.py --try        # make dist-check: also in a new environment
    python scripts/make_dist.py --try --ros  # with the extra [ros]: messages and a node, too

Both are made from a copy of the source tree, the wheel from the unpacked source distribution:
nothing that an earlier build left behind can come in. Ends with 1 and says what is wrong.
"""

from __future__ import annotations

import argparse
import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = ('.*', 'build', 'install', 'out', 'log', 'dist', '*.egg-info', '__pycache__')
MOST_MB = 45  # 28 MB now, nearly all of it weights
# Source -> where it is in the wheel; every file of the source that fits has to be there.
WANTED = {
    'trpose_ros/**/*.py': 'trpose_ros/',
    'trpose_ros/weights/*.safetensors': 'trpose_ros/weights/',
    'trpose_ros/weights/*.md': 'trpose_ros/weights/',
    'trpose_ros/samples/*': 'trpose_ros/samples/',
    'trpose_ros/report/templates/*': 'trpose_ros/report/templates/',
    'trpose_ros/data/motion/noise/*.json': 'trpose_ros/data/motion/noise/',
    'trpose_ros/py.typed': 'trpose_ros/',
    'msg/*.msg': 'trpose_ros/share/msg/',
    'config/*': 'trpose_ros/share/config/',
    'launch/*.py': 'trpose_ros/share/launch/',
    'cmake/*.cmake': 'trpose_ros/share/cmake/',
}
NEVER = ('*test_*.py', '*conftest.py', '*/test/*', '*shared/*', '*.pyc', '*.npz', '*.pt', '*.ckpt')


class DistError(Exception):
    """Something is wrong with a distribution."""


def expected_files(root: Path = ROOT) -> set[str]:
    """Return what the wheel has to hold, besides its metadata."""
    found = set()
    for pattern, target in WANTED.items():
        base = root / pattern.partition('*')[0].rpartition('/')[0]
        for path in root.glob(pattern):
            if path.is_file():
                found.add(f'{target}{path.relative_to(base).as_posix()}')
    return found


def wrong_files(names: set[str], expected: set[str]) -> list[str]:
    """Say what is missing from the files of a wheel, or does not belong there."""
    inside = {name for name in names if '.dist-info/' not in name}
    wrong = [f'{name} is missing' for name in sorted(expected - inside)]
    wrong += [f'{name} does not belong there' for name in sorted(inside - expected)]
    return wrong + [
        f'{name} must not be there'
        for name in sorted(names)
        if any(fnmatch(name, pattern) for pattern in NEVER)
    ]


def wrong_metadata(text: str, project: str) -> list[str]:
    """Compare the METADATA of a wheel with what pyproject.toml says."""
    meta = email.message_from_string(text)
    version = re.search(r"^version = '([^']+)'", project, re.M)[1]
    table = re.search(r'^\[project\.optional-dependencies\]\n(.*?)^\[', project, re.M | re.S)[1]
    extras = set(re.findall(r'^(\w+) = \[', table, re.M))
    wrong = []
    for name, wanted in (
        ('Name', 'trpose_ros'),
        ('Version', version),
        ('License-Expression', 'Apache-2.0'),
        ('License-File', 'LICENSE'),
        ('Requires-Python', '>=3.10'),
        ('Description-Content-Type', 'text/markdown'),
    ):
        if (meta[name] or '').replace('-', '_') != wanted.replace('-', '_'):
            wrong.append(f'{name} is {meta[name]!r}, not {wanted!r}')
    if set(meta.get_all('Provides-Extra', [])) != extras:
        wrong.append(f'extras are {meta.get_all("Provides-Extra")}, not {sorted(extras)}')
    base = [line for line in meta.get_all('Requires-Dist', []) if 'extra ==' not in line]
    if any('==' in line for line in base):
        wrong.append(f'pinned: {base}')
    return wrong


def make(out: Path) -> tuple[Path, Path]:
    """Make both; return the wheel and the source distribution."""
    with tempfile.TemporaryDirectory() as made:
        source, unpacked = Path(made, 'source'), Path(made, 'unpacked')
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*LEFT_OUT))
        _backend('build_sdist', source, Path(made))
        (sdist,) = Path(made).glob('*.tar.gz')
        with tarfile.open(sdist) as archive:
            archive.extractall(unpacked, filter='data')
        (inner,) = unpacked.iterdir()
        _backend('build_wheel', inner, Path(made))
        (wheel,) = Path(made).glob('*.whl')
        out.mkdir(exist_ok=True)
        for old in (*out.glob('trpose_ros-*'),):
            old.unlink()
        return tuple(Path(shutil.move(path, out / path.name)) for path in (wheel, sdist))


def _backend(what: str, folder: Path, out: Path) -> None:
    code = f'import sys, setuptools.build_meta as b; b.{what}(sys.argv[1])'
    result = subprocess.run(
        [sys.executable, '-c', code, str(out)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise DistError(f'{what} failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}')


def look(wheel: Path, sdist: Path) -> None:
    """Check contents, metadata and size."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith('.dist-info/METADATA')]
        text = archive.read(metadata).decode()
    wrong = wrong_files(names, expected_files())
    wrong += wrong_metadata(text, (ROOT / 'pyproject.toml').read_text(encoding='utf-8'))
    with tarfile.open(sdist) as archive:
        inner = {name.partition('/')[2] for name in archive.getnames()}
    wrong += [
        f'{name} is missing from the source distribution'
        for name in ('CMakeLists.txt', 'package.xml', 'LICENSE', 'setup.py', 'CHANGELOG.rst')
        if name not in inner
    ]
    wrong += [f'{name} in the source distribution' for name in inner if name.startswith('test')]
    for path in (wheel, sdist):
        size = path.stat().st_size / 1e6
        print(f'{path.name}: {size:.1f} MB')
        if size > MOST_MB:
            wrong.append(f'{path.name} has {size:.1f} MB, more than {MOST_MB}')
    print(f'{len(names)} files in the wheel')
    if wrong:
        raise DistError('\n'.join(wrong))


def try_it(wheel: Path, ros: bool) -> None:
    """Install the wheel into a new environment and use it from another folder."""
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        print('== installing into a new environment')
        venv.create(home / 'venv', with_pip=True)
        target = f'trpose_ros[ros] @ file://{wheel}' if ros else str(wheel)
        pip = ('-m', 'pip', 'install', '-q', '--disable-pip-version-check')
        _call(home, 'python', *pip, '-c', str(ROOT / 'constraints.txt'), target)
        print('== using it')
        said = _call(home, 'trpose', '--version')
        _expect(wheel.name.split('-')[1] in said, f'trpose --version says {said}')
        _expect('replay' in _call(home, 'trpose', '--help'), 'trpose --help names no replay')
        _doctor(home, ros)
        picture = (
            'import cv2, pathlib, trpose_ros as t\n'
            "bag = pathlib.Path(t.__file__).parent / 'samples' / 'walk.mcap'\n"
            'entry = next(t.open_source(str(bag)).frames())\n'
            "assert cv2.imwrite('made.png', entry.frame.image[..., ::-1])\n"
        )
        _call(home, 'python', '-c', picture)
        text = _call(home, 'trpose', 'run', 'made.png', '--json')
        _expect(json.loads(text)['people'] == 1, f'trpose run found other than one person: {text}')
        if ros:
            _call(home, 'trpose', 'messages')
            _doctor(home, ros, '--only', 'ros')
            odd = ('--ros-args', '-p', 'num_aug:=0')
            said = _call(home, 'trpose', 'node', 'pose_node', *odd, code=1)
            _expect('num_aug' in said, f'pose_node does not refuse num_aug 0: {said}')
        print('it works')


def _doctor(home: Path, ros: bool, *options: str) -> None:
    """Expect no problem, but for messages that are not built yet."""
    text = _call(home, 'trpose', 'doctor', '--json', '--seconds', '0.2', *options, code=None)
    problems = [
        finding['text']
        for section in json.loads(text)['sections']
        for finding in section['findings']
        if finding['mark'] == 'problem'
    ]
    unbuilt = ros and not options
    problems = [line for line in problems if not (unbuilt and 'trpose_ros.msg' in line)]
    _expect(not problems, f'trpose doctor: {problems}')


def _call(home: Path, program: str, *arguments: str, code: int | None = 0) -> str:
    """Run a program of the environment as a user without anything of ours would."""
    ours = ('PYTHONPATH', 'LD_LIBRARY_PATH', 'AMENT_PREFIX_PATH', '_ROS_WHEELS_BOOTSTRAP_COMPLETE')
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment.pop('FASTRTPS_DEFAULT_PROFILES_FILE', None)
    environment['PATH'] = f'{home}/venv/bin:{environment["PATH"]}'
    result = subprocess.run(
        [str(home / 'venv' / 'bin' / program), *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    words = f'{result.stdout[-3000:]}{result.stderr[-3000:]}'
    _expect(code is None or result.returncode == code, f'{program} {arguments}: {words}')
    return result.stdout if code == 0 or code is None else words


def _expect(fine: bool, words: str) -> None:
    if not fine:
        raise DistError(words)


def main() -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--out', type=Path, default=ROOT / 'dist')
    parser.add_argument('--try', dest='attempt', action='store_true', help='in a new environment')
    parser.add_argument('--ros', action='store_true', help='the extra [ros], too')
    options = parser.parse_args()
    try:
        wheel, sdist = make(options.out.resolve())
        look(wheel, sdist)
        if options.attempt:
            try_it(wheel, options.ros)
    except DistError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
