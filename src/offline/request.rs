//! A request as a client would send it, and as rsp's codec reads it.

use std::rc::Rc;

use crate::base::ip_port::IpPort;
use crate::h1::ClientCodec;
use crate::http::{Codec, Fault, Fields, HeadLimits, RequestHead};
use crate::net::TlsInfo;

/// What a client asks.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    pub method: Vec<u8>,
    /// Path and query, or what else stands in the first line.
    pub target: Vec<u8>,
    /// HTTP/1.0 instead of 1.1.
    pub is_old: bool,
    /// The lines of its fields.
    pub fields: Vec<u8>,
    pub body: Vec<u8>,
    /// The fields say how long the body is.
    pub is_framed: bool,
    /// `None`: over a unix socket.
    pub from: Option<IpPort>,
    /// The listener's place in the config.
    pub listener: usize,
    /// What the client and rsp agreed on.
    pub tls: Option<Rc<TlsInfo>>,
}

/// A request as it was read.
#[derive(Default)]
pub struct Sent {
    pub head: RequestHead,
    /// It has no body.
    pub whole: bool,
    bytes: Vec<u8>,
    trailers: Fields,
}

impl Asking {
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, b": ", value, b"\r\n"] {
            self.fields.extend_from_slice(part);
        }
    }

    fn bytes(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        let version: &[u8] = if self.is_old { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" };
        for part in [&self.method, &b" "[..], &self.target, version, &self.fields] {
            bytes.extend_from_slice(part);
        }
        if !self.body.is_empty() && !self.is_framed {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
    }

    /// Reads it as the worker would, into `sent`.
    pub(super) fn read(&self, limits: &HeadLimits, sent: &mut Sent) -> Result<(), Fault> {
        let Sent { head, bytes, trailers, .. } = sent;
        self.bytes(bytes);
        let decoded = ClientCodec::default().decode(bytes, false, 0, limits, head, trailers)?;
        // A head without an end: a header brought one of its own.
        let decoded = decoded.filter(|decoded| decoded.consumed == sent.bytes.len()).ok_or(Fault::CutHead)?;
        sent.whole = decoded.end;
        Ok(())
    }
}
