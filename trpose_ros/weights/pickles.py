"""Unpickling that cannot execute anything: numpy arrays, numbers, strings, plain containers.

A pickle is a program: loading one from the internet with the standard loader runs whatever its
author wrote. The loader here knows the instructions that numbers need and no other. A name in the
file is refused before it is looked up; the few known ones mean stand-ins of this module, never the
real thing: numpy's own constructors make arrays over any address that a file names. Arrays are
built when the whole file has been read, from a type of a short list and bytes of the right length.

What a file may become is bounded by its own size: a few hundred bytes that mean 2^60 lists, or
gigabytes of copies, are refused. Files written by Python 2 and by numpy before 2.0 are understood.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

_MOST_DEPTH = 100  # containers within containers
_MOST_ITEMS = 20_000_000  # of all containers, one that is named twice counted twice
_SPARE_BYTES = 64 << 20  # what the smallest file may take
_COPIES = 4  # times its own size that a file may take
_MOST_TEXT = 65_536  # bytes of one element of an array of strings
_TYPES = re.compile(r'[<>|=]?(b1|\?|[iu][1248]|f[248]|c8|c16|[SU]\d{1,5}|O8?|object)')
_KEYS = (str, int, bytes, bool, type(None))  # a hash of them is quick
_LONGEST_KEY = 8  # parts of a tuple
_LONGEST_REASON = 200  # characters

# Whatever a damaged or hostile stream makes the machine stumble over.
BROKEN = (
    pickle.UnpicklingError,
    struct.error,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    LookupError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    UnicodeError,
    ValueError,
)


def read_numbers(stream: BinaryIO | io.BytesIO) -> Any:
    """Return the one object of a pickle stream.

    Raises pickle.UnpicklingError when the stream is damaged, holds anything but arrays, numbers,
    strings, lists, tuples, sets and dictionaries, or means far more than its size.
    """
    try:
        data = stream.read()
        return NumbersOnly(io.BytesIO(data), Allowance(len(data))).content()
    except BROKEN as error:
        raise pickle.UnpicklingError(reason(error)) from error


def reason(error: BaseException) -> str:
    """Return the words of an error, not longer than a message should be."""
    text = str(error) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + ' ...'


class Allowance:
    """Counts what the content of a file takes, and refuses more than its size explains."""

    def __init__(self, file_bytes: int) -> None:
        self._bytes = _COPIES * file_bytes + _SPARE_BYTES
        self._items = min(_COPIES * file_bytes + 100_000, _MOST_ITEMS)

    def take(self, count: int) -> None:
        """Note that ``count`` bytes are about to be copied; raise UnpicklingError."""
        self._bytes -= count
        if self._bytes < 0:
            raise pickle.UnpicklingError(
                'it would become far larger than the file is: no data need that'
            )

    def check_items(self, count: int) -> None:
        """Raise UnpicklingError when a container means too much, spelled out."""
        if count > self._items:
            raise pickle.UnpicklingError(
                f'lists within lists would be more than {self._items} elements'
            )


class StandIn:
    """What a known name of the file makes, until all of the file has been read."""

    __slots__ = ()

    def set_state(self, state: Any, allowance: Allowance) -> None:
        """Take what the instruction BUILD brings; refused by most."""
        raise pickle.UnpicklingError(f'{type(self).__name__} takes no attributes')

    def value(self, resolve: Callable[[Any], Any]) -> Any:
        """Return what this stands for; ``resolve`` does it for what is inside."""
        raise pickle.UnpicklingError(f'{type(self).__name__} is no data')


@dataclass(frozen=True)
class Name(StandIn):
    """A name of the file: what calling it makes, given what may be spent and the arguments."""

    text: str
    make: Callable[..., Any] | None = None  # None: only a word in the arguments of others


class _Type(StandIn):
    """The type of an array's elements; one of a short list."""

    __slots__ = ('dtype',)

    def __init__(self, code: Any) -> None:
        code = code.decode('latin1') if isinstance(code, bytes) else code
        if not isinstance(code, str) or not _TYPES.fullmatch(code):
            raise pickle.UnpicklingError(f'an array of type {_short(code)} is not numbers or text')
        self.dtype = np.dtype(object) if code in ('O8', 'object') else np.dtype(code)
        if self.dtype.itemsize > _MOST_TEXT:
            raise pickle.UnpicklingError(f'texts of {self.dtype.itemsize} bytes in an array')

    def set_state(self, state: Any, allowance: Allowance) -> None:
        """Take the byte order; a file may not describe fields or flags of its own."""
        if not isinstance(state, tuple) or not 6 <= len(state) <= 8:
            raise pickle.UnpicklingError('the type of an array has a strange state')
        _, order, parts, names, fields, size, *_ = state
        order = order.decode('latin1') if isinstance(order, bytes) else order
        if order not in ('<', '>', '|', '=') or not parts is names is fields is None:
            raise pickle.UnpicklingError('the type of an array has fields or a strange byte order')
        if size not in (-1, self.dtype.itemsize):
            raise pickle.UnpicklingError(f'{self.dtype} of {_short(size)} bytes')
        if order in '<>':
            self.dtype = self.dtype.newbyteorder('<' if order == '<' else '>')


