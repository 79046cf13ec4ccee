"""Where the files of msg/, config/, launch/ and cmake/ are, with or without ROS.

An installed package carries them in ``trpose_ros/share``; in a source tree they stand beside the
package. Asking here works for both, for pip and for colcon.
"""

from pathlib import Path

KINDS = ('msg', 'config', 'launch', 'cmake')


def resource(kind: str, name: str = '') -> Path:
    """Return the path of file ``name`` of one of the folders in ``KINDS`` (or of the folder).

    Raises FileNotFoundError, naming the places that were searched.
    """
    if kind not in KINDS:
        raise ValueError(f'resource kind must be one of {KINDS}, got {kind!r}')
    package = Path(__file__).resolve().parent
    places = [package / 'share' / kind / name, package.parent / kind / name]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(
        f'{kind}/{name} not found in {[str(p) for p in places]}; install trpose_ros again'
    )
