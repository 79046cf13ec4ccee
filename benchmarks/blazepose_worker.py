"""BlazePose in an environment of its own: frames from standard input, landmarks to the output.

MediaPipe needs older numpy and protobuf than this project, so bench_blazepose.py starts this file
with another Python. Little-endian messages: ``height, width`` (two int32) and RGB bytes come in; a
height of zero begins another video. For each frame the milliseconds and the 33 world landmarks
(metres, relative to the hips; NaN where nobody was found) go out as 100 float64.
"""

import struct
import sys
import time

import mediapipe
import numpy as np


def main() -> None:
    """Answer until standard input ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    pose = None
    while header := source.read(8):
        height, width = struct.unpack('<ii', header)
        if height == 0:
            if pose is not None:
                pose.close()  # else each keeps its graph: gigabytes after some hundred videos
            pose = mediapipe.solutions.pose.Pose(model_complexity=1)  # 'full', with tracking
            continue
        image = np.frombuffer(source.read(3 * height * width), np.uint8)
        begin = time.perf_counter()
        found = pose.process(image.reshape(height, width, 3)).pose_world_landmarks
        elapsed = 1e3 * (time.perf_counter() - begin)
        joints = np.full((33, 3), np.nan)
        if found is not None:
            joints[:] = [(mark.x, mark.y, mark.z) for mark in found.landmark]
        sink.write(np.concatenate([[elapsed], joints.ravel()]).astype('<f8').tobytes())
        sink.flush()


if __name__ == '__main__':
    main()
