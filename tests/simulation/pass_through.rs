//! Clients whose connection rsp passes through by the name in their hello, and the servers they reach. Behind the hello
//! both speak the toy filter with each other, through rsp: its handshake, then payload both ways. The oracle: the hello
//! reaches one server once and first, every byte follows in its order, and a side that has ended still gets the rest.

use rsp::exchange::record::{End, Record};
use rsp::tls::ClientHello;

use crate::filter::{HELLO, LONGEST, PeerFilter, record};
use crate::plan::{FirstEnd, Ledger, request_key, response_key};
use crate::rng::{Rng, body, first_wrong};
use crate::world::World;

/// What such clients ask for; the number of the plan stands before it.
const KNOWN: &str = ".passes.example";
const UNKNOWN: &str = ".unknown.example";
/// A fatal alert but for its description, and the one for a name that the script does not know.
const ALERT: [u8; 6] = [21, 3, 3, 0, 2, 2];
const UNRECOGNIZED_NAME: u8 = 112;

/// One connection as it is meant to go.
struct Plan {
    known: bool,
    hello: Vec<u8>,
    /// Payload of both sides.
    asks: usize,
    answers: usize,
    first_end: FirstEnd,
    /// The client, or its server, goes after so many bytes sent, with a reset or without.
    client_leaves: Option<(usize, bool)>,
    server_leaves: Option<(usize, bool)>,
    /// A server has its hello.
    seen: bool,
    logged: bool,
}

impl Plan {
    fn any(rng: &mut Rng, number: usize, honest: bool) -> Plan {
        let known = !rng.one_in(6);
        let name = format!("{number}{}", if known { KNOWN } else { UNKNOWN });
        let leaves = |rng: &mut Rng| {
            let after = rng.pick(&[20, 600, 3_000, 100_000]);
            (!honest && rng.one_in(3)).then(|| (rng.below(after), rng.one_in(2)))
        };
        Plan {
            known,
            hello: hello(rng, &name),
            asks: size(rng),
            // A client that waits for the answer needs some.
            answers: size(rng).max(1),
            first_end: rng.pick(&[FirstEnd::Any, FirstEnd::Client, FirstEnd::Server]),
            client_leaves: leaves(rng),
            server_leaves: leaves(rng),
            seen: false,
            logged: false,
        }
    }
}

/// Often more than what is copied before it is spliced.
fn size(rng: &mut Rng) -> usize {
    if rng.one_in(3) { rng.below(150_000) } else { rng.size() }
}

/// A ClientHello with this name and up to 14 KiB of padding, in records of any size.
fn hello(rng: &mut Rng, name: &str) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let extension = |kind: u16, value: &[u8]| [kind.to_be_bytes().to_vec(), sized(value)].concat();
    let names = sized(&[&[0][..], &sized(name.as_bytes())].concat());
    let padding = vec![0; rng.pick(&[0, 100, 1_500, 14_000])];
    let extensions = [extension(21, &padding), extension(0, &names)].concat();
    let body = [&[3, 3][..], &[9; 32], &[0], &sized(&[0x13, 1]), &[1, 0], &sized(&extensions)].concat();
    let message = [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
    let most = rng.pick(&[1_000, 5_000, 16_384]);
    message.chunks(most).flat_map(|piece| [&[22, 3, 1][..], &sized(piece)].concat()).collect()
}

/// Of a plan's payload.
fn key(number: usize) -> u64 {
    // No key is that of a page.
    number as u64 + 1
}

/// Payload as the filter sends it.
fn sealed(key: u64, length: usize) -> Vec<u8> {
    body(key, length).chunks(LONGEST).flat_map(record).collect()
}

/// All of a seed.
pub struct Passing {
    plans: Vec<Plan>,
    pub clients: Vec<Client>,
    servers: Vec<Server>,
    /// When each client connects, the first one last.
    pub coming: Vec<(u64, usize)>,
}

