"""Message types of a recording, from the definitions that are stored in it.

rosbags writes Python code from a definition and runs it; so names are looked at first, and a
definition that means endless work is refused. A bad definition costs its topic alone.
"""

from __future__ import annotations

import re
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from trpose_ros.recordings.salvage import Topic
from trpose_ros.resources import resource

_LONGEST = 256_000  # characters of a definition, with the types within it
_MOST_VALUES = 1_000_000  # of one message, besides sequences
_TYPE_NAME = re.compile(r'[A-Za-z]\w*(/[A-Za-z]\w*){1,3}', re.ASCII)
_FIELD_NAME = re.compile(r'[A-Za-z_]\w*', re.ASCII)
_LONGEST_REASON = 120  # characters


def make_typestore() -> Typestore:
    """Return a store with the standard messages and this package's seven."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for path in sorted(resource('msg').glob('*.msg')):
        types.update(get_types_from_msg(path.read_text(), f'trpose_ros/msg/{path.stem}'))
    store.register(types)
    return store


def typestore_of(topics: list[Topic]) -> tuple[Typestore, dict[str, str]]:
    """Return a store with the standard messages, those of the recording, and ours.

    The second value says by type why a definition was left out.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    refused: dict[str, str] = {}
    for topic in topics:
        if topic.msgtype in store.fielddefs or not topic.definition or topic.msgtype in refused:
            continue
        try:
            _add(store, topic)
        except Exception as error:  # whatever a definition makes parser and generator do
            words = ' '.join((str(error) or type(error).__name__).split())
            refused[topic.msgtype] = words[:_LONGEST_REASON]
    ours = make_typestore().fielddefs
    store.register({k: v for k, v in ours.items() if k not in store.fielddefs})
    return store, refused


def _add(store: Typestore, topic: Topic) -> None:
    """Register the types of a definition; raises ValueError and what rosbags raises."""
    if len(topic.definition) > _LONGEST:
        raise ValueError(f'{len(topic.definition)} characters, more than any definition has')
    if not _TYPE_NAME.fullmatch(topic.msgtype):
        raise ValueError('it has a name that no type can have')
    if topic.encoding == 'idl':
        types = get_types_from_idl(topic.definition)
    else:
        types = get_types_from_msg(topic.definition, topic.msgtype)
    types = {name: value for name, value in types.items() if name not in store.fielddefs}
    for name, (constants, fields) in types.items():
        words = [*name.split('/'), *(c[0] for c in constants), *(f[0] for f in fields)]
        if not _TYPE_NAME.fullmatch(name) or not all(map(_FIELD_NAME.fullmatch, words)):
            raise ValueError(f'{name[:60]!r} or a field of it has a name that none can have')
    known = {**store.fielddefs, **types}
    counts: dict[str, int] = {}
    for name in types:
        _count(name, known, counts, ())
    store.register(types)


def _count(name: str, known: dict[str, Any], counts: dict[str, int], above: tuple) -> int:
    """Return how many values a message has; raises ValueError for endless ones."""
    if name in above:
        raise ValueError(f'{name[:60]} contains itself')
    if name not in known:
        raise ValueError(f'{name[:60]} is not defined')
    if name not in counts:
        fields = known[name][1]
        total = sum(_values(field[1], known, counts, (*above, name)) for field in fields)
        if total > _MOST_VALUES:
            raise ValueError(f'{name[:60]} has {total} values: more than any message needs')
        counts[name] = total
    return counts[name]


def _values(kind: Any, known: dict[str, Any], counts: dict[str, int], above: tuple) -> int:
    node, value = kind
    if node == Nodetype.BASE:
        return 1
    if node == Nodetype.NAME:
        return _count(value, known, counts, above)
    element, number = value
    each = _values(element, known, counts, above)
    if each == 0:  # a message of eight bytes could announce four billion of them
        raise ValueError('an array of messages without fields')
    return each * number if node == Nodetype.ARRAY else each
