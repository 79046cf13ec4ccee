"""Cameras on ROS topics: do images come, may our nodes receive them, do their intrinsics fit."""

from __future__ import annotations

import importlib.util
import statistics
from collections import Counter
from typing import Any

from trpose_ros.doctor.findings import Finding, note, ok, one_line, problem
from trpose_ros.nodes.camera_seen import COMPRESSED, CameraSeen, Survey
from trpose_ros.recordings.camera_book import EMPTY_FRAME
from trpose_ros.recordings.stamps import REMEDIES, StampWatch, say_nothing

SLOW_HZ = 3.0  # slower, people move too far from one image to the next
_VIDEO = ('CompressedVideo', 'FFMPEGPacket')
_SHOWN = 6
_DEPTH = ('16UC1', '32FC1')
_LOST = 0.7  # fewer images than this share of those that were sent means a loss
_INFO = 'sensor_msgs/msg/CameraInfo'


def check(seconds: float) -> list[Finding]:
    """Listen for ``seconds`` to all image topics."""
    if importlib.util.find_spec('rclpy') is None:
        means = 'topics are looked at where rclpy is'
        return [note('no cameras were looked for: there is no ROS', means, 'see ROS 2 above')]
    try:
        from trpose_ros.nodes.camera_survey import survey

        seen = survey(seconds)
    except Exception as error:  # whatever a half-installed ROS raises
        return [
            problem(
                f'topics cannot be looked at: {one_line(error)}',
                'no node can start either',
                'see ROS 2 above',
            )
        ]
    return judge(seen)


def judge(seen: Survey) -> list[Finding]:
    """Return what a survey means."""
    found = [finding for camera in seen.cameras for finding in judge_camera(camera, seen)]
    found += _videos(seen)
    if seen.left_out:
        means = 'only the first topics, by name, are listened to'
        found.append(note(f'not looked at: {", ".join(seen.left_out)}', means))
    if not found:
        topics = sorted(seen.published)
        text = f'of {len(topics)} topics none has images' if topics else 'no topics are published'
        do = (
            'start the camera driver; on another machine: same ROS_DOMAIN_ID, and no LOCALHOST '
            'above; a driver that has just started may need some seconds'
        )
        found.append(note(text, 'no camera driver is seen from here', do, topics=topics[:50]))
    return found


def judge_camera(camera: CameraSeen, seen: Survey) -> list[Finding]:
    """Return what is right and wrong with one camera."""
    if camera.encoding in _DEPTH:
        means = 'depth or heat, no picture of people: not looked at further'
        return [ok(f'{camera.topic}: {camera.encoding}', means, topic=camera.topic)]
    found = [_images(camera, seen.seconds)]
    found += [
        problem(
            f'{camera.topic}: {conflict}',
            'their quality of service does not fit; ROS sends nothing then, without an error',
            'set the publisher to reliable and volatile, or the subscription to best effort (our '
            f'nodes: qos_overrides.{camera.topic}.subscription.reliability: best_effort)',
        )
        for conflict in camera.conflicts
    ]
    if not camera.stamps_ns:
        return found
    if camera.unreadable:
        means = 'our nodes skip such images'
        do = 'let the driver send rgb8, bgr8, mono8, YUV or Bayer images, or JPEG or PNG'
        return [*found, problem(f'{camera.topic}: {camera.unreadable}', means, do)]
    return [*found, *_stamps(camera), _intrinsics(camera, seen), *_start(camera)]


def _images(camera: CameraSeen, seconds: float) -> Finding:
    """Judge whether images come, and how many."""
    count, kind = len(camera.stamps_ns), camera.type.rpartition('/')[2]
    who = ', '.join(map(str, camera.publishers)) or 'somebody who has gone'
    facts: dict[str, Any] = {
        'topic': camera.topic,
        'type': camera.type,
        'publishers': [str(endpoint) for endpoint in camera.publishers],
        'images': count,
        'rate_hz': round(camera.rate_hz, 2),
        'width': camera.width,
        'height': camera.height,
        'encoding': camera.encoding,
        'frame_ids': sorted(camera.frame_ids),
    }
    if not count:
        return problem(
            f'{camera.topic} ({kind}): nothing came for {seconds:g} s from {who}',
            'the driver is there and sends nothing, or all images are lost on the way',
            'look at what the driver says; with large images or another machine, at DDS above',
            **facts,
        )
    size = f'{camera.width}x{camera.height} ' if camera.width else ''
    text = f'{camera.topic} ({kind}): {size}{camera.encoding}, '
    rate = camera.rate_hz if count > 1 else 0.0
    text += f'{rate:.1f} Hz' if rate else f'one image in {seconds:g} s'
    text += f' from {who}'
    if rate < SLOW_HZ:
        means = (
            f'below {SLOW_HZ:g} Hz people move too far between two images: tracks break, and the '
            'lifter has nothing to join'
        )
        do = 'raise the rate of the driver or lower its resolution; over a network send JPEG'
        return problem(text, means, do, **facts)
    sent = _sent(camera)
    if sent and count < _LOST * sent:
        means = f'about {sent} were sent in that time by their stamps: the others are lost'
        do = 'see DDS and shared memory above; lower the resolution, or send JPEG'
        return problem(f'{text}; {count} images came', means, do, **facts)
    return ok(text, **facts)


