//! The end of a connect: the connection is established, its TLS handshake goes on, or the server refused it.

use std::io;

use crate::base::os_error::os_error;
use crate::exchange::Failure;
use crate::net::{Network, Transport};
use crate::worker::conn::backend::BackendState;
use crate::worker::core::{Core, Step};

impl<N: Network> Core<N> {
    /// Checks a connection in progress. Returns the failure if it was refused.
    pub(crate) fn finish_connect(&mut self, pair: u32) -> Result<Step, Failure> {
        let Some(key) = self.pairs[pair as usize].backend() else { return Ok(Step::Wait) };
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
                self.note_server_failure(pair, &os_error(&error));
                return Err(Failure::of_connect(&error));
            }
        }
        match self.shake_hands_with_server(key) {
            Some(Ok(true)) => Ok(self.connected(pair, key)),
            Some(Ok(false)) => {
                self.backends[key].role.state = BackendState::Handshaking;
                Ok(Step::Wait)
            }
            Some(Err(error)) => Err(self.note_failed_handshake(pair, &error)),
            None => {
                let client = self.pairs[pair as usize].client;
                self.queue_client(client);
                Ok(Step::Wait)
            }
        }
    }

    fn connected(&mut self, pair: u32, key: u32) -> Step {
        let role = &mut self.backends[key].role;
        let waited = self.tools.now.saturating_sub(role.since);
        (role.state, role.since) = (BackendState::Busy, self.tools.now);
        let place = &mut self.pairs[pair as usize];
        place.exchange.times.connected = place.exchange.elapsed(self.tools.now);
        if place.exchange.passes_through() {
            return self.begin_passing(pair, key, waited);
        }
        match self.clients[place.client].role.only_connects() {
            true => self.finish_connect_only(pair),
            false => Step::Again,
        }
    }

    pub(crate) fn note_refusal(&mut self, pair: u32, error: &io::Error) {
        let failure = Failure::of_connect(error);
        match failure {
            Failure::AcceptQueueFull => {
                self.uncount_try(pair);
                self.pairs[pair as usize].fail_probe(&Failure::AcceptQueueFull.text(), self.tools.now);
            }
            _ => self.note_server_failure(pair, &os_error(error)),
        }
        self.count_failure(pair, failure);
        self.note_tried(pair, failure);
    }
}
