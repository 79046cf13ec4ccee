"""YAML of users: plain values, or one line that names the file."""

import pytest

from trpose_ros.yaml_files import load_yaml

LAUGHS = 'a: &a [x, x]\n' + ''.join(
    f'{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n' for i in range(20)
)


def test_plain_values_are_read(tmp_path):
    path = tmp_path / 'a.yaml'
    path.write_text('a: [1, 2.5, true]\nb: {c: "&d", e: "*f"}\n', encoding='utf-8-sig')
    assert load_yaml(path) == {'a': [1, 2.5, True], 'b': {'c': '&d', 'e': '*f'}}
    digits = '1' * 30
    path.write_text(f'"{digits}": 1.7976931348623157e+308\nt: 1700000000000000000')
    assert load_yaml(path) == {digits: 1.7976931348623157e308, 't': 1700000000000000000}
    path.write_bytes(b'')
    assert load_yaml(path) is None


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (LAUGHS.encode(), 'line 2 has an alias'),
        (b'a: &a [*a]', 'line 1 has an alias'),
        (b'[' * 50_000, 'line 1 is nested too deep'),
        (b'{a: ' * 50_000, 'line 1 is nested too deep'),
        (b'- ' * 50_000, 'line 1 is nested too deep'),
        (b'\xff\xfe\xfa', "can't decode"),
        (b'a: "\xff"', "can't decode"),
        (b'a: [1', 'expected'),
        (b'!!python/object/apply:os.system ["true"]', 'could not determine a constructor'),
        (b'? [a]\n: 1', 'unhashable'),
        (b'2026-99-99', 'month'),
        (b'!!bool maybe', 'maybe'),
        (b'!!timestamp x', 'NoneType'),
        (b'!!float ""', 'index out of range'),
        (b'a: ' + b'1:' * 1_000_000 + b'1', 'line 1 has a number of too many digits'),
        (b'!!int "' + b'1:' * 1_000_000 + b'1"', 'line 1 has a number of too many digits'),
        (b'a: 0\n123456789012345678901: 0', 'line 2 has a number of too many digits'),
        (b'0x12345678901234567: 0', 'line 1 has a number of too many digits'),
        (b'a: ' + b'x' * (5 << 20), 'more than 4.2 MB'),
    ],
)
def test_anything_else_is_one_line_that_names_the_file(tmp_path, content, reason):
    path = tmp_path / 'strange.yaml'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'strange\.yaml') as caught:
        load_yaml(path)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))
    assert '\n' not in str(caught.value)
