"""Builds the body pack from MakeHuman's CC0 assets: ``trpose data prepare bodies``.

Input: a folder with the data of the MPFB add-on (base mesh hm08, macro targets, the rig cmu_mb and
its weights) and MakeHuman's asset repository (clothes and hair). Output: ``body.npz``, one npz per
garment, ``textures/``, all for the same random body shapes; what they hold is in docs/data.md.

Shapes follow MakeHuman's macro parameters: gender, age, muscle, weight, height, proportions and
ancestry, each between 0 and 1 and 0.5 in the middle, mix the macro targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from trpose_ros.data.rendering.bodies import HAIR, HATS, SHOES, SUITS
from trpose_ros.data.rendering.makehuman_files import (
    Mesh,
    RigFile,
    fit,
    read_garment,
    read_obj,
    read_rig,
    read_target,
    read_weights,
    to_world,
)
from trpose_ros.data.samples import DataError, MissingDataError
from trpose_ros.recordings.picture_headers import ImageError
from trpose_ros.recordings.pictures import read_stored
from trpose_ros.writing import whole_stream, write_bytes

PARAMETERS = (
    *('gender', 'age', 'muscle', 'weight', 'height', 'proportions'),
    *('caucasian', 'asian', 'african'),
)
EYE_GROUPS = ('helper-l-eye', 'helper-r-eye')
TEXTURE_LIMIT = 512
_AGES = (('baby', 0.0), ('child', 0.1875), ('young', 0.5), ('old', 1.0))
_OBTAIN = (
    'Obtain: the folder src/mpfb/data of the MPFB add-on (github makehumancommunity/mpfb2) and the '
    'repository makehumancommunity/makehuman-assets (its folders base/clothes, base/hair, '
    'base/eyes, with the pictures of its large file storage)\nLicence: CC0\nPut both below {folder}'
)


@dataclass(frozen=True)
class Originals:
    """The files of MakeHuman that make bodies."""

    folder: Path
    mesh: Mesh
    rig: RigFile
    weights: np.ndarray  # (V, J)
    targets: Path

    @property
    def skin_count(self) -> int:
        """Return how many vertices, the first ones, are skin."""
        return int(self.mesh.corners[self.mesh.in_groups('body')][..., 0].max()) + 1


def find(folder: Path) -> Originals:
    """Read the base mesh, the rig and its weights below ``folder``; raises MissingDataError."""

    def one(name: str) -> Path:
        found = sorted(folder.rglob(name)) if folder.is_dir() else []
        if not found:
            raise MissingDataError(
                f'{name} is not below {folder}.\n{_OBTAIN.format(folder=folder)}'
            )
        return found[0]

    mesh = read_obj(one('base.obj'))
    if not mesh.in_groups('body').any():
        raise DataError(f'{one("base.obj")} has no group "body"; it is not the base mesh')
    rig = read_rig(one('rig.cmu_mb.json'), mesh)
    weights = read_weights(one('weights.cmu_mb.json'), rig.names, len(mesh.vertices))
    return Originals(folder, mesh, rig, weights, one('macrodetails'))


def prepare(
    folder: Path,
    target: Path,
    shapes: int = 40,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Iterator[str]:
    """Write the body pack to the folder ``target``; yield what was done, line by line.

    Garments and pictures that are not there are named and left out. ``progress`` is called with
    the shapes and garments so far and in all. Raises MissingDataError and DataError.
    """
    if shapes < 1:
        raise ValueError(f'shapes must be at least 1, got {shapes}')
    originals = find(folder)
    parameters = draw_parameters(shapes, np.random.default_rng(seed))
    garments = (*SUITS, *SHOES, *HATS, *HAIR)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, shapes + len(garments))

    shaped = []
    for row in parameters:
        shaped.append(shape(originals, row))
        step()
    bases = np.stack(shaped)
    target.mkdir(parents=True, exist_ok=True)
    floors = to_world(bases)[:, : originals.skin_count, 2].min(axis=1)
    body = body_arrays(originals, bases, floors, parameters)
    _save(target / 'body.npz', body)
    yield (
        f'wrote {target / "body.npz"}: {shapes} shapes, statures '
        f'{body["stature"].min():.2f} to {body["stature"].max():.2f} m'
    )
    for name in garments:
        step()
        path = next(iter(sorted(folder.rglob(f'{name.partition("_")[2]}.mhclo'))), None)
        if path is None:
            yield f'left out: no {name.partition("_")[2]}.mhclo below {folder}'
            continue
        _save(target / f'{name}.npz', garment_arrays(originals, path, bases, floors))
        yield f'wrote {name}.npz; {_texture(path, name, target / "textures")}'
    for path in sorted(folder.rglob('*_eye.png')):
        yield _picture(path, target / 'textures' / f'eyes_{path.name}')
    if not any((target / 'textures').glob('eyes_*.png')):  # eyes are drawn with a picture always
        plain = np.full((16, 16, 4), (205, 210, 215, 255), np.uint8)
        _write_picture(plain, target / 'textures' / 'eyes_plain_eye.png')
        yield 'no picture of eyes below the folder: they are drawn white'


def draw_parameters(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return (S, 9) random macro parameters: both genders, adolescents to middle-aged people."""
    gender = (np.arange(count) % 2).astype(float)
    age = rng.uniform(0.3, 0.6, count)
    muscle, proportions = rng.uniform(0.3, 0.85, (2, count))
    weight = rng.uniform(0.3, 0.75, count)
    height = rng.uniform(0.25, 0.75, count)
    ancestry = rng.dirichlet(np.ones(3), count)
    columns = np.stack([gender, age, muscle, weight, height, proportions], axis=1)
    return np.concatenate([columns, ancestry], axis=1).astype(np.float32)


