//! Numbers, addresses and the words for what is not known.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use crate::control::escape;
use crate::exchange::record::{NEVER, Record};

/// How many bytes of a malformed first line are logged.
pub const FIRST_LINE: usize = 200;

/// The digits of 00 to 99.
const PAIRS: [[u8; 2]; 100] = {
    let (mut pairs, mut at) = ([[0; 2]; 100], 0);
    while at < 100 {
        pairs[at] = [b'0' + (at / 10) as u8, b'0' + (at % 10) as u8];
        at += 1;
    }
    pairs
};

/// Most are short.
pub fn number(number: u64, out: &mut Vec<u8>) {
    match number {
        0..10 => out.push(b'0' + number as u8),
        10..100 => out.extend_from_slice(&PAIRS[number as usize]),
        100..1000 => three_digits(number as u32, out),
        _ => long_number(number, out),
    }
}

/// Two digits at a time, from the end.
fn long_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    while number >= 100 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    start -= 2;
    digits[start..start + 2].copy_from_slice(&PAIRS[number as usize]);
    if number < 10 {
        start += 1;
    }
    out.extend_from_slice(&digits[start..]);
}

/// With leading zeros, as the fraction of a second.
pub fn six_digits(number: u32, out: &mut Vec<u8>) {
    let [[a, b], [c, d], [e, f]] =
        [number / 10_000, number / 100, number].map(|pair| PAIRS[(pair % 100) as usize]);
    out.extend_from_slice(&[a, b, c, d, e, f]);
}

/// The same with three digits.
pub fn three_digits(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&three(number));
}

fn three(number: u32) -> [u8; 3] {
    let [tens, ones] = PAIRS[(number % 100) as usize];
    [b'0' + (number / 100 % 10) as u8, tens, ones]
}

/// Milliseconds with three decimals: microseconds.
pub fn milliseconds(micros: u32, out: &mut Vec<u8>) {
    number((micros / 1000).into(), out);
    let [hundreds, tens, ones] = three(micros);
    out.extend_from_slice(&[b'.', hundreds, tens, ones]);
}

/// The same, or a dash.
pub fn milliseconds_or_dash(micros: u32, out: &mut Vec<u8>) {
    match micros {
        NEVER => out.push(b'-'),
        micros => milliseconds(micros, out),
    }
}

pub fn quoted_or_dash(text: &[u8], out: &mut Vec<u8>) {
    escape::quoted(if text.is_empty() { b"-" } else { text }, out);
}

pub fn word_or_dash(text: &[u8], out: &mut Vec<u8>) {
    escape::word(if text.is_empty() { b"-" } else { text }, out);
}

/// Writing to memory cannot fail.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

pub fn ip(ip: IpAddr, out: &mut Vec<u8>) {
    let IpAddr::V4(ip) = ip else { return put(out, format_args!("{ip}")) };
    let [first, rest @ ..] = ip.octets();
    number(first.into(), out);
    for octet in rest {
        out.push(b'.');
        number(octet.into(), out);
    }
}

/// Only clients on a Unix socket have no address.
pub fn client_ip(record: &Record<'_>, out: &mut Vec<u8>) {
    match record.client {
        Some(client) => ip(client, out),
        None => out.extend_from_slice(b"unix:"),
    }
}

/// The port is 0 if a proxy named the client without one.
pub fn client(record: &Record<'_>, out: &mut Vec<u8>) {
    match record.client {
        Some(client @ IpAddr::V6(_)) if record.client_port > 0 => {
            put(out, format_args!("{}", SocketAddr::new(client, record.client_port)));
        }
        Some(IpAddr::V4(_)) if record.client_port > 0 => {
            client_ip(record, out);
            out.push(b':');
            number(record.client_port.into(), out);
        }
        _ => client_ip(record, out),
    }
}

/// `GET /x`; the first line of a malformed request, or `-`.
pub fn request(record: &Record<'_>, out: &mut Vec<u8>) {
    match (record.method, record.target) {
        (_, b"") => out.push(b'-'),
        (b"", line) => escape::shortened(line, FIRST_LINE, out),
        (method, target) => {
            escape::quoted(method, out);
            out.push(b' ');
            escape::quoted(target, out);
        }
    }
}

/// ` HTTP/1.1` behind a request, where it was read.
pub fn version(record: &Record<'_>, out: &mut Vec<u8>) {
    match record.version {
        10 => out.extend_from_slice(b" HTTP/1.0"),
        11 => out.extend_from_slice(b" HTTP/1.1"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        for n in [0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 65_535, 123_456_789, u64::MAX] {
            assert_eq!(text(|out| number(n, out)), n.to_string());
        }
        for n in [0, 7, 12, 123, 1_234, 99_999, 999_999] {
            assert_eq!(text(|out| six_digits(n, out)), format!("{n:06}"));
            assert_eq!(text(|out| three_digits(n % 1000, out)), format!("{:03}", n % 1000));
        }
        for (n, wanted) in [(0, "0.000"), (42, "0.042"), (1_042, "1.042"), (12_003_456, "12003.456")] {
            assert_eq!(text(|out| milliseconds(n, out)), wanted);
        }
        assert_eq!(text(|out| milliseconds_or_dash(NEVER, out)), "-");
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for address in ["0.0.0.0", "10.1.2.3", "255.255.255.255", "::1", "2001:db8::9"] {
            assert_eq!(text(|out| ip(address.parse().unwrap(), out)), address);
        }
    }
}
