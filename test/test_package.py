"""The names that the package offers itself, and the three lines from a photo to skeletons."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import trpose_ros
from trpose_ros.skeletons import get_skeleton

SAMPLES = Path(trpose_ros.__file__).parent / 'samples'


def test_the_package_alone_needs_nothing_but_python():
    code = (
        'import sys, trpose_ros\n'
        "heavy = {'numpy', 'torch', 'cv2', 'rclpy', 'trpose_ros.pipeline'} & set(sys.modules)\n"
        'assert not heavy, heavy\n'
        "assert 'Pipeline' in dir(trpose_ros)\n"
        'trpose_ros.Pipeline, trpose_ros.PipelineConfig(), trpose_ros.read_frame\n'
        "heavy = {'torch', 'tensorflow', 'openvino', 'rclpy'} & set(sys.modules)\n"
        'assert not heavy, heavy\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=300)


def test_type_checkers_see_the_same_names():
    (block,) = [
        node
        for node in ast.parse(Path(trpose_ros.__file__).read_text(encoding='utf-8')).body
        if isinstance(node, ast.If)
    ]
    seen = {
        alias.name: line.module
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    places = {name: f'trpose_ros.{place}' for name, place in trpose_ros._PLACES.items()}
    assert seen == places
    assert set(trpose_ros.__all__) == set(places)


@pytest.mark.parametrize('name', trpose_ros.__all__)
def test_every_name_is_what_its_module_defines(name):
    found = getattr(trpose_ros, name)
    assert (found.__module__, found.__name__) == (f'trpose_ros.{trpose_ros._PLACES[name]}', name)


def test_a_name_that_is_not_there_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'trpose_ros' has no attribute 'Pipelin'"):
        trpose_ros.Pipelin  # noqa: B018


def test_three_lines_lead_from_a_photo_to_skeletons(tmp_path, monkeypatch, capsys):
    """Run the lines of the package's own documentation, with the weights that are shipped."""
    (tmp_path / 'photo.jpg').write_bytes((SAMPLES / 'astronaut.jpg').read_bytes())
    monkeypatch.chdir(tmp_path)
    _, _, rest = (trpose_ros.__doc__ or '').partition('::\n\n')
    lines = [line.strip() for line in rest.partition('\n\n')[0].splitlines()]
    assert len(lines) == 3
    names: dict = {}
    exec('\n'.join(lines), names)
    people = names['people']
    assert len(people) == 1
    assert people.provenance.intrinsics_assumed
    assert people.joints_m.shape == (1, 17, 3)
    assert np.isfinite(people.joints_m).all()
    root = people.joints_m[0, 0]
    assert 0.3 < root[2] < 5
    index = get_skeleton(people.skeleton).index
    shoulders = people.joints_px[0, [index('lsho'), index('rsho')]]
    assert ((shoulders > 0) & (shoulders < (people.width, people.height))).all()
    assert shoulders[0, 0] > shoulders[1, 0]  # her left one is on the right of the image
    assert str(people.joints_m)[:20] in capsys.readouterr().out
