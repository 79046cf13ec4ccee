"""trpose_ros: stable 3D human skeletons for robots, even when people are cut off or hidden.

Images become people, people become tracks, tracks become stable 3D skeletons. Every stage is one
plain Python object that the ROS nodes, the command line, the evaluator and the trainer all call.

The package shares its name with the generated ROS messages (``trpose_ros.msg``), which may be
installed somewhere else on the path: ``extend_path`` joins the two places.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
__version__ = '0.1.0'