def _around_half(value: float, low: str, middle: str, high: str) -> dict[str, float]:
    """Return how much of three targets a parameter takes; 0.5 is all of the middle one."""
    return {
        low: max(0.0, 1 - 2 * value),
        middle: 1 - abs(2 * value - 1),
        high: max(0.0, 2 * value - 1),
    }


def _ages(age: float) -> dict[str, float]:
    knots = np.array([knot for _, knot in _AGES])
    upper = max(1, min(len(knots) - 1, int(np.searchsorted(knots, age))))
    share = float((age - knots[upper - 1]) / (knots[upper] - knots[upper - 1]))
    return {_AGES[upper - 1][0]: 1 - share, _AGES[upper][0]: share}


def target_weights(parameters: np.ndarray) -> dict[str, float]:
    """Return file stem -> weight of all macro targets that (9,) parameters take."""
    gender, age, muscle, weight, height, proportions, *ancestry = (float(v) for v in parameters)
    genders = {'female': 1 - gender, 'male': gender}
    muscles = _around_half(muscle, 'minmuscle', 'averagemuscle', 'maxmuscle')
    fats = _around_half(weight, 'minweight', 'averageweight', 'maxweight')
    heights = _around_half(height, 'minheight', '', 'maxheight')
    ideals = _around_half(proportions, 'uncommonproportions', '', 'idealproportions')
    found: dict[str, float] = {}
    for (g, gw), (a, aw) in product(genders.items(), _ages(age).items()):
        for race, share in zip(PARAMETERS[6:], ancestry, strict=True):
            found[f'{race}-{g}-{a}'] = gw * aw * share
        for (m, mw), (f, fw) in product(muscles.items(), fats.items()):
            build = gw * aw * mw * fw
            found[f'universal-{g}-{a}-{m}-{f}'] = build
            for end, share in (heights | ideals).items():
                if end:
                    found[f'{g}-{a}-{m}-{f}-{end}'] = build * share
    return {name: value for name, value in found.items() if value > 1e-9}


def shape(originals: Originals, parameters: np.ndarray) -> np.ndarray:
    """Return the (V, 3) base mesh with macro parameters (9,), in the axes of the file."""
    vertices = originals.mesh.vertices.copy()
    for name, weight in target_weights(parameters).items():
        found = sorted(originals.targets.rglob(f'{name}.target*'))
        if not found:
            raise MissingDataError(
                f'{name}.target.gz is not below {originals.targets}.\n'
                f'{_OBTAIN.format(folder=originals.folder)}'
            )
        index, offsets = read_target(found[0], len(vertices))
        vertices[index] += weight * offsets
    return vertices


