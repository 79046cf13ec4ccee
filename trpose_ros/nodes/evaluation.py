"""evaluation: joins results with ground truth by stamp, while the nodes run; reports at the end.

With ``conditions`` it plays passes: for each condition it sets the occlusion_node, has the player
play the recording once, and waits until nothing more comes; then it writes the report and ends.
The unoccluded pass comes first: it is the reference where there is no ground truth. Without
``conditions`` it listens, and writes when ``~/write`` is called. Measuring itself is in
trpose_ros.evaluation.passes, which a replay without ROS uses, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger

from trpose_ros.configuration import check_fields, setting
from trpose_ros.evaluation import passes
from trpose_ros.evaluation.conditions import CLEAN, GROUPS, Condition
from trpose_ros.evaluation.pass_excerpts import save_pass_scenes
from trpose_ros.evaluation.passes import Pass, RunningErrors
from trpose_ros.evaluation.rows import as_reference
from trpose_ros.msg import OcclusionReport, PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.image_node import system_ns
from trpose_ros.nodes.base.parameters import Group
from trpose_ros.nodes.base.people_limit import bounded
from trpose_ros.nodes.base.running import run
from trpose_ros.nodes.base.stage_node import StageNode, Topic
from trpose_ros.nodes.pass_thread import PassThread
from trpose_ros.occlusion.occluder import seed_of
from trpose_ros.people import People
from trpose_ros.recordings import messages
from trpose_ros.recordings.camera_book import CameraConfig
from trpose_ros.recordings.sources import SourceOptions, read_frames
from trpose_ros.report import check_libraries, write_report

PEOPLE_IN = Topic('people', PersonArray, 'in', 'results of the lifter node', depth=1000)
ESTIMATED = Topic('estimated', PersonArray, 'in', 'results of the pose node', depth=1000)
TRUTH = Topic('ground_truth', PersonArray, 'in', 'the true people, by stamp', depth=1000)
REPORT = Topic('occlusion_report', OcclusionReport, 'in', 'what was hidden', depth=1000)
METRICS = Topic(
    '~/metrics',
    DiagnosticArray,
    'out',
    'errors of the pass so far, one status for the estimator, one for the lifter; each second',
    depth=10,
)
_PERIOD_S = 1.0


@dataclass(frozen=True)
class EvaluationNodeConfig:
    """What is the evaluation node's own."""

    results: str = setting('', 'folder for results.parquet, tables and report.html')
    recording: str = setting('', "what is played; its images go into the report's videos")
    recording_topic: str = setting('', 'its image topic, where it has several')
    rectified: bool = setting(False, 'its images are rectified: the intrinsics of P')
    any_frame: bool = setting(False, 'take its camera_info of another frame_id than the images')
    conditions: str = setting(
        '',
        "conditions to play after the unoccluded pass, with commas; 'none' is that "
        "pass alone, 'five' all of the protocol; '' listens only",
    )
    identity: str = setting(
        'live|none|none|none', 'dataset|subject|action|camera: names of the rows, and the seed'
    )
    severity: int = setting(-1, 'index of the severity; -1 is the main one', range=(-1, 3))
    realisation: str = setting(
        'main', 'paint the hidden part or cut it off', choices=('main', 'fill', 'crop')
    )
    draw: int = setting(0, 'k of the seed', range=(0, 99))
    start_s: float = setting(120.0, 'wait so long for the other nodes, s', range=(1.0, 3600.0))
    settle_s: float = setting(
        10.0,
        'a pass has ended when nothing came for so long, s; at once when every image '
        'has been answered',
        range=(0.5, 600.0),
    )
    pose_listeners: int = setting(
        2,
        'how many subscribe to the people of the pose node: playing starts with them',
        range=(1, 100),
    )

    def __post_init__(self) -> None:
        """Validate everything but the folder."""
        check_fields(self)
        for condition in self.plan():
            seed_of(condition.config, self.identity)

    def plan(self) -> list[Condition]:
        """Return the conditions, the unoccluded one first; raises ValueError for unknown ones."""
        words = [word.strip() for word in self.conditions.split(',') if word.strip()]
        chosen = [Condition('none')] if words else []
        for name in dict.fromkeys(name for word in words for name in GROUPS.get(word, (word,))):
            if name in ('none', CLEAN):
                continue
            if name not in GROUPS['all']:
                known = ', '.join(('none', 'five', *GROUPS['all']))
                raise ValueError(f'unknown condition {name!r}; known are {known}')
            chosen.append(Condition(name, self.severity, self.draw, self.realisation))
        return chosen


