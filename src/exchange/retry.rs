//! What to do about a failure: retry, answer, or end the response that has begun.

use super::end::{End, Party};
use super::failure::Failure;
use super::record::NEVER;
use super::state::{Exchange, RequestHalf};

/// What to do about a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureAction {
    /// Retry once on the same server with a new connection.
    NewConnection,
    /// Retry on another server, as far as the pool's retries go.
    OtherServer,
    /// Answer with an error.
    Answer,
    /// A response has begun: deliver what was received, then cut it.
    Deliver,
    /// No client is left: close.
    Cut,
}

/// What is known about the tries of a request so far.
#[derive(Clone, Copy, Default)]
pub struct Tries {
    /// The present connection to the server had carried a request before.
    pub reused: bool,
    /// All further tries are on new connections, until the request goes to another pool: one on a reused connection
    /// failed, or its bytes are passed through.
    pub fresh: bool,
    /// The present try began as a probe of an ejected server, whether its outcome is known by now or not.
    pub probe: bool,
    /// The request's body is held whole, and can be sent again though it was sent.
    pub keeps_body: bool,
    /// Servers tried after the first.
    pub retries: u8,
}

impl Exchange {
    /// Decides about a failure. `wrote`: bytes of this request were written to the server's socket.
    pub fn decide_failure(&mut self, failure: Failure, wrote: bool) -> FailureAction {
        if failure.status() == 0 {
            return FailureAction::Cut;
        }
        if self.has_begun() {
            return FailureAction::Deliver;
        }
        if failure.side() == Party::Server && !self.request.is_taken() {
            if failure.is_connect_failure() {
                return FailureAction::OtherServer;
            }
            if self.may_retry(failure, wrote) {
                self.tries.fresh = true;
                return FailureAction::NewConnection;
            }
            if self.may_go_elsewhere(failure) {
                return FailureAction::OtherServer;
            }
        }
        FailureAction::Answer
    }

    /// A server process that is being killed may still accept a connection and then close it. An idempotent request
    /// without a body, or with one that is held, is then sent to another server; a probe also if the server does not
    /// answer.
    fn may_go_elsewhere(&self, failure: Failure) -> bool {
        (failure.end() == End::ServerClosed || self.tries.probe && failure == Failure::ResponseTimeout)
            && self.times.first_byte == NEVER
            && (self.request == RequestHalf::NoBody || self.tries.keeps_body)
            && self.head.method.is_idempotent()
    }

    /// A connection that was kept for reuse may die as the request arrives. Once, and only if the server cannot
    /// have acted on the request or doing so twice makes no difference, it is tried again.
    fn may_retry(&self, failure: Failure, wrote: bool) -> bool {
        failure.end() == End::ServerClosed
            && self.tries.reused
            && !self.tries.fresh
            && self.times.first_byte == NEVER
            && (!wrote || self.head.method.is_idempotent())
    }
}
