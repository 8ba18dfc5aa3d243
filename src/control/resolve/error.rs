//! Why a name has no addresses, in words for the log. The name itself is not in them: who reports one knows it.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::base::os_error::os_error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// Not a name that could be asked for.
    BadName,
    /// NXDOMAIN.
    NoSuchName,
    /// The name exists, but has no records of the kind.
    NoData,
    /// No answer to the last of all attempts.
    Timeout { server: SocketAddr },
    /// All attempts together took too long.
    TooLong,
    /// An answer with another response code: 2 is SERVFAIL, 5 REFUSED.
    ServerFailure { server: SocketAddr, code: u16 },
    /// An answer that cannot be read.
    Malformed { server: SocketAddr },
    /// The name server cannot be reached.
    Io { server: SocketAddr, error: String },
    /// A fault of rsp.
    Fault,
}

impl ResolveError {
    /// Whether this is a proper answer: asking others, or again, would bring the same.
    pub fn is_answer(&self) -> bool {
        matches!(self, ResolveError::BadName | ResolveError::NoSuchName | ResolveError::NoData)
    }

    pub(super) fn io(server: SocketAddr, error: &io::Error) -> ResolveError {
        ResolveError::Io { server, error: os_error(error) }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::BadName => f.write_str("not a host name"),
            ResolveError::NoSuchName => f.write_str("no such name"),
            ResolveError::NoData => f.write_str("the name exists, but has no address"),
            ResolveError::Timeout { server } => write!(f, "name server {server} does not answer"),
            ResolveError::TooLong => f.write_str("the name servers take too long"),
            ResolveError::ServerFailure { server, code } => {
                write!(f, "name server {server} answers with {}", code_name(*code))
            }
            ResolveError::Malformed { server } => write!(f, "name server {server} sends a malformed answer"),
            ResolveError::Io { server, error } => write!(f, "name server {server}: {error}"),
            ResolveError::Fault => f.write_str("internal fault while resolving"),
        }
    }
}

impl std::error::Error for ResolveError {}

fn code_name(code: u16) -> String {
    match code {
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        9 => "NOTAUTH".into(),
        _ => format!("code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_plain_words() {
        let server = SocketAddr::from(([10, 0, 0, 2], 53));
        for (error, text) in [
            (ResolveError::NoSuchName, "no such name"),
            (ResolveError::Timeout { server }, "name server 10.0.0.2:53 does not answer"),
            (
                ResolveError::ServerFailure { server, code: 2 },
                "name server 10.0.0.2:53 answers with SERVFAIL",
            ),
            (
                ResolveError::ServerFailure { server, code: 23 },
                "name server 10.0.0.2:53 answers with code 23",
            ),
            (
                ResolveError::io(server, &io::Error::from_raw_os_error(111)),
                "name server 10.0.0.2:53: Connection refused",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn only_what_the_name_itself_is_to_blame_for_is_an_answer() {
        assert!(ResolveError::NoSuchName.is_answer() && ResolveError::NoData.is_answer());
        assert!(!ResolveError::TooLong.is_answer() && !ResolveError::Fault.is_answer());
    }
}
