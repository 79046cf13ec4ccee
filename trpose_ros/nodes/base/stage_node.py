"""What the nodes share: life cycle, parameters, quality of service, diagnostics, errors.

A node translates messages and calls one stage of the pipeline. Configure validates the parameters,
loads the models and warms them up; activate subscribes; deactivate unsubscribes; cleanup frees
everything. Whatever goes wrong in between is said in the log and in /diagnostics, and the next
frame goes on.

Images come in best effort with depth 1: the newest frame wins. Results go out reliably. Both can
be overridden by the qos_overrides parameters of ROS; a publisher that does not fit is named.
"""

from __future__ import annotations

import dataclasses
import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from trpose_ros.configuration import setting
from trpose_ros.nodes.base import conversions, silence
from trpose_ros.nodes.base.parameters import Group, NodeParameters
from trpose_ros.nodes.base.statistics import Statistics
from trpose_ros.nodes.base.throttle import Throttle, shortened

_DIAGNOSTICS_PERIOD_S = 1.0
STOP_TIMEOUT_S = 4.0  # a node is killed five seconds after it was asked to end
DOUBLE_S = 25.0  # a node that was killed stays in the graph until its lease ends
_POLICIES = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


@dataclass(frozen=True)
class Topic:
    """A topic as the documentation shows it; the nodes create theirs from it."""

    name: str
    type: type | str  # a name such as 'std_msgs/msg/Header' where ROS may come without it
    direction: str  # 'in' or 'out'
    help: str
    quality: str = 'reliable'  # 'best effort', 'reliable', 'latched'
    depth: int = 1
    when: str = field(default='')  # '' always
    steady: bool = False  # an input on which something comes all the time

    @property
    def kind(self) -> Any:
        """Return the class of its messages; raises as ``class_of`` where it is not installed."""
        return conversions.make.class_of(self.type) if isinstance(self.type, str) else self.type

    @property
    def msgtype(self) -> str:
        """Return the name of its messages, such as 'std_msgs/msg/Header'."""
        if isinstance(self.type, str):
            return self.type
        return f'{self.type.__module__.split(".")[0]}/msg/{self.type.__name__}'

    def profile(self) -> QoSProfile:
        """Return the quality of service."""
        best_effort, latched = self.quality == 'best effort', self.quality == 'latched'
        return QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=self.depth,
            reliability=(
                ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
            ),
            durability=(DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE),
        )


DIAGNOSTICS = Topic(
    '/diagnostics',
    DiagnosticArray,
    'out',
    'rate, latency, drops, errors, who is connected; each second',
    depth=10,
)


@dataclass(frozen=True)
class StartConfig:
    """How a node begins."""

    autostart: bool = setting(False, 'configure and activate at once, without a life cycle manager')


