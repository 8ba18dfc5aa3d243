//! Responses of pools with `buffer_response`: read from the server at its speed, up to that size, and given to the client
//! at the client's. What was read waits in the client's output, encoded, in blocks behind the first one; so all that
//! holds for an output (order, deadlines, a cut, the end) holds for them, and a server whose response has been read is
//! released while its client still reads (`Outcome::ReleaseBackend`).
//!
//! Nothing is delayed: what came is flushed as ever, and blocks are added only when the first one is full. Each is
//! reserved from `buffer_memory` before it is filled; where there is none the response streams.

use crate::base::buffer_memory::BodyOf;
use crate::net::Transport;
use crate::worker::conn::backend::Backend;
use crate::worker::conn::client::Client;
use crate::worker::pair::pump::Tools;
use crate::worker::pair::{Pair, Stage};

impl Pair {
    /// Bytes that may be read ahead of the client, beyond a block.
    fn ahead(&self) -> Option<usize> {
        match (&self.stage, &self.route) {
            (Stage::Forwarding(_), Some(route)) => {
                route.pool.config.buffer_response.map(|most| most as usize)
            }
            _ => None,
        }
    }

    /// The rest of the response is read ahead rather than spliced. While more is left, reading ahead would not release
    /// the server sooner.
    pub fn reads_rest_ahead(&self, left: u64) -> bool {
        self.ahead().is_some_and(|most| left <= most as u64)
    }

    /// The client has yet to take what came, and the server is waited for all the same. (Nothing of it waits to be
    /// read, so it is not held back.)
    pub fn waits_for_server<S: Transport>(&self, backend: &Backend<S>) -> bool {
        self.ahead().is_some() && !backend.readable && backend.input.is_empty()
    }
}

/// Makes room in a client's output that has none. Returns false if nothing may be read ahead, or there is no memory.
pub fn make_room<S: Transport>(client: &mut Client<S>, pair: &mut Pair, tools: &mut Tools<S>) -> bool {
    let Some(most) = pair.ahead() else { return false };
    let in_pipe = client.pipe.as_ref().is_some_and(|held| held.bytes > 0);
    if in_pipe || client.output.reserved() >= most {
        return false;
    }
    if !client.output.reserve(&tools.buffers) {
        if !std::mem::replace(&mut pair.counted_shortage, true) {
            tools.buffers.note_short(BodyOf::Response);
        }
        return false;
    }
    client.room() > 0
}
