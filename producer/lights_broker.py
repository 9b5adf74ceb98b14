"""Lights of the ways to the Consumer: RabbitMQ, the fallback webhook, queues, who reads them."""

from django.conf import settings

from outbox.heartbeat import DEAD_AFTER_SECONDS
from producer.light import Condition, Scene

# How long the light stays on after a queue was made anew (seconds).
REMADE_SHOWN_SECONDS = 600.0


def broker(scene: Scene) -> list[Condition]:
    states = {state.name: state for state in scene.states.channels}
    broker, webhook = states.get("broker"), states.get("webhook")
    failing = broker is not None and broker.failing_seconds > 0
    complaints = [p.note for p in scene.processes if p.alive and p.kind == "beat" and p.note]
    found = [
        Condition(
            "broker",
            "bad" if failing or complaints else "ok",
            "RabbitMQ",
            f"It takes no messages. Events wait, and after {settings.OUTBOX_FALLBACK_AFTER_SECONDS:.0f} s go by webhook. "
            + (broker.reason if broker and failing else " ".join(complaints)),
            "Start RabbitMQ. If it runs and blocks publishers: free disk or memory. The relay returns by itself.",
            f"failing for {broker.failing_seconds:.0f} s"
            if broker and failing
            else "failing"
            if complaints
            else "works",
            "brokeraway",
        )
    ]
    if webhook is not None:
        found.append(
            Condition(
                "fallback",
                "bad" if webhook.disabled else "warn" if webhook.failing_seconds else "ok",
                "The Consumer said 410 Gone" if webhook.disabled else "Fallback webhook",
                f"Events cannot go by webhook while RabbitMQ is away. {webhook.reason}",
                "Correct CONSUMER_WEBHOOK_URL or start the Consumer; then enable the channel in the admin."
                if webhook.disabled
                else "Start the Consumer's web process, or correct CONSUMER_WEBHOOK_URL or CONSUMER_WEBHOOK_SECRETS.",
                f"failing for {webhook.failing_seconds:.0f} s" if webhook.failing_seconds else "works",
                "fallbackdisabled" if webhook.disabled else "fallbackaway",
            )
        )
    return found


def queues(scene: Scene) -> list[Condition]:
    queues = scene.states.queues
    remade = [q for q in queues if q.remade_seconds is not None and q.remade_seconds < REMADE_SHOWN_SECONDS]
    dead = [q for q in queues if q.name.endswith(".dead") and q.messages]
    ours = {str(route["queue"]) for route in settings.OUTBOX_ROUTES.values()}
    fresh = [q for q in queues if q.name in ours and q.age_seconds < DEAD_AFTER_SECONDS]
    unread = [q for q in fresh if not q.consumers]
    return [
        Condition(
            "queues",
            "warn" if remade else "ok",
            "Queues",
            "A queue was deleted. It was declared anew; the messages in it are lost at the broker and safe here: "
            "transactions without a result become overdue, and their events are sent again.",
            "Find out who deleted it. To send again at once, requeue the published events of that time.",
            ", ".join(f"{q.name} remade {q.remade_seconds:.0f} s ago" for q in remade) or f"{len(queues)} known",
            "queuemissing",
        ),
        Condition(
            "consumer",
            "bad" if unread else "ok",
            "The Consumer",
            "Nobody reads its queue. Events are delivered to RabbitMQ and wait there; no results come.",
            "Start the Consumer's worker, or call its operators.",
            ", ".join(f"{q.consumers} read {q.name}, {q.messages} wait" for q in fresh) or "unknown",
            "consumeraway",
        ),
        Condition(
            "dead_letters",
            "bad" if dead else "ok",
            "Dead letters at RabbitMQ",
            "Messages that the Consumer, or our worker, refused or died of, 20 times. Their transactions get no result.",
            "Read the receiver's log for the event id, mend the cause, requeue the event here, purge the dead letter.",
            ", ".join(f"{q.messages} in {q.name}" for q in dead) or "none",
            "deadletters",
        ),
    ]