def _sent(camera: CameraSeen) -> int:
    """Return how many images were sent between the first and the last, by the smaller steps."""
    steps = [b - a for a, b in zip(camera.stamps_ns, camera.stamps_ns[1:], strict=False) if b > a]
    if len(steps) < 4:
        return 0
    usual = statistics.quantiles(steps, n=4)[0]
    return round(sum(steps) / usual) + 1


def _stamps(camera: CameraSeen) -> list[Finding]:
    """Judge stamps and frame_id."""
    found = []
    watch = StampWatch()
    counts = Counter(filter(None, map(watch.check, camera.stamps_ns)))
    for name, number in counts.items():
        text = f'{camera.topic}: {number} of {len(camera.stamps_ns)} images'
        what, _, do = REMEDIES[name].partition(': ')
        make = problem if say_nothing(camera.stamps_ns) else note
        found.append(make(f'{text}: each {what}', do, 'let the driver stamp each image'))
    if '' in camera.frame_ids:
        what, _, do = EMPTY_FRAME.partition('; ')
        found.append(note(f'{camera.topic}: {what.partition(":")[0]}', what.partition(': ')[2], do))
    return found


def _intrinsics(camera: CameraSeen, seen: Survey) -> Finding:
    """Judge the camera_info beside the images."""
    facts: dict[str, Any] = {
        'topic': camera.topic,
        'camera_info': camera.info_topic,
        'messages': len(camera.info_stamps_ns),
        'paired': camera.paired,
        'frame_ids': sorted(camera.info_frame_ids),
    }
    guess = 'a field of view of 55 degrees is assumed: distances and sizes are guesses'
    if not camera.info_topic:
        others = sorted(name for name, types in seen.published.items() if _INFO in types)
        do = 'let the driver publish camera_info, or give fov_deg, the real field of view'
        if others:
            do = f'if it is {", ".join(others[:_SHOWN])}, name it: camera_info_topic; else {do}'
        return problem(f'{camera.topic}: no camera_info beside it', guess, do, **facts)
    text = f'{camera.info_topic}: '
    if not camera.info_stamps_ns:
        do = 'look at what the driver says: is the camera calibrated, is its file found?'
        return problem(f'{text}nothing came for {seen.seconds:g} s', guess, do, **facts)
    if camera.assumed:
        do = _remedy(camera)
        return problem(f'{text}{camera.assumed}', guess, do, **facts)
    if camera.rectified_note:
        what, _, do = camera.rectified_note.partition(': ')
        return note(f'{text}{what}', 'the pixels may be undistorted already', do, **facts)
    images = len(camera.stamps_ns)
    pairs = f'{camera.paired} of {images} images have one of the same stamp'
    if 2 * camera.paired < images:
        means = f'{pairs}; the newest counts, which is right as long as the camera does not change'
        return ok(f'{text}fits', means, **facts)
    return ok(f'{text}fits; {pairs}', **facts)


def _remedy(camera: CameraSeen) -> str:
    """Say what helps where camera_info does not fit the images."""
    if camera.info_frame_ids.isdisjoint(camera.frame_ids) and '' not in camera.frame_ids:
        return (
            'give images and camera_info one frame_id in the driver; if it is the right camera '
            'all the same: any_frame:=true'
        )
    return (
        'calibrate at this resolution (ros2 run camera_calibration cameracalibrator), and see that '
        'the driver finds the file'
    )


def _start(camera: CameraSeen) -> list[Finding]:
    """Return how the nodes are started with this camera."""
    line = f'ros2 launch trpose_ros pose.launch.py image_topic:={camera.base}'
    if camera.info_topic:
        line += f' camera_info_topic:={camera.info_topic}'
    if camera.type == COMPRESSED:
        line += ' image_transport:=compressed'
    return [ok(f'start with: {line}', command=line)]


def _videos(seen: Survey) -> list[Finding]:
    """Say what video streams need that have no images beside them."""
    from trpose_ros.nodes.base.silence import silence_text

    found = []
    for name, types in sorted(seen.published.items()):
        if any(kind.rpartition('/')[2] in _VIDEO for kind in types):
            remedy = silence_text(name, 'sensor_msgs/msg/Image', seen.published).rpartition('. ')[2]
            means = 'our nodes take no video streams'
            found.append(note(f'{name} ({", ".join(types)})', means, remedy))
    return found
