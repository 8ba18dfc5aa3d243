//! Connections whose TLS goes to the server as it comes, found by the name in their ClientHello.
//!
//! ```text
//!   hello whole ─► script ─► pick, dial, retry as for requests ─► connected: a tunnel ─► both sides have ended
//!                    └─ no pool, no server: an alert, and the end
//! ```
//!
//! The hello waits in the client's input until a server is connected, so a retry has nothing to repeat. From then on it
//! is a tunnel as after a 101, whose bytes need not be looked at: where many come, they are spliced. A direction begins
//! to be spliced once `BULK` bytes were copied in one turn, and is copied again, without a pipe, when its socket is
//! empty: what few bytes come one at a time cost less so, and an idle connection holds no pipe.

use std::io;

use crate::exchange::end::Phase;
use crate::exchange::{Failure, ResponseHalf};
use crate::http::{RequestHead, Sink, StreamId};
use crate::net::{Either, Network, Transport};
use crate::route::{NoRoute, admit_name};
use crate::tls::Alert;
use crate::worker::conn::backend::{Backend, BackendState};
use crate::worker::conn::client::Client;
use crate::worker::conn::connection::Connection;
use crate::worker::conn::connection::CountsTraffic;
use crate::worker::conn::table::{BackendKey, ClientKey};
use crate::worker::core::{Core, Step};
use crate::worker::pair::closed::{client_gone, closed_early};
use crate::worker::pair::pump::{READS, Tools, is_early, watch_upload};
use crate::worker::pair::splice::{self, Unframed};
use crate::worker::pair::table::PairKey;
use crate::worker::pair::to_client::to_client;
use crate::worker::pair::to_server::{flush_backend, to_server, writing_failed};
use crate::worker::pair::{Pair, Stage};

/// Bytes copied in one turn from which on a direction is spliced: a whole record of TLS.
const BULK: u64 = 16 * 1024;

/// The status as which a connection that was made counts, for `least_latency` and ejection.
const CONNECTED: u16 = 200;

/// The directions that are spliced.
#[derive(Clone, Copy, Default)]
pub struct SplicedDirections {
    to_server: bool,
    to_client: bool,
}

impl<N: Network> Core<N> {
    /// Begins to pass a client through that asked for this host.
    pub(crate) fn pass_through(&mut self, client: ClientKey, name: Option<&str>) -> Step {
        let pair_key = self.open_pair(client, StreamId::ONLY, true);
        let pair = &mut self.pairs[pair_key];
        let role = &self.clients[client].role;
        let x = &mut pair.exchange;
        // It may hold what was read for an earlier request.
        x.head = RequestHead::default();
        if let Some(name) = name {
            x.head.fields.append(b"Host", name.as_bytes());
        }
        (x.client, x.close_client, x.tries.fresh) = (role.peer.address(), true, true);
        x.listener_context = role.listener_context().cloned();
        let (Some(context), Some(handlers)) = (role.listener_context(), &pair.handlers) else {
            return self.answer_failure(pair_key, Failure::Internal, Phase::Request);
        };
        let of = (&*context.listener, &pair.site.routes);
        let route = admit_name(x, &role.peer, of, &mut handlers.borrow_mut(), self.tools.now);
        match route {
            Ok(route) => self.forward(pair_key, route),
            Err(NoRoute::Failure(failure)) => self.answer_failure(pair_key, failure, Phase::Request),
            Err(NoRoute::ScriptFailed((function, error))) => {
                let failure = self.tools.errors.failed(function, &error, self.tools.now);
                self.answer_failure(pair_key, failure, Phase::Request)
            }
        }
    }

    /// The connection to the server is established, after so many microseconds.
    pub(crate) fn begin_passing(&mut self, pair_key: PairKey, backend: BackendKey, waited: u64) -> Step {
        let now = self.tools.now;
        let pair = &mut self.pairs[pair_key];
        if pair.tells_of_server() {
            pair.note_response(CONNECTED, waited, now);
        }
        let (client, backend) = (&mut self.clients[pair.client], &mut self.backends[backend]);
        backend.role.state = BackendState::Passing;
        client.role.codec.switch();
        backend.role.codec.switch();
        pair.begin_tunnel();
        pair.exchange.status = CONNECTED;
        pair.response_begins();
        if self.tools.draining {
            let token = self.clients.token(pair.client);
            self.closings.add_last(now, token);
        }
        Step::Again
    }

