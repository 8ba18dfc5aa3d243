//! The PROXY header at the start of a connection: a verdict on a prefix holds when more bytes come, no more bytes are
//! consumed than there are, and `read` understands `write`.
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
        // An IPv4-mapped address is written as IPv4; both addresses are of one family.
        if client.is_some_and(|(s, d)| s.ip().to_canonical().is_ipv4() == d.ip().to_canonical().is_ipv4()) {
            assert_eq!(canonical(again.on_behalf), canonical(header.on_behalf));
        }
    }
});

fn canonical(on_behalf: OnBehalf) -> Option<[(std::net::IpAddr, u16); 2]> {
    let OnBehalf::Client { source, destination } = on_behalf else { return None };
    Some([source, destination].map(|address| (address.ip().to_canonical(), address.port())))
}