class _Array(StandIn):
    """An array, which the file describes after it has made it."""

    __slots__ = ('content', 'dtype', 'fortran', 'shape')

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype: np.dtype | None = None
        self.fortran = False
        self.content: Any = None

    def set_state(self, state: Any, allowance: Allowance) -> None:
        """Take shape, type, order and elements; all must fit each other."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise pickle.UnpicklingError('an array has a strange state')
        shape, kind, fortran, content = state[-4:]
        self.describe(shape, kind, fortran, content, allowance)

    def describe(
        self, shape: Any, kind: Any, fortran: Any, content: Any, allowance: Allowance
    ) -> None:
        """Keep a description that is consistent; raise UnpicklingError for any other."""
        if not isinstance(kind, _Type):
            raise pickle.UnpicklingError('an array without a type')
        dtype, shape = kind.dtype, sizes(shape)
        content = content.encode('latin1') if isinstance(content, str) else content  # Python 2
        wanted = list if dtype.hasobject else (bytes, bytearray)
        width = 1 if dtype.hasobject else dtype.itemsize
        if not isinstance(content, wanted) or math.prod(shape) * width != len(content):
            raise pickle.UnpicklingError(f'an array of shape {shape} has other elements than that')
        allowance.take(math.prod(shape) * dtype.itemsize)
        self.shape, self.dtype, self.content = shape, dtype, content
        self.fortran = bool(isinstance(fortran, (int, bool)) and fortran)

    def value(self, resolve: Callable[[Any], Any]) -> np.ndarray:
        """Return the array; it owns its numbers."""
        if self.dtype is None:
            raise pickle.UnpicklingError('an array without elements')
        if self.dtype.hasobject:
            objects = np.empty(len(self.content), object)
            for index, item in enumerate(self.content):
                objects[index] = resolve(item)
            whole = objects.reshape(self.shape)  # a list is in C order whatever the array is
            return np.asarray(whole, order='F' if self.fortran else 'C')
        array = np.frombuffer(bytearray(self.content), self.dtype)
        return array.reshape(self.shape, order='F' if self.fortran else 'C')


def sizes(values: Any) -> tuple[int, ...]:
    """Return the shape that a file gives; raise UnpicklingError for one that cannot be."""
    values = (values,) if isinstance(values, int) else values
    if (
        not isinstance(values, (list, tuple))
        or len(values) > 32
        or not all(type(n) is int and 0 <= n < 1 << 62 for n in values)
    ):
        raise pickle.UnpicklingError('an array has impossible sizes')
    return tuple(values)


def _type(_: Allowance, code: Any = None, *rest: Any) -> _Type:
    return _Type(code)


def _reconstruct(_: Allowance, kind: Any = None, *rest: Any) -> _Array:
    if not isinstance(kind, Name) or kind.text != 'numpy.ndarray':
        raise pickle.UnpicklingError(f'an array of type {_short(kind)} is not a plain numpy array')
    return _Array()


def _frombuffer(allowance: Allowance, buffer: Any, kind: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.describe(shape, kind, order == 'F', buffer, allowance)
    return array


def _scalar(allowance: Allowance, kind: Any = None, value: Any = None) -> Any:
    if isinstance(kind, _Type) and kind.dtype.hasobject:
        raise pickle.UnpicklingError('a numpy scalar that is an object is not a number')
    array = _Array()
    array.describe((), kind, False, value, allowance)
    return array.value(lambda item: item)[()]


def _dictionary(allowance: Allowance, pairs: Any = ()) -> dict:
    if not isinstance(pairs, (list, tuple)):
        raise pickle.UnpicklingError('a dictionary of something else than pairs')
    allowance.take(64 * len(pairs))
    content: dict = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise pickle.UnpicklingError('a dictionary of something else than pairs')
        content[_key(pair[0])] = pair[1]
    return content


def _encode(allowance: Allowance, text: Any = None, codec: Any = None) -> bytes:
    """Return bytes as protocol 2 writes them; other codecs take a file's time or run code."""
    if not isinstance(text, str) or codec not in ('latin1', 'latin-1'):
        raise pickle.UnpicklingError(f'bytes written by the codec {_short(codec)}')
    allowance.take(len(text))
    return text.encode('latin1')


