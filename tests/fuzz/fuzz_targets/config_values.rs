//! Any bytes as any value of a config: a one-line error or a config, never a panic, and a second load of the same
//! source gives the same. Host names are excluded, since they would be looked up.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rsp::script::{Source, load};

const PLACES: [&str; 14] = [
    "rsp.listen(V)",
    "rsp.listen { V, proxy_protocol = true }",
    "rsp.listen { '127.0.0.1:1', backlog = V, busy_poll = V }",
    "rsp.pool { servers = { '127.0.0.1:1' }, receive_buffer = V, send_buffer = V }",
    "rsp.pool { servers = { V } }",
    "rsp.pool { servers = { { '127.0.0.1:1', name = V } } }",
    "rsp.pool { name = V, servers = { '127.0.0.1:1' } }",
    "rsp.pool { servers = { '127.0.0.1:1' }, balance = V }",
    "rsp.pool { servers = { '127.0.0.1:1' }, timeouts = { connect = V } }",
    "rsp.settings { trusted = { V } }",
    "rsp.settings { drain_timeout = V, max_connections = V }",
    "rsp.settings { access_log = { path = '-', format = V } }",
    "rsp.settings { via = V }",
    "rsp.settings { [V] = V }",
];

/// Letters outside of `unix:` and brackets make a host name.
fn is_host_name(value: &[u8]) -> bool {
    !value.starts_with(b"unix:")
        && !value.starts_with(b"[")
        && value.iter().any(|b| b.is_ascii_alphabetic() || *b >= 0x80)
}

fuzz_target!(|data: &[u8]| {
    let Some((place, value)) = data.split_first() else { return };
    let place = PLACES[*place as usize % PLACES.len()];
    if is_host_name(value) && (place.contains("listen") || place.contains("servers = { V")) {
        return;
    }
    let quoted: String = value.iter().map(|b| format!("\\{b:03}")).collect();
    // A number if it looks like one, otherwise a string.
    let value = match std::str::from_utf8(value).ok().and_then(|v| v.parse::<f64>().ok()) {
        Some(number) if number.is_finite() => format!("{number:?}"),
        _ => format!("\"{quoted}\""),
    };
    let text = format!(
        "rsp.listen '127.0.0.1:0'\nrsp.pool {{ servers = {{ '127.0.0.1:1' }} }}\nrsp.on_request(function() end)\n{}\n",
        place.replace('V', &value)
    );
    let mut source = Source::in_memory(Path::new("fuzz.lua"), text.as_bytes());
    match load(&mut source) {
        Ok((config, _)) => {
            let (again, _) = load(&mut source).expect("it loaded a moment ago");
            assert!(config == again);
        }
        Err(error) => {
            assert!(!error.0.contains('\n'), "{}", error.0);
            assert!(error.0.starts_with("fuzz.lua:"), "{}", error.0);
        }
    }
});
