"""Options that several commands share: their types, ranges and words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        help='a bag (.mcap, .db3, folder), a video file or /dev/video0; of several cameras one '
        'each, NAME=PATH, with a --calibration of all'
    ),
]
Occlusion = Annotated[
    str, typer.Option(help='truncation condition to simulate, e.g. fixed_lower; none: untouched')
]
Severity = Annotated[int, typer.Option(help='index of its severity, -1: the main one')]
Realisation = Annotated[str, typer.Option(help='fill (paint), crop (cut off) or main')]
Estimator = Annotated[
    str, typer.Option(help="'metrabs_torch', 'metrabs_tensorflow' or 'movenet'; KIND:WEIGHTS")
]
Model = Annotated[str, typer.Option(help='weights of the estimator: name, file or folder')]
Boxes = Annotated[str, typer.Option(help="who finds people: 'detector' or 'image'")]
Lifter = Annotated[str, typer.Option(help="network that lifts, e.g. videopose3d; 'none'")]
LifterModel = Annotated[str, typer.Option(help='weights of the lifter: name or file')]
LookAhead = Annotated[int, typer.Option(help='frames of future a skeleton waits for; -1: default')]
Smoothing = Annotated[int, typer.Option(help='frames of these that average skeletons', min=0)]
FusionOption = Annotated[
    str, typer.Option(help="what joins the estimator's 3D and the lifted: constants or refinement")
]
Device = Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda' or 'cuda:N'")]
NumAug = Annotated[int, typer.Option(help='variants of each crop', min=1, max=32)]
ImageTopic = Annotated[str, typer.Option(help='image topic, where a bag has several')]
InfoTopic = Annotated[str, typer.Option(help='camera_info topic')]
TruthTopic = Annotated[str, typer.Option(help='PersonArray topic with the ground truth')]
DepthTopic = Annotated[
    str, typer.Option(help='topic of depth images aligned to the images: corrects distances')
]
Fov = Annotated[
    float, typer.Option(help='field of view along the larger side to assume where none is known')
]
Rectified = Annotated[
    bool, typer.Option('--rectified', help='images are undistorted: intrinsics of P of camera_info')
]
AnyFrame = Annotated[
    bool, typer.Option('--any-frame', help='take camera_info of another frame_id than the images')
]
RotateDeg = Annotated[
    int, typer.Option(help='turn images clockwise by 90, 180 or 270: a camera mounted turned')
]
PersonHeight = Annotated[
    float,
    typer.Option(
        help='height of everybody in sight, m: corrects distances; 0: not known', min=0, max=3
    ),
]
CameraHeight = Annotated[
    float,
    typer.Option(
        help='of the camera above a flat floor, m: corrects distances; 0: not known', min=0, max=100
    ),
]
CameraPitch = Annotated[
    float, typer.Option(help='how far the camera looks down, deg', min=-90, max=90)
]
CameraRoll = Annotated[
    float, typer.Option(help='how far its right side is lower, deg', min=-180, max=180)
]
MaxMegapixels = Annotated[
    float, typer.Option(help='larger pictures are refused: memory', min=0.01, max=1000)
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        help='YAML of camera_calibration, where there is no camera_info; of pictures: '
        'as the camera stored them; of several cameras, for replay: docs/several_cameras.md'
    ),
]
ExportOption = Annotated[
    str,
    typer.Option(help='skeletons for others: csv, parquet, npz, json, bvh, trc, joined by commas'),
]
ViewOption = Annotated[
    bool, typer.Option('--view', help='show images and skeletons in a rerun viewer (extra [view])')
]
SaveView = Annotated[
    Path | None,
    typer.Option(help='write what --view shows to this file (.rrd), with or without it'),
]
ViewQuality = Annotated[
    int, typer.Option(help='JPEG quality of its images; 0: not compressed', min=0, max=100)
]
