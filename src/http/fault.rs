//! What can be wrong with a message. A codec finds the fault; what it means depends on which side sent the message
//! (400 to a client, 502 about a server) and is decided in exchange/failure.

use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// Malformed start line (RFC 9112 sections 3 and 4).
    StartLine,
    /// A TLS ClientHello on a plain HTTP port.
    TlsHello,
    /// Plain HTTP on a port where clients speak TLS.
    LacksTls,
    /// Request target that is empty, not of an allowed form, or has bytes that are not allowed.
    Target,
    /// Target longer than the head limit by itself: 414.
    TargetTooLong,
    /// HTTP version that is not 1.0 or 1.1: 505.
    Version,
    /// Malformed field line: name not a token, space before the colon, control byte, obs-fold.
    FieldLine,
    /// A bare LF or CR instead of CRLF.
    LineEnd,
    /// Head larger than the limit: 431.
    HeadTooLarge,
    /// More fields than the limit: 431.
    TooManyFields,
    /// More options in Connection than the limit.
    TooManyOptions,
    /// Missing (in HTTP/1.1), repeated or malformed Host.
    Host,
    /// Content-Length that is malformed, repeated, or over 2^63-1.
    ContentLength,
    /// Both Content-Length and Transfer-Encoding.
    TwoLengths,
    /// Transfer-Encoding whose last coding is not exactly one `chunked`, or in HTTP/1.0.
    TransferEncoding,
    /// Unknown transfer coding: 501.
    UnknownCoding,
    /// Malformed chunk size line or chunk end (RFC 9112 section 7.1).
    Chunk,
    /// Trailer section that is malformed or over its limit.
    Trailers,
    /// A status code that is not three digits from 100 to 599, or a 101 for a protocol that was not requested.
    Status,
    /// The connection ended inside a head.
    CutHead,
    /// The connection ended inside a body.
    CutBody,
}

impl Fault {
    /// A short phrase for the answer's body and the log.
    pub fn text(self) -> &'static str {
        match self {
            Fault::StartLine => "malformed start line",
            Fault::LacksTls => "plain HTTP on a TLS port",
            Fault::TlsHello => "TLS hello on a plain HTTP port",
            Fault::Target => "malformed request target",
            Fault::TargetTooLong => "request target too long",
            Fault::Version => "unsupported HTTP version",
            Fault::FieldLine => "malformed header field",
            Fault::LineEnd => "line does not end with CR LF",
            Fault::HeadTooLarge => "header section too large",
            Fault::TooManyFields => "too many header fields",
            Fault::TooManyOptions => "too many options in Connection",
            Fault::Host => "missing, repeated or malformed Host",
            Fault::ContentLength => "malformed Content-Length",
            Fault::TwoLengths => "both Content-Length and Transfer-Encoding",
            Fault::TransferEncoding => "malformed Transfer-Encoding",
            Fault::UnknownCoding => "unknown transfer coding",
            Fault::Chunk => "malformed chunk",
            Fault::Trailers => "malformed trailer section",
            Fault::Status => "malformed status",
            Fault::CutHead => "connection closed inside the header section",
            Fault::CutBody => "connection closed inside the body",
        }
    }

    /// The status for a client whose request has this fault.
    pub fn request_status(self) -> u16 {
        match self {
            Fault::TargetTooLong => 414,
            Fault::HeadTooLarge | Fault::TooManyFields => 431,
            Fault::UnknownCoding => 501,
            Fault::Version => 505,
            _ => 400,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
