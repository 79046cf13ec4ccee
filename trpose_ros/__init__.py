"""trpose_ros: stable 3D human skeletons for robots, even when people are cut off or hidden.

Images become people, people become tracks, tracks become stable 3D skeletons. Every stage is one
plain Python object that the ROS nodes, the command line, the evaluator and the trainer all call::

    from trpose_ros import StillPipeline, read_frame
    people = StillPipeline().find(read_frame('photo.jpg'))
    print(people.joints_m)  # (N, J, 3) metres, camera frame

``Pipeline().process(frame)`` does it for the images of a video, with tracks and a temporal lifter.
These names are imported when they are used: importing the package alone needs nothing but Python.

The package shares its name with the generated ROS messages (``trpose_ros.msg``), which may be
installed somewhere else on the path: ``extend_path`` joins the two places.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trpose_ros.people import Camera, Frame, People
    from trpose_ros.pipeline.pipeline import Pipeline, PipelineConfig
    from trpose_ros.pipeline.stills import StillPipeline
    from trpose_ros.recordings.picture_source import read_frame
    from trpose_ros.recordings.sources import open_source

__path__ = extend_path(__path__, __name__)
__version__ = '0.2.0'
__all__ = [
    'Camera',
    'Frame',
    'People',
    'Pipeline',
    'PipelineConfig',
    'StillPipeline',
    'open_source',
    'read_frame',
]
_PLACES = {
    'Camera': 'people',
    'Frame': 'people',
    'People': 'people',
    'Pipeline': 'pipeline.pipeline',
    'PipelineConfig': 'pipeline.pipeline',
    'StillPipeline': 'pipeline.stills',
    'open_source': 'recordings.sources',
    'read_frame': 'recordings.picture_source',
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and no more."""
    if name not in _PLACES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_PLACES[name]}'), name)


def __dir__() -> list[str]:
    """Name what can be imported, too."""
    return sorted({*globals(), *__all__})
