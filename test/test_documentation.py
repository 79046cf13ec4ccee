"""Names in the documentation lead somewhere: links, anchors, tests, benchmarks."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]
_FENCE = re.compile(r'^```.*?^```', re.M | re.S)


def anchors(path):
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = _FENCE.sub('', path.read_text(encoding='utf-8'))
    headings = re.findall(r'^#+ (.*)$', text, re.M)
    plain = [re.sub(r'[^\w\- ]', '', heading.lower()) for heading in headings]
    return {heading.strip().replace(' ', '-') for heading in plain}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_lead_somewhere(page):
    text = page.read_text(encoding='utf-8')
    lost = []
    for target, _, anchor in re.findall(r'\]\(([^)\s#]*)(#([^)\s]*))?\)', _FENCE.sub('', text)):
        if '://' in target:
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(f'{target}#{anchor}')
    for name in re.findall(r'\b(?:test|benchmarks)/[\w/]+\.py', text):
        if not (ROOT / name).is_file():
            lost.append(name)
    assert not lost


def test_the_reference_names_what_there_is():
    """The site is built without importing: a name must be defined where the page says."""
    text = (ROOT / 'docs' / 'api.md').read_text(encoding='utf-8')
    names = re.findall(r'^::: (trpose_ros[\w.]*)\.(\w+)$', text, re.M)
    assert len(names) > 10
    for module, name in names:
        path = ROOT.joinpath(*module.split('.'))
        file = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
        body = ast.parse(file.read_text(encoding='utf-8')).body
        defined = {getattr(node, 'name', '') for node in body}
        for node in body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                defined |= {ast.unparse(target) for target in targets}
            elif isinstance(node, ast.ImportFrom):
                defined |= {alias.name for alias in node.names}
        assert name in defined, f'{module}.{name}'


def test_readme_is_short():
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) <= 120


def test_the_comparison_says_where_each_entry_stands():
    text = (ROOT / 'docs' / 'features.md').read_text(encoding='utf-8')
    names = set(re.findall(r'^\[(\w+)\]: https://', text, re.M))
    used = set()
    for row in re.findall(r'^\| (?!\||on the robot).*\|$', text, re.M):
        cells = [cell.strip() for cell in row.strip('|').split('|')]
        assert len(cells) == 8, row
        for cell in cells[2:]:
            used |= set(re.findall(r'\]\[(\w+)\]', cell))
            assert cell in ('?', 'no ROS') or re.fullmatch(r'\[.+\]\[\w+\]', cell), cell
    assert used == names
