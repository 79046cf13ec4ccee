"""The pose node of pose_node.py, so slow that it drops images."""

import sys
import time

import metrabs_stand_in  # noqa: F401  (registers its backbone)

from trpose_ros.nodes.base.running import run
from trpose_ros.nodes.pose_node import PoseNode


class SlowPoseNode(PoseNode):
    def work_on(self, frame, message, received_ns):
        time.sleep(0.4)
        super().work_on(frame, message, received_ns)


def main(args=None):
    return run([SlowPoseNode], args)


if __name__ == '__main__':
    sys.exit(main())
