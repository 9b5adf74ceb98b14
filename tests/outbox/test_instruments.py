"""What the relay counts: the library's own buckets, filled in bulk, hold the same as one by one."""

import random

import prometheus_client
from prometheus_client import CollectorRegistry

from outbox.instruments import WAITING_SECONDS, observe_many


def samples(registry):
    return {
        (s.name, tuple(s.labels.items())): s.value
        for m in registry.collect()
        for s in m.samples
        if "created" not in s.name
    }


def test_many_observations_at_once_are_what_each_of_them_would_be():
    one, many = CollectorRegistry(), CollectorRegistry()
    values = [random.choice([*WAITING_SECONDS, random.expovariate(1), 9999.0]) for _ in range(500)]
    single = prometheus_client.Histogram("h", "h", ["channel"], buckets=WAITING_SECONDS, registry=one).labels("broker")
    bulk = prometheus_client.Histogram("h", "h", ["channel"], buckets=WAITING_SECONDS, registry=many).labels("broker")
    for value in values:
        single.observe(value)
    observe_many(bulk, values)
    wanted, found = samples(one), samples(many)
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        assert abs(found[key] - value) < 1e-6 * max(1, value), key
