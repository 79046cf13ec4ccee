"""The body pack from assets in MakeHuman's formats: small ones, made by the tests."""

from __future__ import annotations

import gzip
import json
from itertools import product

import cv2
import numpy as np
import pytest

from trpose_ros.data.rendering.makehuman_files import (
    fit,
    read_garment,
    read_obj,
    read_target,
    to_world,
)
from trpose_ros.data.rendering.prepare_bodies import (
    draw_parameters,
    find,
    prepare,
    render_mesh,
    shape,
    strongest,
    target_weights,
)
from trpose_ros.data.samples import DataError, MissingDataError

MIDDLE = np.array([1, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 0, 0], np.float32)  # a young caucasian man

# A cube of 8 decimetre-vertices as skin, a triangle as eye, two cubes that carry joints.
CUBE = [(x, y, z) for y in (-8.0, 8.0) for x in (-1.0, 1.0) for z in (-1.0, 1.0)]
EYE = [(0.2, 7.0, 1.1), (0.4, 7.0, 1.1), (0.3, 7.2, 1.1)]
JOINTS = [(0.0, 0.0, 0.0), (0.2, 0.0, 0.0), (0.0, 5.0, 0.0), (0.2, 5.0, 0.2)]
FACES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 2, 6, 4), (1, 5, 7, 3), (0, 4, 5, 1), (2, 3, 7, 6)]


def obj_text(vertices, groups):
    lines = ['# made', *(f'v {x} {y} {z}' for x, y, z in vertices)]
    lines += [f'vt {u} {v}' for u, v in ((0, 0), (1, 0), (1, 1), (0, 1))]
    for group, faces in groups.items():
        lines.append(f'g {group}')
        for face in faces:
            lines.append('f ' + ' '.join(f'{v + 1}/{i + 1}' for i, v in enumerate(face)))
    return '\n'.join(lines) + '\n'


def bone(parent, head, tail):
    return {
        'parent': parent,
        'head': head | {'default_position': [0, 0, 0]},
        'tail': tail | {'default_position': [0, 0, 0]},
        'roll': 0.0,
    }


def write_assets(folder):
    data = folder / 'mpfb' / 'data'
    rigs, targets = data / 'rigs' / 'standard', data / 'targets' / 'macrodetails'
    for place in (data / '3dobjs', rigs, targets / 'height', targets / 'proportions'):
        place.mkdir(parents=True)
    groups = {'body': FACES, 'helper-l-eye': [(8, 9, 10)]}
    groups |= {'joint-a': [(11, 12, 12)], 'joint-b': [(13, 14, 14)]}
    (data / '3dobjs' / 'base.obj').write_text(obj_text([*CUBE, *EYE, *JOINTS], groups))
    cube_a, cube_b = ({'strategy': 'CUBE', 'cube_name': f'joint-{n}'} for n in 'ab')
    mean = {'strategy': 'MEAN', 'vertex_indices': [4, 7]}
    rig = {
        'Zed': bone('Hips', cube_b, mean),
        'Arm': bone('Hips', cube_b, mean),
        'Hand': bone('Zed', mean, mean),
        'Hips': bone('', cube_a, cube_b),
    }
    (rigs / 'rig.cmu_mb.json').write_text(json.dumps(rig))
    weights = {
        'Hips': [[v, 1.0] for v in range(4)],
        'Arm': [[v, 0.5] for v in range(2, 8)],
        'Hand': [[v, 0.25] for v in range(4, 8)],
        'Nobody': [[0, 1.0]],
    }
    (rigs / 'weights.cmu_mb.json').write_text(json.dumps({'license': 'CC0', 'weights': weights}))
    names = set()
    for corner in product((0.0, 1.0), (0.1875, 0.5, 1.0), *[(0.0, 0.5, 1.0)] * 4):
        names |= set(target_weights(np.array([*corner, 0.2, 0.3, 0.5])))
    for number, name in enumerate(sorted(names)):
        place = targets / ('height' if name.endswith('height') else '')
        place = targets / 'proportions' if name.endswith('proportions') else place
        rows = f'# made\n0 0 {0.001 * number:.3f} .01\n7 .002 -.5e-1 0\n'
        (place / f'{name}.target.gz').write_bytes(gzip.compress(rows.encode()))
    return folder


