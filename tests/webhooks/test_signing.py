"""Standard Webhooks signatures: the published vectors, hostile headers, and PyPI `standardwebhooks` as a peer."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from webhooks.signing import (
    MAX_SIGNATURES,
    Key,
    KeyFormatError,
    Reason,
    SignatureError,
    SigningKey,
    SymmetricKey,
    VerifyKey,
    generate_secret,
    generate_signing_pair,
    load_key,
    sign,
    verify,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
NOW = 1614265330
BODY = b'{"test": 2432232314}'
GOOD = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
WHSK = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
WHPK = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
GOOD_V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
KEY = load_key(SECRET, "main")
PUBLIC = load_key(WHPK, "public")

VECTORS = {
    "V1": (SECRET, ID, NOW, BODY, GOOD),
    "V2": (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1649367553,
        b'{"email":"test@example.com","username":"test_user"}',
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
    "V3 ed25519": (WHSK, ID, NOW, BODY, GOOD_V1A),
    "empty body": (SECRET, ID, NOW, b"", "v1,v48jdbgvh29KJz2Qc+ghw8G6vG3nAKnujWBg8oM/62A="),
    "utf-8 body": (SECRET, ID, NOW, '{"name":"Zoë €"}'.encode(), "v1,iENl6vMpRAScaigXd3FyM+4e/0ZxBwrp3oDfUyL8G6I="),
    "body that is no utf-8": (SECRET, ID, NOW, b"\xff\xfe", "v1,dnDi5GZ3Te6lvRJ+A/l7mt41DfmU9c0vC3pjxJYxUg8="),
}


def headers(signature: Any = GOOD, webhook_id: Any = ID, timestamp: Any = str(NOW)) -> dict[str, Any]:
    return {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def refusal(given_headers: Any, keys: tuple[Key, ...] = (KEY,), body: bytes = BODY, now: float | None = NOW) -> Reason:
    with pytest.raises(SignatureError) as caught:
        verify(keys, given_headers, body, now)
    return caught.value.reason


@pytest.mark.parametrize("secret, webhook_id, timestamp, body, expected", VECTORS.values(), ids=VECTORS.keys())
def test_published_vectors_are_signed_and_verified(
    secret: str, webhook_id: str, timestamp: int, body: bytes, expected: str
) -> None:
    key = load_key(secret, "k")
    assert sign(key, webhook_id, timestamp, body) == expected
    verified = verify([key], headers(expected, webhook_id, str(timestamp)), body, timestamp)
    assert (verified.webhook_id, verified.timestamp, verified.key_id) == (webhook_id, timestamp, "k")
    with pytest.raises(SignatureError):
        verify([key], headers(expected, webhook_id, str(timestamp)), body + b" ", timestamp)


MUST_FAIL = {
    "last byte changed": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA=",
    "unused bits changed": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF=",
    "version v2": GOOD.replace("v1,", "v2,"),
    "no version": "invalid_signature",
    "no base64": "v1,invalid_signature",
    "empty signature": "v1,",
    "first 8 characters": GOOD[:11],
    "first 8 bytes": "v1," + base64.b64encode(base64.b64decode(GOOD[3:])[:8]).decode(),
    "v1 without a comma": "v1",
    "two commas": GOOD.replace("v1,", "v1,,"),
    "comma at the end": GOOD + ",",
    "not padded": GOOD.rstrip("="),
    "too much padding": GOOD + "=",
    "url-safe alphabet": GOOD.replace("+", "-").replace("/", "_"),
    "tab before": "\t" + GOOD,
    "tab between": OTHER + "\t" + GOOD,
    "line end after": GOOD + "\n",
    "comma between": OTHER + "," + GOOD,
    "capital V1": GOOD.replace("v1", "V1"),
    "non-ASCII": "v1,é",
    "full-width v1": GOOD.replace("v1", "ｖ１"),
    "lone surrogate": "v1,\ud800",
    "NUL": GOOD + "\x00",
    "hex": "v1," + base64.b64decode(GOOD[3:]).hex(),
    "under v1a": GOOD.replace("v1,", "v1a,"),
    "empty": "",
    "spaces": "   ",
    "comma": ",",
}


@pytest.mark.parametrize("signature", MUST_FAIL.values(), ids=MUST_FAIL.keys())
def test_bad_signatures_are_refused(signature: str) -> None:
    assert refusal(headers(signature)) in (Reason.SIGNATURE_MALFORMED, Reason.SIGNATURE_WRONG)
    assert refusal(headers(signature), keys=(KEY, PUBLIC)) in (Reason.SIGNATURE_MALFORMED, Reason.SIGNATURE_WRONG)


MUST_PASS = {
    "alone": GOOD,
    "among others": f"{OTHER} {OTHER.replace('v1', 'v2')} {GOOD} {OTHER}",
    "after a v1a entry": f"{GOOD_V1A} {GOOD}",
    "after a v1a entry that is no base64": f"v1a,xx {GOOD}",
    "after unknown versions": "v9 v3,x v99,a,b " + GOOD,
    "after double spaces": f"{OTHER}  {GOOD} ",
    "after broken entries": f"v1,== v1 , {GOOD}",
    "as the 16th": " ".join([OTHER] * (MAX_SIGNATURES - 1) + [GOOD]),
    "after 50 of unknown versions": "v2,AAAA " * 50 + GOOD,
}


@pytest.mark.parametrize("signature", MUST_PASS.values(), ids=MUST_PASS.keys())
def test_a_good_signature_is_found_among_others(signature: str) -> None:
    assert verify([KEY], headers(signature), BODY, NOW).key_id == "main"


def test_only_16_signatures_and_8_kib_are_looked_at() -> None:
    assert refusal(headers(" ".join([OTHER] * MAX_SIGNATURES + [GOOD]))) == Reason.SIGNATURE_WRONG
    assert refusal(headers("v2,AAAA " * 2_000 + GOOD)) == Reason.SIGNATURE_MALFORMED


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_missing_header_is_refused(missing: str) -> None:
    given_headers = headers()
    del given_headers[missing]
    assert refusal(given_headers) == Reason.HEADER_MISSING


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, 1, NOW, 1.5, True, [], ["x"], {}, b"v1,x", "", " "])
def test_values_that_are_no_text_are_refused(name: str, value: Any) -> None:
    assert isinstance(refusal(headers() | {name: value}), Reason)


@pytest.mark.parametrize("shape", [None, [], "webhook-id", 1, {}, {1: 2}, {None: "x"}, [("webhook-id", ID)]])
def test_headers_of_any_shape_are_refused(shape: Any) -> None:
    assert refusal(shape) == Reason.HEADER_MISSING


def test_header_names_are_found_in_any_case() -> None:
    mixed = {"Webhook-Id": ID, "WEBHOOK-TIMESTAMP": str(NOW), "wEbHoOk-SiGnAtUrE": GOOD, "Other": "x"}
    assert verify([KEY], mixed, BODY, NOW).webhook_id == ID


def test_a_header_in_two_spellings_is_refused() -> None:
    assert refusal(headers() | {"Webhook-Id": ID}) == Reason.ID_MALFORMED
    assert refusal({"Webhook-Timestamp": str(NOW)} | headers()) == Reason.TIMESTAMP_MALFORMED


@pytest.mark.parametrize(
    "timestamp",
    [
        "hello",
        "",
        " ",
        "-1",
        "+1614265330",
        "1614265330.9",
        "1614_265330",
        "1614265330\n",
        " 1614265330",
        "1e9",
        "NaN",
        "1614265330000",
        "inf",
        "0x60",
        "١٦١٤٢٦٥٣٣٠",
        "１６１４２６５３３０",
        "9" * 5000,
        "1614265330\x00",
        "�",
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_malformed_timestamps_are_refused_also_without_an_age_check(timestamp: str) -> None:
    assert refusal(headers(timestamp=timestamp)) == Reason.TIMESTAMP_MALFORMED
    assert refusal(headers(timestamp=timestamp), now=None) == Reason.TIMESTAMP_MALFORMED


@pytest.mark.parametrize(
    "webhook_id", ["", " ", "a.b", ".", "a b", "a\n", "a\tb", "é", "a\x00", "a\x7f", "\ud800", "x" * 256], ids=ascii
)
def test_malformed_ids_are_refused_and_never_signed(webhook_id: str) -> None:
    assert refusal(headers(webhook_id=webhook_id)) == Reason.ID_MALFORMED
    with pytest.raises(ValueError):
        sign(KEY, webhook_id, NOW, BODY)


@pytest.mark.parametrize("webhook_id", ["a", "x" * 255, "0199aaaa-0000-7000-8000-000000000001", "a_b-c:d", "a/b+c=d~!"])
def test_printable_ids_without_a_dot_pass(webhook_id: str) -> None:
    signature = sign(KEY, webhook_id, NOW, BODY)
    assert verify([KEY], headers(signature, webhook_id), BODY, NOW).webhook_id == webhook_id


@pytest.mark.parametrize("age", [-300, -299, 0, 299, 300, 300.9])
def test_300_seconds_either_way_are_accepted(age: float) -> None:
    assert verify([KEY], headers(), BODY, NOW + age).timestamp == NOW


@pytest.mark.parametrize("age", [-301, 301, -(10**9), 10**9])
def test_301_seconds_are_refused(age: float) -> None:
    assert refusal(headers(), now=NOW + age) == Reason.TIMESTAMP_OUTSIDE


def test_the_tolerance_can_be_chosen() -> None:
    assert verify([KEY], headers(), BODY, NOW + 10, tolerance_seconds=10).timestamp == NOW
    with pytest.raises(SignatureError):
        verify([KEY], headers(), BODY, NOW + 11, tolerance_seconds=10)


def test_without_now_any_age_passes_but_no_wrong_signature() -> None:
    assert verify([KEY], headers(), BODY, None).timestamp == NOW
    assert refusal(headers(OTHER), now=None) == Reason.SIGNATURE_WRONG


def test_a_wrong_signature_is_reported_as_such_even_when_it_is_old() -> None:
    assert refusal(headers(OTHER), now=NOW + 999) == Reason.SIGNATURE_WRONG


def test_the_timestamp_is_signed_as_it_was_written() -> None:
    assert refusal(headers(timestamp="0" + str(NOW))) == Reason.SIGNATURE_WRONG


def test_every_active_key_is_tried_and_the_proving_one_is_named() -> None:
    keys = [load_key(generate_secret(), f"k{number}") for number in range(3)]
    for key in keys:
        assert verify(iter(keys), headers(sign(key, ID, NOW, BODY)), BODY, NOW).key_id == key.key_id
    assert refusal(headers(), keys=tuple(keys)) == Reason.SIGNATURE_WRONG


def test_without_a_key_nothing_passes() -> None:
    assert refusal(headers(), keys=()) == Reason.NO_KEY


def test_several_keys_sign_in_one_header_and_each_receiver_is_served() -> None:
    private, shared = load_key(WHSK), load_key(generate_secret())
    signature = sign([KEY, shared, private], ID, NOW, BODY)
    assert signature.split(" ")[0] == GOOD and signature.split(" ")[2] == GOOD_V1A
    for key in (KEY, shared, private, PUBLIC):
        assert verify([key], headers(signature), BODY, NOW)


def test_the_scheme_is_the_keys_and_never_the_headers() -> None:
    # The classic swap: the public key, known to all, used as an HMAC secret.
    assert isinstance(PUBLIC, VerifyKey)
    forged = sign(SymmetricKey(PUBLIC.public), ID, NOW, BODY)
    for swapped in (forged, forged.replace("v1,", "v1a,")):
        assert refusal(headers(swapped), keys=(PUBLIC,)) in (Reason.SIGNATURE_WRONG, Reason.SIGNATURE_MALFORMED)
    assert refusal(headers(GOOD_V1A.replace("v1a", "v1")), keys=(PUBLIC,)) == Reason.SIGNATURE_WRONG
    assert refusal(headers(GOOD_V1A), keys=(KEY,)) == Reason.SIGNATURE_WRONG
    assert verify([KEY, PUBLIC], headers(GOOD_V1A), BODY, NOW).key_id == "public"


def test_a_public_key_no_key_and_a_bad_timestamp_cannot_sign() -> None:
    for keys, timestamp in ((PUBLIC, NOW), ([], NOW), (KEY, -1), (KEY, 10**12), (KEY, 1.5), (KEY, True)):
        with pytest.raises(ValueError):
            sign(keys, ID, timestamp, BODY)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [SECRET, SECRET.removeprefix("whsec_"), f"  {SECRET}\n", WHSK, WHPK, WHPK.rstrip("=")])
def test_keys_are_read_as_people_paste_them(text: str) -> None:
    key = load_key(text)
    kind = {"whsk_": SigningKey, "whpk_": VerifyKey}.get(text[:5], SymmetricKey)
    assert isinstance(key, kind)
    assert key.key_id == load_key(text).key_id != ""
    assert load_key(text, "mine").key_id == "mine"


def test_an_unpadded_secret_gives_the_same_key() -> None:
    padded = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    assert padded.endswith("=")
    assert load_key(padded.rstrip("=")) == load_key(padded)


def test_the_unpadded_vector_of_23_bytes_loads_only_where_short_ones_are_allowed() -> None:
    short = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"
    with pytest.raises(KeyFormatError, match="23"):
        load_key(short)
    key = load_key(short, allow_short=True)
    peer = standardwebhooks.Webhook(short)
    assert sign(key, ID, NOW, BODY) == peer.sign(ID, datetime.fromtimestamp(NOW, UTC), BODY.decode())


BAD_KEYS = {
    "empty": "",
    "spaces": "  ",
    "only the prefix": "whsec_",
    "only padding": "whsec_====",
    "signing prefix alone": "whsk_",
    "verify prefix alone": "whpk_",
    "23 bytes": "whsec_" + base64.b64encode(b"x" * 23).decode(),
    "65 bytes": "whsec_" + base64.b64encode(b"x" * 65).decode(),
    "no base64": "whsec_not base64 at all!!!!!!!!!!!!!!!!!",
    "url-safe": "whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
    "non-ASCII": "whsec_é" + "A" * 40,
    "impossible length": "whsec_" + "A" * 33,
    "v1 pasted along": "v1," + SECRET,
    "v1a pasted along": "v1a," + WHSK,
    "seed only": "whsk_" + base64.b64encode(b"x" * 32).decode(),
    "halves that do not belong together": "whsk_" + base64.b64encode(b"x" * 64).decode(),
    "public key of 31 bytes": "whpk_" + base64.b64encode(b"x" * 31).decode(),
    "public key of 33 bytes": "whpk_" + base64.b64encode(b"x" * 33).decode(),
}


@pytest.mark.parametrize("text", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_bad_keys_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(KeyFormatError) as caught:
        load_key(text)
    material = text.strip()[6:]
    assert not material or material not in str(caught.value)


def test_characters_outside_base64_are_an_error_and_never_dropped() -> None:
    for stray in ("-", "_", "!", " "):
        with pytest.raises(KeyFormatError, match="base64"):
            load_key(f"whsec_AAAA{stray}" + "A" * 44)


def test_a_key_pasted_with_its_version_gets_a_helpful_answer() -> None:
    for text in ("v1," + SECRET, "v1a," + WHSK):
        with pytest.raises(KeyFormatError, match="comma"):
            load_key(text)


def test_the_limits_of_a_secret_are_24_and_64_bytes() -> None:
    for size in (24, 64):
        assert load_key("whsec_" + base64.b64encode(b"x" * size).decode())
    for text in ("", "whsec_", "whsec_" + base64.b64encode(b"x" * 65).decode()):
        with pytest.raises(KeyFormatError):
            load_key(text, allow_short=True)


def test_secrets_do_not_show_in_repr() -> None:
    private = load_key(WHSK)
    assert isinstance(private, SigningKey)
    assert "secret" not in repr(KEY) and "seed" not in repr(private) and repr(private.seed) not in repr(private)


def test_generated_keys_load_and_work() -> None:
    secret = load_key(generate_secret())
    assert isinstance(secret, SymmetricKey) and len(secret.secret) == 32
    private, public = (load_key(text) for text in generate_signing_pair())
    assert verify([public], headers(sign(private, ID, NOW, BODY)), BODY, NOW).key_id == public.key_id
    assert generate_secret() != generate_secret()


@given(st.text(min_size=1, max_size=200).filter(lambda text: text.isprintable()))
def test_the_pypi_package_and_we_agree_both_ways(text: str) -> None:
    now, secret = int(time.time()), generate_secret()
    peer, key = standardwebhooks.Webhook(secret), load_key(secret)
    theirs = peer.sign(ID, datetime.fromtimestamp(now, UTC), text)
    assert verify([key], headers(theirs, ID, str(now)), text.encode(), now)
    ours = sign(key, ID, now, text.encode())
    peer.verify(text, headers(ours, ID, str(now)), json_parse=False)


ANY_TEXT = st.text(alphabet=st.characters(codec=None, categories=None), max_size=80)
ENTRY = st.one_of(
    st.sampled_from([*MUST_FAIL.values(), OTHER]),
    st.binary(max_size=70).map(lambda b: "v1," + base64.b64encode(b).decode()),
)
SIGNATURES = st.one_of(
    ANY_TEXT, st.lists(ENTRY, max_size=20).map(" ".join), st.text(alphabet="v1a, =AQ/+\t", max_size=90)
)
ANYTHING = st.one_of(st.none(), st.integers(), st.floats(), st.binary(), ANY_TEXT, st.lists(st.integers(), max_size=2))


@given(
    SIGNATURES, st.one_of(ANYTHING, st.just(ID)), st.one_of(ANYTHING, st.just(str(NOW))), st.sampled_from([NOW, None])
)
def test_nothing_but_a_good_signature_passes_and_nothing_but_signature_error_is_raised(
    signature: str, webhook_id: Any, timestamp: Any, now: float | None
) -> None:
    with pytest.raises(SignatureError):
        verify([KEY, PUBLIC], headers(signature, webhook_id, timestamp), BODY, now)


@given(st.dictionaries(st.one_of(ANYTHING.filter(lambda x: not isinstance(x, list)), st.just("webhook-id")), ANYTHING))
def test_random_headers_are_refused(any_headers: dict[Any, Any]) -> None:
    assert isinstance(refusal(any_headers), Reason)


@given(st.integers(0, len(BODY) * 8 - 1))
def test_every_flipped_bit_of_the_body_is_noticed(bit: int) -> None:
    body = bytearray(BODY)
    body[bit // 8] ^= 1 << bit % 8
    assert refusal(headers(f"{GOOD} {GOOD_V1A}"), keys=(KEY, PUBLIC), body=bytes(body)) == Reason.SIGNATURE_WRONG


@given(st.sampled_from([GOOD, GOOD_V1A]), st.data())
def test_every_changed_character_of_a_signature_is_noticed(good: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(good) - 1))
    character = data.draw(st.characters(codec=None, categories=None).filter(lambda c: c != good[place]))
    changed = good[:place] + character + good[place + 1 :]
    assert isinstance(refusal(headers(changed), keys=(KEY, PUBLIC)), Reason)
