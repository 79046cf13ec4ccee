"""The one door to rerun (https://rerun.io, Apache-2.0 or MIT), which is an extra."""

from __future__ import annotations

from typing import Any

EXTRA = 'pip install "trpose_ros[view]"'
_OLDEST = (0, 30)


class ViewError(ValueError):
    """What was to be looked at cannot be shown; the message says what to do."""


def library() -> Any:
    """Return the module rerun.

    Raises ViewError where it is missing, too old, or another package of that name.
    """
    try:
        import rerun
    except ModuleNotFoundError as error:
        raise ViewError(f'{error.name} is missing: {EXTRA}') from error
    except ImportError as error:  # pyarrow says so when it does not fit numpy
        raise ViewError(f'rerun cannot be used ({error!s:.200}): {EXTRA}') from error
    version = str(getattr(rerun, '__version__', ''))
    if not hasattr(rerun, 'RecordingStream'):
        raise ViewError(f'the package rerun {version} is not the viewer rerun-sdk: {EXTRA}')
    if tuple(int(part) for part in version.split('.')[:2]) < _OLDEST:
        oldest = '.'.join(map(str, _OLDEST))
        raise ViewError(f'rerun-sdk {version} is too old, {oldest} at least: {EXTRA}')
    return rerun
