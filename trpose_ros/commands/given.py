"""What the options of ``run`` and ``replay`` mean, as configurations of the rooms below.

``given`` is the dictionary of a command's options by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trpose_ros.pipeline.pipeline import PipelineConfig
    from trpose_ros.recordings.sources import SourceOptions

_CAMERA_OVER_FLOOR = ('camera_height_m', 'camera_pitch_deg', 'camera_roll_deg')


def pipeline_config(given: dict[str, Any]) -> PipelineConfig:
    """Return the configuration of the pipeline; raises ValueError for a value out of range."""
    from trpose_ros.estimators import EstimatorConfig
    from trpose_ros.lifters import LifterConfig
    from trpose_ros.occlusion.occluder import OcclusionConfig
    from trpose_ros.pipeline.pipeline import LiftStageConfig, PipelineConfig, PoseStageConfig
    from trpose_ros.pipeline.standing import StandingConfig

    lifter: dict[str, Any] = {'device': given['device'], 'smoothing': given['smoothing']}
    if given['lifter']:
        lifter['name'] = given['lifter']
    if given['lifter_model']:
        lifter['model'] = given['lifter_model']
    if given['look_ahead'] >= 0:
        lifter['look_ahead'] = given['look_ahead']
    lift: dict[str, Any] = {'rotate_deg': given.get('rotate_deg', 0)}
    if given.get('fusion'):
        lift['fusion'] = given['fusion']
    kind, _, model = given['estimator'].partition(':')
    estimator = {'device': given['device'], 'num_aug': given['num_aug']}
    if model or given['model']:
        estimator['model'] = model or given['model']
    return PipelineConfig(
        estimator_name=kind,
        estimator=EstimatorConfig(**estimator),
        pose=PoseStageConfig(boxes=given['boxes'], rotate_deg=given.get('rotate_deg', 0)),
        lift=LiftStageConfig(**lift),
        lifter=LifterConfig(**lifter),
        standing=StandingConfig(
            **{name: given.get(name, 0.0) for name in ('person_height_m', *_CAMERA_OVER_FLOOR)}
        ),
        occlusion=OcclusionConfig(
            profile=given['occlusion'],
            severity=given['severity'],
            realisation=given['realisation'],
        ),
    )


def source_options(given: dict[str, Any]) -> SourceOptions:
    """Return how a source is read; raises ValueError for options that exclude each other."""
    from trpose_ros.recordings.calibration import read_calibration
    from trpose_ros.recordings.camera_book import CameraConfig
    from trpose_ros.recordings.sources import SourceOptions

    calibration, depth = given.get('calibration'), given.get('depth_topic') or None
    if depth and (given['occlusion'] != 'none' or given.get('report')):
        raise ValueError(
            '--depth-topic takes neither --occlusion nor --report: an occlusion hides parts of the '
            'images, and depth would show them'
        )
    return SourceOptions(
        image_topic=given['image_topic'] or None,
        camera_info_topic=given['camera_info_topic'] or None,
        truth_topic=given['truth_topic'] or None,
        depth_topic=depth,
        camera=CameraConfig(
            rectified=given['rectified'], fov_deg=given['fov_deg'], any_frame=given['any_frame']
        ),
        calibration=None if calibration is None else read_calibration(calibration),
        max_megapixels=given.get('max_megapixels', 64.0),
    )
