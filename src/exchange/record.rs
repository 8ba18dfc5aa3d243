//! An access log record: fixed numbers followed by texts, in one flat run of bytes that a worker can append to a
//! batch without allocating, and that the log thread formats.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use super::end::{End, Phase};

/// The fixed part. Times are microseconds of the worker's monotonic clock; `NEVER` for steps that were not reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// First byte of the request head.
    pub start: u64,
    /// From `start` until the whole head was read, and, where that is timed, the script had chosen a route.
    pub head: u32,
    /// How long it waited for a server, in all.
    pub queued: u32,
    /// From `start` until: connected to the server, first byte of the response, end.
    pub connected: u32,
    pub first_byte: u32,
    pub end: u32,
    /// How long functions of the script ran for it, in all; `NEVER` where none ran, or nobody wants to know.
    pub script: u32,
}

pub const NEVER: u32 = u32::MAX;

impl Default for Times {
    fn default() -> Times {
        Times {
            start: 0,
            head: NEVER,
            queued: NEVER,
            connected: NEVER,
            first_byte: NEVER,
            end: 0,
            script: NEVER,
        }
    }
}

impl Times {
    /// From there to the connection with the last server, without the wait for one: earlier tries are in it.
    pub fn connecting(&self) -> u32 {
        let before = known(self.head).saturating_add(known(self.queued));
        self.after(self.connected, before)
    }

    /// From that connection to the first byte of the response.
    pub fn responding(&self) -> u32 {
        // A kept connection is there before the script has ended: a turn of the loop has one time.
        self.after(self.first_byte, known(self.connected).max(known(self.head)))
    }

    fn after(&self, until: u32, before: u32) -> u32 {
        if until == NEVER { NEVER } else { until.saturating_sub(before) }
    }

    /// A function of the script ran for so long. Before there is a connection, that moves the begin of the phases that
    /// follow.
    pub fn add_script(&mut self, micros: u64) {
        let micros = micros.min(u64::from(NEVER) - 1) as u32;
        let add = |time: u32| known(time).saturating_add(micros).min(NEVER - 1);
        self.script = add(self.script);
        if self.connected == NEVER {
            self.head = add(self.head);
        }
    }
}

/// A time, or 0 for a step that was not reached.
pub fn known(time: u32) -> u32 {
    if time == NEVER { 0 } else { time }
}

/// What else went on when a request ended, for the `haproxy` format; it includes the request itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Clients' connections: of the process, and of the listener.
    pub process: u32,
    pub listener: u32,
    /// Requests: of the pool, with those that wait, and of the server.
    pub pool: u32,
    pub server: u32,
    /// How many others waited when this one began to, for one server or for any of the pool.
    pub server_queue: u32,
    pub pool_queue: u32,
}

/// One request in the access log, not formatted yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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
    /// The URI's scheme is https.
    pub https: bool,
    /// Whether the connection to the last server had carried a request before; `None` without one.
    pub reused: Option<bool>,
    pub times: Times,
    /// Bytes of heads sent to the client.
    pub sent_heads: u32,
    /// Body bytes sent to the client (as combined's %b: without the head).
    pub sent: u64,
    /// Body bytes received from the client.
    pub received: u64,
    pub load: Load,
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
    /// Name of the listener that the client came in at.
    pub listener: &'a [u8],
    /// `1.3`; empty without TLS.
    pub tls_version: &'a [u8],
    /// The name that the client's handshake asked for.
    pub sni: &'a [u8],
    /// What the script adds (`base::named_values`). Not written at all where it is empty.
    pub added: &'a [u8],
    /// All texts but `added`, one behind the other, where the record was read from a batch: what holds for all of them
    /// is found in one pass.
    pub texts: &'a [u8],
}

const TEXTS: usize = 13;
/// Longer texts are cut.
const TEXT_MAX: usize = u16::MAX as usize;
/// Bytes of the fixed part, which ends in the lengths of the texts.
const FIXED: usize = 103 + 2 * TEXTS;

impl<'a> Record<'a> {
    /// No request could be read; `target` holds what is known of its first line, if anything.
    pub fn is_malformed(&self) -> bool {
        self.method.is_empty()
    }

    /// As much of them as is logged.
    fn texts(&self) -> [&'a [u8]; TEXTS] {
        let Record { method, target, host, referer, user_agent, pool, server, id, left, detail, .. } = *self;
        let Record { listener, tls_version, sni, .. } = *self;
        let mut texts = [
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
            listener,
            tls_version,
            sni,
        ];
        for text in &mut texts {
            *text = text.get(..TEXT_MAX).unwrap_or(text);
        }
        texts
    }

