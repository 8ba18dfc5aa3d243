//! What rsp counts, said in five ways (the access log, `/metrics`, `/api/state`, `show stat`, `show info`), against what
//! clients and servers have counted themselves: 100,000 mixed requests, a part of which ends badly, over reloads that
//! remove a server and bring it back. `RSP_COUNTED_REQUESTS` sets another number.

mod client;
mod said;
mod server;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use self::client::Requests;
use self::said::{Line, Said};
use self::server::Tally;
use crate::alone;
use crate::support::*;

const CLIENTS: u64 = 8;
/// The pause between two reloads.
const RELOAD_EVERY: Duration = Duration::from_millis(700);

/// What a request is, and what happens to it; the path's second part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Get,
    Chunked,
    Large,
    Post,
    PostChunked,
    Moved,
    NotFound,
    Broken,
    Empty,
    Head,
    /// In HTTP/1.0.
    Old,
    /// The client's connection ends with it, or the server's does.
    Close,
    UntilClose,
    /// Answered by the script.
    Own,
    /// The script fails.
    Fails,
    /// The client's request is malformed, ends within its head or its body, or it leaves within the response.
    Malformed,
    HalfHead,
    HalfBody,
    Leaves,
    /// The server ends within its response, without one (also at the first time only), or its response is malformed.
    Cut,
    Drops,
    DropsFirst,
    BadAnswer,
    /// No server accepts the connection, or it is too slow.
    Refused,
    Late,
}

impl Kind {
    /// With how many of 200 requests are of it.
    const ALL: [(Kind, u64); 25] = [
        (Kind::Get, 68),
        (Kind::Chunked, 12),
        (Kind::Large, 10),
        (Kind::Post, 16),
        (Kind::PostChunked, 12),
        (Kind::Moved, 4),
        (Kind::NotFound, 8),
        (Kind::Broken, 6),
        (Kind::Empty, 4),
        (Kind::Head, 4),
        (Kind::Old, 4),
        (Kind::Close, 8),
        (Kind::UntilClose, 3),
        (Kind::Own, 8),
        (Kind::Fails, 4),
        (Kind::Malformed, 4),
        (Kind::HalfHead, 3),
        (Kind::HalfBody, 3),
        (Kind::Leaves, 2),
        (Kind::Cut, 3),
        (Kind::Drops, 3),
        (Kind::DropsFirst, 3),
        (Kind::BadAnswer, 3),
        (Kind::Refused, 4),
        (Kind::Late, 1),
    ];

    /// Of the request with this number.
    fn of(number: u64) -> Kind {
        // Neighbours are of different kinds.
        let mut left = number.wrapping_mul(73) % 200;
        for (kind, share) in Kind::ALL {
            match left.checked_sub(share) {
                Some(rest) => left = rest,
                None => return kind,
            }
        }
        Kind::Get
    }

    fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn from_word(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().map(|(kind, _)| kind).find(|kind| kind.word() == word)
    }

    /// Nothing goes wrong with it, so that exactly one server sees it, once.
    fn is_plain(self) -> bool {
        use Kind::*;
        matches!(
            self,
            Get | Chunked
                | Large
                | Post
                | PostChunked
                | Moved
                | NotFound
                | Broken
                | Empty
                | Head
                | Old
                | Close
                | UntilClose
        )
    }
}

fn count() -> u64 {
    let count = std::env::var("RSP_COUNTED_REQUESTS").ok().and_then(|text| text.parse().ok());
    count.unwrap_or(100_000)
}

fn config(servers: &[Origin], late: &Origin, refusing: &str, socket: &str) -> String {
    let server = |(at, origin): (usize, &Origin)| format!("{{ '{}', name = 's{at}' }}", origin.address);
    let servers: Vec<String> = servers.iter().enumerate().map(server).collect();
    format!(
        "rsp.listen {{ '127.0.0.1:0', name = 'tcp' }}
         rsp.listen {{ 'unix:{socket}/front.sock', name = 'unix' }}
         local web = rsp.pool {{ name = 'web', servers = {{ {} }}, eject = false, retry_budget = 1 }}
         local late = rsp.pool {{ name = 'late', servers = {{ {{ '{}', name = 'late' }} }}, eject = false,
           timeouts = {{ response = '50ms' }} }}
         local refused = rsp.pool {{ name = 'refused', servers = {{ {{ '{refusing}', name = 'none' }} }}, eject = false }}
         rsp.on_request(function(req)
           local kind = req.path:match('/(%a+)$')
           if kind == 'own' then return rsp.respond {{ status = 403, body = 'no' }} end
           if kind == 'fails' then error('it fails') end
           if kind == 'late' then return late end
           if kind == 'refused' then return refused end
           return web
         end)
         rsp.settings {{ workers = 2, admin = '127.0.0.1:0', control = '{socket}/control.sock',
           metrics = {{ hosts = 3 }}, access_log = {{ 'access.log', format = 'json' }} }}",
        servers.join(", "),
        late.address,
    )
}

