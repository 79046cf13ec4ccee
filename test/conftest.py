"""Settings for all tests: before anything imports ROS messages or starts hypothesis."""

import os

from hypothesis import settings

# Generated message classes check the types of their fields only when told so, at import.
os.environ.setdefault('ROS_PYTHON_CHECK_FIELDS', '1')
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

# A shared machine is slow now and then: no deadline; the same examples in every run.
settings.register_profile('trpose', deadline=None, derandomize=True, max_examples=50)
settings.load_profile('trpose')
