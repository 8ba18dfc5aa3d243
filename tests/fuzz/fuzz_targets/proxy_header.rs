//! The PROXY header in front of a connection: what was decided about a prefix stands when more comes, nothing is
//! used that is not there, and what rsp writes it reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsp::config::ProxyVersion;
use rsp::proxy::{OnBehalf, read, write};

fuzz_target!(|data: &[u8]| {
    let whole = read(data);
    for end in 0..data.len().min(600) {
        match read(&data[..end]) {
            Ok(None) => {}
            Ok(Some(header)) => {
                assert_eq!(Ok(Some(header)), whole, "decided at {end}");
                break;
            }
            Err(_) => {
                assert!(whole.is_err(), "refused at {end}, accepted later");
                break;
            }
        }
    }
    let Ok(Some(header)) = whole else { return };
    assert!(header.consumed <= data.len());
    let client = match header.on_behalf {
        OnBehalf::Client { source, destination } => Some((source, destination)),
        _ => None,
    };
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut out = Vec::new();
        write(version, client, &mut out);
        let again = read(&out).expect("own header").expect("whole");
        assert_eq!(again.consumed, out.len());
        if client.is_some_and(|(s, d)| s.is_ipv4() == d.is_ipv4()) {
            assert_eq!(again.on_behalf, header.on_behalf);
        }
    }
});
