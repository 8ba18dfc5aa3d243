//! A worker's end of the access log: which requests have a line, and what is gathered for it.

use crate::base::batch::Sender;
use crate::config::{AccessLog, LogFormat, Sample};

/// Sends records to the log's thread.
pub struct AccessSender {
    pub(crate) records: Sender,
    sample: Sample,
    random: Random,
    /// The format shows what else went on (`exchange::record::Load`).
    pub(crate) shows_load: bool,
    /// The format shows what `on_log` adds.
    pub(crate) takes_fields: bool,
    /// What it adds to the present line; the allocation is reused.
    pub(crate) fields: Vec<u8>,
}

impl AccessSender {
    /// As the config says.
    pub fn new(records: Sender, log: &AccessLog) -> AccessSender {
        AccessSender {
            sample: log.sample,
            shows_load: log.format == LogFormat::Haproxy,
            takes_fields: log.format == LogFormat::Json,
            ..AccessSender::of_all(records)
        }
    }

    /// Every request has a line.
    pub fn of_all(records: Sender) -> AccessSender {
        AccessSender {
            records,
            sample: Sample::ALL,
            random: Random::default(),
            shows_load: false,
            takes_fields: false,
            fields: Vec::new(),
        }
    }

    /// Whether this request has a line: by chance, but an error always.
    pub(crate) fn wants(&mut self, is_error: bool) -> bool {
        self.sample.is_all() || is_error || self.sample.has(self.random.next())
    }

    /// Records wait to be sent.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.records.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records.len() >= self.records.batch_size() / 2
    }
}

/// Which requests are logged need not be hard to guess, but must not follow a pattern of the traffic: an xorshift
/// generator (Marsaglia 2003), seeded by the operating system.
struct Random(u64);

impl Default for Random {
    fn default() -> Random {
        use std::hash::{BuildHasher, Hasher, RandomState};
        Random(RandomState::new().build_hasher().finish() | 1)
    }
}

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::batch;
    use crate::config::LogTarget;

    fn sender(share: f64) -> AccessSender {
        let (records, _) = batch::queue(1, 64);
        let sample = Sample::of(share);
        AccessSender::new(records, &AccessLog { target: LogTarget::Stdout, format: LogFormat::Json, sample })
    }

    #[test]
    fn a_sample_is_about_as_large_as_its_share_and_has_every_error() {
        for share in [0.0, 0.01, 0.5, 1.0] {
            let mut sender = sender(share);
            let logged = (0..100_000).filter(|_| sender.wants(false)).count() as f64;
            assert!((logged / 100_000.0 - share).abs() < 0.01, "{share}: {logged}");
            assert!((0..1_000).all(|_| sender.wants(true)));
        }
        assert_eq!((0..1_000).filter(|_| sender(0.0).wants(false)).count(), 0);
    }
}
