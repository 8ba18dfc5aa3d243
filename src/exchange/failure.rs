//! What went wrong with an exchange, as a value: whose fault it is, which status says so to the client, and the
//! end it puts in the log. Whether it may be tried again is the exchange's to know (`pair`).

use std::io;

use super::end::{End, Side};
use crate::http::Fault;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    pub end: End,
    /// What the client is told if nothing was sent yet; 0 when there is nobody to tell.
    pub status: u16,
    /// One phrase for the answer's text and the log.
    pub text: &'static str,
}

const fn failure(end: End, status: u16, text: &'static str) -> Failure {
    Failure { end, status, text }
}

impl Failure {
    pub const CLIENT_GONE: Failure = failure(End::ClientCutResponse, 0, "the client closed the connection");
    pub const REQUEST_CUT: Failure =
        failure(End::ClientCutRequest, 400, "the request ended before it was whole");
    /// The same where nobody is left to be told.
    pub const REQUEST_GONE: Failure =
        failure(End::ClientCutRequest, 0, "the client closed the connection within its request");
    pub const TOO_LARGE: Failure =
        failure(End::BadRequest, 413, "the request body is larger than is allowed");
    pub const METHOD: Failure = failure(End::BadRequest, 405, "this method is not passed on");
    pub const MAX_FORWARDS: Failure = failure(End::BadRequest, 400, "malformed Max-Forwards");
    pub const HEAD_TIMEOUT: Failure =
        failure(End::ClientHeadTimeout, 408, "the request head took too long to arrive");
    pub const BODY_TIMEOUT: Failure =
        failure(End::ClientBodyTimeout, 408, "the request body took too long to arrive");
    pub const WRITE_TIMEOUT: Failure =
        failure(End::ClientWriteTimeout, 0, "the client took too long to read the response");
    pub const BODY_RATE: Failure = failure(End::ClientBodyRate, 408, "the request body came too slowly");
    pub const WRITE_RATE: Failure =
        failure(End::ClientWriteRate, 0, "the client read the response too slowly");
    pub const SCRIPT: Failure = failure(End::ScriptFailed, 500, "the routing script failed");
    pub const NO_SERVER: Failure = failure(End::NoServer, 503, "no server is available");
    pub const NO_DESCRIPTORS: Failure =
        failure(End::NoDescriptors, 503, "no descriptor is left for a connection to a server");
    pub const CONNECT_TIMEOUT: Failure =
        failure(End::ServerConnectTimeout, 504, "the server did not accept the connection in time");
    /// It is alive, but has too much to do to take the connection now.
    pub const QUEUE_FULL: Failure =
        failure(End::ServerConnectTimeout, 504, "the server's queue of new connections stayed full");
    pub const RESPONSE_TIMEOUT: Failure =
        failure(End::ServerResponseTimeout, 504, "the server did not begin to respond in time");
    pub const GAP_TIMEOUT: Failure =
        failure(End::ServerGapTimeout, 504, "the server stopped in the middle of its response");
    pub const SERVER_CLOSED: Failure =
        failure(End::ServerClosed, 502, "the server closed the connection before it responded");
    pub const RESPONSE_CUT: Failure =
        failure(End::ServerCutResponse, 502, "the server's response ended before it was whole");
    pub const TUNNEL_TIMEOUT: Failure =
        failure(End::TunnelTimeout, 0, "nothing passed the tunnel for too long");
    pub const STOPPED: Failure = failure(End::Stopped, 503, "the proxy is stopping");
    pub const INTERNAL: Failure = failure(End::Internal, 500, "internal error");
    pub const TOO_MANY_INTERIM: Failure =
        failure(End::ServerBadResponse, 502, "the server sent too many interim responses");

    /// A request that could not be read.
    pub fn of_request(fault: Fault) -> Failure {
        match fault {
            Fault::CutHead | Fault::CutBody => Failure::REQUEST_CUT,
            _ => failure(End::BadRequest, fault.request_status(), fault.text()),
        }
    }

    /// A response that could not be read.
    pub fn of_response(fault: Fault) -> Failure {
        match fault {
            Fault::CutHead => Failure::SERVER_CLOSED,
            Fault::CutBody => Failure::RESPONSE_CUT,
            _ => failure(End::ServerBadResponse, 502, fault.text()),
        }
    }

    /// A connection to a server that could not be made.
    pub fn of_connect(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::TimedOut => Failure::CONNECT_TIMEOUT,
            // A Unix socket's way to say it (connect(2), EAGAIN).
            io::ErrorKind::WouldBlock => Failure::QUEUE_FULL,
            _ => failure(End::ServerRefused, 502, "no server accepted the connection"),
        }
    }

    pub fn side(&self) -> Side {
        self.end.side()
    }

    /// The connection was never made: nothing of the request can have reached the server.
    pub fn is_connect_failure(&self) -> bool {
        matches!(self.end, End::ServerRefused | End::ServerConnectTimeout)
    }
}
