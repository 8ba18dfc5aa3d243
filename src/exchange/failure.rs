//! A failure of an exchange as a value: whose fault it is, the status for the client and the end in the log. Whether
//! it can be retried depends on the exchange (`retry`).
//!
//! A failure is two bytes, since nearly every step of the data path returns an optional one; its meaning is looked up
//! when one occurs.

use std::io;

use super::end::{End, Party};
use crate::http::Fault;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    ClientGone,
    RequestCut,
    /// The same, with no client left to answer.
    RequestGone,
    TooLarge,
    Method,
    MaxForwards,
    HeadTimeout,
    BodyTimeout,
    WriteTimeout,
    BodyRate,
    WriteRate,
    Script,
    /// The script had the connection closed without an answer.
    Aborted,
    /// The script's VM has no memory left for the call.
    ScriptMemory,
    /// The script knows no pool for the name in a ClientHello.
    UnknownName,
    NoServer,
    NoDescriptors,
    ConnectTimeout,
    /// The server is up, but its accept queue is full.
    AcceptQueueFull,
    /// As many requests wait for a server of the pool as may.
    QueueFull,
    QueueTimeout,
    /// As many handlers of scripts wait as may.
    TooManyWaiting,
    ResponseTimeout,
    GapTimeout,
    /// It stopped reading the request's body, after its response.
    UploadTimeout,
    ServerClosed,
    ResponseCut,
    TunnelTimeout,
    Stopped,
    /// A tunnel was closed for a shutdown.
    Drained,
    Internal,
    TooManyInterim,
    Refused,
    /// The TLS handshake with the server failed.
    Tls,
    /// A malformed request.
    Request(Fault),
    /// A malformed response.
    Response(Fault),
}

impl Failure {
    /// A malformed request.
    pub fn of_request(fault: Fault) -> Failure {
        match fault {
            Fault::CutHead | Fault::CutBody => Failure::RequestCut,
            _ => Failure::Request(fault),
        }
    }

    /// A malformed response.
    pub fn of_response(fault: Fault) -> Failure {
        match fault {
            Fault::CutHead => Failure::ServerClosed,
            Fault::CutBody => Failure::ResponseCut,
            _ => Failure::Response(fault),
        }
    }

