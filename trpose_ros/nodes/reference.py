"""Tables of topics, launch arguments and parameters, written from the code.

    python -m trpose_ros.nodes.reference docs/ros.md config/pose.yaml

rewrites what stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->`` in a text,
and a parameter file (.yaml) as a whole. A test holds both against the code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trpose_ros.nodes.base.parameters import Group, Specification, specifications
from trpose_ros.nodes.base.stage_node import DIAGNOSTICS, StageNode, StartConfig
from trpose_ros.nodes.evaluation import EvaluationNode
from trpose_ros.nodes.fusion_node import FusionNode
from trpose_ros.nodes.hri_bridge import HriBridge
from trpose_ros.nodes.launch_arguments import ARGUMENTS, REPLAY_ARGUMENTS, LaunchArgument
from trpose_ros.nodes.lifter_node import LifterNode
from trpose_ros.nodes.occlusion_node import OcclusionNode
from trpose_ros.nodes.pose_node import PoseNode
from trpose_ros.nodes.viewer_node import ViewerNode
from trpose_ros.writing import write_text

NODES: dict[str, type[StageNode]] = {
    'pose_node': PoseNode,
    'lifter_node': LifterNode,
    'occlusion_node': OcclusionNode,
    'viewer_node': ViewerNode,
    'fusion_node': FusionNode,
    'hri_bridge': HriBridge,
    'evaluation': EvaluationNode,
}


def topics_table() -> str:
    """Return all topics as a Markdown table."""
    rows = [('node', '', 'topic', 'type', 'QoS', 'what')]
    for name, node in NODES.items():
        for topic in (*node.TOPICS, *node.MORE_TOPICS, DIAGNOSTICS):
            text = f'{topic.help} (when {topic.when})' if topic.when else topic.help
            rows.append(
                (
                    name,
                    topic.direction,
                    f'`{topic.name}`',
                    topic.msgtype.replace('/msg/', '/'),
                    f'{topic.quality}, {topic.depth}',
                    text,
                )
            )
    return _table(rows)


def launch_table(arguments: Sequence[LaunchArgument] = ARGUMENTS) -> str:
    """Return launch arguments as a Markdown table."""
    rows = [('argument', 'default', 'what')]
    for argument in arguments:
        choices = ''
        if argument.choices and set(argument.choices) - {''} != {'true', 'false'}:
            choices = f': {", ".join(argument.choices)}'
        rows.append((f'`{argument.name}`', _code(argument.default), argument.help + choices))
    return _table(rows)


def parameters_tables() -> str:
    """Return the parameters of each node as a Markdown table."""
    parts = ['Marked with * : may change while the node runs; the others before configure.']
    for name, node in NODES.items():
        rows = [('parameter', 'default', 'range', 'what')]
        for spec in _specifications(node):
            star = ' *' if spec.live else ''
            rows.append((f'`{spec.name}`{star}', _code(spec.default), _limits(spec), spec.help))
        parts.append(f'**{name}**\n\n{_table(rows)}')
    return '\n\n'.join(parts)


def parameter_file() -> str:
    """Return a parameter file with every parameter at its default."""
    lines = [
        '# Every parameter with its default. Generated: python -m trpose_ros.nodes.reference',
        '# Copy it, change what you need and name your copy: params_file:=PATH',
    ]
    for name, node in NODES.items():
        lines += [f'/**/{name}:', '  ros__parameters:']
        for spec in _specifications(node):
            if spec.config is StartConfig:
                continue  # the launch file's business
            lines.append(f'    # {_plain(spec)}')
            lines.append(f'    {spec.name}: {_yaml(spec.default)}')
    return '\n'.join(lines) + '\n'


REGIONS: dict[str, Callable[[], str]] = {
    'topics': topics_table,
    'launch': launch_table,
    'replay': lambda: launch_table(REPLAY_ARGUMENTS),
    'parameters': parameters_tables,
}


def filled(text: str) -> str:
    """Return a text with its generated regions written anew; other regions stay."""
    for name, make in REGIONS.items():
        begin, end = f'<!-- generated: {name} -->\n', f'<!-- end: {name} -->'
        parts = re.split(f'({re.escape(begin)}).*?({re.escape(end)})', text, flags=re.DOTALL)
        if len(parts) > 1:
            parts[1] += f'{make()}\n'
        text = ''.join(parts)
    return text


def _specifications(node: type[StageNode]) -> list[Specification]:
    return specifications([Group(StartConfig), *node.GROUPS])


def _limits(spec: Specification) -> str:
    if spec.choices:
        return ', '.join(spec.choices)
    if spec.limits is not None:
        return f'{spec.limits[0]:g} .. {spec.limits[1]:g}'
    return ''


def _plain(spec: Specification) -> str:
    limits = _limits(spec)
    return f'{spec.help} [{limits}]' if limits else spec.help


def _code(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f'`{text}`' if text else ''


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)


def _table(rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace('|', r'\|') for cell in row] for row in rows]
    lines = ['| ' + ' | '.join(row) + ' |' for row in escaped]
    return '\n'.join([lines[0], '|' + '---|' * len(rows[0]), *lines[1:]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the named files; return the exit code."""
    paths = [Path(name) for name in (sys.argv[1:] if arguments is None else arguments)]
    for path in paths:
        if path.suffix == '.yaml':
            text = parameter_file()
        else:
            text = filled(path.read_text(encoding='utf-8'))
        write_text(path, text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
