//! An access log record: fixed numbers followed by texts, in one flat run of bytes that a worker can append to a
//! batch without allocating, and that the log thread formats.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use super::end::{End, Phase};

/// The fixed part. Times are microseconds of the worker's monotonic clock; `NEVER` for steps that were not reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// First byte of the request head.
    pub start: u64,
    /// How long it waited for a server, in all.
    pub queued: u32,
    /// From `start` until: connected to the server, first byte of the response, end.
    pub connected: u32,
    pub first_byte: u32,
    pub end: u32,
}

pub const NEVER: u32 = u32::MAX;

impl Default for Times {
    fn default() -> Times {
        Times { start: 0, queued: NEVER, connected: NEVER, first_byte: NEVER, end: 0 }
    }
}

/// One request in the access log, not formatted yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    pub client: Option<IpAddr>,
    pub client_port: u16,
    /// The status sent to the client, or the one that stands for a missing answer.
    pub status: u16,
    pub end: End,
    /// The phase of an abnormal end.
    pub phase: Phase,
    /// 10 or 11; 0 if unknown.
    pub version: u8,
    /// Servers tried after the first.
    pub retries: u8,
    pub times: Times,
    /// Body bytes sent to the client (as combined's %b: without the head).
    pub sent: u64,
    /// Body bytes received from the client.
    pub received: u64,
    /// Empty if unknown, as for a malformed request.
    pub method: &'a [u8],
    /// For a malformed request its first line, as far as it was received.
    pub target: &'a [u8],
    pub host: &'a [u8],
    pub referer: &'a [u8],
    pub user_agent: &'a [u8],
    pub pool: &'a [u8],
    pub server: &'a [u8],
    pub id: &'a [u8],
    /// The servers tried before the last one, and why each was left.
    pub left: &'a [u8],
    /// What was wrong with a malformed message.
    pub detail: &'a [u8],
}

const TEXTS: usize = 10;
/// Longer texts are cut.
const TEXT_MAX: usize = u16::MAX as usize;

impl<'a> Record<'a> {
    fn texts(&self) -> [&'a [u8]; TEXTS] {
        let Record { method, target, host, referer, user_agent, pool, server, id, left, detail, .. } = *self;
        [method, target, host, referer, user_agent, pool, server, id, left, detail]
    }

    /// Appends the record to a batch.
    pub fn write(&self, batch: &mut Vec<u8>) {
        let (kind, octets) = match self.client {
            None => (0u8, [0u8; 16]),
            Some(IpAddr::V4(ip)) => (4, ip.to_ipv6_mapped().octets()),
            Some(IpAddr::V6(ip)) => (6, ip.octets()),
        };
        batch.push(kind);
        batch.extend_from_slice(&octets);
        batch.extend_from_slice(&self.client_port.to_le_bytes());
        batch.extend_from_slice(&self.status.to_le_bytes());
        batch.extend_from_slice(&[self.end as u8, self.phase as u8, self.version, self.retries]);
        batch.extend_from_slice(&self.times.start.to_le_bytes());
        batch.extend_from_slice(&self.times.queued.to_le_bytes());
        batch.extend_from_slice(&self.times.connected.to_le_bytes());
        batch.extend_from_slice(&self.times.first_byte.to_le_bytes());
        batch.extend_from_slice(&self.times.end.to_le_bytes());
        batch.extend_from_slice(&self.sent.to_le_bytes());
        batch.extend_from_slice(&self.received.to_le_bytes());
        for text in self.texts() {
            let text = &text[..text.len().min(TEXT_MAX)];
            batch.extend_from_slice(&(text.len() as u16).to_le_bytes());
            batch.extend_from_slice(text);
        }
    }

    /// Takes the first record from a batch; `None` when the batch is empty or ends within a record.
    pub fn read(batch: &mut &'a [u8]) -> Option<Record<'a>> {
        let mut rest = *batch;
        let kind = take::<1>(&mut rest)?[0];
        let octets = take::<16>(&mut rest)?;
        let client = address(kind, octets);
        let client_port = u16::from_le_bytes(take(&mut rest)?);
        let status = u16::from_le_bytes(take(&mut rest)?);
        let [end, phase, version, retries] = take::<4>(&mut rest)?;
        let times = take_times(&mut rest)?;
        let sent = u64::from_le_bytes(take(&mut rest)?);
        let received = u64::from_le_bytes(take(&mut rest)?);
        let [method, target, host, referer, user_agent, pool, server, id, left, detail] =
            take_texts(&mut rest)?;
        *batch = rest;
        Some(Record {
            client,
            client_port,
            status,
            end: *End::ALL.get(end as usize)?,
            phase: *Phase::ALL.get(phase as usize)?,
            version,
            retries,
            times,
            sent,
            received,
            method,
            target,
            host,
            referer,
            user_agent,
            pool,
            server,
            id,
            left,
            detail,
        })
    }
}

fn address(kind: u8, octets: [u8; 16]) -> Option<IpAddr> {
    match kind {
        4 => Some(IpAddr::V4(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(octets))),
        _ => None,
    }
}

fn take_times(rest: &mut &[u8]) -> Option<Times> {
    Some(Times {
        start: u64::from_le_bytes(take(rest)?),
        queued: u32::from_le_bytes(take(rest)?),
        connected: u32::from_le_bytes(take(rest)?),
        first_byte: u32::from_le_bytes(take(rest)?),
        end: u32::from_le_bytes(take(rest)?),
    })
}

fn take_texts<'a>(rest: &mut &'a [u8]) -> Option<[&'a [u8]; TEXTS]> {
    let mut texts: [&[u8]; TEXTS] = [&[]; TEXTS];
    for text in &mut texts {
        let len = u16::from_le_bytes(take(rest)?) as usize;
        (*text, *rest) = rest.split_at_checked(len)?;
    }
    Some(texts)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(target: &[u8]) -> Record<'_> {
        Record {
            client: Some("10.1.2.3".parse().unwrap()),
            client_port: 4711,
            status: 200,
            end: End::Complete,
            phase: Phase::Request,
            version: 11,
            retries: 1,
            times: Times { start: 5, queued: 4, connected: 6, first_byte: NEVER, end: 8 },
            sent: 9,
            received: 10,
            method: b"GET",
            target,
            host: b"h",
            referer: b"",
            user_agent: b"curl",
            pool: b"web",
            server: b"127.0.0.1:83",
            id: b"x",
            left: b"",
            detail: b"",
        }
    }

    #[test]
    fn records_are_read_as_written() {
        let mut batch = Vec::new();
        let second = Record {
            client: Some("::1".parse().unwrap()),
            end: End::Internal,
            phase: Phase::Tunnel,
            ..record(b"/2")
        };
        let third = Record { client: None, method: b"", detail: b"malformed", ..record(b"GET") };
        for r in [record(b"/1"), second, third] {
            r.write(&mut batch);
        }
        let mut rest = &batch[..];
        assert_eq!(Record::read(&mut rest), Some(record(b"/1")));
        assert_eq!(Record::read(&mut rest), Some(second));
        assert_eq!(Record::read(&mut rest), Some(third));
        assert_eq!(Record::read(&mut rest), None);
        assert!(rest.is_empty());
    }

    #[test]
    fn a_cut_batch_has_no_record() {
        let mut batch = Vec::new();
        record(b"/").write(&mut batch);
        for cut in 0..batch.len() {
            assert_eq!(Record::read(&mut &batch[..cut]), None);
        }
    }
}
