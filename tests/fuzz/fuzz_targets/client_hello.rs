//! The ClientHello of a connection that is passed through: a verdict on a prefix holds when more bytes come, and a name
//! is one that a script can be given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsp::tls::ClientHello;

fuzz_target!(|data: &[u8]| {
    let whole = ClientHello::read(data);
    for end in 0..data.len().min(600) {
        match ClientHello::read(&data[..end]) {
            Ok(None) => {}
            decided => {
                assert_eq!(decided, whole, "decided at {end}");
                break;
            }
        }
    }
    let Ok(Some(ClientHello { name: Some(name) })) = whole else { return };
    assert!(!name.is_empty() && name.len() <= 253 && !name.ends_with('.'), "{name:?}");
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    assert!(name.bytes().all(fits), "{name:?}");
});
