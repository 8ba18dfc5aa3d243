//! Floor 6: a site without sockets. Requests go the way that the worker sends them, through `route::admit` and
//! `route::pick`, on a clock that only moves when it is told to.
//!
//! - `request` what is asked, as bytes that the codec reads
//! - `site`    a loaded config: admits requests, lets handlers wait, makes rsp's own answers
//! - `response` what the client gets of a server's response
//! - `outcome` what becomes of a request
//! - `testing` `rsp test`
//! - `replay`  `rsp replay`

mod outcome;
pub mod replay;
mod request;
mod response;
mod site;
pub mod testing;

pub use outcome::{Answered, Forwarded, Headers, Outcome};
pub use request::Asking;
pub use response::Responding;
pub use site::{Asked, OfflineSite, Waits};