/// Reloads with one server less and with all, until told to stop; at the end all are there.
fn reload_in_turns(rsp: &Rsp, configs: &[String; 2], stop: &AtomicBool) -> usize {
    let mut reloads = 0usize;
    while !stop.load(Ordering::Relaxed) || !reloads.is_multiple_of(2) {
        std::thread::sleep(RELOAD_EVERY);
        reloads += 1;
        rsp.reload(&configs[reloads % 2]);
    }
    reloads
}

/// All requests of all clients; returns what they saw, and how many reloads there were.
fn run(rsp: &Rsp, configs: &[String; 2]) -> (Vec<Requests>, usize) {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reloading = scope.spawn(|| reload_in_turns(rsp, configs, &stop));
        let client = |at: u64| {
            let (address, next) = (&rsp.addresses()[at as usize % 2], &next);
            scope.spawn(move || Requests::run(address, next, count()))
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        let seen = clients.into_iter().map(|client| client.join().expect("a client")).collect();
        stop.store(true, Ordering::Relaxed);
        (seen, reloading.join().expect("the reloads"))
    })
}

#[test]
fn log_metrics_state_and_stat_agree_with_clients_and_servers() {
    let _alone = alone();
    let directory = Directory::new();
    let tally = Tally::default();
    let servers = [0, 1, 2].map(|at| tally.server(at));
    let (late, refusing) = (tally.late(), RefusingAddress::new());
    let socket = directory.path().display().to_string();
    let of = |servers: &[Origin]| config(servers, &late, &refusing.address, &socket);
    let configs = [of(&servers), of(&servers[..2])];
    let rsp = Rsp::start_in(directory, &configs[0]);

    let (seen, reloads) = run(&rsp, &configs);

    let said = Said::once_quiet(&rsp, count());
    println!("{} requests, {reloads} reloads; ends: {:?}", said.lines.len(), said.ends());
    assert!(reloads >= 2, "there was nothing in between");
    said.agrees_with_itself();
    clients_agree(&said, &seen);
    servers_agree(&said, &tally);
    let wrong = said.wrong.take();
    assert!(
        wrong.is_empty(),
        "{} disagreements:\n{}",
        wrong.len(),
        wrong.iter().take(40).cloned().collect::<Vec<_>>().join("\n")
    );
    rsp.stop();
}

/// Every request has one line, with the status that its client got.
fn clients_agree(said: &Said, seen: &[Requests]) {
    let mut lines: Vec<Option<&Line>> = vec![None; count() as usize];
    for line in &said.lines {
        let place = &mut lines[line.number as usize];
        assert!(place.is_none(), "two lines: {place:?} {line:?}");
        *place = Some(line);
    }
    let connections: u64 = seen.iter().map(|client| client.connections).sum();
    said.same(said.info("CumConns"), connections, "said.info(CumConns)");
    for (number, status) in seen.iter().flat_map(|client| &client.answers) {
        let line = lines[*number as usize].unwrap_or_else(|| panic!("no line of request {number}"));
        said.same(line.status, *status, format_args!("{line:?}"));
    }
    let body: u64 = seen.iter().map(|client| client.body_bytes).sum();
    let logged: u64 = said.lines.iter().filter(|line| line.kind != Kind::Leaves).map(|line| line.sent).sum();
    said.same(logged, body, "bytes of bodies that clients have");
}

/// What servers saw is what rsp says it sent there.
fn servers_agree(said: &Said, tally: &Tally) {
    let seen = tally.seen();
    for line in said.lines.iter().filter(|line| line.kind.is_plain()) {
        let at = seen.get(&line.number).unwrap_or_else(|| panic!("no server saw {line:?}"));
        said.same(
            (line.retries, at.as_slice()),
            (0, [line.server.clone()].as_slice()),
            format_args!("{line:?}"),
        );
    }
    for server in ["s0", "s1", "s2"] {
        let heads = seen.values().flatten().filter(|of| *of == server).count() as u64;
        // A client that left within its request may have done so before the server had anything of it.
        let unseen = |line: &&Line| line.kind == Kind::HalfBody && !seen.contains_key(&line.number);
        let lost = said.lines.iter().filter(|line| line.server == server).filter(unseen).count() as u64;
        said.same(
            said.stat("web", server, "stot"),
            heads + lost,
            format_args!("{server}: stot, heads that it saw"),
        );
        let answered = tally.answered(server);
        let logged = said.lines.iter().filter(|line| line.server == server && line.end == "complete");
        let mut by_class = [0; 10];
        logged.for_each(|line| by_class[usize::from(line.status) / 100] += 1);
        said.same(by_class, answered, format_args!("{server}: whole answers by class"));
    }
}
