"""JSON: frame by frame, people as in people.json (docs/pictures.md), a frame a line."""

from __future__ import annotations

from pathlib import Path

from trpose_ros.exports.files import EXPORTS, Export
from trpose_ros.exports.tracks import seen
from trpose_ros.recordings.people_json import PeopleFile, person_records, skeleton_record


@EXPORTS.register('json')
def write_json(export: Export, base: Path) -> list[Path]:
    """Write ``base``.json; raises ValueError without frames."""
    if not export.frames:
        raise ValueError('there are no frames to write')
    path = base.parent / f'{base.name}.json'
    head = export.facts | {'skeleton': skeleton_record(export.frames[0].skeleton)}
    with PeopleFile(path, head, 'frames') as file:
        for people in export.frames:
            records = person_records(people.select(seen(people)))
            file.add({'stamp_ns': people.stamp_ns, 'people': records})
        file.finish({'complete': True})
    return [path]
