"""Reads MakeHuman's assets: meshes (.obj), targets, rigs with weights, garments (.mhclo).

The base mesh ``hm08`` counts in decimetres, y up, facing +z; here everything becomes metres, z
up, facing -y. A target is a sparse list of vertex offsets. A rig places its joints at the middle
of small cubes that belong to the mesh, so that they follow every shape. A garment's vertex is
bound to three vertices of the base mesh by weights, plus an offset that scales with distances
between named vertices.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trpose_ros.data.samples import DataError, MissingDataError

_DECIMETRE_M = 0.1


@dataclass(frozen=True)
class Mesh:
    """A mesh with texture coordinates; every face belongs to a group."""

    vertices: np.ndarray  # (V, 3) float64, unit and axes of the file
    uv: np.ndarray  # (U, 2)
    corners: np.ndarray  # (F, 4, 2) int: vertex and texture coordinate; a triangle repeats its last
    groups: tuple[str, ...]  # (F,)

    def in_groups(self, *names: str) -> np.ndarray:
        """Return (F,) whether a face belongs to one of the groups."""
        return np.isin(np.array(self.groups), names)


@dataclass(frozen=True)
class JointPlace:
    """Where a rig's joint lies: the mean of some vertices."""

    vertices: np.ndarray


@dataclass(frozen=True)
class RigFile:
    """The joints of a rig, parents before children."""

    names: tuple[str, ...]
    parents: np.ndarray  # (J,) int8, -1 for the root
    heads: tuple[JointPlace, ...]
    tails: tuple[JointPlace, ...]


@dataclass(frozen=True)
class Garment:
    """How a garment is bound to the base mesh. N vertices."""

    name: str
    vertices: np.ndarray  # (N, 3) int, of the base mesh
    weights: np.ndarray  # (N, 3)
    offsets: np.ndarray  # (N, 3), axes of the file
    scales: tuple[tuple[int, int, float], ...]  # per axis: two vertices and their rest distance
    hidden: np.ndarray  # base vertices under the garment


def to_world(points: np.ndarray) -> np.ndarray:
    """Turn the file's decimetres with y up into metres with z up."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1) * _DECIMETRE_M


def _text(path: Path) -> str:
    if not path.is_file():
        raise MissingDataError(f'{path} does not exist')
    try:
        data = path.read_bytes()
        if path.suffix == '.gz':
            data = gzip.decompress(data)
        return data.decode('utf-8', errors='replace')
    except (OSError, EOFError) as error:
        raise DataError(f'{path} cannot be read ({error}); obtain it again') from error


def read_obj(path: Path) -> Mesh:
    """Read a mesh of triangles and quads with texture coordinates; raises DataError."""
    vertices, uv, corners, groups, group = [], [], [], [], ''
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            if words[0] == 'v':
                vertices.append([float(v) for v in words[1:4]])
            elif words[0] == 'vt':
                uv.append([float(v) for v in words[1:3]])
            elif words[0] == 'g':
                group = words[1] if len(words) > 1 else ''
            elif words[0] == 'f':
                face = [[int(i) - 1 for i in word.split('/')[:2]] for word in words[1:]]
                if len(face) not in (3, 4) or any(len(corner) != 2 for corner in face):
                    raise ValueError('faces must be triangles or quads with texture coordinates')
                corners.append(face if len(face) == 4 else [*face, face[-1]])
                groups.append(group)
        except (ValueError, IndexError) as error:
            raise DataError(f'{path}, line {number}: {line.strip()!r}: {error}') from error
    mesh = Mesh(
        np.array(vertices, np.float64).reshape(-1, 3),
        np.array(uv, np.float64).reshape(-1, 2),
        np.array(corners, np.int64).reshape(-1, 4, 2),
        tuple(groups),
    )
    if not corners:
        raise DataError(f'{path} has no faces; it is not a mesh (a pointer to large storage?)')
    limit = np.array([len(mesh.vertices), len(mesh.uv)])
    if mesh.corners.min() < 0 or (mesh.corners.reshape(-1, 2).max(axis=0) >= limit).any():
        raise DataError(f'{path}: faces name vertices beyond the {limit.tolist()} there are')
    return mesh


def read_target(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the (K,) vertices and (K, 3) offsets of a target for a mesh of ``count`` vertices."""
    rows = [
        line.split() for line in _text(path).splitlines() if line.strip() and line[0] not in '#"'
    ]
    try:
        values = np.array(rows, np.float64).reshape(-1, 4)
    except ValueError as error:
        raise DataError(f'{path}: lines must be a vertex and three offsets ({error})') from error
    index = values[:, 0].astype(np.int64)
    if len(index) and (index.min() < 0 or index.max() >= count):
        raise DataError(f'{path} moves vertex {index.max()} of a mesh of {count}')
    return index, values[:, 1:]


def read_rig(path: Path, mesh: Mesh) -> RigFile:
    """Read a rig; joints are ordered breadth first, children by name. Raises DataError."""
    content = _json(path)
    try:
        parents = {name: str(bone['parent']) for name, bone in content.items()}
        order, level = [], sorted(name for name, parent in parents.items() if not parent)
        while level:
            order += level
            level = [c for p in level for c in sorted(n for n in parents if parents[n] == p)]
        if len(order) != len(content):
            raise ValueError(
                f'bones without a way to the root: {sorted(set(content) - set(order))}'
            )
        ends = {
            end: tuple(_place(content[name][end], mesh) for name in order)
            for end in ('head', 'tail')
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f'{path} is not a rig for this mesh ({error!r})') from error
    index = {name: i for i, name in enumerate(order)} | {'': -1}
    chain = np.array([index[parents[name]] for name in order], np.int8)
    return RigFile(tuple(order), chain, ends['head'], ends['tail'])


