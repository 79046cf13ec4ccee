"""player: plays a recording or a video as a camera would: images and camera_info in real time.

Ground truth of a recording goes out too, and the box that the truncation protocol measures by,
so that an occlusion_node can be told to use it (``reference: given``). Images are sent raw,
whatever the recording holds. With ``clock`` the time of the recording goes out as /clock.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.people import People
from trpose_ros.recordings import messages
from trpose_ros.recordings.bags import BagError
from trpose_ros.recordings.camera_book import CameraConfig
from trpose_ros.recordings.sources import SourceError, SourceFrame, SourceOptions, open_source
from trpose_ros.recordings.video import VideoError

_LONGEST_GAP_S = 5.0  # between two frames; longer ones are not waited for
_TICK_S = 0.2  # between two times of a recording that is not playing
_PARAMETERS: tuple[tuple[str, Any, str], ...] = (
    ('source', '', 'bag, video or /dev/video0 to play'),
    ('rate', 1.0, 'speed: 1.0 as recorded'),
    ('stamps', 'original', 'original, or now: stamps of the time of sending'),
    ('start', 'subscribers', 'subscribers: once somebody listens; service: when ~/play is called'),
    ('subscribers', 1, 'wait for so many subscribers of `image` before the first frame'),
    (
        'lockstep_s',
        0.0,
        'above 0: wait so long for the people of an image on `results` before the next one, s; '
        'may be changed between two plays, if it was above 0 at the start',
    ),
    ('clock', False, 'publish the stamp of each image as /clock before it'),
    ('loop', False, 'start again at the end, stamps jump back'),
    ('image_topic', '', 'image topic of the bag, where there are several'),
    ('rectified', False, 'the images of the bag are rectified: camera_info is sent for those'),
    ('any_frame', False, 'take camera_info of the bag of another frame_id than the images'),
)


class Player(Node):
    """Publishes a source; ``play`` does it once."""

    def __init__(self, name: str = 'player', **options: Any) -> None:
        """Declare parameters and publishers; open the source to see that it can be read."""
        super().__init__(name, **options)
        given = {key: self.declare_parameter(key, value).value for key, value, _ in _PARAMETERS}
        if not given['source']:
            raise ValueError('parameter source names nothing to play')
        if given['stamps'] not in ('original', 'now'):
            raise ValueError(f"stamps must be 'original' or 'now', got {given['stamps']!r}")
        if given['start'] not in ('subscribers', 'service'):
            raise ValueError(f"start must be 'subscribers' or 'service', got {given['start']!r}")
        if not 0.001 <= given['rate'] <= 1000:
            raise ValueError(f'rate must lie in 0.001..1000, got {given["rate"]}')
        if problem := _lockstep_problem(given['lockstep_s']):
            raise ValueError(problem)
        self.given = given
        self._answered_ns: int | None = None
        self._clock_ns = 0
        self._played = False
        self._options = SourceOptions(
            image_topic=given['image_topic'] or None,
            camera=CameraConfig(rectified=given['rectified'], any_frame=given['any_frame']),
        )
        source = open_source(given['source'], self._options)
        if given['clock']:
            first = next(source.frames(), None)
            self._clock_ns = 0 if first is None else first.frame.stamp_ns
        source.close()
        quality = QoSProfile(depth=10)  # reliable; who wants best effort gets it
        self._images = self.create_publisher(Image, 'image', quality)
        self._infos = self.create_publisher(CameraInfo, 'camera_info', quality)
        self._truths = self.create_publisher(PersonArray, 'ground_truth', quality)
        self._boxes = self.create_publisher(PersonArray, 'reference', quality)
        self._listening: SingleThreadedExecutor | None = None
        if given['lockstep_s']:
            self._listen(self.resolve_topic_name('results'), quality)
        self.add_on_set_parameters_callback(self._on_set)
        self._clocks: Publisher | None = None
        if given['clock']:
            self._clocks = self.create_publisher(ClockMessage, '/clock', quality)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', quality)
        if given['start'] == 'service':
            self.create_service(Trigger, '~/play', self._on_play)
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self.create_timer(_TICK_S, self._tick, clock=steady)

    def _listen(self, topic: str, quality: QoSProfile) -> None:
        """Subscribe by a node of its own, which can be spun while ~/play is being served."""
        listener = Node(
            f'{self.get_name()}_listener',
            namespace=self.get_namespace(),
            context=self.context,
            use_global_arguments=False,
        )
        listener.create_subscription(PersonArray, topic, self._on_results, quality)
        self._listening = SingleThreadedExecutor(context=self.context)
        self._listening.add_node(listener)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        """Take a new ``lockstep_s`` for the next play; everything else stays as it was given."""
        fixed = {name for name, _, _ in _PARAMETERS} - {'lockstep_s'}
        for parameter in parameters:
            problem = ''
            if parameter.name in fixed:
                problem = f'{parameter.name} cannot be changed; start the player again'
            elif parameter.name == 'lockstep_s':
                problem = _lockstep_problem(parameter.value)
                if not problem and parameter.value and self._listening is None:
                    problem = 'lockstep_s was 0 at the start: nobody listens for results'
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        for parameter in parameters:
            if parameter.name == 'lockstep_s':
                self.given['lockstep_s'] = parameter.value
        return SetParametersResult(successful=True)

    def _on_play(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Play once; the answer comes at the end."""
        try:
            count, problems = self.play()
        except (BagError, SourceError, VideoError, ValueError) as error:
            response.success, response.message = False, str(error)
            return response
        response.success, response.message = True, '; '.join([f'{count} images', *problems])
        return response

    def _tick(self) -> None:
        """Go on with the time where it has begun to run, and say who listens."""
        if self._clocks is not None:
            self._clock_ns += round(_TICK_S * 1e9 * self.given['rate']) if self._played else 0
            self._clocks.publish(conversions.make.clock(self._clock_ns))
        listeners = {
            f'subscribers of {publisher.topic_name}': str(publisher.get_subscription_count())
            for publisher in (self._images, self._infos, self._truths, self._boxes)
        }
        self._diagnostics.publish(
            conversions.make.diagnostics(
                time.time_ns(), self.get_fully_qualified_name(), 'OK', 'waiting', listeners
            )
        )

    def wait_for_subscribers(self) -> None:
        """Wait until enough listen; says once whom it waits for."""
        topic, wanted = self._images.topic_name, self.given['subscribers']
        for round_ in itertools.count():
            if self._images.get_subscription_count() >= wanted or not rclpy.ok():
                return
            if round_ == 40:
                self.get_logger().info(f'waiting for {wanted} subscribers of {topic}')
            time.sleep(0.05)

    def play(self) -> tuple[int, list[str]]:
        """Publish everything once; return the number of images, and what could not be read."""
        source = open_source(self.given['source'], self._options)
        count = late = unanswered = 0
        try:
            self.wait_for_subscribers()
            begin_s = due_s = 0.0
            last_ns: int | None = None
            for entry in source.frames():
                stamp_ns = entry.frame.stamp_ns
                if last_ns is None:
                    begin_s = time.perf_counter()  # the first frame has been decoded
                else:
                    due_s += self._gap_s(stamp_ns - last_ns, source.rate_hz)
                last_ns = stamp_ns
                wait_s = begin_s + due_s - time.perf_counter()
                if wait_s > 0:
                    time.sleep(wait_s)
                elif wait_s < -0.1 and self.given['lockstep_s']:
                    begin_s -= wait_s
                elif wait_s < -0.1:  # too slow a machine: keep the rhythm from here on
                    late += 1
                    begin_s -= wait_s
                if not rclpy.ok():
                    break
                sent_ns = self._send(entry)
                count += 1
                if self.given['lockstep_s'] and not self._answered(sent_ns):
                    unanswered += 1
        finally:
            source.close()
        self._played = True
        problems = list(dict.fromkeys(source.problems))
        for problem in problems:
            self.get_logger().warning(problem)
        if late:
            self.get_logger().warning(f'{late} of {count} images were sent more than 0.1 s late')
        if unanswered:
            self.get_logger().warning(f'{unanswered} of {count} images had no answer in time')
        return count, problems

    def _on_results(self, message: PersonArray) -> None:
        self._answered_ns, _ = messages.origin_of(message)

    def _answered(self, stamp_ns: int) -> bool:
        """Spin until the people of this stamp have come; return whether they have."""
        assert self._listening is not None
        end_s = time.monotonic() + self.given['lockstep_s']
        while self._answered_ns != stamp_ns and rclpy.ok() and time.monotonic() < end_s:
            self._listening.spin_once(timeout_sec=0.05)
        return self._answered_ns == stamp_ns

    def _gap_s(self, gap_ns: int, rate_hz: float) -> float:
        """Return the time between two frames, s; one period where the stamps say nonsense."""
        gap_s = gap_ns * 1e-9
        if not 0 <= gap_s <= _LONGEST_GAP_S:
            gap_s = 1.0 / rate_hz if rate_hz > 1 else 1.0 / 30.0
        return gap_s / self.given['rate']

    def _send(self, entry: SourceFrame) -> int:
        """Publish a frame, the image last: who gets it may look up the rest; return its stamp."""
        frame = entry.frame
        stamp_ns, frame_id = frame.stamp_ns, frame.frame_id
        if self.given['stamps'] == 'now':
            stamp_ns = self.get_clock().now().nanoseconds
        image = conversions.make.image(frame.image, stamp_ns, frame_id)
        if self._clocks is not None:
            self._clock_ns = stamp_ns
            self._clocks.publish(conversions.make.clock(stamp_ns))
        if entry.truth is not None:
            truth = entry.truth.replace(stamp_ns=stamp_ns)
            self._truths.publish(conversions.make.people(truth))
        if entry.reference_box_px is not None:
            somebody = _somebody(entry, stamp_ns)
            self._boxes.publish(conversions.make.people(somebody))
        if not frame.camera.assumed:
            info = conversions.make.camera_info(frame.camera, stamp_ns, frame_id)
            self._infos.publish(info)
        self._images.publish(image)
        return stamp_ns


