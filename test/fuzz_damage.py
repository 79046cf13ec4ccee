"""Damage to bytes, text and nested values, drawn by a random generator; blind to what it hits."""

from __future__ import annotations

import io
import json
import random
import re
import sqlite3
import struct
import zipfile
from pathlib import Path
from typing import Any

WHOLE = (0, 1, 2, 3, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)
REAL = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e308,
    -1e308,
    5e-324,
    1e30,
    float('nan'),
    float('inf'),
    -float('inf'),
)
WORDS = ('', '0', '-1', 'nan', 'inf', '1e309', '9' * 40, 'x', '\0', '/', '..', '[', '{', '*a', '&a')
VALUES = (
    None,
    True,
    -1,
    10**9,
    10**40,
    *WHOLE,
    *REAL,
    *WORDS,
    'x' * 5000,
    [],
    {},
    [[]],
    {'': None},
)
_WIDTHS = ('<B', '<H', '>H', '<I', '>I', '<Q', '>Q', '<f', '<d')
_DEEP = 3000  # brackets within brackets
_LONGEST = 1 << 18  # bytes or characters that damage may make of an input
_MCAP_HEAD = 8


def damaged_bytes(r: random.Random, data: bytes, others: tuple[bytes, ...] = ()) -> bytes:
    """Return bytes with one to eight changes; ``others`` are files to take parts of."""
    out = bytearray(data)
    for _ in range(r.choice((1, 1, 1, 2, 3, 5, 8))):
        at, length = r.randrange(len(out) + 1), r.choice((1, 1, 2, 4, 8, 16, 100, 1000))
        kind = r.randrange(9)
        if kind == 0:
            out[at : at + 1] = bytes([r.randrange(256)])
        elif kind == 1 and at < len(out):
            out[at] ^= 1 << r.randrange(8)
        elif kind in (2, 3):
            number = _packed(r)
            out[at : at + len(number)] = number
        elif kind == 4:
            del out[at : at + length]
        elif kind == 5:
            out[at:at] = out[at : at + length] * r.choice((1, 1, 2, 30))
        elif kind == 6:
            out[at:at] = r.randbytes(length)
        elif kind == 7 and others:
            other = r.choice(others)
            start = r.randrange(len(other) + 1)
            out[at : at + length] = other[start : start + length]
        elif kind == 8 and r.random() < 0.3:
            del out[at:]
        del out[_LONGEST:]
    return bytes(out)


def _packed(r: random.Random) -> bytes:
    form = r.choice(_WIDTHS)
    if form in ('<f', '<d'):
        value = r.choice(REAL)
        return struct.pack(form, value if form == '<d' or abs(value) < 3e38 else float('inf'))
    return struct.pack(form, r.choice(WHOLE) % (1 << 8 * struct.calcsize(form)))


def damaged_text(r: random.Random, text: str) -> str:
    """Return text with words replaced, lines lost, doubled or moved, or brackets without end."""
    lines = text.splitlines(keepends=True)
    for _ in range(r.choice((1, 1, 2, 4))):
        at, kind = r.randrange(len(lines) or 1), r.randrange(8)
        line = lines[at] if lines else ''
        if kind <= 3:
            parts = re.split(r'([^\s,:\[\]{}]+)', line)
            if len(parts) > 1:
                spot = r.randrange(len(parts) // 2) * 2 + 1
                parts[spot] = r.choice((*WORDS, str(r.choice(WHOLE)), repr(r.choice(REAL))))
            lines[at : at + 1] = [''.join(parts)]
        elif kind == 4:
            del lines[at : at + r.choice((1, 1, 3))]
        elif kind == 5:
            lines[at:at] = lines[at : at + r.choice((1, 3))] * r.choice((1, 1, 100))
        elif kind == 6:
            lines.insert(at, lines.pop(r.randrange(len(lines))) if lines else '\n')
        elif r.random() < 0.2:
            lines.insert(at, r.choice(('[', '{"a":', '- ', '{\n', 'a: ')) * _DEEP)
    return ''.join(lines)[:_LONGEST]


def damaged_value(r: random.Random, value: Any) -> Any:
    """Return a copy of nested lists and dictionaries with one to four entries changed."""
    value = json.loads(json.dumps(value))
    for _ in range(r.choice((1, 1, 2, 4))):
        place, key = None, None
        node = value
        while isinstance(node, (dict, list)) and node and (place is None or r.random() < 0.75):
            place, key = node, r.choice(list(node) if isinstance(node, dict) else range(len(node)))
            node = place[key]
        if place is None:
            return r.choice(VALUES)
        kind = r.randrange(6)
        if kind <= 2:
            place[key] = r.choice(VALUES)
        elif kind == 3:
            del place[key]
        elif kind == 4:
            place[key] = [node] * r.choice((1, 2, 300))
        elif isinstance(node, (int, float)) and not isinstance(node, bool):
            place[key] = r.choice((-1, 2, 1000, 0.5)) * node
    return value


def damaged_zip(r: random.Random, data: bytes, others: tuple[bytes, ...] = ()) -> bytes:
    """Return an archive whose members are damaged and whose checksums are right, or raw damage."""
    if r.random() < 0.4:
        return damaged_bytes(r, data, others)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, 'w') as target:
        hit = r.choice(source.namelist())
        for info in source.infolist():
            content = source.read(info)
            if info.filename == hit:
                content = damaged_bytes(r, content, others)
            for _ in range(r.choice((1, 1, 1, 1, 1, 1, 2)) if r.random() < 0.95 else 0):
                name = (
                    info.filename
                    if r.random() < 0.98
                    else damaged_text(r, info.filename).replace('\0', '_')[:100] or '_'
                )
                if name not in target.namelist():
                    target.writestr(name, content, info.compress_type)
    return out.getvalue()


