//! What the parts may cost: a call's time and the VM's memory, as for Lua's own code.

use super::*;

/// Runs this in a handler whose VM holds a text of 16 MiB, `big`.
fn with_big_text(body: &str) -> String {
    let source = format!("local big = ('0'):rep(16 << 20)\nfunction on_request(req)\n{body}\nend");
    let mut script = script(&source);
    let told = run(&mut script, &mut usual()).unwrap_err();
    let again = run(&mut script, &mut usual()).unwrap_err();
    assert!(again.starts_with("site.lua:"), "the VM goes on: {again}");
    told
}

#[test]
fn work_on_large_texts_is_stopped() {
    for call in [
        "rsp.sha256(big)",
        "rsp.hmac_sha256('key', big)",
        "rsp.hex.encode(big)",
        "rsp.hex.decode(big)",
        "rsp.base64.encode(big)",
        "rsp.base64.decode(big)",
        "rsp.url.decode(big)",
    ] {
        let told = with_big_text(&format!("for i = 1, 1000 do local x = {call} end"));
        assert!(
            told.contains("ran longer than 10 ms") || told.contains("not enough memory"),
            "{call}: {told}"
        );
    }
}

#[test]
fn a_caught_failure_is_over_budget_all_the_same() {
    let told = with_big_text("while true do pcall(rsp.sha256, big) end");
    assert!(told.contains("ran longer than 10 ms of CPU time"), "{told}");
}

#[test]
fn results_that_the_vm_cannot_hold_are_refused_before_they_are_made() {
    let told = with_big_text("local x = rsp.url.encode(big .. big)");
    assert!(told.contains("ran longer than 10 ms") || told.contains("not enough memory"), "{told}");
    let told = with_big_text("local x = rsp.json.encode { big, big, big, big, big, big }");
    assert!(told.contains("ran longer than 10 ms") || told.contains("not enough memory"), "{told}");
}

#[test]
fn json_of_many_values_is_stopped() {
    let told = with_big_text("rsp.json.decode('[' .. ('[],'):rep(1e6) .. '[]]') return web");
    assert!(told.contains("ran longer than 10 ms") || told.contains("not enough memory"), "{told}");
    let many = "local t = {} for i = 1, 4e5 do t[i] = i end\n\
                function on_request(req) rsp.json.encode(t) return web end";
    let told = run(&mut script(many), &mut usual()).unwrap_err();
    assert_eq!(told, "site.lua:2: ran longer than 10 ms of CPU time");
}
