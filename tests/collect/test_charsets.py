"""Pages are read in the encoding that a browser would use."""

import codecs

import pytest

from clipworks.collect.charsets import find_charset, to_utf8


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        ("é".encode(), b"text/html", "é"),
        ("é!".encode("latin-1"), b"text/html", "é!"),
        ("é".encode("latin-1"), b"text/html; charset=ISO-8859-1", "é"),
        (b"\x93x\x94", b"text/html; charset=iso-8859-1", "“x”"),
        ("привет".encode("cp1251"), b'text/html; charset="windows-1251"', "привет"),
        (b"<meta charset=windows-1251>" + "мир".encode("cp1251"), b"", "<meta charset=windows-1251>мир"),
        ("日本".encode("cp932"), b"text/html;charset=Shift_JIS", "日本"),
        ("日本".encode("euc_jp"), b"text/html;charset=x-euc-jp", "日本"),
        ("中文".encode("gb18030"), b"text/html;charset=gb2312", "中文"),
        ("한글".encode("cp949"), b"text/html;charset=ks_c_5601-1987", "한글"),
        (codecs.BOM_UTF8 + "é".encode(), b"text/html; charset=latin1", "é"),
        (codecs.BOM_UTF16_LE + "é".encode("utf-16-le"), b"", "é"),
        (codecs.BOM_UTF16_BE + "é".encode("utf-16-be"), b"", "é"),
        ("é".encode(), b"text/html; charset=no-such", "é"),
        ("é".encode(), b"text/html; charset=base64", "é"),
        (b"", b"", ""),
    ],
)
def test_the_encoding_is_found(body: bytes, content_type: bytes, text: str) -> None:
    assert to_utf8(body, content_type).decode() == text


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'<?xml version="1.0" encoding="ISO-8859-2"?>', "iso8859-2"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r"),
        (b"<!-- <meta charset=koi8-r> --><meta charset=cp1250>", "cp1250"),
        (b"<meta charset=utf-16>", "utf-8"),
        (b"<meta charset=nonsense><meta charset=koi8-r>", "koi8-r"),
        (b" " * 1024 + b"<meta charset=koi8-r>", "utf-8"),
        ("caf\u00e9".encode()[:-1], "utf-8"),
        (b"caf\xe9 au lait", "cp1252"),
    ],
)
def test_a_page_says_it_itself(body: bytes, name: str) -> None:
    assert find_charset(body, b"") == name
