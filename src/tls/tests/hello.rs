//! ClientHellos: those of rustls, and made ones with every odd thing that a client may send; at every split.

use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};

use crate::tls::{ClientHello, HELLO_MAX, HelloFault, MinVersion, provider};

/// What rustls sends for this name, post-quantum key share included.
fn real(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(MinVersion::Tls12.versions())
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut bytes = Vec::new();
    ClientConnection::new(config.into(), name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), sized(value)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &sized(&[&[0][..], &sized(name)].concat()))
}

/// A message with these extensions; `None`: without the list of them.
fn message(version: u16, extensions: Option<&[u8]>) -> Vec<u8> {
    let suites = [0x1a, 0x1a, 0x13, 0x01, 0x00, 0x2f];
    let mut body = [&version.to_be_bytes()[..], &[7; 32], &[0], &sized(&suites), &[1, 0]].concat();
    body.extend(extensions.map(sized).unwrap_or_default());
    let length = (body.len() as u32).to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

/// Cut into records of so many bytes.
fn records(message: &[u8], most: usize) -> Vec<u8> {
    message.chunks(most).flat_map(|piece| [&[22, 3, 1][..], &sized(piece)].concat()).collect()
}

fn hello(extensions: &[u8]) -> Vec<u8> {
    records(&message(0x0303, Some(extensions)), 1 << 14)
}

fn name(bytes: &[u8]) -> Option<String> {
    ClientHello::read(bytes).expect("a hello").expect("whole").name
}

fn named(written: &str) -> Result<Option<String>, HelloFault> {
    ClientHello::read(&hello(&server_name(written.as_bytes()))).map(|hello| hello.expect("whole").name)
}

#[test]
fn a_hello_is_read_at_every_split_and_however_it_is_cut_into_records() {
    let real = real("App.Example");
    assert!(real.len() > 1_200, "with a post-quantum key share: {} bytes", real.len());
    let inner = &real[5..];
    for most in [1, 2, 3, 4, 5, 100, 1_000, 1 << 14] {
        let bytes = records(inner, most);
        let end = bytes.len();
        let step = if end > 5_000 { 7 } else { 1 };
        for seen in (0..end).step_by(step).chain([end - 1]) {
            assert_eq!(ClientHello::read(&bytes[..seen]), Ok(None), "{seen} of {end}, {most} a record");
        }
        assert_eq!(name(&bytes).as_deref(), Some("app.example"));
        // What follows is the server's.
        let more = [&bytes[..], b"\x14\x03\x03\x00\x01\x01early data"].concat();
        assert_eq!(name(&more).as_deref(), Some("app.example"));
    }
}

#[test]
fn rustls_reads_the_same_name() {
    for asked in ["a.example", "xn--bcher-kva.example", "with_underscore.example", "192.0.2.1"] {
        let bytes = real(asked);
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut &bytes[..]).unwrap();
        let accepted = acceptor.accept().map_err(|(error, _)| error).unwrap().expect("whole");
        assert_eq!(accepted.client_hello().server_name(), name(&bytes).as_deref(), "{asked}");
    }
}

#[test]
fn versions_and_unknown_extensions_are_the_server_s_business() {
    let grease = extension(0x2a2a, b"");
    let ech = extension(0xfe0d, &[9; 300]);
    let asked = server_name(b"outer.example");
    for version in [0x0300, 0x0301, 0x0302, 0x0303, 0x0304] {
        let bytes = records(&message(version, Some(&[&grease[..], &ech, &asked, &grease].concat())), 1 << 14);
        assert_eq!(name(&bytes).as_deref(), Some("outer.example"), "{version:x}");
        assert_eq!(name(&records(&message(version, None), 1 << 14)), None, "no extensions");
    }
    assert_eq!(name(&hello(&grease)), None);
    assert_eq!(name(&hello(b"")), None);
}

