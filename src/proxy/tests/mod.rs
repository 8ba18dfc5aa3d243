//! Every header at every split, what is refused and how early, and that `read` understands `write`.

use super::*;
use crate::config::ProxyVersion;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn client(source: &str, destination: &str) -> OnBehalf {
    OnBehalf::Client { source: address(source), destination: address(destination) }
}

/// A binary header of these parts.
fn block(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    [&v2::SIGNATURE[..], &[command, family], &length, body].concat()
}

const TCP4_BODY: &[u8] = &[192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 80];

fn tcp6_body() -> Vec<u8> {
    let ip = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [&ip("2001:db8::7")[..], &ip("2001:db8::1"), &4711u16.to_be_bytes(), &443u16.to_be_bytes()].concat()
}

/// Valid headers and their meaning.
fn good() -> Vec<(Vec<u8>, OnBehalf)> {
    let four = client("192.0.2.7:4711", "192.0.2.1:80");
    let six = client("[2001:db8::7]:4711", "[2001:db8::1]:443");
    let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", "ffff:".repeat(8).trim_end_matches(':'));
    let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(limits::LINE - 16));
    assert_eq!((longest.len(), unknown.len()), (104, limits::LINE));
    let most = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    let tlv = [TCP4_BODY, &[0x04, 0, 2, 1, 2, 0x05, 0, 0]].concat();
    vec![
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n".to_vec(), four),
        (
            b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n".to_vec(),
            client("0.0.0.0:0", "255.255.255.255:65535"),
        ),
        (b"PROXY TCP6 2001:db8::7 2001:DB8::1 4711 443\r\n".to_vec(), six),
        (longest.into_bytes(), client(most, most)),
        (b"PROXY UNKNOWN\r\n".to_vec(), OnBehalf::Unknown),
        (b"PROXY UNKNOWN 1.2.3.4 nonsense\0\r\n".to_vec(), OnBehalf::Unknown),
        (unknown.into_bytes(), OnBehalf::Unknown),
        (block(v2::PROXY, v2::TCP4, TCP4_BODY), four),
        (block(v2::PROXY, v2::TCP4, &tlv), four),
        (block(v2::PROXY, v2::TCP6, &tcp6_body()), six),
        (block(v2::PROXY, v2::TCP6, &[tcp6_body(), vec![0xEE; limits::BLOCK - 36]].concat()), six),
        (block(v2::LOCAL, 0, b""), OnBehalf::Itself),
        (block(v2::LOCAL, v2::TCP4, TCP4_BODY), OnBehalf::Itself),
        (block(v2::LOCAL, 0xFF, b"any"), OnBehalf::Itself),
        (block(v2::PROXY, 0x00, b"any"), OnBehalf::Unknown),
        (block(v2::PROXY, 0x01, b""), OnBehalf::Unknown),
        (block(v2::PROXY, 0x10, b"\x01\x02"), OnBehalf::Unknown),
        (block(v2::PROXY, 0x12, TCP4_BODY), OnBehalf::Unknown),
        (block(v2::PROXY, 0x22, &tcp6_body()), OnBehalf::Unknown),
        (block(v2::PROXY, 0x31, &[0; 216]), OnBehalf::Unknown),
    ]
}

#[test]
fn a_header_is_read_once_complete_and_consumes_no_byte_after_it() {
    for (bytes, on_behalf) in good() {
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Ok(None), "{:?} cut at {cut}", bytes.escape_ascii().to_string());
        }
        let whole = Ok(Some(Header { on_behalf, consumed: bytes.len() }));
        for behind in [&b""[..], b"GET / HTTP/1.1\r\n", b"PROXY UNKNOWN\r\n", v2::SIGNATURE, &[0; 9000]] {
            assert_eq!(read(&[&bytes[..], behind].concat()), whole, "{}", bytes.escape_ascii());
        }
    }
}

/// Not a header from some byte on.
const NOT_PROXY: &[&[u8]] = &[
    b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\0",
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"\r\nGET / HTTP/1.1\r\n\r\n",
    b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    b" PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY\r\n",
    b"PROXY\tUNKNOWN\r\n",
];

/// Invalid after `PROXY `.
const BAD_LINES: &[&str] = &[
    "\r\n",
    "UNKNOWNS\r\n",
    "unknown\r\n",
    "TCP4\r\n",
    "TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
    "UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
    "TCP4 1.1.1.1 2.2.2.2 1\r\n",
    "TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
    "TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
    "TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
    "TCP4 1.1.1.1\t2.2.2.2 1 2\r\n",
    "TCP4 1.1.1 2.2.2.2 1 2\r\n",
    "TCP4 1.1.1.256 2.2.2.2 1 2\r\n",
    "TCP4 01.1.1.1 2.2.2.2 1 2\r\n",
    "TCP4 ::1 ::2 1 2\r\n",
    "TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
    "TCP6 ::1 2.2.2.2 1 2\r\n",
    "TCP6 1::2::3 ::1 1 2\r\n",
    "TCP6 fe80::1%lo ::1 1 2\r\n",
    "TCP6 [::1] ::1 1 2\r\n",
    "TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
    "TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
    "TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
    "TCP4 1.1.1.1 2.2.2.2 00 2\r\n",
    "TCP4 1.1.1.1 2.2.2.2  2\r\n",
    "TCP4 1.1.1.1 2.2.2.2 1 2\n",
    "TCP4 1.1.1.1 2.2.2.2 1 2\r",
    "TCP4 1.1.1.1 2.2.2.2 1\r2\r\n",
    "UNKNOWN\n",
];