def damaged_mcap(r: random.Random, data: bytes) -> bytes:
    """Return a recording with damaged records of right lengths, or raw damage."""
    if r.random() < 0.4:
        return damaged_bytes(r, data)
    records, at = [], _MCAP_HEAD
    while at + 9 <= len(data) - _MCAP_HEAD:
        code, length = struct.unpack_from('<BQ', data, at)
        records.append((code, data[at + 9 : at + 9 + length]))
        at += 9 + length
    for _ in range(r.choice((1, 1, 2, 3))):
        spot = r.randrange(len(records))
        code, body = records[spot]
        kind = r.randrange(6)
        if kind <= 2:
            head = 32 if code == 6 and kind else 0  # of a chunk: its sizes stay mostly
            body = body[:head] + damaged_bytes(r, body[head:])
            if code == 6 and len(body) > 32:  # and no checksum that gives the damage away
                body = body[:24] + b'\0\0\0\0' + body[28:]
            records[spot] = (code, body)
        elif kind == 3 and len(records) > 1:
            del records[spot]
        elif kind == 4:
            records.insert(r.randrange(len(records)), (code, body))
        else:
            records[spot] = (r.choice((*range(1, 16), 255)), body)
    parts = [struct.pack('<BQ', code, len(body)) + body for code, body in records]
    return data[:_MCAP_HEAD] + b''.join(parts) + data[-_MCAP_HEAD:]


def damaged_database(r: random.Random, data: bytes, path: Path) -> None:
    """Write a database with damaged bytes, or with strange values in its cells, to ``path``."""
    if r.random() < 0.7:
        path.write_bytes(damaged_bytes(r, data, (data,)))
        return
    path.write_bytes(data)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute('PRAGMA journal_mode = OFF')
    connection.execute('PRAGMA synchronous = OFF')
    for _ in range(r.choice((1, 1, 2, 4))):
        table = r.choice(('topics', 'messages', 'schema', 'metadata', 'message_definitions'))
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info({table})')]
        if not columns:
            continue
        column = r.choice(columns)
        rows = connection.execute(f'SELECT rowid, {column} FROM {table}').fetchall()
        if not rows:
            continue
        number, old = r.choice(rows)
        new: Any = r.choice((None, -1, 0, 2**62, 1e308, '', 'x', b'', '/' * 3000))
        if isinstance(old, bytes) and r.random() < 0.8:
            new = damaged_bytes(r, old)
        elif isinstance(old, str) and r.random() < 0.5:
            new = damaged_text(r, old)
        try:
            connection.execute(f'UPDATE {table} SET {column} = ? WHERE rowid = ?', (new, number))
        except (sqlite3.Error, OverflowError, UnicodeEncodeError):
            continue
    connection.close()


_NAMES = (
    *('numpy\nndarray', 'numpy\ndtype', 'numpy.core.multiarray\n_reconstruct', 'os\nsystem'),
    *('numpy._core.multiarray\nscalar', 'collections\nOrderedDict', '_codecs\nencode'),
    *('numpy._core.numeric\n_frombuffer', 'torch._utils\n_rebuild_tensor_v2', 'torch\nSize'),
    *('torch\nFloatStorage', 'builtins\ngetattr', 'builtins\nbytes', 'numpy.random\nMT19937'),
    'numpy.random._pickle\n__randomstate_ctor',
)
_SIMPLE = b'(.0123NadesutlQRbo]})\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98'


def damaged_pickle(r: random.Random, data: bytes, others: tuple[bytes, ...] = ()) -> bytes:
    """Return a pickle with instructions put in, or raw damage."""
    if r.random() < 0.4:
        return damaged_bytes(r, data, others)
    at = r.choice((r.randrange(len(data)), len(data) - 1))
    soup = bytearray()
    for _ in range(r.choice((1, 2, 4, 10, 40))):
        kind = r.randrange(8)
        if kind <= 2:
            soup.append(r.choice(_SIMPLE))
        elif kind == 3:
            soup += b'c' + r.choice(_NAMES).encode() + b'\n'
        elif kind == 4:
            soup += b'J' + struct.pack('<I', r.choice(WHOLE) % 2**32)
        elif kind == 5:
            soup += (
                r.choice((b'q', b'h', b'r', b'j'))
                + bytes([r.randrange(8), 0, 0, 0])[: r.choice((1, 4))]
            )
        elif kind == 6:
            word = r.choice((b'O', b'f8', b'i4', b'<', b'latin1', b'idna', b'AAAAAAAA', b'cpu'))
            soup += b'X' + struct.pack('<I', len(word)) + word
        else:
            size = r.choice((0, 1, 8, 2**31 - 1))
            soup += r.choice((b'B', b'X', b'T')) + struct.pack('<I', size) + r.randbytes(8)
    return data[:at] + bytes(soup) + data[at:]