def _no_bytes(_: Allowance) -> bytes:
    """Return what protocols 0 to 2 call to make an empty byte string, as of an empty array."""
    return b''


_MULTIARRAY = ('numpy.core.multiarray', 'numpy._core.multiarray')
_NUMERIC = ('numpy.core.numeric', 'numpy._core.numeric')
_NAMES: dict[tuple[str, str], Callable[..., Any] | None] = {
    ('numpy', 'ndarray'): None,
    ('numpy', 'dtype'): _type,
    ('collections', 'OrderedDict'): _dictionary,
    ('_codecs', 'encode'): _encode,
    **{(module, 'bytes'): _no_bytes for module in ('__builtin__', 'builtins')},
    **{(module, '_reconstruct'): _reconstruct for module in _MULTIARRAY},
    **{(module, 'scalar'): _scalar for module in _MULTIARRAY},
    **{(module, '_frombuffer'): _frombuffer for module in _NUMERIC},
}
# Instructions that call or build anything by themselves, use registries of the process or
# buffers from outside: no file of numbers needs them.
_REFUSED = (
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2),
    *(pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)


def _key(key: Any) -> Any:
    """Return a key of a dictionary or an element of a set, if it can be hashed at once."""
    parts = key[:_LONGEST_KEY] if type(key) is tuple else (key,)
    for part in parts:
        if not isinstance(part, np.generic) and type(part) not in _KEYS:
            raise pickle.UnpicklingError(f'a key of type {type(part).__name__}')
        if type(part) is int and abs(part) >= 1 << 60:  # of these many share one hash
            raise pickle.UnpicklingError('a key that is a number of more than 60 bits')
    if type(key) is tuple and len(key) > len(parts):
        raise pickle.UnpicklingError(f'a key of {len(key)} parts')
    return key


class _Instructions(dict):
    """The instructions that are known, by their byte; any other one is refused in words."""

    def __missing__(self, code: int) -> Any:
        raise pickle.UnpicklingError(f'it has the instruction {code:#04x}, which no numbers need')


