"""Inputs of an attacker: does each do no more than be refused, at once and in words?

As field_cases.py: the folders of ../shared/cases/hostile, each with a README that says what its
files once did. Here are those that take milliseconds; what needs nodes, a full disk or gigabytes
has tests of its own (docs/security.md names them).
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import runpy
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trpose_ros.data.datasets.pickled_numbers import load_npz
from trpose_ros.data.datasets.threedpw import load as load_threedpw
from trpose_ros.data.motion.files import read_amc, read_asf, read_bvh
from trpose_ros.data.samples import DataError
from trpose_ros.lifters.checkpoints import read_checkpoint
from trpose_ros.metrabs.packages import _skeletons
from trpose_ros.recordings.bags import BagError, BagReader
from trpose_ros.recordings.image_codec import ImageError, decode_compressed
from trpose_ros.recordings.sources import SourceError, open_source
from trpose_ros.weights import WeightsError, files
from trpose_ros.weights.pickles import read_numbers

Check = Callable[[Path, Path], None]  # the case's folder, an empty folder; AssertionError
HOSTILE: dict[str, Check] = {}
_CPU_S = 2.0  # of any of the files
_HARMLESS = {'memo_bomb'}  # it is an empty list


def case(name: str) -> Callable[[Check], Check]:
    """Enter a check under the name of its folder."""

    def enter(check: Check) -> Check:
        HOSTILE[name] = check
        return check

    return enter


@contextlib.contextmanager
def quick(what: object) -> Iterator[None]:
    """Fail when the block takes longer than an input may."""
    begin_s = time.process_time()
    yield
    spent_s = time.process_time() - begin_s
    assert spent_s < _CPU_S, f'{what}: {spent_s:.1f} s'


def words_of(kind: type[Exception] | tuple[type[Exception], ...], call: Callable, *given) -> str:
    """Return the words with which a call refuses its input, '' when it takes it."""
    with quick(given):
        try:
            call(*given)
        except kind as error:
            return str(error) or 'no words'
    return ''


def refused(kind: type[Exception] | tuple[type[Exception], ...], call: Callable, *given) -> str:
    """Return the words with which a call refuses its input; it must."""
    text = words_of(kind, call, *given)
    assert text, f'{given} was taken'
    assert len(text) < 1500
    return text


@case('01-forged-objects-in-pickles')
def forged_objects(folder: Path, out: Path) -> None:
    def stream(path: Path) -> object:
        return read_numbers(io.BytesIO(path.read_bytes()))

    assert 'evil.pth' in refused(WeightsError, read_checkpoint, folder / 'evil.pth')
    refused(pickle.UnpicklingError, stream, folder / 'leak.pkl')
    assert 'objforge.npz' in refused(DataError, load_npz, folder / 'objforge.npz')
    refused(WeightsError, _skeletons, folder / 'skeleton_infos.pkl', 17)
    refused(DataError, lambda: list(load_threedpw(folder / 'tdpw')))
    shutil.copy(folder / 'mk1.py', out)
    before = Path.cwd()
    os.chdir(out)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path('mk1.py')
    finally:
        os.chdir(before)
    made = sorted((out / 'pk').glob('*.pkl'))
    assert len(made) >= 35
    for path in made:
        for call, given in ((stream, path), (read_checkpoint, path.with_suffix('.pth'))):
            text = words_of((pickle.UnpicklingError, WeightsError), call, given)
            assert text or path.stem in _HARMLESS, f'{path.name} was taken'
            assert len(text) < 1500
    assert not list(out.rglob('PWNED'))


@case('02-image-bombs')
def image_bombs(folder: Path, _: Path) -> None:
    data = (folder / 'jpeg_20000x20000.bin').read_bytes()
    assert '20000x20000' in refused(ImageError, decode_compressed, data, 'jpeg')


@case('03-checkpoint-bombs')
def checkpoint_bombs(folder: Path, _: Path) -> None:
    for name in ('laughs.pth', 'views_amplify.pth'):
        assert name in refused(WeightsError, read_checkpoint, folder / name)


@case('04-bag-bombs')
def bag_bombs(folder: Path, _: Path) -> None:
    for name in ('viewinf.db3', 'viewtopics.db3'):
        assert name in refused(BagError, BagReader, folder / name)

    def read(path: Path) -> None:
        with BagReader(path) as bag:
            list(bag.messages())
            assert bag.problems

    for name in ('declared1t.mcap', 'defcode.mcap'):
        text = words_of(BagError, read, folder / name)
        assert name in text or not text
    for name in ('yaml_deep', 'yaml_laughs', 'yaml_notutf8'):
        with quick(name):
            source = open_source(folder / name)
            assert len(list(source.frames())) == 1
            assert any('metadata.yaml' in problem for problem in source.problems)
            source.close()
    refused((BagError, SourceError), open_source, folder / 'filebomb.mcap.zstd')


@case('05-raw-tracebacks')
def raw_tracebacks(folder: Path, _: Path) -> None:
    for name in ('deepjson.safetensors', 'f8.safetensors'):
        assert name in refused(WeightsError, files.load, folder / name)
    assert 'encrypted.pth' in refused(WeightsError, read_checkpoint, folder / 'encrypted.pth')


@case('11-motion-files')
def motion_files(folder: Path, out: Path) -> None:
    for path in sorted(folder.glob('*.bvh')):
        assert path.name in refused(DataError, read_bvh, path)
    (out / 'a.amc').write_text(':DEGREES\n1\nroot 0 0 0 0 0 0\n')
    for path in sorted(folder.glob('*.asf')):
        text = refused(DataError, lambda path=path: read_amc(out / 'a.amc', read_asf(path)))
        assert path.name in text


def main() -> int:
    """Print one line a case; return how many do not behave."""
    from field_cases import behaves

    cases = Path(sys.argv[1] if len(sys.argv) > 1 else '../shared/cases/hostile')
    wrong = 0
    for name, check in sorted(HOSTILE.items()):
        problem = behaves(check, cases / name)
        wrong += bool(problem)
        print(f'{"WRONG" if problem else "as it should"}  {name}  {problem}'.rstrip(), flush=True)
    return wrong


if __name__ == '__main__':
    sys.exit(main())
