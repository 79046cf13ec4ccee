"""The rooms of the package: which may import which, and that no two need each other.

Every import statement of the source is read, those inside functions too. An import for type
checkers alone counts between rooms; between two modules it does not, because nothing is imported
when the code runs. A registry's table of modules (registry.py) is no import either: it is how a
lower room finds what others add to it.

``python test/test_rooms.py`` prints the drawing of docs/architecture.md.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'trpose_ros'
DRAWING = re.compile(r'```mermaid\n(.*?)```', re.DOTALL)

# The modules beside the rooms: values and words that everybody shares.
VOCABULARY = 'vocabulary'
# What each room may import; its docstring says the same. A room inside another has its own line.
MAY = {
    'vocabulary': '',
    'trpose_ros': 'vocabulary, pipeline, recordings',
    'occlusion': 'vocabulary',
    'drawing': 'vocabulary',
    'viewer': 'vocabulary, drawing',
    'weights': 'vocabulary',
    'runtimes': '',
    'metrabs': 'vocabulary, weights, runtimes, metrabs/backbones',
    'metrabs/backbones': 'vocabulary, runtimes',
    'movenet': 'vocabulary, weights, metrabs, metrabs/backbones',
    'estimators': 'vocabulary, weights, runtimes, metrabs, movenet',
    'lifters': 'vocabulary, weights, runtimes, lifters/networks, lifters/streams',
    'lifters/networks': 'vocabulary',
    'lifters/streams': 'vocabulary, lifters/networks',
    'refinement': 'vocabulary, weights, lifters',
    'pipeline': 'vocabulary, occlusion, estimators, lifters, refinement',
    'multiview': 'vocabulary',
    'recordings': 'vocabulary, occlusion, drawing',
    'data': 'vocabulary',
    'data/datasets': 'vocabulary, weights, movenet, recordings, data, data/motion, data/rendering',
    'data/motion': 'vocabulary, data',
    'data/rendering': 'vocabulary, metrabs, recordings, data, data/motion',
    'evaluation': 'vocabulary, occlusion, weights, estimators, lifters, pipeline, multiview, '
    'recordings, data, data/motion, data/rendering, evaluation/metrics',
    'evaluation/metrics': 'vocabulary',
    'report': 'vocabulary, drawing, recordings, evaluation, evaluation/metrics',
    'training': 'vocabulary, weights, runtimes, metrabs',
    'training/lifters': 'vocabulary, occlusion, weights, lifters, lifters/networks, '
    'lifters/streams, pipeline, data, data/motion, data/rendering, evaluation, evaluation/metrics, '
    'training, training/refinement',
    'training/refinement': 'vocabulary, occlusion, weights, estimators, lifters, refinement, '
    'pipeline, data/motion, data/rendering, evaluation, evaluation/metrics, training',
    'training/metrabs': 'vocabulary, drawing, weights, metrabs, movenet, data, data/rendering, '
    'evaluation/metrics, training',
    'keypoints': 'vocabulary, data/datasets',
    'exports': 'vocabulary, recordings',
    'offline': 'vocabulary, drawing, viewer, pipeline, multiview, recordings, keypoints, exports, '
    'evaluation, evaluation/metrics, report',
    'nodes': 'vocabulary, occlusion, drawing, viewer, estimators, lifters, pipeline, multiview, '
    'recordings, evaluation, report, nodes/base',
    'nodes/base': 'vocabulary, occlusion, drawing, recordings',
    'doctor': 'vocabulary, weights, runtimes, recordings, nodes, nodes/base',
    'demo': 'vocabulary, occlusion, drawing, estimators, pipeline, recordings, '
    'evaluation, evaluation/metrics, offline, nodes',
    'commands': 'every room',
}
ROS = re.compile(
    r'rclpy|.*_msgs|std_srvs|rcl_interfaces|cv_bridge|tf2_ros|launch.*|ament.*|rosbag2.*'
)
# Who may import what is heavy or missing on many machines.
KEEPERS = {
    'tensorflow': {'trpose_ros.estimators.metrabs_tensorflow'},
    'openvino': {'trpose_ros.runtimes.openvino_quiet'},
    'onnx': {'trpose_ros.runtimes.onnx_export'},
    'onnxruntime': {'trpose_ros.runtimes.onnx_export'},
    'rerun': {'trpose_ros.viewer.library'},
}


def name_of(path: Path, package: Path) -> str:
    """Return the dotted name of a module."""
    parts = path.relative_to(package.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def statements(tree: ast.AST, typing: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield all import statements; ``typing``: those for type checkers alone, too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test) and not typing:
            for line in node.orelse:
                yield from statements(line, typing)
        else:
            yield from statements(node, typing)


@cache
def imports(package: Path = PACKAGE, typing: bool = True) -> dict[str, set[str]]:
    """Return module -> modules that it imports, of the package or not."""
    names = {name_of(path, package): path for path in sorted(package.rglob('*.py'))}
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        found[name] = set()
        for node in statements(ast.parse(path.read_text(encoding='utf-8')), typing):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names}
                continue
            assert node.level == 0, f'{name}: write imports from the top'
            for alias in node.names:
                inner = f'{node.module}.{alias.name}'
                is_module = inner in names or inner == 'trpose_ros.msg'
                found[name].add(inner if is_module else str(node.module))
    return found


def room_of(module: str) -> str:
    """Return the room of a module of the package."""
    if module == 'trpose_ros.__main__':
        return 'commands'
    if module == 'trpose_ros':
        return module
    path = PACKAGE.joinpath(*module.split('.')[1:])
    inside = path if path.is_dir() else path.parent
    return inside.relative_to(PACKAGE).as_posix() if inside != PACKAGE else VOCABULARY


@cache
def arrows() -> dict[tuple[str, str], list[str]]:
    """Return (room, room that it imports) -> 'module imports module'."""
    found: dict[tuple[str, str], list[str]] = {}
    for module, others in imports().items():
        for other in others & set(imports()):
            # The version is a word of the vocabulary, wherever it is written down.
            target = VOCABULARY if other == 'trpose_ros' else room_of(other)
            if room_of(module) != target:
                found.setdefault((room_of(module), target), []).append(f'{module} imports {other}')
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return nodes of a graph that follow each other in a circle; none where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def allowed(room: str) -> list[str]:
    """Return the rooms that a room may import."""
    if MAY[room] == 'every room':
        return [other for other in MAY if other != room]
    return [other for other in MAY[room].split(', ') if other]


def test_a_circle_would_be_noticed(tmp_path):
    package = tmp_path / 'made'
    package.mkdir()
    (package / '__init__.py').write_text('')
    (package / 'one.py').write_text('def f():\n    from made import two\n')
    (package / 'two.py').write_text('from made.three import x\n')
    (package / 'three.py').write_text('from typing import TYPE_CHECKING\n\nx = 1\n')
    assert circle(imports(package)) == []
    imports.cache_clear()
    text = 'if TYPE_CHECKING:\n    from made.one import f\n'
    (package / 'three.py').write_text(f'from typing import TYPE_CHECKING\n\nx = 1\n{text}')
    assert set(circle(imports(package))) == {'made.one', 'made.two', 'made.three'}
    assert circle(imports(package, typing=False)) == []
    imports.cache_clear()


def test_no_modules_need_each_other():
    names = set(imports())
    assert circle({name: others & names for name, others in imports(typing=False).items()}) == []


def test_no_rooms_may_need_each_other():
    assert circle({room: set(allowed(room)) for room in MAY}) == []


def test_every_folder_with_modules_is_a_room():
    assert {room_of(module) for module in imports()} == set(MAY)


def test_rooms_import_what_they_may():
    wrong = [text for (a, b), texts in arrows().items() if b not in allowed(a) for text in texts]
    assert wrong == []


@pytest.mark.parametrize('room', [room for room in MAY if room not in ('vocabulary', 'trpose_ros')])
def test_the_docstring_says_what_a_room_may_import(room):
    text = ast.get_docstring(ast.parse((PACKAGE / room / '__init__.py').read_text('utf-8'))) or ''
    said = re.search(r'^Imports: (.*?)\.$', text, re.DOTALL | re.MULTILINE)
    assert said, f'{room}: end the docstring with "Imports: {MAY[room] or "nothing"}."'
    assert ' '.join(said[1].split()) == (MAY[room] or 'nothing')


def test_only_nodes_need_ros():
    wrong = [
        f'{module} imports {other}'
        for module, others in imports().items()
        for other in others
        if ROS.fullmatch(other.partition('.')[0]) or other == 'trpose_ros.msg'
        if room_of(module) not in ('nodes', 'nodes/base')
    ]
    assert wrong == []


@pytest.mark.parametrize('library', KEEPERS)
def test_heavy_libraries_have_one_door(library):
    found = {m for m, others in imports().items() for o in others if o.split('.')[0] == library}
    assert found == KEEPERS[library]


def halls(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return room -> rooms, with rooms that lie inside another counted as that one."""
    graph: dict[str, list[str]] = {}
    for a, b in pairs:
        a, b = a.partition('/')[0], b.partition('/')[0]
        known = graph.setdefault(a, [])
        if b != a and b not in known:
            known.append(b)
    return graph


def drawing() -> str:
    """Return the rooms as a Mermaid graph, without arrows that follow from others."""
    pairs = [(room, other) for room in MAY for other in allowed(room)]
    graph = halls(pair for pair in pairs if 'trpose_ros' not in pair)
    order = list(TopologicalSorter(graph).static_order())
    below: dict[str, set[str]] = {}
    for room in order:
        below[room] = set().union(*({x} | below[x] for x in graph.get(room, [])))
    lines = ['graph TD']
    for room in reversed(order):
        direct = graph.get(room, [])
        needed = {x for x in direct if not any(x in below[y] for y in direct)}
        lines += [f'  {room} --> {other}' for other in sorted(needed, key=order.index)]
    return '\n'.join(lines) + '\n'


def test_the_drawing_in_the_documentation_is_this_one():
    text = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
    assert DRAWING.findall(text) == [drawing()], 'paste what python test/test_rooms.py prints'


def test_no_two_test_files_have_one_name():
    names = [path.name for path in Path(__file__).parent.rglob('test_*.py')]
    assert sorted(names) == sorted(set(names)), 'pytest imports them by their names'


if __name__ == '__main__':
    print(drawing(), end='')
