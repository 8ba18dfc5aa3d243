//! `access_log`: where it goes, in which format, and how much of it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessLog {
    pub target: LogTarget,
    pub format: LogFormat,
    /// Of the requests without an error.
    pub sample: Sample,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogTarget {
    Stdout,
    File(PathBuf),
    /// The socket of a syslog daemon on this machine.
    Syslog(PathBuf),
    /// RFC 5424 over UDP.
    SyslogUdp(SocketAddr),
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogTarget::Stdout => f.write_str("to stdout"),
            LogTarget::File(path) => path.display().fmt(f),
            LogTarget::Syslog(path) => write!(f, "syslog:{}", path.display()),
            LogTarget::SyslogUdp(address) => write!(f, "syslog:udp:{address}"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// The combined log format of Apache and nginx.
    Combined,
    /// rsp's own: adds pool, server, times and the reason of the end.
    Rsp,
    /// haproxy's `option httplog`.
    Haproxy,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Whether it says how long the script ran.
    pub fn shows_script(self) -> bool {
        matches!(self, LogFormat::Rsp | LogFormat::Json)
    }
}

/// The keys of every line in the json format, in order.
pub const JSON_KEYS: [&str; 29] = [
    "ts",
    "client_ip",
    "client_port",
    "listener",
    "tls_version",
    "sni",
    "method",
    "scheme",
    "host",
    "target",
    "version",
    "status",
    "sent",
    "received",
    "pool",
    "server",
    "reused",
    "retries",
    "queue_ms",
    "connect_ms",
    "first_byte_ms",
    "total_ms",
    "script_us",
    "end",
    "by",
    "phase",
    "id",
    "referer",
    "user_agent",
];

/// A share, as the least of the numbers of 32 bits that is not in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample(u64);

impl Sample {
    pub const ALL: Sample = Sample(1 << 32);

    /// From 0 to 1.
    pub fn of(share: f64) -> Sample {
        Sample(((share * Sample::ALL.0 as f64) as u64).min(Sample::ALL.0))
    }

    pub fn is_all(self) -> bool {
        self == Sample::ALL
    }

    pub fn has(self, random: u32) -> bool {
        u64::from(random) < self.0
    }
}

impl Default for Sample {
    fn default() -> Sample {
        Sample::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_its_share_of_the_numbers() {
        let has = |share: f64, numbers: [u32; 4]| numbers.map(|number| Sample::of(share).has(number));
        let numbers = [0, u32::MAX / 2, u32::MAX / 2 + 1, u32::MAX];
        assert_eq!(has(0.0, numbers), [false; 4]);
        assert_eq!(has(0.5, numbers), [true, true, false, false]);
        assert_eq!(has(1.0, numbers), [true; 4]);
        assert!(Sample::of(1.0).is_all() && Sample::default().is_all() && !Sample::of(0.99).is_all());
    }
}
