"""The report: complete from a run's folder, and whole in a real browser."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from doubles import FakeLifter, make_people
from evaluation_stand_in import Blinded, clip

pytest.importorskip('pyarrow')
pytest.importorskip('plotly')
pytest.importorskip('jinja2')

from trpose_ros.evaluation import results, tables
from trpose_ros.evaluation.cases import EvaluationConfig
from trpose_ros.evaluation.conditions import Condition, plan
from trpose_ros.evaluation.excerpts import load_scenes
from trpose_ros.evaluation.runner import EvaluationRun
from trpose_ros.pipeline.fusion import Fusion, FusionConfig
from trpose_ros.pipeline.lift_stage import LiftStage
from trpose_ros.report import write_report
from trpose_ros.report.names import column_name, labels_of

BASELINE, OURS = 'movenet:fake', 'metrabs-fake'
CHROMIUM = next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None
)


class Wandering(Blinded):
    """Errs much where it is blinded, and moves."""

    def estimate(self, frame, boxes_px):
        people = super().estimate(frame, boxes_px)
        joints = people.joints_m.copy()
        joints[:, 11:, 1] += 0.2 * np.sin(frame.stamp_ns / 3e8)
        return people.replace(joints_m=joints)


def stage(look_ahead):
    fusion = Fusion(FusionConfig(estimator_share=0.5, hidden_share=0.2))
    return LiftStage(lifter=FakeLifter(look_ahead), fusion=fusion)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A whole run: a baseline and ours, two lifters, clean and the five conditions."""
    folder = tmp_path_factory.mktemp('run')
    lifters = {'videopose3d': 0, 'mixste@2': 2}
    made = {name: lambda n=n: stage(n) for name, n in lifters.items()}
    made |= {f'{name}+fusion': make for name, make in made.items()}
    shown = clip('walk', frames=24)
    conditions = (
        *plan(['five'], seeds=[0]),
        Condition('random_box', 0),
        Condition('random_box', 3),
    )
    run = EvaluationRun(
        EvaluationConfig(
            estimators=(BASELINE, OURS),
            pairs={BASELINE: tuple(lifters), OURS: ('none', *made)},
            stages=made,
            factories={BASELINE: Wandering, OURS: Blinded},
            conditions=conditions,
            boxes='image',
            shown_clip=shown.identity,
        ),
        [shown, clip('sit', frames=5)],
        folder,
    )
    assert not any(step.error for step in run.steps())
    tables.write_tables(folder, run.rows(), 'DET', {}, ['<b>is missing'])
    results.write_json(folder / 'failed.json', {'a case': '<broken>'})
    return folder


@pytest.fixture(scope='module')
def page(folder):
    return write_report(folder, folder / 'report.html')


def test_scenes_hold_what_was_seen(folder):
    scenes = list(load_scenes(folder))
    assert len(scenes) == 2 * 6  # clean and the five, by estimator; of the shown clip alone
    assert {s.identity for s in scenes} == {'test|s1|walk|0'}
    for scene in scenes:
        assert len(scene.stamps_ns) == 24
        assert len(scene.images) == 12  # every second of 25 Hz
        truth = make_people(0).joints_m[0]
        np.testing.assert_allclose(scene.true_m[0], truth, atol=1e-6)
        lifters = {'videopose3d', 'mixste@2'}
        if scene.estimator == OURS:
            lifters |= {f'{name}+fusion' for name in lifters} | {'none'}
        assert set(scene.outputs_m) == lifters
        if scene.condition == 'fixed_lower':
            assert scene.image(0)[-1].max() < 10
            assert scene.image(0)[0].min() > 80
        assert scene.hidden.any() == (scene.condition != 'clean')
    # joints that a mask hides are shown as hidden
    lower = next(s for s in scenes if s.condition == 'fixed_lower')
    states = lower.people(lower.true_m, 0).joint_states[0]
    assert ((states == 2) == lower.hidden[0]).all()


def test_damaged_scenes_are_left_out(folder, tmp_path):
    (tmp_path / 'scenes').mkdir()
    files = sorted((folder / 'scenes').glob('*.npz'))[:2]
    for file in files:
        shutil.copy(file, tmp_path / 'scenes')
    torn = tmp_path / 'scenes' / files[0].name
    torn.write_bytes(torn.read_bytes()[:200])
    assert len(list(load_scenes(tmp_path))) == 1
    assert list(load_scenes(tmp_path / 'nowhere')) == []


