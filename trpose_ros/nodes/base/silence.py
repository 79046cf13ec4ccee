"""Why nothing comes in on a topic, in words: what is published nearby, and the remedy.

A wrong topic name, images that are sent compressed, a codec that is not read: for ROS all of these
are topics that nobody happens to publish, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SILENT_S = 5.0  # without a message, an active node says so
_IMAGE = 'sensor_msgs/msg/Image'
_COMPRESSED = 'sensor_msgs/msg/CompressedImage'
_PEOPLE = 'trpose_ros/msg/PersonArray'
_VIDEO = ('CompressedVideo', 'FFMPEGPacket')
_SHOWN = 5  # topics named in one sentence


def silence_text(topic: str, wanted: str, published: Mapping[str, Sequence[str]]) -> str:
    """Say what is wrong with a topic of type ``wanted`` on which nothing comes.

    ``published`` are the types of all topics that somebody publishes, by name.
    """
    begin = f'nothing has come on {topic} for {SILENT_S:g} s: '
    here = published.get(topic, ())
    if wanted in here:
        return (
            f'{begin}somebody publishes it, but sends nothing, or with a quality of service that '
            'does not fit (look for "incompatible" in the log and at what the source is doing)'
        )
    if here:
        return (
            f'{begin}it is published as {", ".join(here)}, not as {wanted}. {_turn(topic, here[0])}'
        )
    base = topic.removesuffix('/compressed').removesuffix('/compressed')
    if _COMPRESSED in published.get(f'{base}/compressed', ()):
        return f'{begin}only {base}/compressed is published. {_turn(base, _COMPRESSED)}'
    if wanted == _COMPRESSED and _IMAGE in published.get(base, ()):
        return f'{begin}only {base} is published. {_turn(base, _IMAGE)}'
    kinds = (wanted,) if wanted == _PEOPLE else (_IMAGE, _COMPRESSED, *_VIDEO)
    near = sorted(name for name, types in published.items() if _is_one_of(types, kinds))
    if not near:
        return f'{begin}nobody publishes it, nor anything of its kind: does the source run here?'
    return (
        f'{begin}nobody publishes it. Of its kind there are {", ".join(near[:_SHOWN])}'
        f'{" and others" if len(near) > _SHOWN else ""}: remap the input to one of them'
    )


def _is_one_of(types: Sequence[str], kinds: Sequence[str]) -> bool:
    return any(kind in kinds or kind.rpartition('/')[2] in kinds for kind in types)


def _turn(topic: str, kind: str) -> str:
    """Return the remedy where a topic carries this type."""
    if kind == _COMPRESSED:
        base = topic.removesuffix('/compressed')
        return f'Name {base} as the image topic and set image_transport to compressed'
    if kind == _IMAGE:
        return 'Set image_transport to raw'
    if kind.rpartition('/')[2] in _VIDEO:
        return (
            'Video streams are not read: have the images republished (image_transport republish, '
            "or the driver's own raw or JPEG topic)"
        )
    return 'Name another topic'
