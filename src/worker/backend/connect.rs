//! The end of a connect: the connection is established, its TLS handshake goes on, or the server refused it.

use std::io;

use crate::base::os_error::os_error;
use crate::exchange::Failure;
use crate::net::{Network, Transport};
use crate::worker::conn::backend::BackendState;
use crate::worker::conn::table::BackendKey;
use crate::worker::core::{Core, Step};
use crate::worker::pair::table::PairKey;

impl<N: Network> Core<N> {
    /// Checks a connection in progress. Returns the failure if it was refused.
    pub(crate) fn finish_connect(&mut self, pair_key: PairKey) -> Result<Step, Failure> {
        let Some(key) = self.pairs[pair_key].backend() else { return Ok(Step::Wait) };
        let backend = &mut self.backends[key];
        let connected = match backend.role.state {
            BackendState::Connecting => backend.stream.connect_result(),
            _ => Ok(()),
        };
        match connected {
            Ok(()) => {}
            Err(e)
                if e.kind() == io::ErrorKind::NotConnected
                    && backend.role.state == BackendState::Connecting =>
            {
                backend.writable = false;
                return Ok(Step::Again);
            }
            Err(error) => {
                self.note_server_failure(pair_key, &os_error(&error));
                return Err(Failure::of_connect(&error));
            }
        }
        match self.continue_server_handshake(key) {
            Some(Ok(true)) => Ok(self.connected(pair_key, key)),
            Some(Ok(false)) => {
                self.backends[key].role.state = BackendState::Handshaking;
                Ok(Step::Wait)
            }
            Some(Err(error)) => Err(self.note_failed_handshake(pair_key, &error)),
            None => {
                let client = self.pairs[pair_key].client;
                self.queue_client(client);
                Ok(Step::Wait)
            }
        }
    }

    fn connected(&mut self, pair_key: PairKey, key: BackendKey) -> Step {
        let role = &mut self.backends[key].role;
        let waited = self.tools.now.saturating_sub(role.since);
        (role.state, role.since) = (BackendState::Busy, self.tools.now);
        let pair = &mut self.pairs[pair_key];
        pair.exchange.times.connected = pair.exchange.elapsed(self.tools.now);
        if pair.exchange.passes_through() {
            return self.begin_passing(pair_key, key, waited);
        }
        match self.clients[pair.client].role.only_connects() {
            true => self.finish_connect_only(pair_key),
            false => Step::Again,
        }
    }

    pub(crate) fn note_refusal(&mut self, pair_key: PairKey, error: &io::Error) {
        let failure = Failure::of_connect(error);
        match failure {
            Failure::AcceptQueueFull => {
                self.uncount_try(pair_key);
                self.pairs[pair_key].fail_probe(&Failure::AcceptQueueFull.text(), self.tools.now);
            }
            _ => self.note_server_failure(pair_key, &os_error(error)),
        }
        self.count_failure(pair_key, failure);
        self.note_tried(pair_key, failure);
    }
}
