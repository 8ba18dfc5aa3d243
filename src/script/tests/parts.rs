//! The parts that scripts may use at any time: what they give, and what they refuse.

use super::*;

/// What the function is refused for, with the line where the script called it.
fn wrong(call: &str) -> String {
    outcome(&format!("local x = {call}\nreturn x")).unwrap_err()
}

fn is(expression: &str, shown: &str) {
    assert_eq!(value(expression).as_deref(), Ok(shown), "{expression}");
}

#[test]
fn json_goes_there_and_back() {
    for text in [
        "null",
        "true",
        "[]",
        "{}",
        "[1,2.5,-3,\"a\\nb\\\"\"]",
        "{\"a\":{\"b\":[{}]},\"c\":[[],null]}",
        "\"\\u0001ü€\"",
        "9223372036854775807",
        "1e+300",
    ] {
        is(&format!("rsp.json.encode(rsp.json.decode [==[{text}]==])"), &text.replace("e+", "e"));
    }
    is("rsp.json.decode('{\"a\":[1,{\"b\":\"c\"}]}').a[2].b", "c");
    is("rsp.json.decode('null') == rsp.json.null", "true");
    is("tostring(rsp.json.null) .. type(rsp.json.null)", "nulluserdata");
    is("math.type(rsp.json.decode('[1]')[1]) .. math.type(rsp.json.decode('1.0'))", "integerfloat");
    is("rsp.json.decode('18446744073709551615')", "1.844674407371e+19");
}