fn bad_blocks() -> Vec<(Vec<u8>, HeaderError)> {
    vec![
        (block(0x11, v2::TCP4, TCP4_BODY), HeaderError::Version),
        (block(0x30, v2::TCP4, TCP4_BODY), HeaderError::Version),
        (block(0x22, v2::TCP4, TCP4_BODY), HeaderError::Command),
        (block(0x2F, 0, b""), HeaderError::Command),
        (block(v2::PROXY, 0x41, &[0; 64]), HeaderError::Family),
        (block(v2::PROXY, 0x13, TCP4_BODY), HeaderError::Family),
        (block(v2::PROXY, v2::TCP4, &TCP4_BODY[..11]), HeaderError::Length),
        (block(v2::PROXY, v2::TCP6, &tcp6_body()[..35]), HeaderError::Length),
        (block(v2::PROXY, 0x31, &[0; 215]), HeaderError::Length),
        (block(v2::LOCAL, 0, &[0; limits::BLOCK + 1]), HeaderError::Length),
        (block(v2::PROXY, v2::TCP4, &[0; 65535]), HeaderError::Length),
    ]
}

fn bad() -> Vec<(Vec<u8>, HeaderError)> {
    let mut cases = bad_blocks();
    cases.extend(NOT_PROXY.iter().map(|bytes| (bytes.to_vec(), HeaderError::NotProxy)));
    cases.extend(BAD_LINES.iter().map(|line| (format!("PROXY {line}").into_bytes(), HeaderError::Line)));
    let one_byte_more = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 92], b"\r\n".to_vec()].concat();
    cases.push((one_byte_more, HeaderError::Line));
    cases
}

#[test]
fn invalid_headers_are_refused_whatever_follows() {
    for (bytes, fault) in bad() {
        let all = [&bytes[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
        let shown = bytes[..bytes.len().min(120)].escape_ascii().to_string();
        assert_eq!(read(&all), Err(fault), "{shown}");
        let first = (0..=all.len()).find(|cut| read(&all[..*cut]).is_err()).unwrap();
        for cut in 0..all.len().min(200) {
            let expected = if cut < first { Ok(None) } else { Err(fault) };
            assert_eq!(read(&all[..cut]), expected, "{shown} cut at {cut}");
        }
    }
}

#[test]
fn refusal_comes_with_the_first_wrong_byte_and_for_a_length_before_its_block() {
    assert_eq!(read(b"G"), Err(HeaderError::NotProxy));
    assert_eq!(read(b"PO"), Err(HeaderError::NotProxy));
    assert_eq!(read(b"\r\nG"), Err(HeaderError::NotProxy));
    assert_eq!(read(&block(0x31, 0, b"")[..13]), Err(HeaderError::Version));
    assert_eq!(read(&block(v2::PROXY, v2::TCP4, &[0; 65535])[..16]), Err(HeaderError::Length));
    assert_eq!(
        read(&[b"PROXY ".to_vec(), vec![b' '; 101]].concat()),
        Err(HeaderError::Line),
        "107 bytes and no end"
    );
    assert_eq!(read(&[b"PROXY ".to_vec(), vec![b' '; 100]].concat()), Ok(None));
}

#[test]
fn no_input_panics_or_consumes_more_than_it_has() {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let seeds = good();
    for _ in 0..200_000 {
        let mut bytes = seeds[random() as usize % seeds.len()].0.clone();
        for _ in 0..random() % 4 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        bytes.truncate(random() as usize % (bytes.len() + 1));
        if let Ok(Some(header)) = read(&bytes) {
            assert!(header.consumed <= bytes.len());
        }
    }
}

fn written(version: ProxyVersion, client: Option<(&str, &str)>) -> Vec<u8> {
    let mut out = Vec::new();
    write(version, client.map(|(source, destination)| (address(source), address(destination))), &mut out);
    out
}

#[test]
fn read_returns_what_write_wrote() {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        for (from, to) in [
            ("192.0.2.7:4711", "192.0.2.1:80"),
            ("255.255.255.255:65535", "255.255.255.255:65535"),
            ("[2001:db8::7]:1", "[::1]:0"),
            (
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ] {
            let bytes = written(version, Some((from, to)));
            assert_eq!(read(&bytes), Ok(Some(Header { on_behalf: client(from, to), consumed: bytes.len() })));
        }
    }
    assert_eq!(written(ProxyVersion::V1, None), b"PROXY UNKNOWN\r\n");
    assert_eq!(written(ProxyVersion::V2, None), block(v2::LOCAL, 0, b""));
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let four = Some(("192.168.0.1:56324", "192.168.0.11:443"));
    assert_eq!(written(ProxyVersion::V1, four), b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
    assert_eq!(
        written(ProxyVersion::V2, four),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\xa8\0\x01\xc0\xa8\0\x0b\xdc\x04\x01\xbb"
    );
}

#[test]
fn mixed_address_families_become_the_clients_family() {
    let line = |from, to| String::from_utf8(written(ProxyVersion::V1, Some((from, to)))).unwrap();
    assert_eq!(line("[2001:db8::7]:1", "192.0.2.1:80"), "PROXY TCP6 2001:db8::7 ::ffff:192.0.2.1 1 80\r\n");
    assert_eq!(line("192.0.2.7:1", "[::1]:80"), "PROXY TCP4 192.0.2.7 0.0.0.0 1 80\r\n");
    assert_eq!(line("[::ffff:192.0.2.7]:1", "192.0.2.1:80"), "PROXY TCP4 192.0.2.7 192.0.2.1 1 80\r\n");
}