class NumbersOnly(pickle._Unpickler):  # the one in Python: each instruction can be replaced
    """The unpickler itself; subclasses may know further harmless names."""

    stack: list[Any]  # what the base class keeps
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    dispatch = _Instructions(
        {c: f for c, f in pickle._Unpickler.dispatch.items() if bytes([c]) not in _REFUSED}
    )

    def __init__(self, stream: io.BytesIO, allowance: Allowance) -> None:
        super().__init__(stream, encoding='latin1')
        self.allowance = allowance

    def content(self) -> Any:
        """Read one object and return it with arrays in place of stand-ins."""
        return Resolver(self.allowance).resolve(self.load())

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name of the stream means; raise UnpicklingError for all others."""
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(
                f'it names {module[:80]}.{name[:80]}, which is not an array, a number or a '
                'container'
            )
        return Name(f'{module}.{name}', _NAMES[module, name])

    def _load_reduce(self) -> None:
        arguments = self.stack.pop()
        name = self.stack[-1]
        if not isinstance(name, Name) or name.make is None or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError('it calls something that is no function of numbers')
        self.stack[-1] = name.make(self.allowance, *arguments)

    def _load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, StandIn):
            target.set_state(state, self.allowance)
        elif type(target) is not dict:  # attributes of an OrderedDict mean nothing here
            raise pickle.UnpicklingError(f'it sets attributes of a {type(target).__name__}')

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._dictionary()[_key(key)] = value

    def _load_setitems(self) -> None:
        self._fill(self.pop_mark())

    def _fill(self, items: list) -> None:
        dictionary = self._dictionary()
        for key, value in zip(items[::2], items[1::2], strict=True):
            dictionary[_key(key)] = value

    def _dictionary(self) -> dict:
        if type(self.stack[-1]) is not dict:
            raise pickle.UnpicklingError('it sets an item of what is no dictionary')
        return self.stack[-1]

    def _load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._fill(items)

    def _load_additems(self) -> None:
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise pickle.UnpicklingError('it adds to what is no set')
        self.stack[-1].update(_key(item) for item in items)

    def _load_frozenset(self) -> None:
        self.append(frozenset(_key(item) for item in self.pop_mark()))

    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.BUILD[0]] = _load_build
    dispatch[pickle.SETITEM[0]] = _load_setitem
    dispatch[pickle.SETITEMS[0]] = _load_setitems
    dispatch[pickle.DICT[0]] = _load_dict
    dispatch[pickle.ADDITEMS[0]] = _load_additems
    dispatch[pickle.FROZENSET[0]] = _load_frozenset


class Resolver:
    """Puts arrays in place of stand-ins, once for each object however often it is named."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._done: dict[int, tuple[Any, int, Any]] = {}  # by id: value, items, the original
        self._within: list[int] = []  # elements counted so far, by depth

    def resolve(self, item: Any) -> Any:
        """Return an item with everything in it; raises UnpicklingError when it is too much."""
        if not isinstance(item, (list, tuple, dict, StandIn)):
            self._count(1)
            return item
        if id(item) not in self._done:
            if len(self._within) >= _MOST_DEPTH:
                raise pickle.UnpicklingError(
                    f'containers within containers, more than {_MOST_DEPTH}, or one within itself'
                )
            self._within.append(1)
            value = self._value(item)
            # The original is kept: its id must not be given to another object.
            self._done[id(item)] = (value, self._within.pop(), item)
        value, count, _ = self._done[id(item)]
        self._count(count)
        return value

    def _value(self, item: Any) -> Any:
        if isinstance(item, StandIn):
            return item.value(self.resolve)
        if isinstance(item, dict):
            return {key: self.resolve(value) for key, value in item.items()}
        return type(item)(self.resolve(value) for value in item)

    def _count(self, items: int) -> None:
        if self._within:
            self._within[-1] += items
            self._allowance.check_items(self._within[-1])


def _short(value: Any, most: int = 40) -> str:
    """Return the words for a value from the file; it may be endless when spelled out."""
    if isinstance(value, Name):
        return value.text
    if isinstance(value, (str, bytes, int, float)):
        text = repr(value[:most] if isinstance(value, (str, bytes)) else value)
        return text[: most + 3]
    return f'a {type(value).__name__}'
