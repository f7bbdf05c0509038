"""Texts that are not JSON, and texts that are: the families that public test suites know, written out."""

from __future__ import annotations

NUMBERS = (
    b"-", b"+1", b"++1", b"--1", b"-+1", b"+-1", b"01", b"-01", b"00", b"012", b"-012", b"1.", b"-1.",
    b".5", b"-.5", b"1.e1", b"0.e1", b"-2.", b"2.e3", b"2.e+3", b"2.e-3", b"1e", b"1E", b"1e+", b"1e-",
    b"0e", b"0e+", b"0E", b"0E+", b"0.3e", b"0.3e+", b"1.0e", b"1.0e-", b"1.0e+", b"1eE2", b"1e1.5",
    b"0.1.2", b"1.1.1", b"9.e+", b"1 000", b"1_000", b"0x1", b"0x42", b"0b1", b"0o7", b"1a", b"1.2a",
    b"1.2a-3", b"1.8011670033376514H-308", b"-1x", b"-foo", b"- 1", b"e1", b"Inf", b"-Inf", b"+Inf",
    b"Infinity", b"-Infinity", b"+Infinity", b"NaN", b"-NaN", b"nan", b"1/2", b"1,5", b"-2147483648L",
    b"1f", b"0.1f", b"\xef\xbc\x91", b"\xd9\xa1", b"1\xc2\xa0", b"123\x00", b"0\xe5", b"1e1\xe5",
)  # fmt: skip
STRINGS = (
    b'"', b'"a', b'a"', b"'a'", b'"\\"', b'"\\', b'"\\\\\\"', b'"\\a"', b'"\\x41"', b'"\\0"', b'"\\v"',
    b"\"\\'\"", b'"\\ "', b'"\\\n"', b'"\\\xc3\xa9"', b'"\\\xf0\x9f\x8c\x80"', b'"\\\x00"', b'"\\u"',
    b'"\\u1"', b'"\\u12"', b'"\\u123"', b'"\\u00G0"', b'"\\u 041"', b'"\\u-041"', b'"\\U0041"',
    b'"\\u{41}"', b'"\\uD800\\"', b'"\\uD800\\u"', b'"\\uD800\\u1"', b'"\\uD834\\uDd"', b'"\\n\\', b'"\n"',
    b'"\r"', b'"\t"', b'"a\x00a"', b'"\x01"', b'"\x1f"', b'"\x0b"', b'"\x08"', b'"\x1b[0m"', b"abc", b"`a`",
    b'"a" "b"', b'"a"b', b'"""', b'"x""', b"\xe2\x80\x9ca\xe2\x80\x9d", b'"\xef\xbb\xbf', b'"\\u005C"x"',
)  # fmt: skip
SURROGATES = (
    b'"\\ud800"', b'"\\uDBFF"', b'"\\udc00"', b'"\\uDFFF"', b'"\\uDFAA"', b'"\\ud800abc"', b'"abc\\ud800"',
    b'"\\ud888\\u1234"', b'"\\ud800\\u0041"', b'"\\ud800\\ud800"', b'"\\ud800\\n"', b'"\\udc00\\ud800"',
    b'"\\ud83d\\ude00\\ude00"', b'"\\ud83d\\ud83d\\ude00"', b'"\\uDd1e\\uD834"', b'"\\\\ud83d\\ude00"',
    b'"\\ud83d\\\\ude00"', b'"\\\\\\ud83d"', b'{"\\ud800":1}', b'{"\\udc00":1}', b'{"a":{"\\udead":1}}',
)  # fmt: skip
BAD_UTF8 = (
    b'"\xff"', b'"\xfe"', b'"\x80"', b'"\xbf"', b'"\xc3"', b'"\xe9"', b'"\xe2\x82"', b'"\xf0\x9f\x98"',
    b'"\xc0\x80"', b'"\xc0\xaf"', b'"\xc1\xbf"', b'"\xe0\x80\xaf"', b'"\xe0\x9f\xbf"',
    b'"\xf0\x80\x80\xaf"', b'"\xf0\x8f\xbf\xbf"', b'"\xfc\x80\x80\x80\x80\xaf"', b'"\xed\xa0\x80"',
    b'"\xed\xbf\xbf"', b'"\xed\xa1\x8c\xed\xbe\xb4"', b'"\xf4\x90\x80\x80"', b'"\xf5\x80\x80\x80"',
    b'"\xf8\x88\x80\x80\x80"', b'"\xe6\x97\xa5\xd1\x88\xfa"', b'{"\xff":1}', b'{"a":{"\xc0\x80":1}}',
    b'"\x81"', b"\xff", b"\xe5", b'"a\xffb\\n"', b'"\xe2\x28\xa1"',
)  # fmt: skip
STRUCTURES = (
    b"[", b"]", b"{", b"}", b"[}", b"{]", b"[1}", b'{"a":1]', b"[[1]", b"[1]]", b"[1", b"[1,", b"[,",
    b"[,1]", b"[1,]", b"[1,,]", b"[1,,2]", b"[1 2]", b"[1:2]", b'["a":1]', b'["a" 1]', b"[1;2]", b"(1)",
    b"<1>", b"[-]", b"[\x0b]", b"[\x0c]", b"[1]x", b"[1]\x00", b"[1]\x1f", b"[\x00]", b"\x00[]", b"[*]",
    b'["x"', b"[3[4]]", b"[a]", b"[\xe2\x81\xa0]", b"[\xc2\xa0]", b"[\xe2\x80\xa8]", b"[1\n\x0c]",
    b"[]\xe2\x81\xa0", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b'{"a":1,,}',
    b'{"a":1,,"b":2}', b'{,"a":1}', b'{"a" 1}', b'{"a"::1}', b'{"a":1:2}', b'{"a":}', b'{:1}', b'{"a"}',
    b'{"a",1}', b'{"a":1 "b":2}', b'{"a":1;"b":2}', b"{a:1}", b"{'a':1}", b"{1:1}", b"{null:1}",
    b"{true:1}", b"{[]:1}", b'{"a":"b"}#', b'{"a":"b"}/**/', b'{"a":"b"}//x', b'{"a":/*c*/1}',
    b'/**/{"a":1}', b"#1", b'{"a":"b",b:"c"}', b'{"a":1}}', b'{"a":1}{"b":2}', b'{"a":1}\n{"b":2}',
    b'{"a":a}', b'{"a":"a', b'{"a":"a" 123}', b'{"a":[}', b"[{]}", b'["a",\n4\n,1,', b"[1,\n1\n,1", b"{[",
    b'[{"":[{"":', b"{{}}", b"...",
)  # fmt: skip
LITERALS = (
    b"", b" ", b"\n", b"\t\r\n", b"tru", b"fals", b"nul", b"True", b"False", b"None", b"NULL", b"nulll",
    b"truee", b"true false", b"undefined", b"-true", b"t", b"n", b"f", b"\xef\xbb\xbf1", b'\xef\xbb\xbf"a"',
    b"\xef\xbb\xbf{}", b"\xef\xbb\xbf", b"\xef\xbb", b"\xff\xfe1\x00", b"\xfe\xff\x001", b"1\x00", b"\x001",
    b"nul\x00", b"\xc2\xa0true", b"\x0ctrue", b"tr\\u0075e", b"*", b"?",
)  # fmt: skip
BAD = NUMBERS + STRINGS + SURROGATES + BAD_UTF8 + STRUCTURES + LITERALS

