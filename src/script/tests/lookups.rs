//! `rsp.cidr`, `rsp.map` and `rsp.regex` as scripts call them.

use super::stores::{answers, is, load_error};

#[test]
fn addresses_are_found_in_networks() {
    const N: &str = "local n = rsp.cidr { '10.0.0.0/8', '192.0.2.1', '2001:db8::/32' }";
    is(
        N,
        "n:has '10.1.2.3', n:has '11.1.2.3', n:has '192.0.2.1', n:has '::ffff:10.0.0.1'",
        "true false true true",
    );
    is(N, "n:has '2001:db8::1', n:has 'unix:', n:has(nil), n:has(req.client_ip)", "true false false true");
    is("local n = rsp.cidr {}", "n:has '10.1.2.3'", "false");
    assert_eq!(
        load_error("rsp.cidr { '10.0.0.0/8', 'x' }"),
        "site.lua:4: cidr[2]: got \"x\", expected a network such as \"10.0.0.0/8\" or an address"
    );
}

#[test]
fn a_map_is_a_file_beside_the_config() {
    let path = std::env::temp_dir().join(format!("rsp-map-{}", std::process::id()));
    std::fs::write(&path, "/ root\n/api/ one two\n").unwrap();
    let map = |kind: &str| format!("local m = rsp.map('{}', {{ kind = '{kind}' }})", path.display());
    is(&map("prefix"), "m:get '/api/x', m:get '/x', m:get 'x', m:get(nil)", "one two root nil nil");
    is(&map("exact"), "m:get '/api/x', m:get '/', m.get ~= nil", "nil root true");
    let told = load_error(&map("cidr"));
    assert_eq!(told, format!("site.lua:4: map: {}:1: expected a network or an address", path.display()));
    let told = load_error(&map("regex"));
    assert!(told.starts_with("site.lua:4: kind: got \"regex\", expected \"exact\" or \"prefix\""), "{told}");
    std::fs::remove_file(&path).unwrap();
    let told = load_error(&map("exact"));
    assert!(told.ends_with(": No such file or directory"), "{told}");
}

#[test]
fn expressions_match_as_string_match_does() {
    const R: &str = "local r = rsp.regex [[^/v(\\d+)/(x)?]]";
    is(R, "r:match '/v12/x'", "12 x");
    is(R, "r:match '/v12/', r:match '/w'", "12 nil");
    is(R, "select('#', r:match '/v12/'), select(2, r:match '/v12/') == ''", "2 true");
    is("", "rsp.regex('b+'):match 'abbc', rsp.regex('(?i)B'):match('ab')", "bb b");
    is("", "rsp.regex('.'):match '\\xff\\xfe'", "nil");
}

#[test]
fn replacements_are_those_of_gsub() {
    is("", "rsp.regex('(\\\\w+)=(\\\\w+)'):gsub('a=1 b=2', '%2=%1%%')", "1=a% 2=b% 2");
    is("", "rsp.regex('o'):gsub('foo', '0', 1)", "f0o 1");
    is("", "rsp.regex('o'):gsub('foo', '<%1>')", "f<o><o> 2");
    is("", "rsp.regex('x*'):gsub('ab', '-')", "-a-b- 3");
    for (call, why) in [
        ("rsp.regex('o'):gsub('foo', '%2')", "gsub: the replacement has %2, the pattern has no such group"),
        ("rsp.regex('o'):gsub('foo', '%')", "gsub: a % in the replacement, expected %0 to %9 or %%"),
        ("rsp.regex('o'):match()", "match: text: got nil, expected a string"),
        ("rsp.regex('(')", "rsp.regex: unclosed group"),
        ("rsp.regex(('x'):rep(1e5))", "rsp.regex: a pattern of 100000 bytes is too long"),
        ("rsp.regex('\\\\w{1000}')", "rsp.regex: the pattern is too large once it is compiled"),
    ] {
        assert_eq!(answers("", call), Err(format!("site.lua:6: {why}")));
    }
}

#[test]
fn large_expressions_want_short_texts() {
    let large = "local r = rsp.regex('(' .. ('[a-z]{20}x|'):rep(200) .. 'y)')";
    is(large, "r:match(('b'):rep(1000))", "nil");
    let told = answers(large, "r:match(('b'):rep(1e6))").unwrap_err();
    assert_eq!(told, "site.lua:6: match: a text of 1000000 bytes is too long for this pattern");
}