impl Passing {
    /// Some seeds have such clients.
    pub fn any(seed: u64, honest: bool) -> Passing {
        let mut rng = Rng::new(seed ^ 0x736e_6900);
        let count = if rng.one_in(3) { rng.upto(3) } else { 0 };
        let plans: Vec<Plan> = (0..count).map(|number| Plan::any(&mut rng, number, honest)).collect();
        let mut coming: Vec<_> = (0..count).map(|number| (rng.below(100_000) as u64, number)).collect();
        coming.sort_unstable_by(|a, b| b.cmp(a));
        Passing { plans, clients: Vec::new(), servers: Vec::new(), coming }
    }

    /// The one that comes now, if any.
    pub fn due(&mut self, now: u64) -> Option<usize> {
        self.coming.pop_if(|(at, _)| *at <= now).map(|(_, number)| number)
    }

    pub fn connected(&mut self, number: usize, link: usize) {
        self.clients.push(Client::new(number, link, &self.plans[number]));
    }

    /// A connection of rsp's to a server begins with a hello.
    pub fn serve(&mut self, link: usize, number: usize) {
        self.servers.push(Server::new(link, number));
    }

    pub fn step(&mut self, all: bool, world: &mut World, ledger: &Ledger, now: u64) -> bool {
        let mut moved = false;
        for client in &mut self.clients {
            if all || world.rng.one_in(2) {
                moved |= client.step(world, &self.plans[client.number], ledger, now);
            }
        }
        for server in &mut self.servers {
            if all || world.rng.one_in(2) {
                moved |= server.step(world, &mut self.plans, ledger, now);
            }
        }
        moved
    }

    /// The server of this number went down.
    pub fn leave(&mut self, number: usize, world: &mut World) {
        let of_it = self.servers.iter_mut().filter(|server| server.number == number && !server.end.gone);
        of_it.for_each(|server| server.end.leave(world, true));
    }

    pub fn is_over(&self) -> bool {
        self.coming.is_empty() && self.clients.iter().all(|client| client.end.gone)
    }

    pub fn wakes(&self) -> impl Iterator<Item = u64> {
        let ends = self.clients.iter().map(|c| &c.end).chain(self.servers.iter().map(|s| &s.end));
        let coming = self.coming.last().map(|(at, _)| *at);
        ends.filter(|end| !end.gone).map(|end| end.wakes).chain(coming)
    }

    /// Whether the record is of one of these. Each has one at most.
    pub fn recorded(&mut self, record: &Record, ledger: &Ledger) -> bool {
        let host = String::from_utf8_lossy(record.host);
        let Some(number) = host.strip_suffix(KNOWN).or(host.strip_suffix(UNKNOWN)) else { return false };
        let plan = &mut self.plans[number.parse::<usize>().expect("a number")];
        assert!(!std::mem::replace(&mut plan.logged, true), "a second record: {record:?}");
        assert!(record.method.is_empty() && record.target.is_empty(), "{record:?}");
        if !plan.known {
            assert_eq!((record.end, record.status), (End::ClientUnknownName, 421), "{record:?}");
            return true;
        }
        let both = (plan.hello.len() + record_bytes(HELLO.len()) + sealed_bytes(plan.asks)) as u64;
        assert!(record.received <= both, "{record:?}");
        match record.end {
            End::Complete if ledger.honest => {
                let came = (WELCOME_BYTES + sealed_bytes(plan.answers)) as u64;
                assert_eq!((record.received, record.sent, record.status), (both, came, 200), "{record:?}");
            }
            End::Drained => assert!(ledger.draining, "{record:?}"),
            other => assert!(!ledger.honest || ledger.draining, "{other:?}: {record:?}"),
        }
        true
    }

    /// Of an honest seed that was not cut short, all have a record.
    pub fn check(&self, ledger: &Ledger) {
        let all = self.plans.iter().all(|plan| plan.logged);
        assert!(all || !ledger.honest || ledger.draining, "one that was passed through is not logged");
    }
}

const WELCOME_BYTES: usize = record_bytes(crate::filter::WELCOME.len());

