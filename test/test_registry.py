"""Registries: names, what is imported when, and what is said about a name that is not there."""

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.estimators import ESTIMATORS
from trpose_ros.estimators.boxes import BOX_SOURCES
from trpose_ros.lifters import LIFTER_NAMES, LIFTERS
from trpose_ros.registry import Registry


def test_an_empty_registry_says_that_it_is_empty():
    shapes = Registry('shape')
    assert (len(shapes), list(shapes), 'square' in shapes) == (0, [], False)
    with pytest.raises(ValueError, match=r"^unknown shape 'square'; known are $"):
        shapes['square']


def test_what_is_registered_stays_what_it_was():
    shapes = Registry('shape')

    @shapes.register('square')
    class Square:
        """A class, not a wrapper of it."""

    assert isinstance(Square(), Square)
    assert shapes['square'] is Square
    with pytest.raises(ValueError, match=r"shape 'square' is registered twice"):
        shapes.register('square')(None)
    assert shapes['square'] is Square


@given(st.lists(st.text(), unique=True, max_size=8))
def test_the_order_is_that_of_registering(names):
    shapes = Registry('shape')
    for index, name in enumerate(names):
        shapes.register(name)(index)
    assert list(shapes.items()) == [(name, index) for index, name in enumerate(names)]
    assert all(name in shapes for name in names)


def test_a_near_name_is_offered():
    with pytest.raises(ValueError, match=r"; known are .*movenet; did you mean 'movenet'\?$"):
        ESTIMATORS['movnet']
    with pytest.raises(ValueError, match=r'known are detector, image$'):
        BOX_SOURCES['radar']
    with pytest.raises(ValueError, match='unknown box source 3;'):
        BOX_SOURCES[3]


def test_what_is_announced_is_imported_when_asked_for(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    shapes = Registry('shape', {'blob': 'made_blob', 'hole': 'made_blob', 'gone': 'made_nothing'})
    monkeypatch.setattr(sys, 'made_shapes', shapes, raising=False)
    (tmp_path / 'made_blob.py').write_text("import sys\nsys.made_shapes.register('blob')(7)\n")
    shapes.register('square')(4)
    assert list(shapes) == ['blob', 'hole', 'gone', 'square']
    assert 'made_blob' not in sys.modules
    assert shapes['blob'] == 7
    assert list(shapes) == ['blob', 'hole', 'gone', 'square']
    with pytest.raises(RuntimeError, match="made_blob registers no shape 'hole'"):
        shapes['hole']
    with pytest.raises(ModuleNotFoundError, match='made_nothing'):
        shapes['gone']
    monkeypatch.delitem(sys.modules, 'made_blob')


def test_lifters_are_those_that_can_be_chosen():
    assert {*LIFTERS, 'none'} == set(LIFTER_NAMES)


def test_names_are_known_before_anything_heavy_is_imported():
    code = (
        'import sys\n'
        'from trpose_ros.data.registry import DATASETS\n'
        'from trpose_ros.estimators import ESTIMATORS\n'
        'from trpose_ros.estimators.boxes import BOX_SOURCES\n'
        'from trpose_ros.lifters import LIFTERS\n'
        'from trpose_ros.training import TRAINERS\n'
        'assert all(map(len, (DATASETS, ESTIMATORS, BOX_SOURCES, LIFTERS, TRAINERS)))\n'
        "assert not {'torch', 'tensorflow', 'cv2', 'scipy'} & set(sys.modules), sys.modules\n"
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=120)


@pytest.mark.parametrize('kind', ['data.registry.DATASETS', 'training.TRAINERS'])
def test_every_announced_module_registers_its_name(kind):
    module, _, name = kind.rpartition('.')
    registry = getattr(pytest.importorskip(f'trpose_ros.{module}'), name)
    assert [entry for entry, value in registry.items() if value] == list(registry)


def test_a_name_of_megabytes_is_refused_at_once_and_not_repeated():
    begin = time.process_time()
    with pytest.raises(ValueError, match='unknown lifter') as caught:
        LIFTERS['videopose3' * 2_000_000]
    assert len(str(caught.value)) < 400
    assert time.process_time() - begin < 1.0  # comparing all of it took seconds
