"""One line in the log for each light that turns: not one for each look, none lost, and not a flood when one flickers."""

import logging
import os
from dataclasses import replace

import pytest

from outbox.models import ProcessState
from producer import condition, logs
from producer.light import Condition
from producer.turned import AGAIN_AFTER_SECONDS, AT_ONCE, Turned

BEAT = Condition(
    "beat", "bad", "Beat (the clock)", "Nothing runs by the clock.", "Start it.", "silent for 11 s", "beatdead"
)
WELL = replace(BEAT, level="ok", value="1 alive")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "producer.turned")
    return lambda: [record.message for record in caplog.records if record.name == "producer.turned"]


def test_a_light_that_turns_is_one_line_with_its_reason_and_green_again_one_more(clock, said, caplog):
    turned = Turned(clock)
    for light in (WELL, BEAT, BEAT, WELL, WELL):
        clock.now += AGAIN_AFTER_SECONDS
        turned.look([light])
    assert said() == ["Beat (the clock): red", "Beat (the clock): green"]
    red, green = caplog.records
    assert red.levelname == "WARNING" and green.levelname == "INFO"
    assert (red.light, red.reason) == ("beat", "silent for 11 s. Nothing runs by the clock.")


def test_a_start_in_trouble_is_told_and_a_start_in_health_is_not(clock, said):
    Turned(clock).look([WELL])
    assert said() == []
    Turned(clock).look([BEAT])
    assert said() == ["Beat (the clock): red"]


def test_a_fault_on_the_heels_of_another_is_told_like_the_first(clock, said):
    turned = Turned(clock)
    for light in (BEAT, WELL, BEAT):
        turned.look([light])
        clock.now += 0.5
    assert said() == ["Beat (the clock): red", "Beat (the clock): green", "Beat (the clock): red"]


def test_a_light_that_goes_on_flickering_is_logged_seldom_and_where_it_comes_to_rest(clock, said):
    turned = Turned(clock)
    for number in range(600):
        clock.now += 0.05
        turned.look([WELL if number % 2 else BEAT])
    # At once, and then by the clock: 30 seconds went by.
    assert AT_ONCE <= len(said()) <= AT_ONCE + 30 / AGAIN_AFTER_SECONDS
    rest = WELL if said()[-1].endswith("red") else BEAT
    clock.now += AGAIN_AFTER_SECONDS
    turned.look([rest])
    turned.look([rest])
    assert len({*said()[-2:]}) == 2


def test_a_light_that_has_rested_may_flicker_again(clock, said):
    turned = Turned(clock)
    for _ in range(2):
        for number in range(AT_ONCE):
            turned.look([WELL if number % 2 else BEAT])
        clock.now += AT_ONCE * AGAIN_AFTER_SECONDS
    assert len(said()) == 2 * AT_ONCE


def test_each_process_says_who_it_is(clock, said, caplog):
    Turned(clock).look([BEAT])
    assert caplog.records[0].process_name.endswith(f":{os.getpid()}") and "process_name" in logs.CONTEXT


@pytest.mark.django_db
def test_a_probe_has_it_logged_under_the_lights_name(client, monkeypatch, said, caplog):
    monkeypatch.setattr(condition, "turned", Turned())
    ProcessState.objects.create(name="beat@x:1", kind="beat")
    client.get("/readyz")
    lights = {record.light for record in caplog.records if record.name == "producer.turned"}
    # Nobody has ever seen a worker here.
    assert "worker" in lights and "beat" not in lights
    # Structured lines carry only what is listed.
    assert "light" in logs.CONTEXT
