"""Speed and memory of the live path: real node processes, real DDS, the shipped weights.

This process plays the camera with the images of the sample recording (enlarged for 1920x1080) and
listens to what the nodes publish. Overhead is the time from the callback that receives an image to
the publication of its people, less the time that boxes and network took. All times are of the
wall clock: a busy machine lengthens them.

    python benchmarks/bench_live.py                 # two minutes for memory
    python benchmarks/bench_live.py --minutes 10    # the full run
    python benchmarks/bench_live.py --only overhead delivery
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from live_camera import RATE_HZ, Camera
from results import Numbers, add_option
from rich.console import Console
from rich.table import Table

from trpose_ros.demo.processes import NodeProcesses, free_domain

SIZES = ((640, 480), (1920, 1080))
GOALS = {  # in the unit of the row
    'overhead p50 640x480': (3.0, 'ms'),
    'overhead p50 1920x1080': (12.0, 'ms'),
    'import trpose_ros': (0.3, 's'),
    'first skeleton after configure': (5.0, 's'),
    'memory growth after the first minute': (10.0, 'MB'),
}


def start_nodes(nodes: NodeProcesses, **parameters: object) -> list[subprocess.Popen]:
    """Start both nodes; return their processes."""
    shared = {'autostart': True, 'threads': 1, **parameters}
    pose = nodes.start('pose_node', shared)
    lifter = nodes.start(
        'lifter_node', {'look_ahead': 2, **shared}, remappings={'people': 'pose_node/people'}
    )
    return [pose.process, lifter.process]


def overhead(rows: list, folder: Path, seconds: float) -> None:
    """Time that the nodes add to the model's, one person in view.

    At 10 Hz: where a model is slower than 30 Hz, images would wait for it, which is its time.
    """
    for width, height in SIZES:
        domain = free_domain()
        with NodeProcesses(folder / f'overhead{width}', domain) as nodes:
            camera = Camera(width, height, domain)
            start_nodes(nodes)
            camera.ready()
            camera.ready('pose_node/people', 2)
            camera.play(2.0)  # warm
            camera.people.clear()
            begin = camera.sent
            camera.play(seconds, rate_hz=10.0)
            sent = camera.sent - begin
            with_person = [p for p in camera.people if len(p) == 1] or camera.people
            camera.close()
        extra, total, model, transport = [], [], [], []
        for people in with_person:
            provenance = people.provenance
            spent = (provenance.published_ns - provenance.received_ns) * 1e-6
            total.append(spent)
            model.append(provenance.preprocess_ms + provenance.inference_ms)
            extra.append(spent - model[-1])
            transport.append((provenance.received_ns - people.stamp_ns) * 1e-6)
        name = f'{width}x{height}'
        note = (
            f'{len(camera.people)} of {sent} images answered, one person in {len(with_person)}; '
            f'model p50 {np.median(model):.1f} ms, transport p50 {np.median(transport):.1f} ms'
        )
        rows.append((f'overhead p50 {name}', float(np.median(extra)), 'ms', note))
        rows.append((f'overhead p95 {name}', float(np.percentile(extra, 95)), 'ms', ''))
        rows.append((f'received to published p50 {name}', float(np.median(total)), 'ms', ''))


_RECEIVE = """
import json, sys, time, rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
rclpy.init()
node = Node('receiver')
stamps = []
def take(message):
    stamps.append(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)
subscription = node.create_subscription(Image, 'image', take, qos_profile_sensor_data)
while not subscription.get_publisher_count():
    rclpy.spin_once(node, timeout_sec=0.01)
print('matched', flush=True)
end = None
while end is None or time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.05)
    if stamps and end is None:
        end = time.monotonic() + float(sys.argv[1])