    /// Appends the record to a batch.
    pub fn write(&self, batch: &mut Vec<u8>) {
        let texts = self.texts();
        batch.extend_from_slice(&self.fixed(&texts));
        // Most of them are empty.
        for text in texts.iter().filter(|text| !text.is_empty()) {
            batch.extend_from_slice(text);
        }
        if !self.added.is_empty() {
            batch.extend_from_slice(&(self.added.len() as u32).to_le_bytes());
            batch.extend_from_slice(self.added);
        }
    }

    /// In one array, so that the batch has to grow once for it.
    fn fixed(&self, texts: &[&[u8]; TEXTS]) -> [u8; FIXED] {
        let Record { times, load, .. } = self;
        let (kind, octets) = match self.client {
            None => (0u8, [0u8; 16]),
            Some(IpAddr::V4(ip)) => (4, ip.to_ipv6_mapped().octets()),
            Some(IpAddr::V6(ip)) => (6, ip.octets()),
        };
        let reused = self.reused.map_or(2, u8::from);
        let mut fixed = Fixed { bytes: [0; FIXED], len: 0 };
        fixed.put(octets);
        fixed.put([kind, self.end as u8, self.phase as u8, self.version]);
        let flags = u8::from(self.https) | u8::from(!self.added.is_empty()) << 1;
        fixed.put([self.retries, flags, reused]);
        fixed.put(self.client_port.to_le_bytes());
        fixed.put(self.status.to_le_bytes());
        fixed.put_numbers(&[times.start, self.sent, self.received], u64::to_le_bytes);
        let Times { head, queued, connected, first_byte, end, script, .. } = *times;
        let Load { process, listener, pool, server, server_queue, pool_queue } = *load;
        let numbers = [head, queued, connected, first_byte, end, script, self.sent_heads];
        fixed.put_numbers(&numbers, u32::to_le_bytes);
        fixed.put_numbers(&[process, listener, pool, server, server_queue, pool_queue], u32::to_le_bytes);
        fixed.put_numbers(texts, |text| (text.len() as u16).to_le_bytes());
        debug_assert_eq!(fixed.len, FIXED);
        fixed.bytes
    }

    /// Takes the first record from a batch; `None` when the batch is empty or ends within a record.
    pub fn read(batch: &mut &'a [u8]) -> Option<Record<'a>> {
        let (fixed, mut rest) = batch.split_first_chunk::<FIXED>()?;
        let (fixed, has_more, lengths) = Record::read_fixed(fixed)?;
        let all = rest;
        let [method, target, host, referer, user_agent, pool, server, id, left, more @ ..] =
            take_texts(&mut rest, lengths)?;
        let texts = &all[..all.len() - rest.len()];
        let [detail, listener, tls_version, sni] = more;
        let mut added: &[u8] = b"";
        if has_more {
            let len = u32::from_le_bytes(take(&mut rest)?) as usize;
            (added, rest) = rest.split_at_checked(len)?;
        }
        *batch = rest;
        Some(Record {
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
            listener,
            tls_version,
            sni,
            added,
            texts,
            ..fixed
        })
    }

    /// Also returns whether the script added something, and the lengths of the texts.
    fn read_fixed(bytes: &[u8; FIXED]) -> Option<(Record<'a>, bool, [u16; TEXTS])> {
        let mut fixed = Fixed { bytes, len: 0 };
        let octets = fixed.take::<16>();
        let [kind, end, phase, version] = fixed.take();
        let [retries, flags, reused] = fixed.take();
        let client_port = u16::from_le_bytes(fixed.take());
        let status = u16::from_le_bytes(fixed.take());
        let [start, sent, received] = fixed.take_numbers(u64::from_le_bytes);
        let [head, queued, connected, first_byte, ended, script, sent_heads] =
            fixed.take_numbers(u32::from_le_bytes);
        let [process, listener, pool, server, server_queue, pool_queue] =
            fixed.take_numbers(u32::from_le_bytes);
        let lengths = fixed.take_numbers(u16::from_le_bytes);
        debug_assert_eq!(fixed.len, FIXED);
        let record = Record {
            client: address(kind, octets),
            client_port,
            status,
            end: *End::ALL.get(end as usize)?,
            phase: *Phase::ALL.get(phase as usize)?,
            version,
            retries,
            https: flags & 1 != 0,
            reused: (reused < 2).then_some(reused == 1),
            times: Times { start, head, queued, connected, first_byte, end: ended, script },
            sent_heads,
            sent,
            received,
            load: Load { process, listener, pool, server, server_queue, pool_queue },
            ..Record::default()
        };
        Some((record, flags & 2 != 0, lengths))
    }
}

/// The fixed part while it is written or read, up to `len`.
struct Fixed<B> {
    bytes: B,
    len: usize,
}

impl Fixed<[u8; FIXED]> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }

    fn put_numbers<const N: usize, const SIZE: usize, T: Copy>(
        &mut self,
        numbers: &[T; N],
        bytes: impl Fn(T) -> [u8; SIZE],
    ) {
        numbers.iter().for_each(|number| self.put(bytes(*number)));
    }
}