# Where a bad text is put into an array it must stay bad: these few are bad only alone, or only at the front.
NESTED_BAD = tuple(bad for bad in BAD if bad.strip(b" \t\r\n") not in {b"", b"1,5"})

GOOD = (
    b"0", b"-0", b"1", b"-1", b"123456789012345678901234567890", b"1.5", b"-0.0", b"1e400", b"-1E-400",
    b"0e1", b"0e+1", b"1E22", b"20e1", b"0.1e-7", b'""', b'"a"', b'" "', b'"\x7f"',
    b'"\\"\\\\\\/\\b\\f\\n\\r\\t"', b'"\\u0000"', b'"\\uFFFF"', b'"\\ud83d\\ude00"', b'"\\uDBFF\\uDFFE"',
    b'"\\\\ud800"', b'"\\\\\\\\udc00"', b'"\\\\u"', b'"\\u005c\\u0022"', b'"\\ud83d\\ude00\\ud83d\\ude00"',
    b'"\xc3\xa9"', b'"\xe2\x80\xa8\xe2\x80\xa9"', b'"\xf0\x9f\x98\x80"', b'"\xf4\x8f\xbf\xbf"',
    b'"\xef\xbf\xbe"', b'"\xef\xbb\xbf"', b'"\xed\x9f\xbf"', b'"[[[{{{"', b'"\\"[[["', b"null", b"true",
    b"false", b"[]", b"{}", b"[[]]", b"[{}]", b' [ 1 , "a" , null ] ', b'{"":0}',
    b'{ "a" : { "b" : [ ] } }', b'\r\n\t {"a":1} \r\n\t', b'{"a":"x:y,z"}', b'{"\\u0061":1}',
    b'{"a:":":","b\\"":"\\""}',
)  # fmt: skip
