"""Event files that TensorBoard shows, written directly: five fields of one message, framed as TFRecords.

The tensorboard package would bring thirty megabytes for that.
"""

import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_MASK = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected


class EventFile:
    """Appends scalars to an open event file.

    Args:
        file: binary, at its end.
        first_step: TensorBoard drops what older files of the run have from this step on.
    """

    def __init__(self, file: IO[bytes], first_step: int = 0) -> None:
        self._file = file
        self._table = _crc_table()
        self._write(_bytes(3, b"brain.Event:2"))
        self._write(_number(2, first_step) + _bytes(7, _number(1, 1)))  # SessionLog START

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add the values of a step by their names."""
        values = b"".join(
            _bytes(1, _bytes(1, name.encode()) + struct.pack("<Bf", 2 << 3 | 5, value))
            for name, value in scalars.items()
        )
        self._write(_number(2, step) + _bytes(5, values))

    def _write(self, event: bytes) -> None:
        event = struct.pack("<Bd", 1 << 3 | 1, time.time()) + event
        length = struct.pack("<Q", len(event))
        self._file.write(length + self._crc(length) + event + self._crc(event))

    def _crc(self, data: bytes) -> bytes:
        crc = 0xFFFFFFFF
        for byte in data:
            crc = self._table[(crc ^ byte) & 0xFF] ^ crc >> 8
        crc ^= 0xFFFFFFFF
        return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


@contextmanager
def open_events(folder: Path, first_step: int) -> Iterator[EventFile]:
    """A new event file in a run folder; older ones stay, TensorBoard reads them together."""
    path = folder / f"events.out.tfevents.{time.time_ns() // 1_000_000_000}.{first_step}"
    with path.open("ab") as file:
        yield EventFile(file, first_step)


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data