impl Fixed<&[u8; FIXED]> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        taken.copy_from_slice(&self.bytes[self.len..self.len + N]);
        self.len += N;
        taken
    }

    fn take_numbers<const N: usize, const SIZE: usize, T: Copy + Default>(
        &mut self,
        read: impl Fn([u8; SIZE]) -> T,
    ) -> [T; N] {
        let mut numbers = [T::default(); N];
        for number in &mut numbers {
            *number = read(self.take());
        }
        numbers
    }
}

fn address(kind: u8, octets: [u8; 16]) -> Option<IpAddr> {
    match kind {
        4 => Some(IpAddr::V4(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(octets))),
        _ => None,
    }
}

fn take_texts<'a>(rest: &mut &'a [u8], lengths: [u16; TEXTS]) -> Option<[&'a [u8]; TEXTS]> {
    let mut texts: [&[u8]; TEXTS] = [&[]; TEXTS];
    for (text, len) in texts.iter_mut().zip(lengths) {
        (*text, *rest) = rest.split_at_checked(len.into())?;
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
            https: true,
            reused: Some(true),
            times: Times { start: 5, head: 2, queued: 4, connected: 6, first_byte: NEVER, end: 8, script: 3 },
            sent_heads: 11,
            sent: 9,
            received: 10,
            load: Load { process: 6, listener: 5, pool: 4, server: 3, server_queue: 2, pool_queue: 1 },
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
            listener: b"https",
            tls_version: b"1.3",
            sni: b"a.example",
            added: b"",
            texts: b"",
        }
    }

    #[test]
    fn records_are_read_as_written() {
        let mut batch = Vec::new();
        let second = Record {
            client: Some("::1".parse().unwrap()),
            end: End::Internal,
            phase: Phase::Tunnel,
            added: b"anything",
            ..record(b"/2")
        };
        let third =
            Record { client: None, reused: None, detail: b"malformed", method: b"", ..record(b"GET") };
        for r in [record(b"/1"), second, third] {
            r.write(&mut batch);
        }
        let mut rest = &batch[..];
        for (record, texts) in [
            (record(b"/1"), "GET/1hcurlweb127.0.0.1:83xhttps1.3a.example"),
            (second, "GET/2hcurlweb127.0.0.1:83xhttps1.3a.example"),
            (third, "GEThcurlweb127.0.0.1:83xmalformedhttps1.3a.example"),
        ] {
            assert_eq!(Record::read(&mut rest), Some(Record { texts: texts.as_bytes(), ..record }));
        }
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

    #[test]
    fn phases_add_up_and_those_that_were_not_reached_are_never() {
        let times = Times { head: 10, queued: 200, connected: 260, first_byte: 1_000, ..Times::default() };
        assert_eq!((times.connecting(), times.responding()), (50, 740));
        let kept = Times { head: 10, connected: 10, first_byte: 30, ..Times::default() };
        assert_eq!((kept.connecting(), kept.responding()), (0, 20), "a kept connection takes no time");
        let unsent = Times { head: 10, queued: 5, ..Times::default() };
        assert_eq!((unsent.connecting(), unsent.responding()), (NEVER, NEVER));
    }

    #[test]
    fn times_of_the_script_are_added_up() {
        let mut times = Times::default();
        times.add_script(0);
        assert_eq!(times.script, 0, "it ran, however short");
        times.add_script(7);
        times.add_script(8);
        assert_eq!(times.script, 15);
        times.add_script(u64::MAX);
        assert_eq!(times.script, NEVER - 1);
    }

    #[test]
    fn the_time_of_the_script_is_that_of_no_other_phase() {
        let mut times = Times { head: 10, ..Times::default() };
        times.add_script(500);
        let made = Times { connected: 600, first_byte: 700, ..times };
        assert_eq!((made.connecting(), made.responding()), (90, 100));
        // Stamped with the time at which the turn began.
        let kept = Times { connected: 10, first_byte: 700, ..times };
        assert_eq!((kept.connecting(), kept.responding()), (0, 190));
        let mut answered = made;
        answered.add_script(50);
        assert_eq!((answered.connecting(), answered.responding(), answered.script), (90, 100, 550));
    }
}
