"""Rigged people: body shapes, clothes, hair and procedural skin put together into one mesh.

The pack is the one described in docs (MakeHuman's CC0 base mesh, clothes and hair, fitted to forty
body shapes, skinned to a 31-joint rig). A :class:`Figure` is one dressed person in the rest pose:
vertices with skinning weights, triangles, and one baked 256 x 256 texture per garment. Skin has no
photograph: its tone, blotches, brows and lips are painted per vertex. A third of the people wears
tight clothes painted onto the skin mesh, which multiplies the few garments of the pack.

World frame: metres, z up, ground at z = 0, the body faces -y, its left hand is at +x.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from trpose_ros.archives import pack_arrays
from trpose_ros.data.registry import packs_folder
from trpose_ros.data.rendering.landmarks import rest_landmarks
from trpose_ros.data.rendering.paint import (
    HAIR_TONES,
    TEXTURE_SIDE,
    between,
    cloth_tone,
    gained,
    inflated,
    paint_clothes,
    paint_face,
    plain_texture,
    procedural_pattern,
    skin_colour,
    tinted,
)
from trpose_ros.recordings.picture_headers import ImageError
from trpose_ros.recordings.pictures import read_stored

SKIN_VERTICES = 13380  # base vertices below this index are skin, above are eyes and helpers
ADULT_STATURE_M = (1.52, 1.95)  # bodies of the pack outside are scaled uniformly into this range

# Body shapes are people: one that is seen in training is never seen in a test.
SHAPE_SPLITS: dict[str, tuple[int, ...]] = {
    'val': (5, 19, 25, 31),
    'test': (8, 15, 17, 21, 36, 39),
}
SHAPE_SPLITS['train'] = tuple(
    i for i in range(40) if i not in SHAPE_SPLITS['val'] + SHAPE_SPLITS['test']
)

SUITS = (
    'clothes_female_casualsuit01',
    'clothes_female_elegantsuit01',
    'clothes_female_sportsuit01',
    'clothes_male_casualsuit02',
    'clothes_male_casualsuit03',
    'clothes_male_casualsuit04',
    'clothes_male_casualsuit05',
    'clothes_male_casualsuit06',
    'clothes_male_elegantsuit01',
    'clothes_male_worksuit01',
)
SHOES = tuple(f'clothes_shoes0{i}' for i in range(1, 7))
HATS = ('clothes_fedora', 'clothes_fedora_cocked')
HAIR = (
    'hair_afro01',
    'hair_bob01',
    'hair_bob02',
    'hair_braid01',
    'hair_long01',
    'hair_ponytail01',
    'hair_short01',
    'hair_short02',
    'hair_short03',
    'hair_short04',
)


_PART = ('shapes', 'render_vert', 'uv', 'tri', 'weight_index', 'weight', 'hide_body_vert')
_BODY = (
    *('joint_names', 'joint_head', 'joint_tail', 'joint_parent', 'is_eye', 'stature', 'shapes'),
    *('render_vert', 'tri', 'uv', 'weight_index', 'weight'),
)


class PackError(FileNotFoundError):
    """A data pack is missing or damaged; the message names the folder or the file."""


def shared_data_dir(name: str) -> Path:
    """Return the folder of a data pack ('body', 'mocap' or 'backgrounds').

    Looked for under the environment variable TRPOSE_SHARED, then in ``../shared`` beside the
    checkout, then where ``trpose data prepare`` writes. Raises PackError naming all when none has
    it.
    """
    roots = []
    if os.environ.get('TRPOSE_SHARED'):
        roots.append(Path(os.environ['TRPOSE_SHARED']))
    roots.append(Path(__file__).resolve().parents[4] / 'shared')
    roots.append(packs_folder())
    for root in roots:
        folder = root / 'data' / name
        if folder.is_dir():
            return folder
    raise PackError(
        f'the data pack {name!r} was not found in {[str(r / "data" / name) for r in roots]}; '
        'set TRPOSE_SHARED to the folder that holds data/, or build it: trpose data prepare'
    )


@dataclass(frozen=True)
class Rig:
    """Skeleton of one body shape in the rest pose."""

    names: tuple[str, ...]
    parents: np.ndarray  # (31,) int
    heads: np.ndarray  # (31, 3) m
    tails: np.ndarray  # (31, 3) m
    landmarks: np.ndarray  # (22, 3) m, the further joints of landmarks.NAMES
    landmark_bones: np.ndarray  # (22,) int, the bone that carries each


@dataclass(frozen=True)
class Figure:
    """One dressed person in the rest pose: V vertices, R render vertices, T triangles."""

    shape: int
    rig: Rig
    rest: np.ndarray  # (V, 3) float32
    weight_index: np.ndarray  # (V, 4) uint8
    weight: np.ndarray  # (V, 4) float32
    corner_vertex: np.ndarray  # (T, 3) int32 into V
    corner_uv: np.ndarray  # (T, 3, 2) float32, v up
    colour: np.ndarray  # (V, 3) float32 linear multiplier
    material: np.ndarray  # (T,) uint8 into textures
    textures: np.ndarray  # (M, 256, 256, 4) uint8
    two_sided: np.ndarray  # (M,) bool
    depth_bias: np.ndarray  # (M,) float32 m; the larger loses against cloth lying upon it


@dataclass(frozen=True)
class _Part:
    shapes: np.ndarray
    render_vert: np.ndarray
    uv: np.ndarray
    tri: np.ndarray
    weight_index: np.ndarray
    weight: np.ndarray
    hidden_skin: np.ndarray | None


class BodyLibrary:
    """The body pack in memory; parts are read when first worn."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = Path(folder) if folder else shared_data_dir('body')
        self._body = _arrays(self.folder / 'body.npz', *_BODY)
        names = tuple(str(n) for n in self._body['joint_names'])
        self._names = names
        self._eyes = np.unique(self._body['render_vert'][self._body['is_eye']])
        self.stature = self._body['stature']
        self.num_shapes = len(self.stature)
        self._eye_textures = sorted((self.folder / 'textures').glob('eyes_*.png'))

    @cache  # noqa: B019 - one library lives as long as the process
    def _part(self, name: str) -> _Part:
        pack = _arrays(self.folder / f'{name}.npz', *_PART)
        return _Part(
            shapes=pack['shapes'],
            render_vert=pack['render_vert'].astype(np.int32),
            uv=pack['uv'].astype(np.float32),
            tri=pack['tri'].astype(np.int32),
            weight_index=pack['weight_index'],
            weight=pack['weight'].astype(np.float32),
            hidden_skin=np.unpackbits(pack['hide_body_vert'])[:SKIN_VERTICES].astype(bool),
        )

    @cache  # noqa: B019
    def _texture(self, name: str) -> np.ndarray | None:
        for suffix in ('_diffuse.jpg', '_diffuse.png', '.png'):
            path = self.folder / 'textures' / f'{name}{suffix}'
            if path.exists():
                return _read_texture(path)
        return None

    def scale(self, shape: int) -> float:
        """Return the factor that brings a body into the adult range of statures."""
        stature = float(self.stature[shape])
        return float(np.clip(stature, *ADULT_STATURE_M)) / stature

    def rig(self, shape: int, scale: float = 1.0) -> Rig:
        """Return the rest rig of body ``shape`` in metres."""
        factor = self.scale(shape) * scale
        heads = self._body['joint_head'][shape].astype(np.float64) * factor
        vertices = self._body['shapes'][shape].astype(np.float64) * factor
        landmarks, bones = rest_landmarks(vertices, self._eyes, heads, self._names)
        return Rig(
            names=self._names,
            parents=self._body['joint_parent'].astype(np.int64),
            heads=heads,
            tails=self._body['joint_tail'][shape].astype(np.float64) * factor,
            landmarks=landmarks,
            landmark_bones=bones,
        )

    def dress(self, shape: int, rng: np.random.Generator) -> Figure:
        """Return body ``shape`` with clothes, hair, skin and colours drawn from ``rng``."""
        scale = float(rng.uniform(0.96, 1.04))
        suit = None if rng.random() < 0.3 else str(rng.choice(SUITS))
        worn = [suit] if suit else []
        if rng.random() < 0.88:
            worn.append(str(rng.choice(SHOES)))
        hair_colour = between(HAIR_TONES, rng)
        head = rng.random()
        if head < 0.06:
            worn.append(str(rng.choice(HATS)))
        elif head < 0.93:
            worn.append(str(rng.choice(HAIR)))
        parts = [self._part(name) for name in worn]
        hidden = np.zeros(SKIN_VERTICES, bool)
        for part in parts:
            if part.hidden_skin is not None:
                hidden |= part.hidden_skin
        builder = _Builder(self.scale(shape) * scale)
        self._add_body(builder, shape, hidden, suit is None, hair_colour, rng)
        for name, part in zip(worn, parts, strict=True):
            texture = self._baked(name, hair_colour, rng)
            builder.add(part, shape, texture, two_sided=True, bias=0.0)
        return builder.figure(shape, self.rig(shape, scale))

    def _add_body(
        self,
        builder: _Builder,
        shape: int,
        hidden: np.ndarray,
        painted: bool,
        hair_colour: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        body = self._body
        vertices = body['shapes'][shape].astype(np.float32)
        corner = body['render_vert'].astype(np.int32)[body['tri'].astype(np.int32)]
        eye = body['is_eye'][body['tri'].astype(np.int32)].all(axis=1)
        gone = np.zeros(len(vertices), bool)
        gone[:SKIN_VERTICES] = hidden
        skin = ~eye & ~gone[corner].all(axis=1)
        colour = skin_colour(vertices, body, rng)
        paint_face(colour, vertices, body, hair_colour, rng)
        inflate = np.zeros(len(vertices), np.float32)
        if painted:
            inflate = paint_clothes(colour, vertices, body, shape, rng)
        white = np.full((TEXTURE_SIDE, TEXTURE_SIDE, 4), 255, np.uint8)
        uv = body['uv'].astype(np.float32)[body['tri'].astype(np.int32)]
        weights = (body['weight_index'], body['weight'].astype(np.float32))
        vertices = inflated(vertices, corner[~eye], inflate)
        builder.add_mesh(vertices, weights, corner[skin], uv[skin], colour, white, False, 0.006)
        eyes = self._texture(self._eye_textures[int(rng.integers(len(self._eye_textures)))].stem)
        ones = np.ones_like(colour)
        builder.add_mesh(vertices, weights, corner[eye], uv[eye], ones, eyes, False, 0.0)

    def _baked(self, name: str, hair_colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        texture = self._texture(name)
        if name.startswith('hair_'):
            if texture is None:
                return plain_texture(hair_colour, rng)
            return tinted(texture, hair_colour)
        if texture is None:
            return plain_texture(cloth_tone(rng), rng)
        draw = rng.random()
        if draw < 0.35:
            return gained(texture, rng.uniform(0.55, 1.25, 3) * rng.uniform(0.7, 1.15))
        target = cloth_tone(rng)
        cloth = tinted(texture, target if draw < 0.7 else np.full(3, 200, np.float32))
        if draw >= 0.7:
            cloth = gained(cloth, procedural_pattern(rng)[..., :3] / 200.0)
        return cloth


class _Builder:
    """Collects meshes into one Figure."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.count = 0
        self.rows: list[tuple[np.ndarray, ...]] = []
        self.tris: list[tuple[np.ndarray, ...]] = []
        self.textures: list[np.ndarray] = []
        self.two_sided: list[bool] = []
        self.bias: list[float] = []

    def add(self, part: _Part, shape: int, texture: np.ndarray, two_sided: bool, bias: float):
        vertices = part.shapes[shape].astype(np.float32)
        corner = part.render_vert[part.tri]
        colour = np.ones_like(vertices)
        weights = (part.weight_index, part.weight)
        self.add_mesh(
            vertices, weights, corner, part.uv[part.tri], colour, texture, two_sided, bias
        )

    def add_mesh(self, vertices, weights, corner, uv, colour, texture, two_sided, bias):
        used = np.unique(corner)
        renumber = np.full(len(vertices), -1, np.int32)
        renumber[used] = np.arange(len(used), dtype=np.int32) + self.count
        self.count += len(used)
        index, weight = weights
        self.rows.append((vertices[used] * self.scale, index[used], weight[used], colour[used]))
        material = np.full(len(corner), len(self.textures), np.uint8)
        self.tris.append((renumber[corner], uv, material))
        self.textures.append(texture)
        self.two_sided.append(two_sided)
        self.bias.append(bias)

    def figure(self, shape: int, rig: Rig) -> Figure:
        rest, index, weight, colour = (np.concatenate(x) for x in zip(*self.rows, strict=True))
        corner, uv, material = (np.concatenate(x) for x in zip(*self.tris, strict=True))
        weight = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-6)
        return Figure(
            shape=shape,
            rig=rig,
            rest=np.ascontiguousarray(rest, np.float32),
            weight_index=np.ascontiguousarray(index, np.uint8),
            weight=np.ascontiguousarray(weight, np.float32),
            corner_vertex=np.ascontiguousarray(corner, np.int32),
            corner_uv=np.ascontiguousarray(uv, np.float32),
            colour=np.ascontiguousarray(colour, np.float32),
            material=material,
            textures=np.stack(self.textures),
            two_sided=np.array(self.two_sided),
            depth_bias=np.array(self.bias, np.float32),
        )


def _arrays(path: Path, *wanted: str) -> dict[str, np.ndarray]:
    try:
        return pack_arrays(path, *wanted)
    except ValueError as error:
        raise PackError(str(error)) from error


def _read_texture(path: Path) -> np.ndarray:
    try:
        image = read_stored(path)
    except ImageError as error:
        raise PackError(f'{path} {error}; restore the body pack') from error
    image = cv2.resize(image, (TEXTURE_SIDE, TEXTURE_SIDE), interpolation=cv2.INTER_AREA)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    alpha = image[..., 3] if image.shape[2] == 4 else np.full(image.shape[:2], 255, np.uint8)
    return np.dstack([image[..., 2::-1], alpha])
