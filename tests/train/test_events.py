"""Event files as TensorBoard reads them."""

import io
import struct
from pathlib import Path

from clipworks.train.events import EventFile, open_events


def records(data: bytes) -> list[bytes]:
    """The payload of each record; lengths must lead exactly to the end."""
    found, place = [], 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        found.append(data[place + 12 : place + 12 + length])
        place += 16 + length
    assert place == len(data)
    return found


def test_scalars_are_framed_as_tensorflow_frames_them() -> None:
    file = io.BytesIO()
    events = EventFile(file, 7)
    events.write(300, {"loss": 1.5})
    version, start, scalars = records(file.getvalue())
    assert version[9:] == b"\x1a\x0dbrain.Event:2"
    assert start[9:] == b"\x10\x07" + b"\x3a\x02\x08\x01"
    value = b"\x0a\x04loss" + b"\x15" + struct.pack("<f", 1.5)
    assert scalars[9:] == b"\x10\xac\x02" + b"\x2a\x0d" + b"\x0a\x0b" + value


def test_the_checksum_is_the_published_one() -> None:
    """CRC-32C of 32 zero bytes is 8a9136aa (RFC 3720, B.4); masked as TFRecords do."""
    crc = 0x8A9136AA
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert EventFile(io.BytesIO())._crc(bytes(32)) == struct.pack("<I", masked)


def test_a_run_that_goes_on_writes_another_file(tmp_path: Path) -> None:
    for step in (0, 5):
        with open_events(tmp_path, step) as events:
            events.write(step, {"loss": 1.0})
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2