def test_the_page_needs_no_network_and_trusts_no_text(page):
    text = page.read_text(encoding='utf-8')
    assert '<b>is missing' not in text  # names are text, not markup
    assert '&lt;b&gt;is missing' in text
    assert '&lt;broken&gt;' in text
    head = text[: text.index('plotly.js v')] if 'plotly.js v' in text else text
    for word in ('src="http', 'href="http', '@import', 'url(http'):
        assert word not in head
    assert 'another data set' in text
    assert 'data:video/webm;base64,' in text


def test_one_run_without_a_baseline(folder, tmp_path):
    rows = results.read_rows(folder / 'results.parquet')
    kept = [r for r in rows if (r['estimator'], r['lifter']) == (OURS, 'none')]
    kept = [r for r in kept if r['condition'] == 'clean' and r['action'] == 'walk']
    results.write_rows(tmp_path / 'results.parquet', kept)
    seen = []
    path = write_report(tmp_path, tmp_path / 'deep' / 'page.html', lambda *s: seen.append(s))
    text = path.read_text(encoding='utf-8')
    assert all(done <= whole for done, whole in seen)
    assert 'MeTRAbs alone' in text
    assert 'id="player"' not in text  # no scenes, no player, no videos
    assert '<video' not in text


def test_what_is_not_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='trpose evaluate'):
        write_report(tmp_path, tmp_path / 'x.html')
    (tmp_path / 'results.parquet').write_bytes(b'PAR1')
    with pytest.raises(ValueError, match='damaged'):
        write_report(tmp_path, tmp_path / 'x.html')


def test_names_in_words():
    methods = [
        ('metrabs-s', 'none'),
        ('movenet:movenet-thunder', 'mixste:mixste-clean@/27'),
        ('metrabs-s', 'mixste:mixste-robust@1~1/27+fusion'),
        ('metrabs-s', 'videopose3d'),
        ('metrabs-s', 'videopose3d@4'),
        ('truth2d:drop', 'pstmo'),
    ]
    assert list(labels_of(methods).values()) == [
        'MeTRAbs alone',
        'MixSTE (baseline 2D)',
        'MixSTE + fusion (MeTRAbs 2D)',
        'VideoPose3D (MeTRAbs 2D) [own look-ahead]',
        'VideoPose3D (MeTRAbs 2D) [4]',
        'P-STMO (true 2D)',
    ]
    assert column_name('fixed_upper') == 'fixed upper'
    assert column_name('recovery_frames') == 'recovery, frames'
    assert column_name('accel_mm_frame2') == 'Accel, mm/frame²'
    assert column_name('estimator_p95_ms') == 'estimator p95, ms'


@pytest.fixture(scope='module')
def browser():
    sync_api = pytest.importorskip('playwright.sync_api')
    if CHROMIUM is None:
        pytest.skip('no Chromium on this machine: apt install chromium')
    flags = ['--enable-unsafe-swiftshader', '--disable-dev-shm-usage']  # 3D without a GPU
    if os.geteuid() == 0:
        flags.append('--no-sandbox')
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser, page):
    """The page, ready, with everything that its console said and what it asked the network for."""
    tab = browser.new_page(viewport={'width': 1280, 'height': 900}, color_scheme='light')
    tab.set_default_timeout(120_000)
    tab.problems = []
    tab.on('pageerror', lambda error: tab.problems.append(str(error)))
    tab.on('console', lambda m: m.type == 'error' and tab.problems.append(m.text))
    tab.on('request', lambda r: r.url.startswith(('http', 'ws')) and tab.problems.append(r.url))
    tab.goto(page.as_uri())
    tab.wait_for_function('document.documentElement.dataset.ready === "true"')
    yield tab
    assert tab.problems == []
    tab.close()


def skeleton(tab, trace):
    """The points of a trace of the player, (x, y, z) lists."""
    script = f'(() => {{ const t = document.getElementById("player-view").data[{trace}];'
    return tab.evaluate(script + ' return [t.x, t.y, t.z]; })()')


