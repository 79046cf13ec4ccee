"""The recording that ships with the package: a rendered person walks up, with ground truth.

``trpose data sample`` writes it again. Topics: /camera/image/compressed (JPEG, 30 Hz),
/camera/camera_info, /ground_truth/people (PersonArray in the camera's optical frame) and
/ground_truth/skeleton. Body, motion subject and picture are of the test split: no network of this
package was trained on them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trpose_ros.data.rendering.clips import Clip, ClipConfig
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter

IMAGE_TOPIC = '/camera/image/compressed'
INFO_TOPIC = '/camera/camera_info'
TRUTH_TOPIC = '/ground_truth/people'
SKELETON_TOPIC = '/ground_truth/skeleton'
FRAME_ID = 'camera'
SHIPPED = Path(__file__).resolve().parents[2] / 'samples' / 'walk.mcap'
WALK = ClipConfig(
    motions=('accad_Model01_Female-Walk_to_pick_up_box+accad_Model01_Female-Walk_back_to_stand',),
    seconds=4.4,
    noise=0.0,  # keeps the file small: 132 frames in less than 2.5 MB
    seed=46,  # the camera stands before the person
)


def write_recording(
    clip: Clip,
    path: str | Path,
    quality: int = 88,
    progress: Callable[[int, int], object] | None = None,
) -> int:
    """Write a clip with its truth as a recording; return the number of frames.

    ``path`` ends in .mcap (compressed inside) or is a bag folder; ``quality`` is that of the
    JPEG images, 1..100; ``progress`` is called with the frames so far and in all.
    """
    with BagWriter(path, compression='storage') as bag:
        make = MessageMaker(bag.typestore)
        first_ns = clip.stamp_ns(0)
        bag.write(SKELETON_TOPIC, make.skeleton_info('h36m_17', first_ns, FRAME_ID), first_ns)
        for done, (frame, people) in enumerate(clip, 1):
            time_ns = frame.stamp_ns
            bag.write(INFO_TOPIC, make.camera_info(frame.camera, time_ns, FRAME_ID), time_ns)
            image = make.compressed_image(frame.image, time_ns, FRAME_ID, quality)
            bag.write(IMAGE_TOPIC, image, time_ns)
            bag.write(TRUTH_TOPIC, make.people(people), time_ns)
            if progress is not None:
                progress(done, len(clip))
    return len(clip)