const fn record_bytes(payload: usize) -> usize {
    payload + 2
}

fn sealed_bytes(payload: usize) -> usize {
    payload + 2 * payload.div_ceil(LONGEST)
}

/// What both ends have.
struct Ending {
    link: usize,
    out: Vec<u8>,
    sent: usize,
    filter: PeerFilter,
    /// Payload that came, and which it must be.
    at: usize,
    key: u64,
    finished: bool,
    gone: bool,
    wakes: u64,
}

impl Ending {
    fn new(link: usize, out: Vec<u8>, key: u64) -> Ending {
        let filter = PeerFilter::default();
        Ending { link, out, sent: 0, filter, at: 0, key, finished: false, gone: false, wakes: 0 }
    }

    fn send(&mut self, world: &mut World) -> bool {
        if self.finished || self.sent == self.out.len() {
            return false;
        }
        let piece = world.rng.piece().min(self.out.len() - self.sent);
        let n = world.peer_write(self.link, &self.out[self.sent..self.sent + piece]);
        self.sent += n;
        n > 0
    }

    /// Bytes of the filter; its answer in the handshake is to be sent.
    fn take(&mut self, bytes: &[u8], dials: bool) {
        self.out.extend(self.filter.receive(bytes, dials).unwrap_or_default());
        let payload = std::mem::take(&mut self.filter.payload);
        assert_eq!(first_wrong(self.key, self.at, &payload), None, "passed through wrong, from {}", self.at);
        self.at += payload.len();
    }

    fn leave(&mut self, world: &mut World, reset: bool) {
        if reset {
            world.peer_reset(self.link)
        } else {
            world.peer_close(self.link)
        }
        self.gone = true;
    }

    fn finish(&mut self, world: &mut World) {
        world.peer_finish(self.link);
        self.finished = true;
    }

    /// Whether rsp has ended its side and nothing is left to do here.
    fn is_over(&self, world: &World) -> bool {
        let link = &world.links[self.link];
        world.is_over(self.link) && (self.finished || link.cut || link.closed)
    }
}

pub struct Client {
    number: usize,
    end: Ending,
    /// The payload stands in `out`.
    asked: bool,
    alert: Vec<u8>,
}

impl Client {
    fn new(number: usize, link: usize, plan: &Plan) -> Client {
        let out = [&plan.hello[..], &record(HELLO)].concat();
        let end = Ending::new(link, out, response_key(key(number), 1));
        Client { number, end, asked: false, alert: Vec::new() }
    }

    /// One that rsp must serve whole and without waiting for any timeout.
    pub fn is_unserved(&self) -> bool {
        !self.end.gone
    }

    fn step(&mut self, world: &mut World, plan: &Plan, ledger: &Ledger, now: u64) -> bool {
        let end = &mut self.end;
        if end.gone || now < end.wakes {
            return false;
        }
        if world.rng.one_in(60) {
            end.wakes = now + world.rng.pause();
        }
        let mut moved = end.send(world);
        let most = world.rng.piece();
        let bytes = world.peer_read(end.link, most);
        moved |= !bytes.is_empty();
        match bytes.first() {
            Some(first)
                if !self.alert.is_empty() || end.at == 0 && !end.filter.established && *first == ALERT[0] =>
            {
                self.alert.extend_from_slice(&bytes);
            }
            _ => end.take(&bytes, true),
        }
        if end.filter.established && !std::mem::replace(&mut self.asked, true) {
            end.out.extend(sealed(request_key(key(self.number)), plan.asks));
        }
        if let Some((_, reset)) = plan.client_leaves.filter(|(after, _)| end.sent >= *after) {
            end.leave(world, reset);
            return true;
        }
        let all_sent = self.asked && end.sent == end.out.len();
        let waits = plan.first_end == FirstEnd::Server && !world.is_over(end.link);
        if (all_sent && !waits || world.is_over(end.link) && !self.asked) && !end.finished {
            end.finish(world);
            moved = true;
        }
        if end.is_over(world) {
            self.over(world, plan, ledger);
            return true;
        }
        moved
    }

