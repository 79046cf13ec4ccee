"""Logs frames and people for the rerun viewer, on the timeline ``stamp`` of the images.

::

    world                   camera optical frame: x right, y down, z forward, m
      camera                pinhole with the intrinsics; distortion is not drawn
        image               the image as the estimator saw it; image_resized: one of another size
        boxes, bones, joints, ids          2D, px, as in the messages
      skeletons             bones, joints, sigma (one standard deviation), ids: the lifted people
      estimated             bones, joints: the estimator's own 3D, hidden at first
      truth                 bones: ground truth, where there is one
    apart                   people whose frame_id is not that of the images, in that frame
    plots                   inference_ms, latency_ms (live), people

A stamp that a frame shares with nobody else keeps everything of that frame: what is logged later,
as a lifter with look-ahead does, stands under the stamp that it belongs to.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.drawing.overlay import CENTRE_RGB, TRUTH_RGB
from trpose_ros.people import Frame, People
from trpose_ros.skeletons import get_skeleton
from trpose_ros.viewer.library import library
from trpose_ros.viewer.shapes import Figures, boxes, ellipsoids, figures, name_of

TIMELINE = 'stamp'
APPLICATION = 'trpose'
_WIDE, _THIN, _JOINT = 2.0, 1.0, 2.5  # of lines and joints in 2D, points of the screen
_BONE_M, _THIN_BONE_M, _JOINT_M = 0.012, 0.006, 0.022  # radii in 3D
_LABEL_ABOVE_M, _LABEL_ABOVE = 0.22, 0.06  # over the topmost joint: m, share of the image
_PLANE_M = 1.0  # where the viewer shows the image, from the camera
_EYE_M, _LOOK_AT_M = (2.5, -0.9, 0.9), (0.25, 0.15, 3.1)  # at first
_MARGIN = 0.125  # around the image, of its height: joints lie outside of it, too
_IMAGE, _IMAGE_RESIZED = 'world/camera/image', 'world/camera/image_resized'
_EPOCH_NS = 365 * 86_400 * 10**9  # smaller stamps count from the start of something


@dataclass(frozen=True)
class ImageLogConfig:
    """How images are logged."""

    jpeg_quality: int = setting(
        85, 'JPEG quality of the images in the viewer; 0: not compressed', range=(0, 100)
    )

    def __post_init__(self) -> None:
        """Validate the range."""
        check_fields(self)


class RerunLog:
    """Logs into recording streams of rerun; threads may log at the same time."""

    def __init__(self, streams: Sequence[Any], config: ImageLogConfig | None = None) -> None:
        """Log into ``streams`` (sinks.py opens them)."""
        self._rr = library()
        self._streams = tuple(streams)
        self._config = config or ImageLogConfig()
        self._kind = ''  # of the timeline: 'timestamp' or 'duration'
        self._arranged = False
        self._frame_id = ''  # of the images
        self._apart = ''  # another one, that of lifted people
        self._size: tuple[int, ...] = ()  # of the first image
        self._shown_as = ''
        self._skeletons: dict[str, int] = {}  # name -> class id
        self._lock = threading.Lock()

    def add_frame(self, frame: Frame, people: People | None = None) -> None:
        """Log an image with its camera, and the people that the estimator found in it."""
        rr, camera = self._rr, frame.camera
        self._at(frame.stamp_ns)
        self._frame_id = frame.frame_id
        self._arrange(frame.camera.width, frame.camera.height)
        self._log(
            'world/camera',
            rr.Pinhole(
                image_from_camera=camera.matrix,
                resolution=[camera.width, camera.height],
                camera_xyz=rr.ViewCoordinates.RDF,
                image_plane_distance=_PLANE_M,
            ),
            rr.AnyValues(intrinsics_assumed=camera.assumed),
        )
        self._log_image(frame.image)
        if people is not None:
            self.add_people(people)

    def add_people(self, people: People) -> None:
        """Log what the estimator found: boxes and joints in 2D, and its own 3D."""
        self._at(people.stamp_ns)
        self._describe(people.skeleton)
        rectangles, colours = boxes(people)
        self._log(
            'world/camera/boxes',
            self._rr.Boxes2D(
                mins=rectangles[:, :2],
                sizes=rectangles[:, 2:],
                colors=colours,
                radii=self._rr.Radius.ui_points(_THIN),
            ),
        )
        self._log_figures('world/camera', people, people.joints_px)
        self._log_figures('world/estimated', people, people.joints_m)
        self._plot('people', float(sum(bool(name_of(people, i)) for i in range(len(people)))))
        self._plot('inference_ms', people.provenance.inference_ms)

    def add_lifted(self, people: People) -> None:
        """Log stable 3D skeletons, under their own stamp."""
        self._at(people.stamp_ns)
        self._describe(people.skeleton)
        place = 'world/skeletons'
        if self._frame_id and people.frame_id not in ('', self._frame_id):
            place = 'apart'
            self._set_apart(people)
        self._log_figures(place, people, people.joints_m)
        sigma = ellipsoids(people)
        self._log(
            f'{place}/sigma',
            self._rr.Ellipsoids3D(
                centers=sigma.centres_m,
                half_sizes=sigma.half_sizes_m,
                quaternions=sigma.quaternions,
                colors=sigma.colours,
            ),
        )
        times = people.provenance
        if times.received_ns > 0 and times.published_ns > 0:
            self._plot('latency_ms', (times.published_ns - times.received_ns) * 1e-6)

    def add_truth(self, people: People) -> None:
        """Log the true people."""
        self._at(people.stamp_ns)
        shapes = figures(people, people.joints_m)
        self._log(
            'world/truth/bones',
            self._rr.LineStrips3D(shapes.bones, colors=[TRUTH_RGB], radii=_THIN_BONE_M),
        )

    def _at(self, stamp_ns: int) -> None:
        """Set the time of what this thread logs next."""
        with self._lock:
            self._kind = self._kind or ('duration' if stamp_ns < _EPOCH_NS else 'timestamp')
        unit = np.timedelta64 if self._kind == 'duration' else np.datetime64
        for stream in self._streams:
            stream.set_time(TIMELINE, **{self._kind: unit(stamp_ns, 'ns')})

    def _log(self, entity: str, *what: Any, static: bool = False) -> None:
        for stream in self._streams:
            stream.log(entity, *what, static=static)

    def _plot(self, name: str, value: float) -> None:
        if np.isfinite(value):
            self._log(f'plots/{name}', self._rr.Scalars(value))

    def _log_image(self, image: np.ndarray) -> None:
        """Log an image; JPEG of one size alone, which the viewer takes for a video."""
        with self._lock:
            self._size = self._size or image.shape
            entities = [_IMAGE, _IMAGE_RESIZED]
            if image.shape != self._size and self._config.jpeg_quality:
                entities.reverse()
            changed, self._shown_as = self._shown_as not in ('', entities[0]), entities[0]
        if changed:
            self._log(entities[1], self._rr.Clear(recursive=False))
        if entities[0] == _IMAGE_RESIZED or not self._config.jpeg_quality:
            self._log(entities[0], self._rr.Image(image))
            return
        options = [cv2.IMWRITE_JPEG_QUALITY, self._config.jpeg_quality]
        _, data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        self._log(
            entities[0],
            self._rr.EncodedImage(contents=data.tobytes(), media_type='image/jpeg'),
        )

    def _log_figures(self, entity: str, people: People, points: np.ndarray) -> None:
        shapes = figures(people, points)
        flat = points.shape[2] == 2
        lines, dots = self._kinds(flat)
        wide, thin = (_WIDE, _THIN) if flat else (_BONE_M, _THIN_BONE_M)
        radii = np.where(shapes.bones_seen, wide, thin)
        sizes = np.where(shapes.joints_seen, 1.0, 0.7) * (_JOINT if flat else _JOINT_M)
        if flat:  # a negative radius counts points of the screen
            radii, sizes = -radii, -sizes
        self._log(f'{entity}/bones', lines(shapes.bones, colors=shapes.bone_colours, radii=radii))
        self._log(
            f'{entity}/joints',
            dots(
                shapes.joints,
                colors=shapes.joint_colours,
                radii=sizes,
                class_ids=np.full(len(shapes.joints), self._skeletons[people.skeleton], np.uint16),
                keypoint_ids=shapes.joint_numbers,
                show_labels=False,
            ),
        )
        above = _LABEL_ABOVE * people.height if flat else _LABEL_ABOVE_M
        self._log_names(entity, shapes, dots, above)

    def _kinds(self, flat: bool) -> tuple[Any, Any]:
        rr = self._rr
        return (rr.LineStrips2D, rr.Points2D) if flat else (rr.LineStrips3D, rr.Points3D)

    def _log_names(self, entity: str, shapes: Figures, dots: Any, above: float) -> None:
        places = shapes.name_places.copy()
        places[:, 1] -= above  # y points down in the image and in the world
        self._log(
            f'{entity}/ids',
            dots(places, labels=shapes.names, colors=[CENTRE_RGB], radii=-1.0, show_labels=True),
        )

    def _describe(self, skeleton: str) -> None:
        """Log the names of the joints once."""
        rr = self._rr
        with self._lock:
            if skeleton in self._skeletons:
                return
            self._skeletons[skeleton] = len(self._skeletons)
            classes = [
                rr.ClassDescription(
                    info=rr.AnnotationInfo(id=number, label=name),
                    keypoint_annotations=[
                        rr.AnnotationInfo(id=j, label=joint)
                        for j, joint in enumerate(get_skeleton(name).joint_names)
                    ],
                )
                for name, number in self._skeletons.items()
            ]
            self._log('world', rr.AnnotationContext(classes), static=True)

    def _arrange(self, width: int, height: int) -> None:
        """Say once how the viewer is to be laid out, which the size of the image decides."""
        with self._lock:
            if self._arranged:
                return
            self._arranged = True
        self._log('world', self._rr.ViewCoordinates.RDF, static=True)
        for stream in self._streams:
            stream.send_blueprint(blueprint(width, height))

    def _set_apart(self, people: People) -> None:
        """Give people of another frame a view of their own: nobody here knows how it lies."""
        with self._lock:
            if self._apart == people.frame_id:
                return
            self._apart = people.frame_id
        self._log('apart', self._rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for stream in self._streams:
            stream.send_blueprint(blueprint(people.width, people.height, self._apart))


def blueprint(width: int, height: int, apart: str = '') -> Any:
    """Return the layout: the image, the 3D view, and plots under them.

    ``apart`` names the frame of people who are not in that of the camera.
    """
    rrb = library().blueprint
    margin = _MARGIN * height
    bounds = rrb.VisualBounds2D(
        x_range=[-margin, width + margin], y_range=[-margin, height + margin]
    )
    eye = rrb.EyeControls3D(position=_EYE_M, look_target=_LOOK_AT_M, eye_up=(0.0, -1.0, 0.0))
    if apart:
        deep = rrb.Spatial3DView(origin='apart', name=f'Skeletons in {apart}')
    else:
        deep = rrb.Spatial3DView(
            origin='world',
            name='Skeletons',
            contents=['$origin/**', '- /world/estimated/**'],
            eye_controls=eye,
        )
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(
                rrb.Spatial2DView(origin='world/camera', name='Image', visual_bounds=bounds),
                deep,
            ),
            rrb.TimeSeriesView(origin='plots', name='Times (ms) and people'),
            row_shares=[4, 1],
        ),
        rrb.TimePanel(timeline=TIMELINE, state=rrb.PanelState.Collapsed),
        rrb.BlueprintPanel(state=rrb.PanelState.Collapsed),
        rrb.SelectionPanel(state=rrb.PanelState.Collapsed),
    )
