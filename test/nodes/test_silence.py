"""Why nothing comes in, in words: each way to miss a topic has its remedy."""

import pytest

from trpose_ros.nodes.base.silence import silence_text

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
PEOPLE, VIDEO = 'trpose_ros/msg/PersonArray', 'foxglove_msgs/msg/CompressedVideo'


@pytest.mark.parametrize(
    ('topic', 'wanted', 'published', 'words'),
    [
        ('/cam/image', IMAGE, {}, ['nobody publishes it', 'does the source run']),
        ('/cam/image', IMAGE, {'/cam/image': [IMAGE]}, ['quality of service']),
        (
            '/cam/image/compressed',
            IMAGE,
            {'/cam/image/compressed': [COMPRESSED]},
            ['published as sensor_msgs/msg/CompressedImage', 'Name /cam/image as', 'to compressed'],
        ),
        (
            '/cam/image',
            IMAGE,
            {'/cam/image/compressed': [COMPRESSED]},
            ['only /cam/image/compressed', 'Name /cam/image as', 'to compressed'],
        ),
        (
            '/cam/image/compressed/compressed',
            COMPRESSED,
            {'/cam/image/compressed': [COMPRESSED]},
            ['only /cam/image/compressed', 'Name /cam/image as'],
        ),
        (
            '/cam/image/compressed',
            COMPRESSED,
            {'/cam/image': [IMAGE]},
            ['only /cam/image is', 'image_transport to raw'],
        ),
        ('/cam/image', IMAGE, {'/cam/image': [VIDEO]}, ['CompressedVideo', 'republish']),
        ('/cam/image', IMAGE, {'/tf': ['tf2_msgs/msg/TFMessage']}, ['nor anything of its kind']),
        (
            '/cam/image',
            IMAGE,
            {f'/cam{k}/image': [IMAGE] for k in range(7)} | {'/p': [PEOPLE]},
            ['/cam0/image', '/cam4/image and others', 'remap'],
        ),
        (
            '/people',
            PEOPLE,
            {'/pose_node/people': [PEOPLE]},
            ['there are /pose_node/people: remap'],
        ),
    ],
)
def test_each_way_to_miss_a_topic_is_named(topic, wanted, published, words):
    text = silence_text(topic, wanted, published)
    assert text.startswith(f'nothing has come on {topic} for 5 s')
    for word in words:
        assert word in text
