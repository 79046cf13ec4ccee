"""Messages of recordings: those of messages.py out of the classes of a BagWriter's type store."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

from trpose_ros.recordings.messages import MessageFields

# Topics of recordings that are made here, live or by a replay.
POSE_TOPIC = '/pose_node/people'
LIFTED_TOPIC = '/lifter_node/people'
_DTYPES = {'byte': 'uint8', 'char': 'uint8'}  # others have the name that numpy gives them
_QUATERNION = 'geometry_msgs/msg/Quaternion'


class MessageMaker(MessageFields):
    """Makes the messages that are written into recordings."""

    def __init__(self, typestore: Typestore) -> None:
        self._types = typestore.types
        self._kinds = {name: kinds for name, (_, kinds) in typestore.fielddefs.items()}

    def new(self, msgtype: str, /, **values: Any) -> Any:
        """Return a message; fields that are not given are zero, a rotation is none."""
        kinds = self._kinds[msgtype]
        if len(values) < len(kinds):
            values = {name: self._zero(k) for name, k in kinds if name not in values} | values
        return self.class_of(msgtype)(**values)

    def class_of(self, msgtype: str) -> Any:
        """Return the class of a message."""
        return self._types[msgtype]

    def fill(self, message: Any, name: str, values: np.ndarray) -> Any:
        """Put an array into a field, as rosbags keeps all numbers; return the message."""
        setattr(message, name, values.ravel())
        return message

    def _zero(self, kind: Any) -> Any:
        form, detail = kind
        if form == Nodetype.NAME:
            return self.new(detail, w=1.0) if detail == _QUATERNION else self.new(detail)
        if form == Nodetype.BASE:
            name = detail[0]
            return '' if name == 'string' else np.zeros((), _DTYPES.get(name, name)).item()
        (element, inner), count = detail
        if form == Nodetype.SEQUENCE:
            count = 0
        if element == Nodetype.BASE and inner[0] != 'string':
            return np.zeros(count, _DTYPES.get(inner[0], inner[0]))
        return [self._zero((element, inner)) for _ in range(count)]