class EvaluationNode(StageNode):
    """Keeps what comes by stamp, measures it, has the passes of a recording played."""

    GROUPS = (Group(EvaluationNodeConfig),)
    TOPICS = (PEOPLE_IN, ESTIMATED, TRUTH, REPORT, METRICS)

    def __init__(self, name: str = 'evaluation', **options: Any) -> None:
        super().__init__(name, **options)
        self.failure = ''  # why the passes could not be played or measured
        self._lock = threading.Lock()
        self._passes: list[Pass] = []
        self._problems: list[str] = []
        self._running: dict[str, RunningErrors] = {}
        self._arrived_s = time.monotonic()
        self._pass_thread: PassThread | None = None
        self.create_service(Trigger, '~/write', self._on_write)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_PERIOD_S, self.publish_metrics, clock=steady)

    def load(self) -> None:
        """Validate the settings, and that results can be written."""
        self._config = self.parameters[EvaluationNodeConfig]
        if self._config.results:
            check_libraries()
            Path(self._config.results).mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Subscribe; begin to play."""
        self.failure, self._problems, self._passes = '', [], []
        self.begin(Condition('none'))
        self.subscribe(PEOPLE_IN, self._keeper('lifted'))
        self.subscribe(ESTIMATED, self._keeper('posed'))
        self.subscribe(TRUTH, self._on_truth)
        self.subscribe(REPORT, self._on_report)
        plan = self._config.plan()
        if plan:
            self._pass_thread = PassThread(self, plan, self._config)

    def halt(self, timeout_s: float | None = None) -> bool:
        """Stop playing."""
        return self._pass_thread is None or self._pass_thread.stop(timeout_s)

    def facts(self) -> dict[str, str]:
        """Return the pass and its errors so far."""
        with self._lock:
            if not self._passes:
                return {}
            one, number = self._passes[-1], len(self._passes)
            facts = {
                'condition': one.condition.name,
                'pass': f'{number} of {len(self._config.plan()) or number}',
                'images': str(one.sent),
                'answered': str(len(one.posed)),
                'lifted': str(len(one.lifted)),
                'with_truth': str(len(one.truth)),
            }
            return facts | {k: f'{v:.1f}' for k, v in self._running['lifted'].values().items()}

    # -- what comes in ------------------------------------------------------------------------

    def _people(self, message: PersonArray) -> People | None:
        try:
            return messages.read_people(bounded(self, message))
        except ValueError as error:
            self.report(f'people skipped: {error}', error)
            return None

    def _keeper(self, kind: str) -> Callable[[PersonArray], None]:
        def keep(message: PersonArray) -> None:
            people = self._people(message)
            if people is not None and not self._elsewhere(people):
                with self._lock:
                    getattr(self._passes[-1], kind)[people.stamp_ns] = people
                    self._arrived_s = time.monotonic()
                if kind == 'lifted':
                    self.statistics.add_result(float('nan'))

        return keep

    def _elsewhere(self, people: People) -> bool:
        """Say when people are in another frame than the true ones of the same image."""
        with self._lock:
            truth = self._passes[-1].truth.get(people.stamp_ns)
        if truth is None or truth.frame_id == people.frame_id:
            return False
        self.report(
            f'people of frame {people.frame_id!r} are not compared with true ones of frame '
            f'{truth.frame_id!r}: leave target_frame of lifter_node empty'
        )
        return True

    def _on_truth(self, message: PersonArray) -> None:
        people = self._people(message)
        if people is not None:
            with self._lock:
                self._passes[-1].add_truth(people)

    def _on_report(self, message: OcclusionReport) -> None:
        stamp_ns, _ = messages.origin_of(message)
        profile, rectangles_px, _ = messages.read_occlusion(message)
        with self._lock:
            one = self._passes[-1]
            one.add_hidden(stamp_ns, rectangles_px)
            if not self._config.conditions and profile != one.condition.profile:
                one.condition = Condition(profile)

    # -- passes -------------------------------------------------------------------------------

    def begin(self, condition: Condition) -> None:
        """Begin a pass; what comes from now on belongs to it."""
        with self._lock:
            if self._passes and not (self._passes[-1].posed or self._passes[-1].images):
                self._passes.pop()  # nothing came
            self._passes.append(Pass(condition))
            self._running = {'posed': RunningErrors(), 'lifted': RunningErrors()}
            self._arrived_s = time.monotonic()

    def add_played(self, count: int, problems: Sequence[str]) -> None:
        """Take what the player said at the end of a pass."""
        self._passes[-1].played = count
        self._problems += problems

    def is_complete(self) -> bool:
        """Whether nothing more will come of this pass."""
        with self._lock:
            one, quiet_s = self._passes[-1], time.monotonic() - self._arrived_s
            if set(one.posed) <= set(one.lifted):
                if len(one.posed) >= one.played:
                    return True
                if max(one.images, default=0) in one.posed:  # others were dropped on the way
                    return quiet_s > min(2.0, self._config.settle_s)
        return quiet_s > self._config.settle_s

    def write(self) -> list[str]:
        """Write the results; return the errors in lines. Raises ValueError for want of any."""
        if not self._config.results:
            raise ValueError('parameter results names no folder to write to')
        folder, recording = Path(self._config.results), self._config.recording
        if recording:
            try:
                config = self._config
                which = SourceOptions(
                    image_topic=config.recording_topic or None,
                    camera=CameraConfig(rectified=config.rectified, any_frame=config.any_frame),
                )
                identity = self._config.identity
                save_pass_scenes(
                    folder, self._passes, identity, lambda: read_frames(recording, which)
                )
            except Exception as error:  # a report without videos is better than none
                self.report(f'no videos: {error}', error)
        rows = passes.write_results(folder, self._passes, self._config.identity, self._problems)
        write_report(folder, folder / 'report.html')
        return [*passes.notes_of(self._passes), *passes.summary(rows), f'results in {folder}']

    def end(self, failure: str = '') -> None:
        """End the process after the last pass, with the results written or the reason why not."""
        if not failure and self._config.results:
            try:
                for line in self.write():
                    self.get_logger().info(line)
            except Exception as error:  # whatever it is, the process must not wait for ever
                failure = str(error) or type(error).__name__
        if failure:
            self.failure = failure
            self.report(failure)
        self.context.try_shutdown()

    def _on_write(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Write what has been measured so far."""
        try:
            with self._lock:
                response.message = '\n'.join(self.write())
            response.success = True
        except Exception as error:  # the passes go on
            response.message = str(error) or type(error).__name__
        return response

    def publish_metrics(self) -> None:
        """Send the errors of this pass so far."""
        if not self._active:
            return
        with self._lock:
            one, clean = self._passes[-1], self._passes[0]
            known = clean is not one
            for kind, running in self._running.items():
                found: dict[int, People] = getattr(one, kind)
                truth = one.truth or (as_reference(getattr(clean, kind)) if known else {})
                try:
                    running.update(found, truth)
                except ValueError as error:
                    self.report(f'not measured: {error}', error)
                values = {k: f'{v:.2f}' for k, v in running.values().items()}
                values |= {
                    'condition': one.condition.name,
                    'reference': 'truth' if one.truth else 'unoccluded run' if known else 'none',
                    'frames': str(running.wanted),
                    'images': str(one.sent),
                    'answered': str(len(found)),
                }
                what = 'estimator' if kind == 'posed' else 'lifter'
                name = f'{self.get_fully_qualified_name()}: {what}'
                self.publisher(METRICS.name).publish(
                    conversions.make.diagnostics(
                        system_ns(self), name, 'OK', f'{one.condition.name}, so far', values
                    )
                )


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until its passes are done or it is told to end; return the exit code."""
    return run([EvaluationNode], args, lambda nodes: int(any(node.failure for node in nodes)))
