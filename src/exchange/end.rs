//! How a request ended: why, by whom, and in which phase. Party and phase are modelled on haproxy's termination
//! states; the reasons are ours.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Party {
    Client,
    Server,
    Rsp,
}

impl Party {
    pub fn text(self) -> &'static str {
        match self {
            Party::Client => "client",
            Party::Server => "server",
            Party::Rsp => "rsp",
        }
    }
}

/// The phase a request was in when it ended abnormally.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Phase {
    /// Reading its head, or running the script.
    #[default]
    Request,
    /// Choosing a server or connecting to it.
    Connect,
    /// Sending its body to the server.
    Body,
    /// Waiting for the head of the response.
    Headers,
    /// Receiving the response.
    Data,
    /// The response was received; the client had not read all of it.
    Last,
    /// After a 101.
    Tunnel,
}

impl Phase {
    pub const ALL: [Phase; 7] = [
        Phase::Request,
        Phase::Connect,
        Phase::Body,
        Phase::Headers,
        Phase::Data,
        Phase::Last,
        Phase::Tunnel,
    ];

    pub fn text(self) -> &'static str {
        match self {
            Phase::Request => "request",
            Phase::Connect => "connect",
            Phase::Body => "body",
            Phase::Headers => "headers",
            Phase::Data => "data",
            Phase::Last => "last",
            Phase::Tunnel => "tunnel",
        }
    }
}

/// Why a request ended; the last column of the `rsp` log format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum End {
    /// Request and response were completed.
    #[default]
    Complete,
    /// Answered by the script.
    Answered,
    /// The client's request was refused (400, 405, 414, 431, 501, 505).
    BadRequest,
    /// The client left before its request was complete.
    ClientCutRequest,
    /// The client left before it had the complete response.
    ClientCutResponse,
    /// A timeout of the client: head, body, write.
    ClientHeadTimeout,
    ClientBodyTimeout,
    ClientWriteTimeout,
    /// The client made progress, but less than the minimum rate.
    ClientBodyRate,
    ClientWriteRate,
    /// It asked for a server name, in its ClientHello, that the script knows no pool for.
    ClientUnknownName,
    /// The script failed or exceeded its budget.
    ScriptFailed,
    /// The script had the connection closed without an answer.
    Aborted,
    /// No server was available.
    NoServer,
    /// As many requests waited for a server as may.
    QueueFull,
    /// It waited too long for a server.
    QueueTimeout,
    /// Every server tried refused the connection.
    ServerRefused,
    ServerConnectTimeout,
    /// The TLS handshake failed, or the server is not the one that was meant.
    ServerTls,
    /// No first byte in time.
    ServerResponseTimeout,
    /// The response stalled.
    ServerGapTimeout,
    /// After its response the server stopped reading the request's body.
    ServerBodyTimeout,
    /// The server closed or reset before its response began.
    ServerClosed,
    /// The server's response was malformed.
    ServerBadResponse,
    /// The response was cut.
    ServerCutResponse,
    /// A tunnel without traffic.
    TunnelTimeout,
    /// Shutdown cut it.
    Stopped,
    /// Shutdown closed a tunnel, between two frames of a WebSocket.
    Drained,
    /// No descriptor for the connection to a server.
    NoDescriptors,
    /// An internal fault.
    Internal,
}

impl End {
    pub const ALL: [End; 30] = [
        End::Complete,
        End::Answered,
        End::BadRequest,
        End::ClientCutRequest,
        End::ClientCutResponse,
        End::ClientHeadTimeout,
        End::ClientBodyTimeout,
        End::ClientWriteTimeout,
        End::ClientBodyRate,
        End::ClientWriteRate,
        End::ClientUnknownName,
        End::ScriptFailed,
        End::Aborted,
        End::NoServer,
        End::QueueFull,
        End::QueueTimeout,
        End::ServerRefused,
        End::ServerConnectTimeout,
        End::ServerTls,
        End::ServerResponseTimeout,
        End::ServerGapTimeout,
        End::ServerBodyTimeout,
        End::ServerClosed,
        End::ServerBadResponse,
        End::ServerCutResponse,
        End::TunnelTimeout,
        End::Stopped,
        End::Drained,
        End::NoDescriptors,
        End::Internal,
    ];

