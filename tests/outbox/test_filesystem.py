"""The embedded broker with several processes: no message half written, none twice, none lost between put and get."""

import multiprocessing
from queue import Empty

import kombu
import pytest


def connect(folder):
    for part in ("queues", "control"):
        (folder / part).mkdir(exist_ok=True)
    queues = str(folder / "queues")
    options = {"data_folder_in": queues, "data_folder_out": queues, "control_folder": str(folder / "control")}
    return kombu.Connection("filesystem://", transport="outbox.filesystem:Transport", transport_options=options)


def write(folder, name, count):
    with connect(folder) as connection:
        channel = connection.channel()
        for number in range(count):
            channel._put("q", {"from": name, "number": number, "padding": "x" * 5000})


def read(folder, found, enough):
    with connect(folder) as connection:
        channel = connection.channel()
        while not enough.is_set():
            try:
                message = channel._get("q")
            except Empty:
                continue
            found.put((message["from"], message["number"]))


def test_two_writers_and_two_readers_lose_and_double_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    found, enough, count = context.Queue(), context.Event(), 300
    readers = [context.Process(target=read, args=(tmp_path, found, enough)) for _ in range(2)]
    writers = [context.Process(target=write, args=(tmp_path, name, count)) for name in "ab"]
    for process in [*readers, *writers]:
        process.start()
    try:
        seen = [found.get(timeout=60) for _ in range(2 * count)]
    finally:
        enough.set()
        for process in [*readers, *writers]:
            process.join(30)
    assert sorted(seen) == sorted((name, number) for name in "ab" for number in range(count))
    assert [process.exitcode for process in [*readers, *writers]] == [0, 0, 0, 0]
    assert list((tmp_path / "queues").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b'{"half": ', b"\xff"])
def test_a_file_that_a_peer_is_still_writing_is_left_for_later(tmp_path, content):
    with connect(tmp_path) as connection:
        channel = connection.channel()
        path = tmp_path / "queues" / "1_x.q.msg"
        path.write_bytes(content)
        with pytest.raises(Empty):
            channel._get("q")
        path.write_bytes(b'{"whole": true}')
        assert channel._get("q") == {"whole": True}
        with pytest.raises(Empty):
            channel._get("q")


def test_a_queue_whose_name_ends_like_another_gets_only_its_own(tmp_path):
    with connect(tmp_path) as connection:
        channel = connection.channel()
        channel._put("a.q", 1)
        with pytest.raises(Empty):
            channel._get("q")
        assert channel._get("a.q") == 1
