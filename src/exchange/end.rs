//! How a request ended: why, by whom, and how far it had come. (haproxy's termination states are the model: a
//! side and a phase; the reason is ours.)

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

/// How far a request had come when it ended otherwise than well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Phase {
    /// Its head was being read, or the script was deciding.
    #[default]
    Request,
    /// A server was being chosen, or the connection to it made.
    Connect,
    /// Its body was on the way to the server.
    Body,
    /// The server had all of it; the head of its response was awaited.
    Headers,
    /// The response was coming.
    Data,
    /// The response was there whole; the client had yet to take the rest.
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
    /// Request and response went through whole.
    #[default]
    Complete,
    /// rsp answered because the script said so.
    Answered,
    /// The client's request was refused (400, 405, 414, 431, 501, 505).
    BadRequest,
    /// The client left before its request was whole.
    ClientCutRequest,
    /// The client left before it had the whole response.
    ClientCutResponse,
    /// A timeout on the client's side: head, body, write.
    ClientHeadTimeout,
    ClientBodyTimeout,
    ClientWriteTimeout,
    /// It sent or took something in time, but less than the minimum rate.
    ClientBodyRate,
    ClientWriteRate,
    /// The script failed or ran over its budget.
    ScriptFailed,
    /// No server could be used.
    NoServer,
    /// Every server that was tried refused the connection.
    ServerRefused,
    ServerConnectTimeout,
    /// No first byte in time.
    ServerResponseTimeout,
    /// A response stopped in the middle for too long.
    ServerGapTimeout,
    /// After its response the server took nothing of the request's body for too long.
    ServerBodyTimeout,
    /// The server closed or reset before its response began.
    ServerClosed,
    /// The server's response was malformed.
    ServerBadResponse,
    /// The server's response stopped before its end.
    ServerCutResponse,
    /// A tunnel had no byte for too long.
    TunnelTimeout,
    /// rsp was told to stop and did not wait longer.
    Stopped,
    /// No descriptor was left for the connection to a server.
    NoDescriptors,
    /// A fault of rsp itself.
    Internal,
}

impl End {
    pub const ALL: [End; 24] = [
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
        End::ScriptFailed,
        End::NoServer,
        End::ServerRefused,
        End::ServerConnectTimeout,
        End::ServerResponseTimeout,
        End::ServerGapTimeout,
        End::ServerBodyTimeout,
        End::ServerClosed,
        End::ServerBadResponse,
        End::ServerCutResponse,
        End::TunnelTimeout,
        End::Stopped,
        End::NoDescriptors,
        End::Internal,
    ];

    /// The word the log shows: side, then what.
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
            End::ScriptFailed => "script-failed",
            End::NoServer => "no-server",
            End::ServerRefused => "server-refused",
            End::ServerConnectTimeout => "server-connect-timeout",
            End::ServerResponseTimeout => "server-response-timeout",
            End::ServerGapTimeout => "server-gap-timeout",
            End::ServerBodyTimeout => "server-body-timeout",
            End::ServerClosed => "server-closed",
            End::ServerBadResponse => "server-bad-response",
            End::ServerCutResponse => "server-cut-response",
            End::TunnelTimeout => "tunnel-timeout",
            End::Stopped => "stopped",
            End::NoDescriptors => "no-descriptors",
            End::Internal => "internal",
        }
    }

    /// The status that the log shows for it where no answer was begun: one that readers of logs know. (499 is nginx's
    /// for a client that did not wait.)
    pub fn unanswered(self) -> u16 {
        match self {
            End::Complete | End::Answered => 200,
            End::BadRequest | End::ClientCutRequest => 400,
            End::ClientHeadTimeout | End::ClientBodyTimeout | End::ClientBodyRate => 408,
            End::ClientCutResponse | End::ClientWriteTimeout | End::ClientWriteRate => 499,
            End::ScriptFailed | End::Internal => 500,
            End::ServerRefused | End::ServerClosed | End::ServerBadResponse | End::ServerCutResponse => 502,
            End::NoServer | End::NoDescriptors | End::Stopped | End::TunnelTimeout => 503,
            End::ServerConnectTimeout
            | End::ServerResponseTimeout
            | End::ServerGapTimeout
            | End::ServerBodyTimeout => 504,
        }
    }

    /// Whether request and response went as they should, whoever answered.
    pub fn is_normal(self) -> bool {
        matches!(self, End::Complete | End::Answered)
    }

    /// Whose doing it is; a timeout is the doing of the side that was waited for. What was nobody's else is rsp's.
    pub fn side(self) -> Party {
        match self {
            End::BadRequest
            | End::ClientCutRequest
            | End::ClientCutResponse
            | End::ClientHeadTimeout
            | End::ClientBodyTimeout
            | End::ClientWriteTimeout
            | End::ClientBodyRate
            | End::ClientWriteRate => Party::Client,
            End::ServerRefused
            | End::ServerConnectTimeout
            | End::ServerResponseTimeout
            | End::ServerGapTimeout
            | End::ServerBodyTimeout
            | End::ServerClosed
            | End::ServerBadResponse
            | End::ServerCutResponse => Party::Server,
            End::Complete
            | End::Answered
            | End::ScriptFailed
            | End::NoServer
            | End::TunnelTimeout
            | End::Stopped
            | End::NoDescriptors
            | End::Internal => Party::Rsp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_and_phase_has_its_place_and_its_own_word() {
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
    fn an_end_without_an_answer_has_the_status_of_the_side_whose_doing_it_is() {
        for end in End::ALL {
            let statuses = match end.side() {
                _ if end.is_normal() => 200..=200,
                Party::Client => 400..=499,
                Party::Server | Party::Rsp => 500..=504,
            };
            assert!(statuses.contains(&end.unanswered()), "{}", end.text());
        }
    }

    #[test]
    fn a_word_that_names_a_side_names_the_one_whose_doing_it_is() {
        for end in End::ALL {
            let named = [Party::Client, Party::Server].into_iter().find(|s| end.text().starts_with(s.text()));
            assert_eq!(end.side(), named.unwrap_or(Party::Rsp), "{}", end.text());
        }
    }
}
