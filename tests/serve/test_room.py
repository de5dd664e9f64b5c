import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipworks.serve.room import Room


def test_threads_never_hold_more_than_there_is() -> None:
    room = Room(100)
    lock = threading.Lock()
    held: list[int] = []
    peaks: list[int] = []

    def use(num_bytes: int) -> None:
        with room.taken(num_bytes):
            with lock:
                held.append(min(num_bytes, 100))
                peaks.append(sum(held))
            with lock:
                held.remove(min(num_bytes, 100))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, [30, 60, 5, 100, 1000, 45] * 50))
    assert max(peaks) <= 100 and len(peaks) == 300


def test_one_waits_while_another_holds_all_of_it() -> None:
    room = Room(10)
    is_in = threading.Event()

    def second() -> None:
        with room.taken(1):
            is_in.set()

    with room.taken(99):
        thread = threading.Thread(target=second)
        thread.start()
        assert not is_in.wait(0.05)
    thread.join(30)
    assert is_in.is_set()


def test_room_is_given_back_when_the_work_fails() -> None:
    room = Room(10)
    for _ in range(3):
        with pytest.raises(ValueError), room.taken(10):
            raise ValueError