    /// A failed connection attempt.
    pub fn of_connect(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::TimedOut => Failure::ConnectTimeout,
            // A full accept queue of a Unix socket (connect(2), EAGAIN).
            io::ErrorKind::WouldBlock => Failure::AcceptQueueFull,
            _ => Failure::Refused,
        }
    }

    /// A connection that was established, and a TLS handshake that failed on it.
    pub fn of_handshake(error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::TimedOut { Failure::ConnectTimeout } else { Failure::Tls }
    }

    /// Its end in the log.
    pub fn end(self) -> End {
        match self {
            Failure::ClientGone => End::ClientCutResponse,
            Failure::RequestCut | Failure::RequestGone => End::ClientCutRequest,
            Failure::TooLarge | Failure::Method | Failure::MaxForwards | Failure::Request(_) => {
                End::BadRequest
            }
            Failure::HeadTimeout => End::ClientHeadTimeout,
            Failure::BodyTimeout => End::ClientBodyTimeout,
            Failure::WriteTimeout => End::ClientWriteTimeout,
            Failure::BodyRate => End::ClientBodyRate,
            Failure::WriteRate => End::ClientWriteRate,
            Failure::Script | Failure::ScriptMemory => End::ScriptFailed,
            Failure::Aborted => End::Aborted,
            Failure::UnknownName => End::ClientUnknownName,
            Failure::NoServer => End::NoServer,
            Failure::NoDescriptors => End::NoDescriptors,
            Failure::QueueFull => End::QueueFull,
            Failure::QueueTimeout => End::QueueTimeout,
            Failure::TooManyWaiting => End::ScriptBusy,
            Failure::ConnectTimeout | Failure::AcceptQueueFull => End::ServerConnectTimeout,
            Failure::ResponseTimeout => End::ServerResponseTimeout,
            Failure::GapTimeout => End::ServerGapTimeout,
            Failure::UploadTimeout => End::ServerBodyTimeout,
            Failure::ServerClosed => End::ServerClosed,
            Failure::ResponseCut => End::ServerCutResponse,
            Failure::TunnelTimeout => End::TunnelTimeout,
            Failure::Stopped => End::Stopped,
            Failure::Drained => End::Drained,
            Failure::Internal => End::Internal,
            Failure::TooManyInterim | Failure::Response(_) => End::ServerBadResponse,
            Failure::Refused => End::ServerRefused,
            Failure::Tls => End::ServerTls,
        }
    }

    /// The status for the client if nothing was sent yet; 0 if there is no client to answer.
    pub fn status(self) -> u16 {
        match self {
            Failure::ClientGone
            | Failure::RequestGone
            | Failure::WriteTimeout
            | Failure::WriteRate
            | Failure::Aborted
            | Failure::TunnelTimeout
            | Failure::Drained => 0,
            Failure::RequestCut | Failure::MaxForwards => 400,
            Failure::Method => 405,
            Failure::HeadTimeout | Failure::BodyTimeout | Failure::BodyRate => 408,
            Failure::TooLarge => 413,
            Failure::UnknownName => 421,
            Failure::Script | Failure::Internal => 500,
            Failure::ServerClosed
            | Failure::ResponseCut
            | Failure::TooManyInterim
            | Failure::Refused
            | Failure::Tls
            | Failure::Response(_) => 502,
            Failure::NoServer
            | Failure::QueueFull
            | Failure::QueueTimeout
            | Failure::TooManyWaiting
            | Failure::NoDescriptors
            | Failure::ScriptMemory
            | Failure::Stopped => 503,
            Failure::ConnectTimeout
            | Failure::AcceptQueueFull
            | Failure::ResponseTimeout
            | Failure::GapTimeout
            | Failure::UploadTimeout => 504,
            Failure::Request(fault) => fault.request_status(),
        }
    }

    /// A phrase for the answer's body and the log.
    pub fn text(self) -> &'static str {
        match self {
            Failure::ClientGone => "the client closed the connection",
            Failure::RequestCut => "the request ended before it was whole",
            Failure::RequestGone => "the client closed the connection within its request",
            Failure::TooLarge => "the request body is larger than is allowed",
            Failure::Method => "this method is not passed on",
            Failure::MaxForwards => "malformed Max-Forwards",
            Failure::HeadTimeout => "the request head took too long to arrive",
            Failure::BodyTimeout => "the request body took too long to arrive",
            Failure::WriteTimeout => "the client took too long to read the response",
            Failure::BodyRate => "the request body came too slowly",
            Failure::WriteRate => "the client read the response too slowly",
            Failure::Script => "the routing script failed",
            Failure::Aborted => "the routing script closed the connection",
            Failure::ScriptMemory => "the routing script has no memory left",
            Failure::UnknownName => "no pool serves this name",
            Failure::NoServer => "no server is available",
            Failure::NoDescriptors => "no descriptor is left for a connection to a server",
            Failure::ConnectTimeout => "the server did not accept the connection in time",
            Failure::AcceptQueueFull => "the server's accept queue is full",
            Failure::QueueFull => "too many requests wait for a server",
            Failure::TooManyWaiting => "too many handlers of the script wait",
            Failure::QueueTimeout => "the request waited too long for a server",
            Failure::ResponseTimeout => "the server did not begin to respond in time",
            Failure::GapTimeout => "the server stopped in the middle of its response",
            Failure::UploadTimeout => "the server stopped taking the request body",
            Failure::ServerClosed => "the server closed the connection before it responded",
            Failure::ResponseCut => "the server's response ended before it was whole",
            Failure::TunnelTimeout => "nothing passed the tunnel for too long",
            Failure::Stopped | Failure::Drained => "the proxy is stopping",
            Failure::Internal => "internal error",
            Failure::TooManyInterim => "the server sent too many interim responses",
            Failure::Tls => "the TLS handshake with the server failed",
            Failure::Refused => "no server accepted the connection",
            Failure::Request(fault) | Failure::Response(fault) => fault.text(),
        }
    }

    /// What was wrong with a malformed message, if the end alone does not tell.
    pub fn detail(self) -> Option<&'static str> {
        matches!(self.end(), End::BadRequest | End::ServerBadResponse).then(|| self.text())
    }

    pub fn side(self) -> Party {
        self.end().side()
    }

    /// The connection was never established: nothing of the request can have reached the server.
    pub fn is_connect_failure(self) -> bool {
        matches!(self.end(), End::ServerRefused | End::ServerConnectTimeout | End::ServerTls)
    }
}
