//! What becomes of a request.

use crate::http::Fields;

/// Names and values in order.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// A request's end, as far as it is known without a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Forwarded(Box<Forwarded>),
    /// By rsp itself, or by the script.
    Answered(Answered),
    /// Closed without an answer; why.
    Closed(&'static str),
}

/// A request that goes to a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Forwarded {
    pub pool: String,
    /// The server that balancing picked.
    pub server: Option<String>,
    /// The script, or a sticky session, chose the server.
    pub bound: bool,
    pub method: Vec<u8>,
    /// Path and query, as the server gets them.
    pub target: Vec<u8>,
    pub host: Vec<u8>,
    pub headers: Headers,
    /// What the script did wrong, where a fallback pool takes the request; or why it waits.
    pub error: Option<String>,
}

/// An answer that no server made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answered {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub error: Option<String>,
}

pub(super) fn headers(fields: &Fields) -> Headers {
    fields.iter().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect()
}
