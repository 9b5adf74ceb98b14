"""The address guard: every range by name, every way to write an address, and what an allow-list can open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.ssrf import UnsafeUrlError, check_addresses, check_url, is_forbidden

FORBIDDEN = {
    "10/8": ["10.0.0.0", "10.255.255.255"],
    "172.16/12": ["172.16.0.0", "172.31.255.255"],
    "192.168/16": ["192.168.0.0", "192.168.255.255"],
    "127/8": ["127.0.0.1", "127.255.255.254"],
    "0/8": ["0.0.0.0", "0.255.255.255"],
    "169.254/16": ["169.254.169.254", "169.254.0.0", "169.254.255.255"],
    "100.64/10": ["100.64.0.1", "100.127.255.255"],
    "192.0.0/24": ["192.0.0.8", "192.0.0.192"],
    "192.0.2/24": ["192.0.2.1"],
    "198.51.100/24": ["198.51.100.1"],
    "203.0.113/24": ["203.0.113.1"],
    "192.88.99/24": ["192.88.99.3"],
    "198.18/15": ["198.18.0.1", "198.19.255.255"],
    "224/4": ["224.0.0.1", "239.255.255.255"],
    "240/4": ["240.0.0.1", "255.255.255.254"],
    "broadcast": ["255.255.255.255"],
    "unspecified": ["::"],
    "loopback": ["::1"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254", "::FFFF:10.0.0.1", "::ffff:0.0.0.0"],
    "compatible": ["::127.0.0.1", "::8.8.8.8"],
    "translated": ["::ffff:0:127.0.0.1"],
    "fe80::/10": ["fe80::1", "febf::1", "fe80::1%eth0", "fe80::1%1"],
    "fec0::/10": ["fec0::1", "feff::1"],
    "fc00::/7": ["fc00::1", "fdff::1", "fd00:ec2::254"],
    "ff00::/8": ["ff02::1", "ffff::1"],
    "64:ff9b::/96": ["64:ff9b::a9fe:a9fe", "64:ff9b::8.8.8.8"],
    "64:ff9b:1::/48": ["64:ff9b:1::1", "64:ff9b:1::a9fe:a9fe"],
    "2002::/16": ["2002:a9fe:a9fe::1", "2002:7f00:1::"],
    "100::/64": ["100::1"],
    "2001:db8::/32": ["2001:db8::1"],
    "3fff::/20": ["3fff::1", "3fff:fff:ffff::1"],
    "2001:20::/28": ["2001:20::1", "2001:2f:ffff::1"],
    "5f00::/16": ["5f00::1"],
    "teredo": ["2001::1", "2001:0:7f00:1::"],
    "outside 2000::/3": ["1fff::1", "4000::1", "8000::1", "c000::1"],
    "no address": [
        "",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.01",
        "1.2.3.4.5",
        " 1.1.1.1",
        "1.1.1.1\n",
        "１.1.1.1",
        "[::1]",
        "1.1.1.1/32",
        "8.8.8.8:80",
        "2001:4860:4860::8888%1",
        "�",
    ],
}
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "2606:4700::1111", "172.15.255.255", "172.32.0.0",
    "100.63.255.255", "100.128.0.0", "9.255.255.255", "11.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
    "169.255.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "2001:200::1", "2003::1", "2001:db7::1", "2001:db9::1", "3ffe:ffff::1", "3fff:1000::1",
]  # fmt: skip


@pytest.mark.parametrize("addresses", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_each_range_is_forbidden(addresses: list[str]) -> None:
    for address in addresses:
        assert is_forbidden(address), address
        with pytest.raises(UnsafeUrlError):
            check_addresses([address], scheme="https")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_and_the_neighbours_of_the_ranges_are_allowed(address: str) -> None:
    assert not is_forbidden(address)
    check_addresses([address], scheme="https")


def test_an_allow_list_opens_private_and_loopback_networks() -> None:
    for address, network in (
        ("10.1.2.3", "10.0.0.0/8"),
        ("127.0.0.1", "127.0.0.0/8"),
        ("::ffff:127.0.0.1", "127.0.0.0/8"),
        ("192.168.1.1", "192.168.1.0/24"),
        ("172.18.0.2", "172.16.0.0/12"),
        ("100.64.0.1", "100.64.0.0/10"),
        ("::1", "::1/128"),
        ("fd12:3456::1", "fd00::/8"),
    ):
        assert is_forbidden(address)
        assert not is_forbidden(address, [network])
    assert is_forbidden("10.1.2.3", ["10.2.0.0/16", "fd00::/8"])


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "0.0.0.0",
        "::",
        "100.100.100.200",
        "192.0.0.192",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_no_allow_list_opens_link_local_or_metadata(address: str) -> None:
    assert is_forbidden(address, ["0.0.0.0/0", "::/0", "169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128"])


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with pytest.raises(UnsafeUrlError):
        check_addresses(["8.8.8.8", "10.0.0.1"], scheme="https")
    with pytest.raises(UnsafeUrlError):
        check_addresses(["10.0.0.1", "8.8.8.8"], scheme="https")


def test_no_address_at_all_is_refused() -> None:
    with pytest.raises(UnsafeUrlError):
        check_addresses([], scheme="https")


def test_plain_http_needs_every_address_in_the_allow_list() -> None:
    check_addresses(["10.0.0.1", "10.0.0.2"], ["10.0.0.0/8"], scheme="http")
    check_addresses(["8.8.8.8"], ["8.8.8.0/24"], scheme="http")
    for addresses in (["8.8.8.8"], ["10.0.0.1", "8.8.8.8"], ["192.168.0.1"]):
        with pytest.raises(UnsafeUrlError):
            check_addresses(addresses, ["10.0.0.0/8"], scheme="http")


@pytest.mark.parametrize(
    "url, target",
    [
        ("https://example.com", ("https", "example.com", 443, "/")),
        ("HTTPS://EXAMPLE.com:8443/Hook?a=1&b=%2F", ("https", "example.com", 8443, "/Hook?a=1&b=%2F")),
        ("https://example.com:443/", ("https", "example.com", 443, "/")),
        ("https://example.com:/x", ("https", "example.com", 443, "/x")),
        ("https://example.com./x", ("https", "example.com", 443, "/x")),
        ("https://my_host-1.example.com:1024/x", ("https", "my_host-1.example.com", 1024, "/x")),
        ("https://xn--bcher-kva.example/", ("https", "xn--bcher-kva.example", 443, "/")),
        ("https://8.8.8.8/x", ("https", "8.8.8.8", 443, "/x")),
        ("https://[2001:4860:4860::8888]:9000/x", ("https", "2001:4860:4860::8888", 9000, "/x")),
        ("https://example.com/@x", ("https", "example.com", 443, "/@x")),
    ],
)
def test_good_urls_are_taken_apart(url: str, target: tuple[str, str, int, str]) -> None:
    parsed = check_url(url)
    assert (parsed.scheme, parsed.host, parsed.port, parsed.path) == target


BAD_URLS = {
    "empty": "",
    "http": "http://example.com/",
    "http to an address": "http://8.8.8.8/",
    "file": "file:///etc/passwd",
    "gopher": "gopher://example.com/",
    "ftp": "ftp://example.com/",
    "no scheme": "//example.com/",
    "only a name": "example.com",
    "no host": "https:///x",
    "one slash": "https:/example.com",
    "user": "https://user@example.com/",
    "user and password": "https://user:pw@example.com/",
    "empty user": "https://@example.com/",
    "fragment": "https://example.com/#x",
    "empty fragment": "https://example.com/#",
    "fragment before user": "https://example.com#@127.0.0.1/",
    "backslash": "https://example.com\\@127.0.0.1/",
    "space": "https://example.com/a b",
    "leading space": " https://example.com/",
    "tab": "https://exam\tple.com/",
    "line end": "https://example.com/\r\nX: y",
    "NUL": "https://example.com/\x00",
    "non-ASCII host": "https://exämple.com/",
    "full-width digits": "https://１２７.0.0.1/",
    "ideographic dots": "https://127。0。0。1/",
    "lone surrogate": "https://example.com/\ud800",
    "2,049 characters": "https://example.com/" + "x" * 2_029,
    "port 0": "https://example.com:0/",
    "port 22": "https://example.com:22/",
    "port 25": "https://example.com:25/",
    "port 80 with https": "https://example.com:80/",
    "port 1023": "https://example.com:1023/",
    "port 65536": "https://example.com:65536/",
    "port -1": "https://example.com:-1/",
    "port +443": "https://example.com:+443/",
    "port in words": "https://example.com:https/",
    "loopback": "https://127.0.0.1/",
    "loopback with a dot": "https://127.0.0.1./",
    "short": "https://127.1/",
    "shorter": "https://0/",
    "decimal": "https://2130706433/",
    "decimal public": "https://134744072/",
    "octal": "https://0177.0.0.1/",
    "octal in one": "https://017700000001/",
    "hex": "https://0x7f.0.0.1/",
    "hex in one": "https://0x7f000001/",
    "bare 0x": "https://0x/",
    "five parts": "https://1.2.3.4.5/",
    "too large a part": "https://256.1.1.1/",
    "percent-encoded": "https://%31%32%37.0.0.1/",
    "metadata": "https://169.254.169.254/latest/meta-data/",
    "private": "https://10.0.0.1/",
    "IPv6 loopback": "https://[::1]/",
    "IPv6 mapped": "https://[::ffff:127.0.0.1]/",
    "IPv6 mapped in hex": "https://[::ffff:7f00:1]/",
    "NAT64": "https://[64:ff9b::a9fe:a9fe]/",
    "IPv6 zone": "https://[fe80::1%25eth0]/",
    "IPv6 open bracket": "https://[::1/",
    "IPv6 without brackets": "https://2001:4860:4860::8888/",
    "IPv6 and more": "https://[2001:4860:4860::8888]x.example/",
    "before IPv6": "https://x[2001:4860:4860::8888]/",
    "IPvFuture": "https://[v1.a]/",
    "IPv4 in brackets": "https://[127.0.0.1]/",
    "localhost": "https://localhost/",
    "localhost with a dot": "https://localhost./",
    "below localhost": "https://a.LOCALHOST/",
    "empty label": "https://example..com/",
    "leading dot": "https://.example.com/",
    "label of 64": "https://" + "a" * 64 + ".com/",
    "name of 254": "https://" + "a." * 126 + "aa/",
    "comma": "https://a,b.example/",
}


@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS.keys())
def test_bad_urls_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UnsafeUrlError) as caught:
        check_url(url)
    assert not url or url not in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("form", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0", "[127.0.0.1]"])
def test_odd_spellings_stay_refused_even_when_loopback_is_open(form: str) -> None:
    with pytest.raises(UnsafeUrlError):
        check_url(f"https://{form}/", ["127.0.0.0/8", "::1/128", "10.0.0.0/8"])


def test_2048_characters_are_accepted() -> None:
    assert check_url("https://example.com/" + "x" * 2_028).path.endswith("x")


def test_http_is_for_allow_listed_networks() -> None:
    allowed = ["127.0.0.0/8", "::1/128"]
    assert check_url("http://127.0.0.1:8001/hook", allowed).port == 8001
    assert check_url("http://127.0.0.1/hook", allowed).port == 80
    assert check_url("http://localhost:8001/hook", allowed).host == "localhost"
    assert check_url("http://[::1]:8001/", allowed).host == "::1"
    for url in ("http://8.8.8.8/", "http://10.0.0.1/", "http://169.254.169.254/", "http://127.0.0.1:22/"):
        with pytest.raises(UnsafeUrlError):
            check_url(url, allowed)


def test_http_to_a_name_is_left_to_its_addresses() -> None:
    target = check_url("http://consumer:8001/hook", ["172.16.0.0/12"])
    check_addresses(["172.18.0.5"], ["172.16.0.0/12"], scheme=target.scheme)
    with pytest.raises(UnsafeUrlError):
        check_addresses(["8.8.8.8"], ["172.16.0.0/12"], scheme=target.scheme)
    with pytest.raises(UnsafeUrlError):
        check_url("http://consumer:8001/hook")


def test_localhost_is_open_only_with_loopback() -> None:
    with pytest.raises(UnsafeUrlError):
        check_url("https://localhost:8001/", ["10.0.0.0/8"])


@given(st.text(alphabet=st.characters(codec=None, categories=None), max_size=60))
def test_any_text_gives_a_target_or_unsafe_url(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com:{text}", f"https://[{text}]/"):
        try:
            target = check_url(url)
        except UnsafeUrlError:
            continue
        assert target.scheme == "https" and target.host.isascii() and 0 < target.port < 65_536


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_and_its_mapped_form_are_judged_alike(number: int) -> None:
    dotted = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
    assert is_forbidden(dotted) == is_forbidden(f"::ffff:{dotted}")