    /// The reason in the log: party, then what.
    pub fn text(self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::Answered => "answered",
            End::BadRequest => "client-bad-request",
            End::ClientCutRequest => "client-cut-request",
            End::ClientCutResponse => "client-cut-response",
            End::ClientHeadTimeout => "client-head-timeout",
            End::ClientBodyTimeout => "client-body-timeout",
            End::ClientWriteTimeout => "client-write-timeout",
            End::ClientBodyRate => "client-body-rate",
            End::ClientWriteRate => "client-write-rate",
            End::ClientUnknownName => "client-unknown-name",
            End::ScriptFailed => "script-failed",
            End::Aborted => "aborted",
            End::NoServer => "no-server",
            End::QueueFull => "queue-full",
            End::QueueTimeout => "queue-timeout",
            End::ServerRefused => "server-refused",
            End::ServerConnectTimeout => "server-connect-timeout",
            End::ServerTls => "server-tls",
            End::ServerResponseTimeout => "server-response-timeout",
            End::ServerGapTimeout => "server-gap-timeout",
            End::ServerBodyTimeout => "server-body-timeout",
            End::ServerClosed => "server-closed",
            End::ServerBadResponse => "server-bad-response",
            End::ServerCutResponse => "server-cut-response",
            End::TunnelTimeout => "tunnel-timeout",
            End::Stopped => "stopped",
            End::Drained => "drained",
            End::NoDescriptors => "no-descriptors",
            End::Internal => "internal",
        }
    }

    /// The status in the log if no answer was begun, one that log readers know. (499 is nginx's for a client that
    /// left, 444 for one that gets no answer.)
    pub fn unanswered(self) -> u16 {
        match self {
            End::Complete | End::Answered => 200,
            End::BadRequest | End::ClientCutRequest => 400,
            End::ClientHeadTimeout | End::ClientBodyTimeout | End::ClientBodyRate => 408,
            End::ClientCutResponse | End::ClientWriteTimeout | End::ClientWriteRate => 499,
            End::ClientUnknownName => 421,
            End::Aborted => 444,
            End::ScriptFailed | End::Internal => 500,
            End::ServerRefused
            | End::ServerTls
            | End::ServerClosed
            | End::ServerBadResponse
            | End::ServerCutResponse => 502,
            End::NoServer
            | End::QueueFull
            | End::QueueTimeout
            | End::NoDescriptors
            | End::Stopped
            | End::Drained
            | End::TunnelTimeout => 503,
            End::ServerConnectTimeout
            | End::ServerResponseTimeout
            | End::ServerGapTimeout
            | End::ServerBodyTimeout => 504,
        }
    }

    /// Whether request and response were completed, whoever answered.
    pub fn is_normal(self) -> bool {
        matches!(self, End::Complete | End::Answered)
    }

    /// The party that caused it; a timeout is caused by the party that was waited for. Everything else counts as rsp.
    pub fn side(self) -> Party {
        match self {
            End::BadRequest
            | End::ClientCutRequest
            | End::ClientCutResponse
            | End::ClientHeadTimeout
            | End::ClientBodyTimeout
            | End::ClientWriteTimeout
            | End::ClientBodyRate
            | End::ClientWriteRate
            | End::ClientUnknownName => Party::Client,
            End::ServerRefused
            | End::ServerConnectTimeout
            | End::ServerTls
            | End::ServerResponseTimeout
            | End::ServerGapTimeout
            | End::ServerBodyTimeout
            | End::ServerClosed
            | End::ServerBadResponse
            | End::ServerCutResponse => Party::Server,
            End::Complete
            | End::Answered
            | End::ScriptFailed
            | End::Aborted
            | End::NoServer
            | End::QueueFull
            | End::QueueTimeout
            | End::TunnelTimeout
            | End::Stopped
            | End::Drained
            | End::NoDescriptors
            | End::Internal => Party::Rsp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_and_phase_has_its_index_and_its_own_word() {
        for (i, end) in End::ALL.iter().enumerate() {
            assert_eq!(*end as usize, i);
            assert!(End::ALL[..i].iter().all(|other| other.text() != end.text()));
        }
        for (i, phase) in Phase::ALL.iter().enumerate() {
            assert_eq!(*phase as usize, i);
            assert!(Phase::ALL[..i].iter().all(|other| other.text() != phase.text()));
        }
    }

    #[test]
    fn an_unanswered_end_has_the_status_of_the_party_that_caused_it() {
        for end in End::ALL {
            let statuses = match end.side() {
                _ if end.is_normal() => 200..=200,
                _ if end == End::Aborted => 444..=444,
                Party::Client => 400..=499,
                Party::Server | Party::Rsp => 500..=504,
            };
            assert!(statuses.contains(&end.unanswered()), "{}", end.text());
        }
    }

    #[test]
    fn a_reason_that_names_a_party_names_the_one_that_caused_it() {
        for end in End::ALL {
            let named = [Party::Client, Party::Server].into_iter().find(|s| end.text().starts_with(s.text()));
            assert_eq!(end.side(), named.unwrap_or(Party::Rsp), "{}", end.text());
        }
    }
}