def write_garment(folder, kind='clothes', name='shoes01', verts=None, picture=True):
    place = folder / 'assets' / 'base' / kind / name
    place.mkdir(parents=True, exist_ok=True)
    lines = [
        '# made',
        f'name {name}',
        f'obj_file {name}.obj',
        'x_scale 0 2 2.0',
        'y_scale 0 4 16.0',
        'z_scale 0 1 2.0',
        'z_depth 5',
        'verts 0',
        'material made.mhmat',  # as some published files have it
        *(verts or ['5', '0 2 4 0.5 0.25 0.25 0.1 0.2 0.3', '0 2 4 1.5 -0.25 -0.25 0 0 1']),
        'delete_verts',
        '1 3 - 5 9',
        '12 - 13',
    ]
    (place / f'{name}.mhclo').write_text('\n'.join(lines))
    (place / f'{name}.obj').write_text(obj_text([(0, 0, 0)] * 3, {name: [(0, 1, 2)]}))
    if picture:
        cv2.imwrite(str(place / f'{name}_diffuse.png'), np.full((600, 300, 3), 90, np.uint8))
    return place


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = write_assets(tmp_path_factory.mktemp('makehuman'))
    write_garment(path)
    return path


# --- files -----------------------------------------------------------------------------------


def test_base_mesh_and_rig(folder):
    originals = find(folder)
    assert originals.skin_count == 8
    assert originals.mesh.vertices.shape == (15, 3)
    rig = originals.rig
    assert rig.names == ('Hips', 'Arm', 'Zed', 'Hand')  # breadth first, children by name
    assert rig.parents.tolist() == [-1, 0, 0, 2]
    np.testing.assert_array_equal(rig.heads[0].vertices, [11, 12])
    np.testing.assert_array_equal(rig.tails[1].vertices, [4, 7])
    np.testing.assert_allclose(originals.weights.sum(axis=1), 1)
    np.testing.assert_allclose(originals.weights[5], [0, 2 / 3, 0, 1 / 3])
    np.testing.assert_allclose(originals.weights[14], [1, 0, 0, 0])  # nobody bound it


def test_a_garment_follows_and_scales_with_the_body(folder):
    place = folder / 'assets' / 'base' / 'clothes' / 'shoes01'
    garment = read_garment(place / 'shoes01.mhclo', 15)
    assert garment.hidden.tolist() == [1, 3, 4, 5, 9, 12, 13]
    base = find(folder).mesh.vertices
    placed = fit(garment, base)
    np.testing.assert_allclose(placed[0], base[5])
    middle = 0.5 * base[0] + 0.25 * base[2] + 0.25 * base[4]
    np.testing.assert_allclose(placed[1], middle + np.array([0.1, 0.2, 0.3]))
    grown = fit(garment, base * [2, 3, 4])  # offsets grow along each axis by itself
    np.testing.assert_allclose(grown[1], middle * [2, 3, 4] + [0.2, 0.6, 1.2])
    both = fit(garment, np.stack([base, base * [2, 3, 4]]))
    np.testing.assert_allclose(both, [placed, grown])


@pytest.mark.parametrize(
    ('verts', 'words'),
    [
        (['0 1 2 1 0 0'], r"line 10: '0 1 2 1 0 0': expected one vertex"),
        (['0 1 99 1 0 0 0 0 0'], 'base mesh of 15 vertices'),
        (['0 1 x 1 0 0 0 0 0'], 'could not convert'),
    ],
)
def test_bad_garments(tmp_path, verts, words):
    place = write_garment(tmp_path, verts=verts)
    with pytest.raises(DataError, match=words):
        read_garment(place / 'shoes01.mhclo', 15)