def _place(end: dict, mesh: Mesh) -> JointPlace:
    if end['strategy'] == 'CUBE':
        faces = mesh.corners[mesh.in_groups(end['cube_name'])]
        vertices = np.unique(faces[..., 0])
    elif end['strategy'] == 'MEAN':
        vertices = np.array(end['vertex_indices'], np.int64)
    else:
        raise ValueError(f'unknown strategy {end["strategy"]!r}')
    if len(vertices) == 0 or vertices.max() >= len(mesh.vertices):
        raise ValueError(f'no vertices for {end}')
    return JointPlace(vertices)


def read_weights(path: Path, names: tuple[str, ...], count: int) -> np.ndarray:
    """Return (V, J) skinning weights, rows summing to one; raises DataError."""
    content = _json(path).get('weights')
    weights = np.zeros((count, len(names)))
    try:
        for bone, rows in content.items():  # type: ignore[union-attr]
            if rows and bone in names:
                values = np.array(rows, np.float64).reshape(-1, 2)
                weights[values[:, 0].astype(int), names.index(bone)] = values[:, 1]
    except (AttributeError, ValueError, IndexError) as error:
        raise DataError(f'{path} holds no weights for this mesh ({error})') from error
    total = weights.sum(axis=1, keepdims=True)
    if not total.any():
        raise DataError(f'{path} holds no weights for the bones {list(names)[:5]}...')
    weights[total[:, 0] == 0, 0] = 1  # helpers nobody bound follow the root
    return weights / np.where(total == 0, 1, total)


def _json(path: Path) -> dict:
    try:
        content = json.loads(_text(path))
    except ValueError as error:
        raise DataError(f'{path} is not readable JSON ({error})') from error
    if not isinstance(content, dict):
        raise DataError(f'{path} must hold a JSON object')
    return content


def read_garment(path: Path, count: int) -> Garment:
    """Read a .mhclo file for a base mesh of ``count`` vertices; raises DataError with the line."""
    scales: dict[str, tuple[int, int, float]] = {}
    rows: list[list[float]] = []
    hidden: list[int] = []
    section, name = '', path.stem
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith('#'):
            continue
        try:
            if words[0] in ('x_scale', 'y_scale', 'z_scale'):
                scales[words[0][0]] = (int(words[1]), int(words[2]), float(words[3]))
            elif words[0] == 'name':
                name = words[1]
            elif words[0] in ('verts', 'delete_verts'):
                section = words[0]
            elif words[0][0].isalpha():
                continue  # some files name their material between 'verts' and the numbers
            elif section == 'verts':
                rows.append(_binding(words))
            elif section == 'delete_verts':
                hidden += _ranges(words)
        except (ValueError, IndexError) as error:
            raise DataError(f'{path}, line {number}: {line.strip()!r}: {error}') from error
    values = np.array(rows, np.float64).reshape(-1, 9)
    vertices = values[:, :3].astype(np.int64)
    named = [*vertices.ravel(), *hidden, *(i for s in scales.values() for i in s[:2])]
    if not rows or set(scales) != set('xyz') or max(named) >= count or min(named) < 0:
        raise DataError(
            f'{path} must bind vertices to a base mesh of {count} vertices and give x_scale, '
            f'y_scale and z_scale; it has {len(rows)} vertices and {sorted(scales)}'
        )
    return Garment(
        name,
        vertices,
        values[:, 3:6],
        values[:, 6:],
        (scales['x'], scales['y'], scales['z']),
        np.unique(np.array(hidden, np.int64)),
    )


def _binding(words: list[str]) -> list[float]:
    """Return three vertices, three weights, three offsets; one vertex alone is followed exactly."""
    values = [float(word) for word in words]
    if len(values) == 1:
        return [values[0], values[0], values[0], 1, 0, 0, 0, 0, 0]
    if len(values) != 9:
        raise ValueError('expected one vertex, or three with three weights and three offsets')
    return values


def _ranges(words: list[str]) -> list[int]:
    """Return the numbers of '3 7 - 9'."""
    numbers: list[int] = []
    open_range = False
    for word in words:
        if word == '-':
            open_range = True
        elif open_range:
            numbers += range(numbers[-1] + 1, int(word) + 1)
            open_range = False
        else:
            numbers.append(int(word))
    return numbers


def fit(garment: Garment, base: np.ndarray) -> np.ndarray:
    """Return (..., N, 3) a garment on base vertices (..., V, 3), both in the axes of the file."""
    bound = base[..., garment.vertices, :]  # (..., N, 3, 3)
    placed = (bound * garment.weights[:, :, None]).sum(axis=-2)
    scale = [
        np.abs(base[..., a, axis] - base[..., b, axis]) / rest
        for axis, (a, b, rest) in enumerate(garment.scales)
    ]
    return placed + garment.offsets * np.stack(scale, axis=-1)[..., None, :]
