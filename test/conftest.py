"""Settings for all tests: before anything imports ROS messages or starts hypothesis.

Tests marked slow are left out, and their number is said, unless they are asked for.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Generated message classes check the types of their fields only when told so, at import.
os.environ.setdefault('ROS_PYTHON_CHECK_FIELDS', '1')
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

# A shared machine is slow now and then: no deadline; the same examples in every run.
settings.register_profile('trpose', deadline=None, derandomize=True, max_examples=50)
settings.load_profile('trpose')


LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help='run the tests marked slow, too')


def pytest_collection_modifyitems(config, items):
    """Leave slow tests out, except where a test is named or a mark is asked for."""
    named = any('::' in argument for argument in config.args)
    if config.option.slow or config.option.markexpr or named:
        return
    slow = [item for item in items if item.get_closest_marker('slow')]
    items[:] = [item for item in items if not item.get_closest_marker('slow')]
    config.hook.pytest_deselected(items=slow)
    config.stash[LEFT_OUT] = len(slow)
    if hasattr(config, 'workeroutput'):  # a process of pytest-xdist: its parent says it
        config.workeroutput['left_out'] = len(slow)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Take the number from a process of pytest-xdist; all have collected the same tests."""
    if left_out := getattr(node, 'workeroutput', {}).get('left_out'):  # none of one that died
        node.config.stash[LEFT_OUT] = left_out


def pytest_terminal_summary(terminalreporter, config):
    left_out = config.stash.get(LEFT_OUT, 0)
    if left_out:
        terminalreporter.write_line(f'slow tests left out: {left_out}; make test-all runs them')


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Return the folder of reference material; skips, saying so, where there is none."""
    default = Path(__file__).resolve().parent.parent.parent / 'shared'
    folder = Path(os.environ.get('TRPOSE_SHARED', default))
    if not folder.is_dir():
        pytest.skip(f'no reference material at {folder} (TRPOSE_SHARED names another folder)')
    return folder
