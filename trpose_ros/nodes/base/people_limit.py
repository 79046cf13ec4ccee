"""How many people of one message a node looks at: each costs time, a message can hold a million."""

from __future__ import annotations

from typing import Any

from trpose_ros.nodes.base.stage_node import StageNode

MOST_PEOPLE = 64


def bounded(node: StageNode, message: Any, most: int = MOST_PEOPLE) -> Any:
    """Return a message of people, or of detections, with the first ``most`` of them.

    Those left out are counted in the node's diagnostics, as ``people_left_out``.
    """
    name = 'persons' if hasattr(message, 'persons') else 'detections'
    people = getattr(message, name)
    if len(people) > most:
        node.statistics.note('people_left_out', len(people) - most)
        setattr(message, name, people[:most])
        node.warn('people_left_out', f'messages have more than {most} people: some are left out')
    return message
