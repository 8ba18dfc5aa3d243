//! An upgraded connection: bytes in both directions, and its close when rsp drains.
//!
//! ```text
//!           the drain's moment                 between two frames
//!   Open ─────────┬──────────────► Due ──────────────► Asked      1012 was sent; the server's bytes are dropped
//!                 │                                      │
//!                 │ no WebSocket                         │ the client's Close
//!                 ▼                                      ▼
//!               Ending ◄──────────────────────────── both sides are shut down
//! ```
//!
//! The frames of a WebSocket are followed from the 101 on, since only then it is known where they end. `Asked` and
//! `Ending` last at most `CLOSE_TIMEOUT`, counted from when the client's kernel has everything (`time::deadlines`).

use std::time::Duration;

use crate::exchange::end::Phase;
use crate::exchange::{Failure, ResponseHalf};
use crate::http::{Name, Sink};
use crate::net::{Network, Transport};
use crate::websocket::{CLOSE_RESTART, Frames, PROTOCOL};
use crate::worker::conn::backend::Backend;
use crate::worker::conn::client::Client;
use crate::worker::conn::connection::OutputSink;
use crate::worker::core::{Core, Step};
use crate::worker::pair::pass_through::SplicedDirections;
use crate::worker::pair::pump::Tools;
use crate::worker::pair::table::PairKey;
use crate::worker::pair::{Pair, Stage};

/// How long a client may take to answer a Close frame, and both sides to take their last bytes.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

pub struct Tunnel {
    from_server: Frames,
    from_client: Frames,
    closing: Closing,
    /// When `closing` became `Asked` or `Ending`.
    since: u64,
    /// Of a connection that is passed through.
    spliced: SplicedDirections,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closing {
    Open,
    /// To be closed at the server's next frame.
    Due,
    /// The client was sent a Close frame, and gets nothing after it.
    Asked,
    /// Both sides end, or the server has sent a Close frame itself.
    Ending,
}

impl Tunnel {
    fn new(websocket: bool) -> Box<Tunnel> {
        let frames = if websocket { Frames::new() } else { Frames::unknown() };
        let (closing, since, spliced) = (Closing::Open, 0, SplicedDirections::default());
        Box::new(Tunnel { from_server: frames, from_client: frames, closing, since, spliced })
    }

    /// Follows the server's bytes. Returns how many of them go to the client.
    fn passes(&mut self, bytes: &[u8]) -> usize {
        match self.closing {
            Closing::Asked => return 0,
            Closing::Due => return self.from_server.follow_frame(bytes),
            Closing::Open | Closing::Ending => self.from_server.follow(bytes),
        }
        bytes.len()
    }

    /// Returns when the last phase began.
    pub fn closing_since(&self) -> Option<u64> {
        matches!(self.closing, Closing::Asked | Closing::Ending).then_some(self.since)
    }

    /// The client has sent its Close frame, unasked or as an answer.
    fn has_client_closed(&self) -> bool {
        self.from_client.is_closed()
    }

    fn begin(&mut self, closing: Closing, now: u64) {
        (self.closing, self.since) = (closing, now);
    }
}

impl Pair {
    /// A 101 goes to the client, or its connection is passed through.
    pub fn begin_tunnel(&mut self) {
        let protocol = self.exchange.head.fields.get(Name::Upgrade).unwrap_or_default();
        let websocket = protocol.eq_ignore_ascii_case(PROTOCOL);
        self.exchange.begin_tunnel();
        if let Stage::Forwarding(backend) = self.stage {
            self.stage = Stage::Tunnel(backend, Tunnel::new(websocket));
        }
    }

    /// Follows the client's bytes. Returns true if they answer the Close frame that it was sent.
    pub fn client_answers_close(&mut self, bytes: &[u8]) -> bool {
        let Stage::Tunnel(_, tunnel) = &mut self.stage else { return false };
        tunnel.from_client.follow(bytes);
        tunnel.closing == Closing::Asked && tunnel.has_client_closed()
    }