def body_arrays(
    originals: Originals, bases: np.ndarray, floors: np.ndarray, parameters: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the arrays of body.npz for (S, V, 3) shaped base meshes."""
    mesh, rig = originals.mesh, originals.rig
    world = to_world(bases)
    world[..., 2] -= floors[:, None]
    drawn = mesh.in_groups('body', *EYE_GROUPS)
    render_vert, uv, tri = render_mesh(mesh, drawn)
    eyes = np.unique(mesh.corners[mesh.in_groups(*EYE_GROUPS)][..., 0])
    index, weight = strongest(originals.weights)
    ends = {
        end: np.stack([world[:, p.vertices].mean(axis=1) for p in places], axis=1)
        for end, places in (('head', rig.heads), ('tail', rig.tails))
    }
    return {
        'shapes': world.astype(np.float16),
        'render_vert': render_vert,
        'uv': uv,
        'tri': tri,
        'is_eye': np.isin(render_vert, eyes),
        'weight_index': index,
        'weight': weight,
        'joint_names': np.array(rig.names),
        'joint_parent': rig.parents,
        'joint_head': ends['head'].astype(np.float32),
        'joint_tail': ends['tail'].astype(np.float32),
        'shape_params': parameters,
        'shape_param_names': np.array(PARAMETERS),
        'stature': world[:, : originals.skin_count, 2].max(axis=1).astype(np.float32),
    }


def garment_arrays(
    originals: Originals, path: Path, bases: np.ndarray, floors: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the arrays of a garment's npz, fitted to the (S, V, 3) shaped base meshes."""
    garment = read_garment(path, len(originals.mesh.vertices))
    mesh = read_obj(path.with_suffix('.obj'))
    if len(mesh.vertices) != len(garment.vertices):
        raise DataError(
            f'{path} binds {len(garment.vertices)} vertices, {path.stem}.obj has '
            f'{len(mesh.vertices)}; obtain both again'
        )
    world = to_world(fit(garment, bases))
    world[..., 2] -= floors[:, None]
    render_vert, uv, tri = render_mesh(mesh, np.ones(len(mesh.corners), bool))
    shares = np.abs(garment.weights)  # negative ones lie outside the triangle, but as near
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    skinning = (originals.weights[garment.vertices] * shares[:, :, None]).sum(axis=1)
    index, weight = strongest(skinning)
    hidden = np.zeros(originals.skin_count, bool)
    hidden[garment.hidden[garment.hidden < originals.skin_count]] = True
    return {
        'shapes': world.astype(np.float16),
        'render_vert': render_vert,
        'uv': uv,
        'tri': tri,
        'weight_index': index,
        'weight': weight,
        'hide_body_vert': np.packbits(hidden),
    }


def render_mesh(mesh: Mesh, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split vertices at texture seams: (R,) base vertex, (R, 2) uv, (T, 3) render vertices."""
    corners = mesh.corners[faces]
    pairs, place = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    quads = place.reshape(-1, 4)
    square = quads[:, 2] != quads[:, 3]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[square][:, [0, 2, 3]]])
    uv = mesh.uv[pairs[:, 1]].astype(np.float16)
    return pairs[:, 0].astype(np.uint16), uv, triangles.astype(np.uint16)


def strongest(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the four largest weights of each row of (V, J): index (V, 4) uint8, weight float16."""
    padded = np.pad(weights, ((0, 0), (0, max(0, 4 - weights.shape[1]))))
    index = np.argsort(-padded, axis=1, kind='stable')[:, :4]
    kept = np.take_along_axis(padded, index, axis=1)
    kept = kept / np.maximum(kept.sum(axis=1, keepdims=True), 1e-9)
    return np.where(kept > 0, index, 0).astype(np.uint8), kept.astype(np.float16)


def _texture(path: Path, name: str, folder: Path) -> str:
    found = sorted(path.parent.glob(f'{path.stem}_diffuse.*'))
    if not found:
        return 'no picture, it is drawn in a plain colour'
    ending = '.png' if name.startswith('hair') else '.jpg'
    return _picture(found[0], folder / f'{name}_diffuse{ending}')


def _picture(path: Path, target: Path) -> str:
    if path.stat().st_size < 1000 and path.read_bytes().startswith(b'version https://git-lfs'):
        return f'left out: {path.name} is only a pointer to large file storage (git lfs pull)'
    try:
        image = read_stored(path)
    except ImageError as error:
        return f'left out: {path.name} {error}'
    shrink = TEXTURE_LIMIT / max(image.shape[:2])
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    if target.suffix == '.jpg' and image.ndim == 3:
        image = image[..., :3]
    _write_picture(image, target)
    return f'picture {target.name}'


def _write_picture(image: np.ndarray, target: Path) -> None:
    data = cv2.imencode(target.suffix, image)[1].tobytes()
    write_bytes(target, data)


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with whole_stream(path) as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