    fn over(&mut self, world: &mut World, plan: &Plan, ledger: &Ledger) {
        let cut = world.links[self.end.link].cut;
        if !self.alert.is_empty() {
            let known = self.alert.len().min(ALERT.len());
            assert_eq!(self.alert[..known], ALERT[..known]);
            // Of what is cut by a stop, only what the link takes at once is delivered.
            let whole = self.alert.len() == ALERT.len() + 1;
            assert!(whole || cut || ledger.stopped, "{:?}", self.alert);
            let refused = self.alert.last() == Some(&UNRECOGNIZED_NAME);
            assert!(!whole || cut || refused != plan.known, "{:?}", self.alert);
            assert!(!plan.known || !ledger.honest || ledger.draining, "an honest client was refused");
        } else if ledger.honest && !ledger.draining {
            assert!(plan.known && !cut, "ended without a word");
            assert_eq!(self.end.at, plan.answers, "bytes for the client are lost");
        }
        self.end.leave(world, false);
    }
}

struct Server {
    number: usize,
    end: Ending,
    /// What came of the hello, until it is whole.
    hello: Vec<u8>,
    plan: Option<usize>,
}

impl Server {
    fn new(link: usize, number: usize) -> Server {
        Server { number, end: Ending::new(link, Vec::new(), 0), hello: Vec::new(), plan: None }
    }

    fn step(&mut self, world: &mut World, plans: &mut [Plan], ledger: &Ledger, now: u64) -> bool {
        if self.end.gone || now < self.end.wakes {
            return false;
        }
        if world.rng.one_in(60) {
            self.end.wakes = now + world.rng.pause();
        }
        let most = world.rng.piece();
        let bytes = world.peer_read(self.end.link, most);
        let mut moved = !bytes.is_empty();
        self.receive(&bytes, plans);
        moved |= self.end.send(world);
        let plan = self.plan.map(|number| &plans[number]);
        let leaves = plan.and_then(|plan| plan.server_leaves).filter(|(after, _)| self.end.sent >= *after);
        if let Some((_, reset)) = leaves {
            self.end.leave(world, reset);
            return true;
        }
        let over = world.is_over(self.end.link);
        let waits = plan.is_some_and(|plan| plan.first_end == FirstEnd::Client) && !over;
        let all_sent = self.end.filter.established && self.end.sent == self.end.out.len();
        if (all_sent && !waits || over && !self.end.filter.established) && !self.end.finished {
            self.end.finish(world);
            moved = true;
        }
        if self.end.is_over(world) {
            let cut = world.links[self.end.link].cut || ledger.draining || !ledger.honest;
            let whole = plan.is_some_and(|plan| self.end.at == plan.asks);
            assert!(cut || whole, "bytes for the server are lost: {} came", self.end.at);
            self.end.leave(world, false);
            return true;
        }
        moved
    }

    fn receive(&mut self, bytes: &[u8], plans: &mut [Plan]) {
        if self.plan.is_some() {
            return self.serve(bytes, plans);
        }
        self.hello.extend_from_slice(bytes);
        let Some(hello) = ClientHello::read(&self.hello).expect("a hello first") else { return };
        let name = hello.name.expect("with a name");
        let number: usize = name.strip_suffix(KNOWN).expect("a known one").parse().expect("a number");
        let plan = &mut plans[number];
        assert!(!std::mem::replace(&mut plan.seen, true), "a hello was sent twice");
        let rest = self.hello.split_off(plan.hello.len());
        assert_eq!(self.hello, plan.hello);
        (self.plan, self.end.key) = (Some(number), request_key(key(number)));
        self.serve(&rest, plans);
    }

    fn serve(&mut self, bytes: &[u8], plans: &[Plan]) {
        let established = self.end.filter.established;
        self.end.take(bytes, false);
        if let Some(number) = self.plan.filter(|_| self.end.filter.established != established) {
            self.end.out.extend(sealed(response_key(key(number), 1), plans[number].answers));
        }
    }
}
