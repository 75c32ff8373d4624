"""What an attacker, or a broken client, sends in place of what is expected."""

from collections.abc import Mapping
from typing import Any, Final

DEPTH: Final = 100_000
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

# Texts that a database, a log, a spreadsheet, a browser or a person may take for something else.
TEXTS: Final[Mapping[str, str]] = {
    "NUL": "a\x00b",
    "control characters": "a\x1b[2J\r\nSet-Cookie: a=b\x7f",
    "lone surrogate": "a\ud800b",
    "reversed surrogates": "\udc00\ud800",
    "right to left": "abc\u202egpj.exe",
    "zero width": "ad\u200bmin\ufeff",
    "combining": "Z" + "\u0351" * 500,
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 20,
    "noncharacter": "\uffff\U0010ffff",
    "10,000 characters": "A" * 10_000,
    "a megabyte": "A" * 900_000,
    "only spaces": "   ",
    "empty": "",
    "SQL": "'; DROP TABLE products; --",
    "SQL union": "1 UNION SELECT secret FROM webhook_endpoints",
    "LIKE": "%_%\\",
    "JSON path": "$.**{2 to last}",
    "formula": "=cmd|' /C calc'!A0",
    "template": "{{7*7}}${7*7}#{7*7}<%= 7*7 %>",
    "format": "%s%n%x{0.__class__}",
    "log4j": "${jndi:ldap://127.0.0.1/a}",
    "path": "../../../../etc/passwd",
    "HTML": "<script>alert(1)</script>",
    "header": "x\r\nX-Injected: 1",
}

# Values of another type, or of another size than anything has.
VALUES: Final[Mapping[str, Any]] = {
    "null": None,
    "true": True,
    "a list": ["a"],
    "an object": {"a": {"b": 1}},
    "a text": "1",
    "a year of ten digits": "9999999999-01-01T00:00:00Z",
    "the year 0": "0000-01-01T00:00:00Z",
    "the last year": "9999-12-31T23:59:59Z",
    "before all time in UTC": "0001-01-01T00:00:00+14:00",
    "after all time in UTC": "9999-12-31T23:59:59-14:00",
    "0": 0,
    "-1": -1,
    "half": 0.5,
    "2^31": 2**31,
    "2^53 + 1": 2**53 + 1,
    "2^63": 2**63,
    "-2^63 - 1": -(2**63) - 1,
    "2^64": 2**64,
    "10^400": 10**400,
    "1e308": 1e308,
    "-0.0": -0.0,
    "5e-324": 5e-324,
}

# What JSON says otherwise than it is meant, by the type of what it stands for: a reader that converts takes it.
CONVERTIBLE: Final[Mapping[type, tuple[str, ...]]] = {
    int: ("true", '"1"', "1.5", "[1]", '" 1 "', "1e400"),
    float: ("true", '"51.5"', "[1.5]", '"NaN"'),
    bool: ("0", "1", '"true"', '"yes"', '"on"'),
}

# Bodies that are no JSON, or JSON that parsers disagree about, with how they must be answered whatever the route is;
# None where it depends on what else the route expects.
BODIES: Final[Mapping[str, tuple[bytes, frozenset[int] | None]]] = {
    "nothing": (b"", None),
    "a bracket": (b"{", frozenset({400, 422})),
    "a lone quote": (b'"', None),
    "deep lists": (b"[" * DEPTH + b"]" * DEPTH, frozenset({400, 422})),
    "deep objects": (b'{"a":' * DEPTH + b"1" + b"}" * DEPTH, frozenset({400, 422})),
    "100,000 keys": (b"{" + b",".join(b'"%d":0' % n for n in range(100_000)) + b"}", frozenset({400, 413, 422})),
    "a million keys": (b"{" + b",".join(b'"%d":0' % n for n in range(1_000_000)) + b"}", frozenset({413, 422})),
    "colliding keys": (b"{" + b",".join(b'"\\u0061":%d' % n for n in range(10_000)) + b"}", None),
    "a big integer": (b'{"a":' + b"9" * 100_000 + b"}", frozenset({400, 422})),
    "a long decimal": (b'{"a":0.' + b"1" * 100_000 + b"}", frozenset({400, 422})),
    "40 digits": (b'{"quantity":1234567890.123456789012345678901234567890}', None),
    "NaN": (b'{"quantity":NaN}', frozenset({400, 422})),
    "Infinity": (b'{"quantity":-Infinity}', frozenset({400, 422})),
    "1e400": (b'{"quantity":1e400}', frozenset({400, 422})),
    "a byte-order mark": (BYTE_ORDER_MARK + b"{}", None),
    "UTF-16": ('{"sku":"a"}'.encode("utf-16"), frozenset({400, 422})),
    "UTF-32": ('{"sku":"a"}'.encode("utf-32"), frozenset({400, 422})),
    "bad UTF-8": (b'{"sku":"\xff\xfe"}', frozenset({400, 422})),
    "overlong UTF-8": (b'{"sku":"\xc0\x80"}', frozenset({400, 422})),
    "encoded surrogate": (b'{"sku":"\xed\xa0\x80"}', frozenset({400, 422})),
    "NUL": (b'{"sku":"a\x00"}', frozenset({400, 422})),
    "escaped NUL": (b'{"sku":"a\\u0000"}', frozenset({400, 422})),
    "comments": (b'{/* a */"sku":1}', frozenset({400, 422})),
    "single quotes": (b"{'sku': 'a'}", frozenset({400, 422})),
    "two values": (b"{}{}", None),
    "a key twice": (b'{"sku":"a","sku":"b"}', frozenset({400, 422})),
    "a key twice, once escaped": (b'[{"a":{"sku":"a","\\u0073ku":"b"}}]', frozenset({400, 422})),
    "a number": (b"7", None),
    "XML": (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', frozenset({400, 422})),
    "prototype": (b'{"__proto__":{"is_admin":true},"constructor":1}', None),
}

CONTENT_TYPES: Final = (
    "text/plain",
    "application/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=a",
    "application/json; charset=utf-16",
    "application/json; charset=latin-1",
    "application/x-ndjson; charset=windows-1252",
    "application/octet-stream",
    "*/*",
    "json",
    "",
)

SEGMENTS: Final = (
    "%00",
    "a%00b",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%5c..",
    "%ff%fe",
    "%ed%a0%80",
    "%",
    "%zz",
    "%E2%80%AEabc",
    "%27%20OR%20%271%27%3D%271",
    "a" * 10_000,
    "-1",
    "0",
    "18446744073709551616",
    "null",
    "%20",
    "%0d%0aSet-Cookie:a=b",
    "{sku}",
    "*",
    "019890000000000000000000000000000000",
)

QUERIES: Final = (
    "%00",
    "%ff%fe",
    "%ed%a0%80",
    "%27%3B%20DROP%20TABLE%20products%3B--",
    "%25_%25%5C",
    "a" * 10_000,
    "-1",
    "0",
    "1e400",
    "NaN",
    "99999999999999999999999",
    "9999-99-99",
    "0000-01-01",
    "10000-01-01",
    "9999-12-31T23:59:59-14:00",
    "1_0",
    "%2B1",
    "1.0",
    "price_minor%3BDELETE%20FROM%20products",
    "W10",
    "bnVsbA",
    "WyJcdTAwMDAiLCAxZTQwMF0",
    # A time that there is not in UTC, and an id, as a cursor of several lists has them.
    "WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzE0OjAwIiwiMDE4OTAwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0",
    "",
)
