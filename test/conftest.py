"""Settings for all tests: before anything imports ROS messages or starts hypothesis."""

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


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Return the folder of reference material; skips, saying so, where there is none."""
    default = Path(__file__).resolve().parent.parent.parent / 'shared'
    folder = Path(os.environ.get('TRPOSE_SHARED', default))
    if not folder.is_dir():
        pytest.skip(f'no reference material at {folder} (TRPOSE_SHARED names another folder)')
    return folder
