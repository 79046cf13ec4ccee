"""Reading the calibration file of a camera, as ROS's camera_calibration writes it.

The YAML has the fields of a CameraInfo under their long names: image_width, image_height,
camera_matrix, distortion_model, distortion_coefficients (each matrix with its ``data``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trpose_ros.cameras import camera_from_info_fields
from trpose_ros.people import Camera
from trpose_ros.yaml_files import load_yaml

_LARGEST_BYTES = 1 << 20


def read_calibration(path: str | Path) -> Camera:
    """Return the camera that a calibration file describes.

    Raises ValueError, naming the file and what is wrong, for a file that is no calibration or one
    that no camera can have; OSError when it cannot be opened.
    """
    path = Path(path)
    content = load_yaml(path, _LARGEST_BYTES)
    try:
        return camera_from_info_fields(
            width=int(content['image_width']),
            height=int(content['image_height']),
            k=np.array(content['camera_matrix']['data'], np.float64),
            d=np.array(content['distortion_coefficients']['data'], np.float64),
            distortion_model=str(content.get('distortion_model', '')),
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f'{path} is no calibration: a YAML file with image_width, image_height, camera_matrix '
            f'and distortion_coefficients is needed, as camera_calibration writes it '
            f'({error!r:.200})'
        ) from error
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
