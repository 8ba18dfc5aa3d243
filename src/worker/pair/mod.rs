//! One request with its two sides: a client and, once one was dialed, a backend.

pub(crate) mod answer_body;
pub(crate) mod closed;
pub(crate) mod finish;
pub(crate) mod pipes;
pub(crate) mod pump;
pub(crate) mod request;
pub(crate) mod script_errors;
pub(crate) mod splice;
pub(crate) mod to_client;
pub(crate) mod to_server;
