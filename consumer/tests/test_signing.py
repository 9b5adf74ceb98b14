"""Standard Webhooks: the published vectors, and what must fail without an exception of another kind."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from processing.signing import Key, SecretError, SignatureError, load_key, sign, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = 1614265330
BODY = b'{"test": 2432232314}'
GOOD = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
V3_PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
V3_PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
V3_GOOD = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="


def check(signatures: str | None = GOOD, secret: str = SECRET, **changes: object) -> str:
    values = {"message_id": ID, "timestamp": str(AT), "body": BODY, "now": AT, **changes}
    return verify([load_key(secret)], signatures=signatures, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("secret", "message_id", "at", "body", "expected"),
    [
        (SECRET, ID, AT, BODY, GOOD),
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1649367553,
            b'{"email":"test@example.com","username":"test_user"}',
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (V3_PRIVATE, ID, AT, BODY, V3_GOOD),
        (SECRET, ID, AT, b"", "v1,v48jdbgvh29KJz2Qc+ghw8G6vG3nAKnujWBg8oM/62A="),
        (SECRET, ID, AT, '{"name":"Zoë €"}'.encode(), "v1,iENl6vMpRAScaigXd3FyM+4e/0ZxBwrp3oDfUyL8G6I="),
        (SECRET, ID, AT, b"\xff\xfe", "v1,dnDi5GZ3Te6lvRJ+A/l7mt41DfmU9c0vC3pjxJYxUg8="),
    ],
)
def test_the_published_vectors_are_signed_and_verified(
    secret: str, message_id: str, at: int, body: bytes, expected: str
) -> None:
    key = load_key(secret)
    assert sign([key], message_id, at, body)["webhook-signature"] == expected
    assert verify([key], message_id, str(at), expected, body, at) == message_id


@pytest.mark.parametrize(
    "signatures",
    [
        f"v1,{OTHER} v2,{OTHER} {GOOD} v1,{OTHER}",
        f"{V3_GOOD} {GOOD}",
        f"v9,x {GOOD} garbage",
        f"{GOOD} ",
    ],
)
def test_one_good_entry_in_a_list_is_enough(signatures: str) -> None:
    assert check(signatures) == ID


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        "",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA=",
        GOOD.replace("v1,", "v2,"),
        "invalid_signature",
        "v1,invalid_signature",
        "v1",
        "v1,",
        GOOD[:8],
        GOOD + ",",
        "v1,g0hM9SsE,OTPJTGt",
        "v1,ä€",
        "v1,\udcff",
        GOOD.replace(",", "\t"),
        GOOD.replace("v1", "V1"),
        f"v1, {GOOD[3:]}",
        V3_GOOD,
        f"v1,{OTHER} " * 40 + GOOD,
    ],
)
def test_a_signature_that_does_not_match_is_refused(signatures: str | None) -> None:
    with pytest.raises(SignatureError):
        check(signatures)


@pytest.mark.parametrize("message_id", [None, "", "a.b", "a,b", "a b", "ä", "x" * 256, ID + "\n"])
def test_a_malformed_id_is_refused(message_id: str | None) -> None:
    with pytest.raises(SignatureError, match="webhook-id"):
        check(message_id=message_id)


@pytest.mark.parametrize("stamp", [None, "", "hello", f"{AT}.9", "1614_265330", f"-{AT}", f"{AT}\n", "١٢٣", "9" * 13])
def test_a_malformed_timestamp_is_refused(stamp: str | None) -> None:
    with pytest.raises(SignatureError, match="webhook-timestamp"):
        check(timestamp=stamp)


@pytest.mark.parametrize("off", [-300, 0, 300])
def test_300_seconds_are_within_the_tolerance(off: int) -> None:
    assert check(now=AT + off) == ID


@pytest.mark.parametrize("off", [-301, 301])
def test_301_seconds_are_not(off: int) -> None:
    with pytest.raises(SignatureError, match="too far"):
        check(now=AT + off)


@pytest.mark.parametrize("secret", ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SECRET])
def test_the_prefix_of_a_secret_is_optional(secret: str) -> None:
    assert check(secret=secret) == ID


def test_an_unpadded_secret_loads() -> None:
    padded, unpadded = load_key("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS="), load_key("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS")
    assert padded.shared == unpadded.shared


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_ä", "whsec_!!!!", "whsk_AAAA", "whpk_AAAA", "whpk_"])
def test_an_unusable_secret_is_refused_at_load(secret: str) -> None:
    with pytest.raises(SecretError):
        load_key(secret)


def test_a_key_never_shows_its_secret() -> None:
    assert repr(load_key(SECRET)) == repr(load_key(V3_PRIVATE)) == "Key()"


def test_each_active_key_is_tried() -> None:
    keys = [load_key(V3_PUBLIC), load_key("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"), load_key(SECRET)]
    assert verify(keys, ID, str(AT), GOOD, BODY, AT) == ID
    assert verify(keys, ID, str(AT), V3_GOOD, BODY, AT) == ID


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(SignatureError):
        check(body=BODY + b" ")


def test_no_keys_verify_nothing() -> None:
    with pytest.raises(SignatureError):
        verify([], ID, str(AT), GOOD, BODY, AT)


def test_two_keys_sign_twice_and_the_official_library_accepts_it() -> None:
    now = int(datetime.now(UTC).timestamp())
    headers = sign([load_key(SECRET), load_key(V3_PRIVATE)], ID, now, BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert Webhook(SECRET).verify(BODY, headers) == {"test": 2432232314}


@given(st.text(), st.text(), st.text(), st.binary())
def test_no_input_raises_anything_but_signature_error(message_id: str, stamp: str, entries: str, body: bytes) -> None:
    keys = [load_key(SECRET), load_key(V3_PUBLIC)]
    for headers in ((message_id, stamp, entries), (ID, str(AT), f"v1,{entries}"), (ID, str(AT), f"v1a,{entries}")):
        with pytest.raises(SignatureError):
            verify(keys, *headers, body, AT)


@given(st.binary(min_size=1, max_size=64), st.binary())
def test_what_is_signed_verifies(secret: bytes, body: bytes) -> None:
    key = load_key("whsec_" + base64.b64encode(secret).decode())
    assert isinstance(key, Key)
    assert verify([key], ID, str(AT), sign([key], ID, AT, body)["webhook-signature"], body, AT) == ID
