"""How well people are found: rates by hand, scenes of a person of boxes, empty pictures."""

import numpy as np
import pytest
from tiny_body import PlainBackgrounds, TinyStore

from trpose_ros.data.rendering.groups import SceneComposer, SceneConfig
from trpose_ros.evaluation import detection
from trpose_ros.evaluation.detection import Looked, look_at_scenes, matched, rates


def test_a_detection_is_given_to_one_person_only():
    assert matched(np.array([[0.9, 0.8], [0.2, 0.7]])).tolist() == [True, True]
    assert matched(np.array([[0.9, 0.8]])).tolist() == [True, False]
    assert matched(np.array([[0.4, 0.3]])).tolist() == [False, False]
    assert matched(np.zeros((0, 2))).tolist() == [False, False]


def looked(people, found, cut=(), faint=()):
    people = np.array(people, float).reshape(-1, 4)
    cut = np.array(cut or [False] * len(people), bool)
    faint = np.array(faint, float).reshape(-1, 4)
    return Looked(people, cut, faint, np.array(found, float).reshape(-1, 5))


def test_rates_by_hand():
    body, other, far = [0, 0, 10, 20], [30, 0, 10, 20], [60, 0, 10, 20]
    pictures = [
        looked([body, other], [[*body, 0.9], [*far, 0.5]], cut=[False, True]),  # one right, wrong
        looked([], [[*far, 0.4]], faint=[far]),  # excused
        looked([], []),
        looked([body], [[*body, 0.3]]),  # found, but not sure
    ]
    assert rates(pictures, 0.35) == {
        'recall': 33.3,
        'recall_cut': 0.0,
        'precision': 50.0,
        'people': 3,
    }
    assert rates(pictures, 0.2)['recall'] == 66.7
    nobody = rates([looked([], [])], 0.0)
    assert nobody['people'] == 0
    assert np.isnan([nobody['recall'], nobody['precision']]).all()


def test_who_knows_the_truth_finds_everybody_in_scenes():
    config = SceneConfig(empty=0.2, smallest=0.3)
    composer = SceneComposer(TinyStore(), PlainBackgrounds(), config)
    truth = iter(
        composer.scene(np.random.default_rng([91, n]), (640, 480)).boxes_px for n in range(6)
    )

    def find(image):
        boxes = next(truth)
        assert image.shape == (480, 640, 3)
        return np.concatenate([boxes, np.full((len(boxes), 1), 0.9)], axis=1)

    found = rates(look_at_scenes(find, composer, 6), 0.5)
    assert (found['recall'], found['precision']) == (100.0, 100.0)
    assert found['people'] > 3


def test_the_empty_pictures_are_those_of_the_pack_without_the_one_with_somebody(shared_dir):
    pictures = list(detection.empty_pictures())
    names = {path.name for path in (shared_dir / 'data' / 'backgrounds').glob('*.jpg')}
    assert len(pictures) == len(names) - 1
    assert set(detection._NOT_EMPTY) < names


def test_the_command_says_what_it_measured(monkeypatch, capsys):
    composer = SceneComposer(TinyStore(), PlainBackgrounds(), SceneConfig())
    monkeypatch.setattr(detection, 'open_test_people', lambda folder: composer)
    monkeypatch.setattr(detection, 'empty_pictures', lambda: iter([np.zeros((40, 60, 3), 'u1')]))
    monkeypatch.setattr(detection, 'look_at_clips', lambda find, clips: [looked([], [])])
    detection.main(['--count', '2'])
    text = capsys.readouterr().out
    assert 'scenes: {"recall"' in text
    assert 'false_people_per_200_empty: 0.0' in text
    assert 'score: 0.25' in text
    with pytest.raises(SystemExit):
        detection.main(['--nonsense'])
