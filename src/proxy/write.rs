//! The PROXY header sent to servers, as the first bytes of a connection. Without a client address (a Unix socket, a
//! health check) it is LOCAL, or UNKNOWN in version 1.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{limits, v2};
use crate::config::ProxyVersion;
use crate::http::Sink;

/// Writes the header for a client (its address, and the one it connected to).
pub fn write(version: ProxyVersion, client: Option<(SocketAddr, SocketAddr)>, out: &mut impl Sink) {
    let client = client.map(|(source, destination)| one_family(source, destination));
    match version {
        ProxyVersion::V1 => line(client, out),
        ProxyVersion::V2 => block(client, out),
    }
}

/// Both addresses must be of one family, that of the client: an IPv4 destination is written as IPv4-mapped, an IPv6
/// one that has no IPv4 form as "unspecified". They can differ only when the client is taken from `X-Forwarded-For`.
fn one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let to = match (from, to) {
        (IpAddr::V6(_), IpAddr::V4(ip)) => IpAddr::V6(ip.to_ipv6_mapped()),
        (IpAddr::V4(_), IpAddr::V6(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (_, to) => to,
    };
    (SocketAddr::new(from, source.port()), SocketAddr::new(to, destination.port()))
}

fn line(client: Option<(SocketAddr, SocketAddr)>, out: &mut impl Sink) {
    let Some((source, destination)) = client else { return out.put(b"PROXY UNKNOWN\r\n") };
    let family = if source.is_ipv4() { 4 } else { 6 };
    let (from, to) = (source.ip(), destination.ip());
    let mut text = [0; limits::LINE];
    let mut rest = &mut text[..];
    // The buffer holds the longest possible line.
    let _ = write!(rest, "PROXY TCP{family} {from} {to} {} {}\r\n", source.port(), destination.port());
    let left = rest.len();
    out.put(&text[..limits::LINE - left]);
}

fn block(client: Option<(SocketAddr, SocketAddr)>, out: &mut impl Sink) {
    let (command, family, length) = match client {
        None => (v2::LOCAL, 0, 0),
        Some((source, _)) if source.is_ipv4() => (v2::PROXY, v2::TCP4, 12),
        Some(_) => (v2::PROXY, v2::TCP6, 36),
    };
    out.put(v2::SIGNATURE);
    out.put(&[command, family, 0, length]);
    let Some((source, destination)) = client else { return };
    for ip in [source.ip(), destination.ip()] {
        match ip {
            IpAddr::V4(ip) => out.put(&ip.octets()),
            IpAddr::V6(ip) => out.put(&ip.octets()),
        }
    }
    for port in [source.port(), destination.port()] {
        out.put(&port.to_be_bytes());
    }
}