class StageNode(LifecycleNode):
    """Base of the nodes; a subclass says what is loaded, subscribed and done with a message."""

    GROUPS: Sequence[Group] = ()
    TOPICS: Sequence[Topic] = ()
    MORE_TOPICS: Sequence[Topic] = ()  # that a subclass makes itself

    def __init__(self, name: str, **options: Any) -> None:
        """Declare the parameters; ``options`` are those of rclpy's node.

        Raises what rclpy raises for parameter overrides of a wrong type or out of range.
        """
        super().__init__(name, **options)
        self.statistics = Statistics()
        self._loaded = False
        self._active = False
        self._heard_s: dict[str, tuple[str, float]] = {}  # type, and when something came last
        self._kept_wanted: dict[str, tuple[Topic, Callable[[Any], None]]] = {}
        self._throttle = Throttle()
        self._double_since_s: float | None = None
        self._subscriptions_by_topic: dict[str, Subscription] = {}
        self._publishers_by_topic: dict[str, Publisher] = {}
        self._topics_lock = threading.Lock()  # they may be destroyed while diagnostics look
        self._guard_transitions()
        self.parameters = NodeParameters(
            self,
            [Group(StartConfig), *self.GROUPS],
            locked=lambda: self._loaded,
            on_change=self.apply,
        )
        self._diagnostics = self.create_publisher(
            DIAGNOSTICS.type, DIAGNOSTICS.name, DIAGNOSTICS.profile()
        )
        # A node tells how it is while a simulated time stands still, too.
        self._diagnostics_timer = self.create_timer(
            _DIAGNOSTICS_PERIOD_S,
            self.publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    # -- what a subclass fills in -------------------------------------------------------------

    def load(self) -> None:
        """Validate, load and warm up; exceptions make configure fail with their words."""

    def start(self) -> None:
        """Subscribe and begin to work."""

    def halt(self, timeout_s: float | None = None) -> bool:
        """Stop working; subscriptions are gone already. Return whether everything has ended."""
        return True

    def unload(self) -> None:
        """Free what ``load`` made; also called when ``load`` failed half way."""

    def apply(self, config: type, value: Any) -> None:
        """Take a changed configuration of a live group."""

    def publishes(self, topic: Topic) -> bool:
        """Return whether the parameters ask for one of the TOPICS that go out."""
        return True

    def facts(self) -> dict[str, str]:
        """Return more values for the diagnostics."""
        return {}

    # -- life cycle ---------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load; a failure says why and leaves the node unconfigured, ready for another try."""
        begin = time.perf_counter()
        self.statistics = Statistics()
        self.get_logger().info('configuring: loading what is needed')
        try:
            for topic in self.TOPICS:
                if topic.direction == 'out' and self.publishes(topic):
                    publisher = self._create_publisher(topic)
                    with self._topics_lock:
                        self._publishers_by_topic[topic.name] = publisher
            self.load()
        except Exception as error:  # whatever loading a model may raise
            self.report(f'configure failed: {_words(error)}', error)
            self._free()
            return TransitionCallbackReturn.FAILURE
        self._loaded = True
        self.get_logger().info(f'configured in {time.perf_counter() - begin:.2f} s')
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and work."""
        self.statistics = Statistics()
        try:
            self.start()
        except Exception as error:
            self.report(f'activate failed: {_words(error)}', error)
            self._stop()
            return TransitionCallbackReturn.FAILURE
        self._active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the frame being worked on is finished first."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free models, publishers and memory."""
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free, from any state."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Fall back to unconfigured."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Stop and free; return whether all threads have ended."""
        ended = self._stop(timeout_s)
        if ended:  # a thread that still runs needs what it uses
            self._free(collect=False)
        return ended

    def _stop(self, timeout_s: float | None = None) -> bool:
        self._active = False
        with self._topics_lock:
            for subscription in self._subscriptions_by_topic.values():
                self.destroy_subscription(subscription)
            self._subscriptions_by_topic.clear()
        self._heard_s.clear()
        self._kept_wanted.clear()
        return self.halt(timeout_s)

    def _free(self, collect: bool = True) -> None:
        self._loaded = False
        self.unload()
        with self._topics_lock:
            for publisher in self._publishers_by_topic.values():
                self.destroy_publisher(publisher)
            self._publishers_by_topic.clear()
        if collect:  # not at the end of the process, which shall be quick
            gc.collect()
        if 'torch' in sys.modules:
            sys.modules['torch'].cuda.empty_cache()  # does nothing without a GPU in use

    def autostart(self) -> bool:
        """Configure and activate if the parameter says so; return whether nothing went wrong."""
        if not self.parameters[StartConfig].autostart:
            return True
        if self.trigger_configure() != TransitionCallbackReturn.SUCCESS:
            self.get_logger().error(
                'not started: correct the parameters, then configure and activate this node '
                f'(ros2 lifecycle set {self.get_fully_qualified_name()} configure)'
            )
            return False
        return self.trigger_activate() == TransitionCallbackReturn.SUCCESS

    def _guard_transitions(self) -> None:
        """Refuse an impossible transition; without this rclpy raises, which ends the process."""
        change = self._service_change_state.callback

        def guarded(request: Any, response: Any) -> Any:
            try:
                return change(request, response)
            except RuntimeError as error:  # RCLError
                self.get_logger().warning(f'transition {request.transition.id} refused: {error}')
                response.success = False
                return response

        self._service_change_state.callback = guarded

    # -- topics -------------------------------------------------------------------------------

    def publisher(self, name: str) -> Publisher:
        """Return the publisher of one of TOPICS; it exists between configure and cleanup."""
        return self._publishers_by_topic[name]

    def subscribe(
        self,
        topic: Topic,
        callback: Callable[[Any], None],
        name: str | None = None,
        latched: bool = False,
    ) -> None:
        """Subscribe to a topic of TOPICS until the node is deactivated.

        ``latched`` subscribes once more, to what was published before, as soon as somebody is seen
        who keeps that: a publisher that keeps nothing would warn of such a subscription.
        """
        name = name or topic.name
        if latched:
            self._kept_wanted[self.resolve_topic_name(name)] = topic, callback
            self._look_for_kept()
            return
        resolved = self.resolve_topic_name(name)
        if topic.steady:
            callback = self._listened(resolved, topic, callback)
        subscription = self.create_subscription(
            topic.kind,
            name,
            callback,
            topic.profile(),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(resolved, event)
            ),
            qos_overriding_options=QoSOverridingOptions(policy_kinds=_POLICIES),
        )
        with self._topics_lock:
            self._subscriptions_by_topic[topic.name] = subscription

    def _look_for_kept(self) -> None:
        """Subscribe to what was published before, where a publisher keeps it."""
        for name, (topic, callback) in list(self._kept_wanted.items()):
            infos = self.get_publishers_info_by_topic(name)
            if any(i.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for i in infos):
                del self._kept_wanted[name]
                quality = dataclasses.replace(topic, quality='latched').profile()
                kept = self.create_subscription(
                    topic.kind,
                    name,
                    callback,
                    quality,
                    event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
                )
                with self._topics_lock:
                    self._subscriptions_by_topic[f'{topic.name}, latched'] = kept

    def _listened(
        self, name: str, topic: Topic, callback: Callable[[Any], None]
    ) -> Callable[[Any], None]:
        """Return a callback that also takes note of the time."""
        wanted = topic.msgtype
        self._heard_s[name] = wanted, time.monotonic()

        def listen(message: Any) -> None:
            self._heard_s[name] = wanted, time.monotonic()
            callback(message)

        return listen

    def _look_for_silence(self) -> None:
        """Say on which inputs nothing comes, and why, as far as the graph shows it."""
        for name, (wanted, heard_s) in list(self._heard_s.items()):
            if time.monotonic() - heard_s < silence.SILENT_S:
                self.statistics.clear_warning(f'silence {name}')
            elif f'silence {name}' not in self.statistics.warnings:
                self.warn(f'silence {name}', silence.silence_text(name, wanted, self._published()))

    def _published(self) -> dict[str, list[str]]:
        """Return the types of the topics that somebody publishes, by name."""
        found = {}
        for name, _ in self.get_topic_names_and_types():
            infos = self.get_publishers_info_by_topic(name)
            if infos:
                found[name] = sorted({info.topic_type for info in infos})
        return found

    def _look_for_doubles(self) -> None:
        """Say when another node has the name of this one: topics and parameters mix."""
        own = self.get_name(), self.get_namespace()
        count = self.get_node_names_and_namespaces().count(own)
        if count < 2:
            self._double_since_s = None
            self.statistics.clear_warning('same_name')
            return
        now_s = time.monotonic()
        if self._double_since_s is None:
            self._double_since_s = now_s
        if now_s - self._double_since_s < DOUBLE_S or 'same_name' in self.statistics.warnings:
            return
        self.warn(
            'same_name',
            f'{count} nodes are called {self.get_fully_qualified_name()}: their results mix on the '
            'same topics; end one, or give each a namespace of its own',
        )

    def _create_publisher(self, topic: Topic) -> Publisher:
        options = None
        if topic.quality != 'latched':
            options = QoSOverridingOptions(policy_kinds=_POLICIES)
        return self.create_publisher(
            topic.kind, topic.name, topic.profile(), qos_overriding_options=options
        )

    def connections(self) -> dict[str, str]:
        """Return how many publish what this node takes, and take what it publishes, by topic.

        Only those count whose quality of service fits and that this node has matched already.
        Nobody at an input often means a topic name that was not remapped.
        """
        found: dict[str, str] = {}
        with self._topics_lock:
            for subscription in self._subscriptions_by_topic.values():
                name = subscription.topic_name
                if hasattr(subscription, 'get_publisher_count'):
                    count = subscription.get_publisher_count()
                else:  # Humble knows only who is there, whether it fits or not
                    count = self.count_publishers(name)
                key = f'publishers of {name}'  # two subscriptions may share a topic
                found[key] = str(max(count, int(found.get(key, 0))))
            for publisher in self._publishers_by_topic.values():
                count = publisher.get_subscription_count()
                found[f'subscribers of {publisher.topic_name}'] = str(count)
        return found

    def _incompatible(self, topic: str, event: Any) -> None:
        """Name the publishers whose quality of service does not fit, instead of silence."""
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        offers = ', '.join(
            f'{_full_name(info)} ({info.qos_profile.reliability.name.lower()}, '
            f'{info.qos_profile.durability.name.lower()})'
            for info in self.get_publishers_info_by_topic(topic)
        )
        text = (
            f'publisher of {topic} offers an incompatible {policy}: nothing is received from it; '
            f'publishers are {offers or "gone"}; set qos_overrides.{topic}.subscription.* of this '
            'node, or the quality of service of the publisher'
        )
        self.warn(f'incompatible_qos {topic}', text)

    # -- reports ------------------------------------------------------------------------------

    def report(self, text: str, error: BaseException | None = None) -> None:
        """Count an error, keep it for diagnostics and log it, each kind once in ten seconds."""
        if not self.context.ok():  # the end is under way: whatever was cut short is no error
            return
        text = shortened(text)
        self.statistics.add_error(text)
        words = self._throttle.words(text)
        if not words:
            return
        self.get_logger().error(words)
        if error is not None and not isinstance(error, ValueError):
            self.get_logger().debug(''.join(traceback.format_exception(error)))

    def warn(self, topic: str, text: str) -> None:
        """State a condition that holds until ``clear_warning``; log it when it is new."""
        text = shortened(text)
        if self.statistics.warn(topic, text):
            words = self._throttle.words(text)
            if words:
                self.get_logger().warning(words)

    def publish_diagnostics(self) -> None:
        """Send the state of this node to /diagnostics."""
        if self._active:
            self._look_for_silence()
            self._look_for_kept()
        self._look_for_doubles()
        statistics = self.statistics
        level, message = 'OK', 'active' if self._active else 'not active'
        if statistics.warnings:
            level, message = 'WARN', '; '.join(statistics.warnings.values())
        if statistics.failing or (statistics.errors and not self._active):
            level, message = 'WARN' if statistics.frames else 'ERROR', statistics.last_error
        self._diagnostics.publish(
            conversions.make.diagnostics(
                self.get_clock().now().nanoseconds,
                self.get_fully_qualified_name(),
                level,
                shortened(message),
                {
                    shortened(name): shortened(value)
                    for name, value in {
                        **statistics.values(),
                        **self.facts(),
                        **self.connections(),
                    }.items()
                },
            )
        )


def _full_name(info: Any) -> str:
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