def test_bad_meshes_and_targets(tmp_path):
    path = tmp_path / 'a.obj'
    path.write_text('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n')
    with pytest.raises(DataError, match='no faces'):
        read_obj(path)
    path.write_text(obj_text(CUBE, {'body': [(0, 1, 9)]}))
    with pytest.raises(DataError, match=r'beyond the \[8, 4\]'):
        read_obj(path)
    path.write_text('v 1 2 3\nf 1 1 1\n')
    with pytest.raises(DataError, match='line 2'):
        read_obj(path)
    target = tmp_path / 'a.target.gz'
    target.write_bytes(gzip.compress(b'0 .1 .2 .3\n')[:-6])
    with pytest.raises(DataError, match='cannot be read'):
        read_target(target, 9)
    target.write_bytes(gzip.compress(b'12 .1 .2 .3\n'))
    with pytest.raises(DataError, match='moves vertex 12 of a mesh of 9'):
        read_target(target, 9)
    target.write_bytes(gzip.compress(b'1 .1 .2\n'))
    with pytest.raises(DataError, match='three offsets'):
        read_target(target, 9)
    target.write_bytes(gzip.compress(b'# nothing moves\n'))
    assert len(read_target(target, 9)[0]) == 0


# --- shapes ----------------------------------------------------------------------------------


def test_the_middle_person_takes_three_targets():
    assert target_weights(MIDDLE) == {
        'caucasian-male-young': 1.0,
        'universal-male-young-averagemuscle-averageweight': 1.0,
    }


def test_parameters_mix_targets_linearly():
    person = MIDDLE.copy()
    person[[0, 1, 2, 4]] = 0.25, 0.75, 0.75, 0.1  # mostly female, half old, stronger, small
    found = target_weights(person)
    assert found['caucasian-female-old'] == pytest.approx(0.75 * 0.5)
    build = 0.75 * 0.5 * 0.5
    assert found['universal-female-old-maxmuscle-averageweight'] == pytest.approx(build)
    assert found['female-old-maxmuscle-averageweight-minheight'] == pytest.approx(build * 0.8)
    assert not any('maxheight' in name or 'minmuscle' in name for name in found)
    # Whoever somebody is, genders, ages, builds and ancestries each share out one whole.
    for row in draw_parameters(8, np.random.default_rng(3)):
        found = target_weights(row)
        universal = [v for name, v in found.items() if name.startswith('universal')]
        races = [
            v
            for name, v in found.items()
            if name.split('-')[0] in ('asian', 'african', 'caucasian')
        ]
        assert sum(universal) == pytest.approx(1, abs=1e-6)
        assert sum(races) == pytest.approx(1, abs=1e-5)


def test_a_shape_is_the_base_mesh_and_its_targets(folder):
    originals = find(folder)
    found = shape(originals, MIDDLE)
    expected = originals.mesh.vertices.copy()
    for name in target_weights(MIDDLE):
        path = next(originals.targets.rglob(f'{name}.target.gz'))
        for line in gzip.decompress(path.read_bytes()).decode().splitlines()[1:]:
            vertex, *offset = (float(v) for v in line.split())
            expected[int(vertex)] += offset
    np.testing.assert_allclose(found, expected)
    next(originals.targets.rglob('caucasian-male-young.target.gz')).rename(folder / 'gone')
    try:
        with pytest.raises(MissingDataError, match='caucasian-male-young'):
            shape(originals, MIDDLE)
    finally:
        (folder / 'gone').rename(originals.targets / 'caucasian-male-young.target.gz')


def test_axes_become_metres_with_z_up():
    np.testing.assert_allclose(to_world(np.array([1.0, 2.0, 3.0])), [0.1, -0.3, 0.2])


def test_seams_split_vertices_and_quads_become_triangles(folder):
    mesh = find(folder).mesh
    render_vert, uv, tri = render_mesh(mesh, mesh.in_groups('body', 'helper-l-eye'))
    assert len(tri) == 6 * 2 + 1
    assert set(render_vert.tolist()) == set(range(11))
    pairs = {(int(v), *map(float, t)) for v, t in zip(render_vert, uv, strict=True)}
    assert len(pairs) == len(render_vert)  # no render vertex twice
    points = mesh.vertices[render_vert[tri]]
    area = np.linalg.norm(
        np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]), axis=1
    )
    assert area.sum() / 2 == pytest.approx(4 * 2 * 16 + 2 * 4 + 0.02)