    /// The client was sent a Close frame.
    pub fn is_client_asked_to_close(&self) -> bool {
        matches!(&self.stage, Stage::Tunnel(_, tunnel) if tunnel.closing == Closing::Asked)
    }

    /// The server has sent a Close frame, after which nothing follows.
    pub fn has_server_closed(&self) -> bool {
        matches!(&self.stage, Stage::Tunnel(_, tunnel) if tunnel.from_server.is_closed())
    }

    pub fn has_client_closed(&self) -> bool {
        matches!(&self.stage, Stage::Tunnel(_, tunnel) if tunnel.has_client_closed())
    }

    /// Follows the server's bytes. Returns how many of them go to the client.
    pub fn passes_to_client(&mut self, bytes: &[u8]) -> usize {
        match &mut self.stage {
            Stage::Tunnel(_, tunnel) => tunnel.passes(bytes),
            _ => bytes.len(),
        }
    }

    /// The directions that are spliced now.
    pub fn spliced(&self) -> SplicedDirections {
        match &self.stage {
            Stage::Tunnel(_, tunnel) => tunnel.spliced,
            _ => SplicedDirections::default(),
        }
    }

    pub fn set_spliced(&mut self, spliced: SplicedDirections) {
        if let Stage::Tunnel(_, tunnel) = &mut self.stage {
            tunnel.spliced = spliced;
        }
    }

    /// It is to be closed at the server's next frame.
    fn is_due(&self) -> bool {
        matches!(&self.stage, Stage::Tunnel(_, tunnel) if tunnel.closing == Closing::Due)
    }
}

/// Closes a tunnel whose moment came, if the server's bytes that were just passed on end a frame.
pub fn close_if_due<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) {
    if pair.is_due() {
        close(client, backend, pair, tools);
    }
}

/// Closes a tunnel: a WebSocket with a Close frame, now or after the frame that is on its way; others at once.
pub fn close<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) {
    let Stage::Tunnel(_, tunnel) = &mut pair.stage else { return };
    if tunnel.closing_since().is_some() {
        return;
    }
    let x = &mut pair.exchange;
    if x.response == ResponseHalf::Done || tunnel.from_server.is_unknown() {
        tunnel.begin(Closing::Ending, tools.now);
        x.ends(Failure::Drained, Phase::Tunnel);
        x.response = ResponseHalf::Done;
        x.take_body(true);
        client.end_output();
        backend.end_output();
    } else if tunnel.from_server.is_closed() {
        // What is left of the closing handshake passes as it comes.
        tunnel.begin(Closing::Ending, tools.now);
    } else if tunnel.from_server.is_at_boundary() {
        tunnel.begin(Closing::Asked, tools.now);
        x.ends(Failure::Drained, Phase::Tunnel);
        OutputSink { output: &mut client.output, blocks: &mut tools.blocks }.put(&CLOSE_RESTART);
        if tunnel.has_client_closed() || !x.request.is_open() {
            x.take_body(true);
            client.end_output();
            backend.end_output();
        }
    } else {
        tunnel.closing = Closing::Due;
    }
}

impl<N: Network> Core<N> {
    /// The drain's moment for this tunnel.
    pub(crate) fn close_tunnel(&mut self, pair_key: PairKey) {
        let pair = &mut self.pairs[pair_key];
        let (client_key, Some(backend)) = (pair.client, pair.backend()) else { return };
        close(&mut self.clients[client_key], &mut self.backends[backend], pair, &mut self.tools);
        self.queue_client(client_key);
    }

    /// One side did not do its part of the close in time, or is gone.
    pub(crate) fn end_tunnel(&mut self, pair_key: PairKey) -> Step {
        self.pairs[pair_key].exchange.ends(Failure::Drained, Phase::Tunnel);
        let client_key = self.pairs[pair_key].client;
        if self.clients[client_key].hung_up {
            // It has got all there was, which a reset could destroy.
            self.detach(pair_key);
            return self.close_client(client_key);
        }
        self.drop_backend(pair_key);
        let x = &mut self.pairs[pair_key].exchange;
        x.response = ResponseHalf::Done;
        x.take_body(true);
        Step::Again
    }
}