def _lockstep_problem(value: Any) -> str:
    """Return what is wrong with a lockstep_s, '' when nothing is."""
    if isinstance(value, float) and 0 <= value <= 3600:
        return ''
    return f'lockstep_s must be a number in 0.0..3600.0, got {value!r}'


def _somebody(entry: SourceFrame, stamp_ns: int) -> People:
    """Return a person of whom nothing but the reference box is known."""
    assert entry.reference_box_px is not None
    frame = entry.frame
    return People.build(
        stamp_ns=stamp_ns,
        frame_id=frame.frame_id,
        skeleton='h36m_17',
        width=frame.camera.width,
        height=frame.camera.height,
        joints_px=np.full((1, 17, 2), np.nan, np.float32),
        boxes_px=entry.reference_box_px[None],
    )


def main(args: Sequence[str] | None = None) -> int:
    """Play, or wait to be asked for it, until told to end; return the exit code."""
    try:
        rclpy.init(args=None if args is None else list(args))
        player = Player()
        if player.given['start'] == 'service':
            rclpy.spin(player)
            return 0
        while rclpy.ok():
            player.get_logger().info(f'{player.play()[0]} images played')
            if not player.given['loop']:
                break
        time.sleep(0.2)  # what was published last is on its way
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (BagError, SourceError, VideoError, ValueError, OSError, ParameterException) as error:
        print(f'player: {error}', file=sys.stderr, flush=True)
        return 1
    except RuntimeError:  # RCLError: told to end while publishing
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
