//! What is to be done about a failure: another try, an answer, or the end of what has begun.

use super::end::{End, Party};
use super::failure::Failure;
use super::record::NEVER;
use super::state::{Exchange, RequestHalf};

/// What is to be done about a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Once more, to the same server, on a new connection.
    Fresh,
    /// To another server.
    Another,
    /// Tell the client.
    Answer,
    /// A response is on its way: the client gets what came of it, and then sees that it is cut.
    Deliver,
    /// Nobody is there to be told.
    Cut,
}

/// Other servers that a request goes to after connections that were new closed without a response.
const MAX_CLOSED: u8 = 2;

impl Exchange {
    /// Decides about a failure. `wrote`: bytes of this request went to the server's socket.
    pub fn failed(&mut self, failure: Failure, wrote: bool) -> Next {
        if failure.status() == 0 {
            return Next::Cut;
        }
        if self.begun {
            return Next::Deliver;
        }
        if failure.side() == Party::Server && !self.body_taken {
            if failure.is_connect_failure() {
                return Next::Another;
            }
            if self.may_retry(failure, wrote) {
                self.retried = true;
                return Next::Fresh;
            }
            if self.may_go_elsewhere(failure) {
                self.closed += 1;
                return Next::Another;
            }
        }
        Next::Answer
    }

    /// A process that is being killed may still accept a connection and then close it. A request without a body,
    /// which may be done twice, goes to another server then.
    fn may_go_elsewhere(&self, failure: Failure) -> bool {
        failure.end() == End::ServerClosed
            && self.closed < MAX_CLOSED
            && self.times.first_byte == NEVER
            && self.request == RequestHalf::Done
            && self.head.method.is_idempotent()
    }

    /// A connection that was kept for reuse may die as the request arrives. Once, and only if the server cannot
    /// have acted on the request or doing so twice makes no difference, it is tried again.
    fn may_retry(&self, failure: Failure, wrote: bool) -> bool {
        failure.end() == End::ServerClosed
            && self.reused
            && !self.retried
            && self.times.first_byte == NEVER
            && (!wrote || self.head.method.is_idempotent())
    }
}