#[test]
fn a_name_is_in_lower_case_without_its_last_dot_and_an_address_is_none() {
    assert_eq!(named("WWW.Example."), Ok(Some("www.example".into())));
    assert_eq!(named("a_b.x-1.example"), Ok(Some("a_b.x-1.example".into())));
    assert_eq!(named("localhost"), Ok(Some("localhost".into())));
    for address in ["127.0.0.1", "::1"] {
        assert_eq!(named(address), Ok(None));
    }
    // Another kind of name is none that can be read.
    let other = extension(0, &sized(&[&[7][..], &sized(b"x")].concat()));
    assert_eq!(name(&hello(&other)), None);
    let long = format!("{0}.{0}.{0}.{0}", "a".repeat(63));
    for bad in ["", ".", "a..b", "a b", "a\0b", "*.example", "\u{e9}.example", &"a".repeat(64), &long] {
        assert_eq!(named(bad), Err(HelloFault::Malformed), "{bad:?}");
    }
}

#[test]
fn what_is_no_hello_is_refused_as_soon_as_that_is_known() {
    use HelloFault::*;
    for (bytes, fault) in [
        (&b"GET / HTTP/1.1\r\n"[..], PlainHttp),
        (b"g", PlainHttp),
        (b"\r", PlainHttp),
        (b"\x00", NotTls),
        (b"\x80\x2e\x01\x00\x02", NotTls),
        (b"\x16\x02", NotTls),
        (b"\x15\x03\x01\x00\x02\x01\x00", NotTls),
        (b"\x16\x03\x01\x00\x00", Malformed),
        (b"\x16\x03\x01\x40\x01", Malformed),
        (b"\x16\x03\x01\x00\x04\x02", Malformed),
        (b"\x16\x03\x01\x00\x04\x01\x00\x40\x00", TooLarge),
        (b"\x16\x03\x01\x00\x02\x01\x00\x15\x03\x01", NotTls),
    ] {
        assert_eq!(ClientHello::read(bytes), Err(fault), "{bytes:?}");
        for seen in 0..bytes.len() {
            let early = ClientHello::read(&bytes[..seen]);
            assert!(early == Ok(None) || early == Err(fault), "{bytes:?} at {seen}: {early:?}");
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_malformed_wherever_they_are() {
    let good = hello(&server_name(b"a.example"));
    assert_eq!(name(&good).as_deref(), Some("a.example"));
    let twice = [server_name(b"a.example"), server_name(b"b.example")].concat();
    assert_eq!(ClientHello::read(&hello(&twice)), Err(HelloFault::Malformed));
    // Where the lengths stand: session, suites, compression, extensions, extension, list, name.
    for at in [43, 44, 45, 52, 54, 55, 58, 59, 60, 61, 63, 64] {
        for by in [1, 2, 100] {
            let mut bad = good.clone();
            bad[at] = bad[at].wrapping_add(by);
            assert_eq!(ClientHello::read(&bad), Err(HelloFault::Malformed), "{at} + {by}");
        }
    }
}

#[test]
fn a_hello_has_at_most_16_kib_with_its_records() {
    let padded = |padding: usize, most| {
        let extensions = [server_name(b"a.example"), extension(21, &vec![0; padding])].concat();
        records(&message(0x0303, Some(&extensions)), most)
    };
    let around = padded(0, 1 << 14).len();
    let (fits, exceeds) = (padded(HELLO_MAX - around, 1 << 14), padded(HELLO_MAX - around + 1, 1 << 14));
    assert_eq!((fits.len(), name(&fits).as_deref()), (HELLO_MAX, Some("a.example")));
    assert_eq!(ClientHello::read(&exceeds[..HELLO_MAX - 1]), Ok(None));
    assert_eq!(ClientHello::read(&exceeds), Err(HelloFault::TooLarge));
    let crumbs = padded(8_000, 1);
    assert_eq!(ClientHello::read(&crumbs[..HELLO_MAX]), Err(HelloFault::TooLarge));
}