def test_strongest_weights_sum_to_one():
    weights = np.random.default_rng(0).dirichlet(np.ones(7), 30)
    index, kept = strongest(weights)
    np.testing.assert_allclose(kept.astype(float).sum(axis=1), 1, atol=2e-3)
    for row, order in zip(weights, index, strict=True):
        assert set(order.tolist()) == set(np.argsort(-row)[:4].tolist())


# --- the pack --------------------------------------------------------------------------------


def test_a_pack_is_written(folder, tmp_path):
    place = write_garment(folder, 'hair', 'short01', ['0', '1', '2'], picture=False)
    (place / 'short01_diffuse.png').write_text('version https://git-lfs.github.com/spec/v1\n')
    seen = []
    told = {'shapes': 3, 'seed': 0, 'progress': lambda *so_far: seen.append(so_far)}
    lines = list(prepare(folder, tmp_path / 'body', **told))
    assert seen[-1][0] == seen[-1][1] == len(seen) > 3
    text = '\n'.join(lines)
    assert 'wrote clothes_shoes01.npz; picture clothes_shoes01_diffuse.jpg' in text
    assert 'wrote hair_short01.npz; left out: short01_diffuse.png is only a pointer' in text
    assert 'left out: no fedora.mhclo' in text
    assert 'eyes below the folder: they are drawn white' in text
    assert (tmp_path / 'body' / 'textures' / 'eyes_plain_eye.png').is_file()
    body = np.load(tmp_path / 'body' / 'body.npz')
    assert body['shapes'].shape == (3, 15, 3)
    np.testing.assert_allclose(body['shapes'][:, :8, 2].min(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(body['stature'], body['shapes'][:, :8, 2].max(axis=1), atol=2e-3)
    assert body['is_eye'].sum() == 3
    heads = body['shapes'][:, [11, 12]].astype(float).mean(axis=1)
    np.testing.assert_allclose(body['joint_head'][:, 0], heads, atol=2e-3)
    assert body['joint_names'].tolist() == ['Hips', 'Arm', 'Zed', 'Hand']
    shoes = np.load(tmp_path / 'body' / 'clothes_shoes01.npz')
    assert shoes['shapes'].shape == (3, 3, 3)
    # The first vertex of the shoe is vertex 5 of the body, on the same floor.
    np.testing.assert_allclose(shoes['shapes'][:, 0], body['shapes'][:, 5], atol=2e-3)
    hidden = np.unpackbits(shoes['hide_body_vert'])[:8]
    assert np.flatnonzero(hidden).tolist() == [1, 3, 4, 5]
    picture = cv2.imread(str(tmp_path / 'body' / 'textures' / 'clothes_shoes01_diffuse.jpg'))
    assert picture.shape == (512, 256, 3)
    assert not list((tmp_path / 'body').rglob('.*.part'))


def test_the_seed_makes_the_shapes():
    a, b, c = (draw_parameters(4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a[:, 1:] != c[:, 1:]).any()
    assert a.shape == (4, 9)


def test_missing_assets_say_what_to_obtain(tmp_path, folder):
    with pytest.raises(MissingDataError, match=r'base\.obj is not below[\s\S]*mpfb2'):
        find(tmp_path / 'none')
    with pytest.raises(ValueError, match='at least 1'):
        next(prepare(folder, tmp_path, shapes=0))
    place = tmp_path / '3dobjs'
    place.mkdir()
    (place / 'base.obj').write_text(obj_text(CUBE, {'other': FACES}))
    with pytest.raises(DataError, match='no group "body"'):
        find(tmp_path)
    (place / 'base.obj').write_text(obj_text(CUBE, {'body': FACES}))
    (tmp_path / 'rig.cmu_mb.json').write_text('[]')
    with pytest.raises(DataError, match='must hold a JSON object'):
        find(tmp_path)
    cube = {'strategy': 'CUBE', 'cube_name': 'joint-x'}
    for rig, words in (
        ({'Hips': bone('', cube, cube)}, 'no vertices for'),
        ({'Hips': bone('Hips', cube, cube)}, 'without a way to the root'),
        ({'Hips': {}}, 'not a rig for this mesh'),
    ):
        (tmp_path / 'rig.cmu_mb.json').write_text(json.dumps(rig))
        with pytest.raises(DataError, match=words):
            find(tmp_path)
