//! Version 2: a binary block (section 2.2). 16 fixed bytes give its meaning and length; extensions (TLVs) after the
//! addresses are skipped.
//!
//! ```text
//!   0            12          13                 14       16                    16 + length
//!   | signature  | 2|command | family|protocol  | length | addresses | TLVs … |
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, HeaderError, OnBehalf, limits};

pub const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
pub const FIXED: usize = 16;

/// Version in the high half, command in the low one.
pub const LOCAL: u8 = 0x20;
pub const PROXY: u8 = 0x21;
/// Family in the high half, protocol in the low one.
pub const TCP4: u8 = 0x11;
pub const TCP6: u8 = 0x21;

pub fn read(input: &[u8]) -> Result<Option<Header>, HeaderError> {
    let known = input.len().min(SIGNATURE.len());
    if input[..known] != SIGNATURE[..known] {
        return Err(HeaderError::NotProxy);
    }
    let Some(&command) = input.get(12) else { return Ok(None) };
    check_command(command)?;
    let Some(&family) = input.get(13) else { return Ok(None) };
    if command == PROXY {
        check_family(family)?;
    }
    let Some(length) = input.get(14..FIXED) else { return Ok(None) };
    let length = usize::from(length[0]) << 8 | usize::from(length[1]);
    // Everything after a LOCAL header is skipped, the family too.
    let least = if command == PROXY { addresses_of(family) } else { 0 };
    if !(least..=limits::BLOCK).contains(&length) {
        return Err(HeaderError::Length);
    }
    let Some(block) = input.get(FIXED..FIXED + length) else { return Ok(None) };
    let on_behalf = if command == LOCAL { OnBehalf::Itself } else { client(family, block) };
    Ok(Some(Header { on_behalf, consumed: FIXED + length }))
}

fn check_command(command: u8) -> Result<(), HeaderError> {
    match command {
        LOCAL | PROXY => Ok(()),
        _ if command >> 4 != 2 => Err(HeaderError::Version),
        _ => Err(HeaderError::Command),
    }
}

fn check_family(family: u8) -> Result<(), HeaderError> {
    if family >> 4 <= 3 && family & 15 <= 2 { Ok(()) } else { Err(HeaderError::Family) }
}

/// Bytes of the addresses of a family, for streams and datagrams alike.
fn addresses_of(family: u8) -> usize {
    match family {
        0x11 | 0x12 => 2 * 4 + 2 * 2,
        0x21 | 0x22 => 2 * 16 + 2 * 2,
        0x31 | 0x32 => 2 * 108,
        _ => 0,
    }
}

fn client(family: u8, block: &[u8]) -> OnBehalf {
    let addresses = match family {
        TCP4 => four(block),
        TCP6 => six(block),
        _ => None,
    };
    addresses.map_or(OnBehalf::Unknown, |(source, destination)| OnBehalf::Client { source, destination })
}

fn four(block: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ip = |at: usize| block[at..].first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets));
    Some((SocketAddr::from((ip(0)?, port(block, 8)?)), SocketAddr::from((ip(4)?, port(block, 10)?))))
}

fn six(block: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ip = |at: usize| block[at..].first_chunk().map(|octets: &[u8; 16]| Ipv6Addr::from(*octets));
    Some((SocketAddr::from((ip(0)?, port(block, 32)?)), SocketAddr::from((ip(16)?, port(block, 34)?))))
}

fn port(block: &[u8], at: usize) -> Option<u16> {
    block[at..].first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}
