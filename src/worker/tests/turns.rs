//! Order and length of turns.

use std::cell::Cell;
use std::rc::Rc;

use super::*;

const FIVE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\
    GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Returns a core whose script answers; each clock reading within a turn advances the clock by `micros`.
fn answering(script: &'static [u8], micros: u64) -> Core<Net> {
    let mut source = Source::in_memory(Path::new("site.lua"), script);
    let (config, script) = load(&mut source).map_err(|e| e.0).unwrap();
    let network = Net { servers: VecDeque::new(), short: false, tokens: Vec::new() };
    let time = Rc::new(Cell::new(0));
    let clock = move || time.replace(time.get() + micros);
    Core::new(network, Sites::new(SiteParts::alone(Arc::new(config), script), 0), None, clock)
}

fn ended(core: &Core<Net>, end: &str) -> u64 {
    core.counters().all().find(|(text, _)| *text == end).unwrap().1
}

const ANSWERS: &[u8] = b"rsp.listen '127.0.0.1:1'\nrsp.pool { servers = { '127.0.0.1:2' } }\n\
    rsp.on_request(function(req) return rsp.respond { body = 'ok' } end)";

#[test]
fn slow_pipelined_requests_yield_to_other_clients() {
    let mut core = answering(ANSWERS, 3_000);
    arrives(&mut core, FIVE);
    arrives(&mut core, REQUEST);
    core.turns();
    assert_eq!(ended(&core, "answered"), 2, "one of each client");
    for all in [3, 4, 5, 6] {
        assert!(core.has_turns());
        core.turns();
        assert_eq!(ended(&core, "answered"), all, "none is forgotten");
    }
}

#[test]
fn quick_requests_of_one_client_are_answered_in_one_turn() {
    let mut core = answering(ANSWERS, 300);
    arrives(&mut core, FIVE);
    core.turns();
    assert_eq!(ended(&core, "answered"), 5);
}

#[test]
fn a_turn_ends_when_its_requests_take_too_long_in_all() {
    let mut core = answering(ANSWERS, 1_500);
    arrives(&mut core, FIVE);
    core.turns();
    assert_eq!(ended(&core, "answered"), 2, "3 ms in all");
}
