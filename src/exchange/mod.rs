//! Floor 4: one request and its response, pure. Heads are rewritten, failures become decisions, and the end becomes a
//! record. Nothing here depends on a wire protocol, a socket or a clock.

mod answer;
pub mod counters;
pub mod end;
mod failure;
mod forward_rules;
mod forwarded;
mod hop;
pub mod hosts;
mod id;
mod listener_context;
pub mod record;
mod retry;
mod rewrite;
mod state;
mod trace;

pub use answer::{error_answer, last_hop_answer, script_answer};
pub use failure::Failure;
pub use forward_rules::{ForwardRule, forward_rule};
pub use forwarded::{Peer, client as forwarded_client, scheme as forwarded_scheme};
pub use id::{Id, Ids};
pub use listener_context::{ListenerContext, remove_client_headers};
pub use retry::FailureAction;
pub use rewrite::{
    Inbound, interim as rewrite_interim, request as rewrite_request, response as rewrite_response,
};
pub use state::{Exchange, RequestHalf, ResponseHalf, ResponseStep};