    /// Refuses a client that expects to be passed through: with a TLS alert, since it could not read an answer.
    pub(crate) fn answer_alert(&mut self, pair_key: PairKey, failure: Failure, phase: Phase) -> Step {
        let pair = &mut self.pairs[pair_key];
        pair.exchange.ends(failure, phase);
        pair.exchange.response = ResponseHalf::Done;
        pair.stage = Stage::Delivering(None);
        pair.response_begins();
        let client = pair.client;
        if matches!(failure.status(), 502..=504) {
            self.note_gateway_error(pair_key, failure);
        }
        let alert = match failure {
            Failure::UnknownName | Failure::Script => Alert::UnrecognizedName,
            _ => Alert::InternalError,
        };
        self.clients[client].write_at = self.tools.now;
        self.sink(client).1.put(&alert.record());
        Step::Again
    }
}

/// Both directions of a connection that is passed through.
#[inline(never)]
pub fn both_ways<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    let mut spliced = pair.spliced();
    let mut moved = pass_to_server(client, backend, pair, tools, &mut spliced.to_server)?;
    moved |= flush_backend(backend, tools) && pair.exchange.request.is_open();
    moved |= pass_to_client(client, backend, pair, tools, &mut spliced.to_client)?;
    pair.set_spliced(spliced);
    if pair.exchange.response == ResponseHalf::Done && is_early(backend, pair) {
        moved |= watch_upload(backend, pair, tools)?;
    }
    Ok(moved)
}

fn pass_to_server<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
    spliced: &mut bool,
) -> Result<bool, Failure> {
    let mut moved = false;
    if *spliced && pair.exchange.request.is_open() && !backend.role.write_failed {
        let done = splice(client, backend, spliced, tools).map_err(|_| client_gone(pair))?;
        pair.exchange.received += done.bytes;
        moved = done.moved;
        if done.broken {
            writing_failed(backend, tools);
        }
    }
    if is_copied(*spliced, client) {
        let before = pair.exchange.received;
        moved |= to_server(client, backend, pair, tools)?;
        *spliced |= pair.exchange.received - before >= BULK;
    }
    Ok(moved)
}

fn pass_to_client<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
    spliced: &mut bool,
) -> Result<bool, Failure> {
    let mut moved = false;
    if *spliced && pair.exchange.response == ResponseHalf::Body {
        let done = splice(backend, client, spliced, tools).map_err(|_| closed_early(pair))?;
        pair.exchange.sent += done.bytes;
        moved = done.moved;
        if done.broken {
            return Err(Failure::ClientGone);
        }
    }
    if is_copied(*spliced, backend) {
        let before = pair.exchange.sent;
        moved |= to_client(client, backend, pair, tools)?;
        *spliced |= pair.exchange.sent - before >= BULK;
    }
    Ok(moved)
}

/// Whether this side's bytes are read into its input: what is there, or its end, must be passed on first.
fn is_copied<S: Transport, R>(spliced: bool, from: &Connection<S, R>) -> bool {
    !spliced || !from.input.is_empty() || from.eof
}

/// The result of one direction.
#[derive(Default)]
struct Done {
    bytes: u64,
    moved: bool,
    /// The side that they go to takes no more.
    broken: bool,
}

/// Splices one direction as long as bytes come. An error is that of the side they come from.
fn splice<S: Transport, A: CountsTraffic, B: CountsTraffic>(
    from: &mut Connection<Either<S>, A>,
    to: &mut Connection<Either<S>, B>,
    goes_on: &mut bool,
    tools: &mut Tools<S>,
) -> io::Result<Done> {
    let mut done = Done::default();
    for _ in 0..READS {
        // What was read before goes first.
        if !from.input.is_empty() || from.eof {
            break;
        }
        match splice::unframed(from, to, tools)? {
            Unframed::Bytes(n) => done.bytes += n as u64,
            Unframed::Again => {}
            Unframed::Later => break,
            Unframed::Over => {
                *goes_on = false;
                tools.pipes.give_back(to.pipe.take_if(|held| held.bytes == 0));
                break;
            }
        }
        done.moved = true;
        if to.flush(&mut tools.blocks, tools.now).is_err() {
            done.broken = true;
            break;
        }
    }
    Ok(done)
}
