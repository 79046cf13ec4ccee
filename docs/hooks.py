"""What the site takes from outside docs/: README.md, CONTRIBUTING.md and the model cards.

Links in the sources are those that work in the repository. Here they become links of the site, or
plain text where they lead to a file that is not part of it. Hooks of mkdocs.yml.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
CARDS = 'trpose_ros/weights'
PAGES = {'README.md': 'index.md', 'CONTRIBUTING.md': 'contributing.md'}  # repository -> site
_LINK = re.compile(r'(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)')


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie elsewhere."""
    pages = {ROOT / source: target for source, target in PAGES.items()}
    pages |= {
        card: 'cards/index.md' if card.stem == 'README' else f'cards/{card.name}'
        for card in sorted((ROOT / CARDS).glob('*.md'))
    }
    for source, target in pages.items():
        content = source.read_text(encoding='utf-8')
        if target == 'cards/index.md':
            names = [card.stem for card in pages if card.parent.name == 'weights']
            links = [f'- [{name}](cards/{name}.md)' for name in names if name != 'README']
            content = '\n'.join(['# Model cards', '', content, '', *links])
        elif target.startswith('cards/'):
            content = _short(content)
        page = File.generated(config, target, content=content)
        if target.startswith('cards/'):
            page.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(page)
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Files, **_: Any) -> str:
    """Turn the links of the repository into those of the site."""
    here = page.file.src_uri
    homes = {target: source for source, target in PAGES.items()}
    folder = posixpath.dirname(homes.get(here, f'docs/{here}'))
    if here.startswith('cards/'):
        folder = CARDS if here != 'cards/index.md' else 'docs'

    def link(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        if '://' in target or target.startswith('mailto:'):
            return match.group(0)
        path = posixpath.normpath(posixpath.join(folder, target))
        if not (ROOT / path).exists() and not path.startswith('docs/cards/'):
            raise FileNotFoundError(f'{here}: {target} leads to {path}, which does not exist')
        site = _on_site(path)
        if site is None:
            return text if picture else f'`{path}`'
        href = posixpath.relpath(site, posixpath.dirname(here) or '.')
        return f'{picture}[{text}]({href}{anchor or ""})'

    return _LINK.sub(link, markdown)


def _on_site(path: str) -> str | None:
    """Return where a file of the repository is on the site, None where it is not."""
    if path in PAGES:
        return PAGES[path]
    if path == CARDS:
        return 'cards/index.md'
    if path.startswith(f'{CARDS}/') and path.endswith('.md'):
        return f'cards/{posixpath.basename(path)}'
    return path.removeprefix('docs/') if path.startswith('docs/') else None


def _short(card: str) -> str:
    """Cut the long values of a card's header but for the data's; the repository has them whole."""
    lines = [
        f'{line[:240]} ...' if re.match('- (?!training_data)', line) and len(line) > 250 else line
        for line in card.split('\n')
    ]
    return '\n'.join(lines)