print(json.dumps(stamps), flush=True)
"""


def delivery(rows: list, folder: Path, seconds: float) -> None:
    """Images that arrive in another process, best effort, with the shipped profile."""
    from trpose_ros.resources import resource

    for width, height in SIZES:
        domain = free_domain()
        camera = Camera(width, height, domain)
        environment = {
            **os.environ,
            'ROS_DOMAIN_ID': str(domain),
            'FASTRTPS_DEFAULT_PROFILES_FILE': str(resource('config', 'fastdds.xml')),
        }
        receiver = subprocess.Popen(
            [sys.executable, '-c', _RECEIVE, str(seconds + 2.0)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert receiver.stdout is not None
        # Both sides: what is sent before the receiver has matched the camera never arrives.
        camera.ready()
        receiver.stdout.readline()
        camera.play(seconds)
        arrived = set(json.loads(receiver.communicate(timeout=60)[0]))
        lost = [i for i, stamp_ns in enumerate(camera.stamps_ns) if stamp_ns not in arrived]
        note = f'{len(arrived)} of {camera.sent}, best effort, two processes'
        if lost:
            note += f'; lost: number {", ".join(map(str, lost[:20]))}'
        name = f'images per second that arrive {width}x{height}'
        rows.append((name, len(arrived) / seconds, 'of 30', note))
        camera.close()


def overload(rows: list, folder: Path, seconds: float) -> None:
    """Age of published people when the model is much slower than the camera."""
    domain = free_domain()
    with NodeProcesses(folder / 'overload', domain) as nodes:
        camera = Camera(640, 480, domain)
        start_nodes(nodes, num_aug=32)
        camera.ready()
        camera.play(2.0)
        camera.people.clear()
        camera.play(seconds)
        people = [p for p in camera.people if len(p) == 1] or camera.people
        camera.close()
    ages, limits = [], []
    for result in people:
        provenance = result.provenance
        ages.append((provenance.published_ns - result.stamp_ns) * 1e-6)
        limits.append(2e3 / RATE_HZ + provenance.preprocess_ms + provenance.inference_ms)
    model = statistics.median(p.provenance.inference_ms for p in people)
    # An image may wait for the one that is being worked on, which takes the model's time too.
    within = sum(age <= limit for age, limit in zip(ages, limits, strict=True)) / len(ages)
    note = (
        f'model p50 {model:.0f} ms, {len(people)} results, {people[-1].provenance.dropped_frames} '
        f'images dropped; within two periods + model time: {within:.0%}'
    )
    rows.append(('age under overload p50', statistics.median(ages), 'ms', note))
    rows.append(
        ('age under overload, worst', max(ages), 'ms', f'limit p50 {np.median(limits):.0f}')
    )


def memory(rows: list, folder: Path, minutes: float) -> None:
    """Resident memory of both nodes at 30 Hz."""
    domain = free_domain()
    with NodeProcesses(folder / 'memory', domain) as nodes:
        camera = Camera(640, 480, domain)
        processes = start_nodes(nodes)
        camera.ready()
        camera.play(60.0)
        first = [resident_mb(process.pid) for process in processes]
        answered = len(camera.people)
        for _ in range(max(1, round((minutes - 1.0) * 60.0 / 10.0))):
            camera.people.clear()
            camera.lifted.clear()
            camera.play(10.0)
            answered += len(camera.people)
        last = [resident_mb(process.pid) for process in processes]
        camera.close()
    growth = [after - before for before, after in zip(first, last, strict=True)]
    note = (
        f'{minutes:g} minutes, {answered} results; pose_node {first[0]:.0f} -> {last[0]:.0f} MB, '
        f'lifter_node {first[1]:.0f} -> {last[1]:.0f} MB'
    )
    rows.append(('memory growth after the first minute', max(growth), 'MB', note))


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def first_skeleton(rows: list, folder: Path, seconds: float) -> None:
    """Time from the request to configure to the first skeleton, both nodes at once."""
    domain = free_domain()
    with NodeProcesses(folder / 'first', domain) as nodes:
        camera = Camera(640, 480, domain)
        processes = start_nodes(nodes, autostart=False, threads=0)
        clients = [
            camera.node.create_client(ChangeState, f'{name}/change_state')
            for name in ('pose_node', 'lifter_node')
        ]
        camera.until(lambda: all(client.service_is_ready() for client in clients))
        begin = time.monotonic()
        before = [processor_s(process.pid) for process in processes]
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            futures = [client.call_async(request) for client in clients]
            camera.until(lambda futures=futures: all(future.done() for future in futures))
            if not all(future.result().success for future in futures):
                raise RuntimeError(f'a transition failed; see {folder / "first"}')
        configured_s = time.monotonic() - begin
        while not any(len(people) for people in camera.lifted):
            camera.play(1 / RATE_HZ)
            if time.monotonic() - begin > 120:
                raise TimeoutError('no skeleton came')
        taken_s = time.monotonic() - begin
        spent = [processor_s(p.pid) - b for p, b in zip(processes, before, strict=True)]
        camera.close()
    note = (
        f'both nodes at once; configured and active after {configured_s:.2f} s; processor time of '
        f'pose_node {spent[0]:.2f} s, lifter_node {spent[1]:.2f} s'
    )
    rows.append(('first skeleton after configure', taken_s, 's', note))


def import_time(rows: list, folder: Path, seconds: float) -> None:
    """Time of `import trpose_ros`, and of the modules that every user needs, without torch."""

    def median_s(code: str) -> float:
        times = []
        for _ in range(7):
            begin = time.perf_counter()
            subprocess.run([sys.executable, '-c', code], check=True)
            times.append(time.perf_counter() - begin)
        return statistics.median(times)

    bare = median_s('pass')
    check = "; import sys; assert 'torch' not in sys.modules"
    rows.append(
        ('import trpose_ros', median_s('import trpose_ros' + check) - bare, 's', 'no torch')
    )
    code = 'import trpose_ros.pipeline.pipeline' + check
    rows.append(('import trpose_ros.pipeline.pipeline', median_s(code) - bare, 's', 'no torch'))


SECTIONS = {
    'import': import_time,
    'delivery': delivery,
    'overhead': overhead,
    'overload': overload,
    'first': first_skeleton,
    'memory': memory,
}


def main() -> None:
    """Run the sections and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--only', nargs='+', choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument('--seconds', type=float, default=10.0, help='length of each measurement')
    parser.add_argument('--minutes', type=float, default=2.0, help='length of the memory run')
    add_option(parser)
    options = parser.parse_args()
    numbers = Numbers()
    rows: list[tuple[str, float, str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            length = options.minutes if name == 'memory' else options.seconds
            SECTIONS[name](rows, Path(folder), length)
    table = Table('what', 'measured', 'goal', 'remarks')
    for name, value, unit, note in rows:
        if unit == 'of 30':
            numbers.ratio(f'live, {name}', value, unit, 'higher')
        else:
            numbers.time(f'live, {name}', value, unit)
        goal = GOALS.get(name)
        table.add_row(
            name, f'{value:.2f} {unit}', f'<= {goal[0]:g} {goal[1]}' if goal else '', note
        )
    Console(width=160).print(table)
    load = os.getloadavg()[0]
    print(f'{os.cpu_count()} CPU cores, load {load:.1f} (others included)')
    numbers.write(options.json)


if __name__ == '__main__':
    main()