#[test]
fn tables_are_lists_or_objects() {
    for (table, text) in [
        ("{}", "{}"),
        ("{ 1, 2, 3 }", "[1,2,3]"),
        ("rsp.json.array {}", "[]"),
        ("rsp.json.array { 1 }", "[1]"),
        ("{ z = 1, a = 2, m = { true } }", r#"{"a":2,"m":[true],"z":1}"#),
        ("{ a = rsp.json.null }", r#"{"a":null}"#),
        ("10 / 2", "5"),
        ("0.1", "0.1"),
        ("-0.0", "0"),
    ] {
        is(&format!("rsp.json.encode({table})"), text);
    }
}

#[test]
fn what_json_cannot_say_raises_at_the_scripts_line() {
    let own = "(function() local t = {} t.t = t return t end)()";
    for (value, why) in [
        ("nil", "nil: use rsp.json.null"),
        ("print", "a function"),
        ("0/0", "a number that JSON has not"),
        ("math.huge", "a number that JSON has not"),
        ("{ 1, a = 2 }", "a table with both a list and names"),
        ("{ [1] = 1, [3] = 3 }", "a key that is neither a string nor of a list without gaps"),
        ("{ [true] = 1 }", "a key that is neither a string nor of a list without gaps"),
        ("'\\xff'", "a string that is not UTF-8"),
        ("{ ['\\xff'] = 1 }", "a name that is not UTF-8"),
        (own, "tables within tables, more than 127"),
    ] {
        let message = format!("site.lua:2: rsp.json.encode: got {why}");
        assert_eq!(wrong(&format!("rsp.json.encode({value})")), message);
    }
}

#[test]
fn json_that_is_none_gives_nil_and_a_reason() {
    for (text, reason) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("[1,]", "trailing comma at line 1 column 4"),
        ("{} x", "trailing characters at line 1 column 4"),
        ("\\xff", "expected value at line 1 column 1"),
        ("1e999", "number out of range at line 1 column 5"),
    ] {
        is(
            &format!(
                "table.concat({{ tostring((rsp.json.decode '{text}')), select(2, rsp.json.decode '{text}') }}, ' ')"
            ),
            &format!("nil {reason}"),
        );
    }
    is("rsp.json.decode(('['):rep(127) .. (']'):rep(127)) ~= nil", "true");
    is("select(2, rsp.json.decode(('['):rep(1e5)))", "recursion limit exceeded at line 1 column 128");
}

#[test]
fn bytes_become_text_and_text_becomes_bytes() {
    for (coding, bytes, text) in [
        ("base64", "", ""),
        ("base64", "a", "YQ=="),
        ("base64", "\\xfb\\xff\\0", "+/8A"),
        ("hex", "\\0\\xaf", "00af"),
        ("url", "a b/\\xc3\\xbc~", "a%20b%2F%C3%BC~"),
    ] {
        is(&format!("rsp.{coding}.encode('{bytes}')"), text);
        is(&format!("rsp.{coding}.decode('{text}') == '{bytes}'"), "true");
    }
    for (call, bytes) in [
        ("base64.decode 'YQ'", "a"),
        ("base64.decode '-_8A'", "\\xfb\\xff\\0"),
        ("hex.decode 'AF'", "\\xaf"),
        ("url.decode '%2f+%2B'", "/++"),
    ] {
        is(&format!("rsp.{call} == '{bytes}'"), "true");
    }
    is("#rsp.base64.decode(rsp.base64.encode(('x'):rep(200001)))", "200001");
    is("rsp.hex.decode(rsp.hex.encode(('ab'):rep(100000))) == ('ab'):rep(100000)", "true");
    is("rsp.url.decode(rsp.url.encode(('/'):rep(100000))) == ('/'):rep(100000)", "true");
}

#[test]
fn text_that_is_none_gives_nil_and_a_reason() {
    for (call, reason) in [
        ("base64.decode 'Y'", "not base64"),
        ("base64.decode 'YR=='", "not base64"),
        ("base64.decode 'YQ='", "not base64"),
        ("base64.decode '===='", "not base64"),
        ("base64.decode '-/8A'", "not base64"),
        ("base64.decode 'YQ==YQ=='", "not base64"),
        ("base64.decode '\\xff\\xff\\xff\\xff'", "not base64"),
        ("hex.decode 'abc'", "not hex: an odd number of digits"),
        ("hex.decode '0g'", "not hex"),
        ("url.decode '%'", "a % without two hex digits"),
        ("url.decode 'a%2'", "a % without two hex digits"),
        ("url.decode '%xx'", "a % without two hex digits"),
    ] {
        is(&format!("tostring((rsp.{call})) .. ' ' .. select(2, rsp.{call})"), &format!("nil {reason}"));
    }
}

#[test]
fn hashes_are_those_of_everybody() {
    is("rsp.sha256 'abc'", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    // RFC 4231, test case 2.
    let code = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    is("rsp.hmac_sha256('Jefe', 'what do ya want for nothing?')", code);
    is("rsp.sha256(('x'):rep(1e6)) == rsp.sha256(('x'):rep(1e6)) and #rsp.sha256 ''", "64");
    is(
        "tostring(rsp.equal('ab', 'ab')) .. tostring(rsp.equal('ab', 'ac')) .. tostring(rsp.equal('a', 'ab'))",
        "truefalsefalse",
    );
}

#[test]
fn random_bytes_and_the_clock_come_from_the_system() {
    is("#rsp.random(16) == 16 and rsp.random(16) ~= rsp.random(16) and #rsp.random(0)", "0");
    is("rsp.now() >= os.time() and math.type(rsp.now())", "float");
    for count in ["-1", "65537", "'x'", "nil", "1.5"] {
        let message = "site.lua:2: rsp.random: expected a whole number from 0 to 65536";
        assert_eq!(wrong(&format!("rsp.random({count})")), message);
    }
}

#[test]
fn wrong_calls_raise_strings_at_the_scripts_line() {
    for (call, why) in [
        ("rsp.sha256()", "rsp.sha256: got nil, expected a string"),
        ("rsp.sha256({})", "rsp.sha256: got a table, expected a string"),
        ("rsp.hmac_sha256(nil, 'x')", "rsp.hmac_sha256: key: got nil, expected a string"),
        ("rsp.equal('x', true)", "rsp.equal: got a boolean, expected a string"),
        ("rsp.base64.encode(nil)", "rsp.base64.encode: got nil, expected a string"),
        ("rsp.json.decode(nil)", "rsp.json.decode: got nil, expected a string"),
        ("rsp.json.array('x')", "rsp.json.array: got a string, expected a table"),
        ("rsp.json.enc", "rsp.json.enc: unknown, expected one of array, decode, encode, null"),
        (
            "rsp.log('loud', 'x')",
            "rsp.log: got level \"loud\", expected \"error\", \"warn\", \"info\" or \"debug\"",
        ),
    ] {
        assert_eq!(wrong(call), format!("site.lua:2: {why}"));
        is(
            &format!("select(2, pcall(function() local x = {call} return x end))"),
            &format!("site.lua:1: {why}"),
        );
    }
    assert_eq!(
        outcome("rsp.json.encode = print").unwrap_err(),
        "site.lua:2: rsp.json.encode: cannot be assigned"
    );
    is("rsp.sha256(12) == rsp.sha256('12')", "true");
    is("select('#', rsp.log('debug', 'seen'))", "0");
}