def test_slider_moves_the_skeletons(tab):
    tab.locator('#player-first').select_option('VideoPose3D (baseline 2D)')
    before = skeleton(tab, 1)
    assert len([x for x in before[0] if x is not None]) == 2 * 16
    tab.locator('#player-time').fill('20')
    after = skeleton(tab, 1)
    assert before != after
    assert '0.80 s' in tab.locator('#player-clock').inner_text()
    # the true person stands: 0.2 m below the camera's axis, and in the middle of the scene
    truth = np.array([[v for v in axis if v is not None] for axis in skeleton(tab, 0)], float)
    assert truth[2].min() == pytest.approx(-0.9, abs=0.01)
    tab.locator('#player-scene').select_option('3')
    assert tab.locator('#player-clock').inner_text().startswith('0.80 s')
    marked = tab.evaluate('document.getElementById("player-view").data[3].x.length')
    assert marked > 0  # joints that the occlusion hides


def test_player_plays(tab):
    tab.locator('#player-play').click()
    tab.wait_for_function('Number(document.getElementById("player-time").value) > 2')
    tab.locator('#player-play').click()
    assert tab.locator('#player-play').inner_text() == 'Play'


def test_tables_sort(tab):
    table = tab.locator('table.sortable').first
    average = table.locator('thead button', has_text='average').first
    column = table.locator('thead button').all_inner_texts().index('average')

    def values():
        cells = table.locator(f'tbody tr > :nth-child({column + 1})')
        return [float(c.get_attribute('data-value')) for c in cells.all()]

    before = values()
    assert len(before) == 7
    average.click()
    assert values() == sorted(before)
    average.click()
    assert values() == sorted(before, reverse=True)
    table.locator('thead button').first.click()
    names = table.locator('tbody tr > :first-child').all()
    names = [n.get_attribute('data-value') for n in names]
    assert sorted(names, key=str.lower) == names


def test_videos_play(tab):
    videos = tab.locator('video')
    titles = tab.locator('figure.video b').all_inner_texts()
    assert titles == ['VideoPose3D vs Ours', 'MixSTE vs Ours']
    video = videos.first
    video.scroll_into_view_if_needed()
    video.evaluate('async (v) => { v.muted = true; await v.play(); }')
    tab.wait_for_function('document.querySelector("video").currentTime > 0.2')
    size = video.evaluate('(v) => [v.videoWidth, v.videoHeight, v.duration]')
    assert min(size[:2]) > 400
    assert size[2] > 1
    # the picture is not black: left and right hold the images that the estimator saw
    level = video.evaluate(
        """(v) => { const c = document.createElement('canvas'); c.width = 40; c.height = 40;
        const g = c.getContext('2d'); g.drawImage(v, 0, 0, 40, 40);
        return Math.max(...g.getImageData(0, 0, 40, 40).data.filter((x, i) => i % 4 < 3)); }"""
    )
    assert level > 80


def test_plots_cards_and_themes(tab, folder):
    shown = tab.evaluate('[...document.querySelectorAll(".chart .main-svg")].length')
    plots = tab.locator('figure.plot b').all_inner_texts()
    assert plots[:4] == [
        'Clean and truncated',
        'By condition',
        'Visible and occluded joints',
        'By severity',
    ]
    assert shown >= len(plots)
    cards = tab.locator('.card:visible')
    assert cards.count() == 1
    first = cards.inner_text()
    tab.locator('#card-choice').select_option(index=2)
    assert tab.locator('.card:visible').inner_text() != first
    light = tab.evaluate('getComputedStyle(document.body).backgroundColor')
    tab.locator('#theme').click()
    dark = tab.evaluate('getComputedStyle(document.body).backgroundColor')
    assert light != dark
    picture = tab.screenshot(path=str(folder / 'page.png'))
    assert len(picture) > 20_000


def test_average_of_the_page_is_that_of_the_tables(tab, folder):
    cells = json.loads((folder / 'tables.json').read_text())['tables'][0]['cells']
    key = (OURS, 'mixste@2+fusion')
    mean = next(
        c['mean']
        for c in cells
        if (c['estimator'], c['lifter']) == key and c['column'] == 'average'
    )
    row = (
        tab.locator('table.sortable')
        .first.locator('tbody tr', has_text='·')
        .filter(has_text=f'{key[0]} · {key[1]}')
    )
    values = [c.get_attribute('data-value') for c in row.locator('td').all()]
    assert float(values[6]) == pytest.approx(mean)
