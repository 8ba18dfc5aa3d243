//! Memory used by connections, and memory kept after they close.

use super::*;
use crate::base::buffer::BLOCK;
use crate::net::Stream;
use crate::worker::conn::backend::Backend;
use crate::worker::conn::client::Client;
use crate::worker::conn::table::{BackendKey, ClientKey, Table};
use crate::worker::pair::Pair;

/// Bytes of a descriptor and its kind.
const SOCKET: usize = 8;
/// Bytes of an entry in the timer wheel.
const TIMER: usize = 12;

const LARGE: &[u8] = &{
    let mut head = [b'x'; 12_000];
    let (first, last) = (b"GET / HTTP/1.1\r\nHost: a\r\nx: ", b"\r\n\r\n");
    let mut at = 0;
    while at < first.len() {
        head[at] = first[at];
        at += 1;
    }
    let mut at = 0;
    while at < last.len() {
        head[12_000 - last.len() + at] = last[at];
        at += 1;
    }
    head
};

#[test]
fn an_idle_client_takes_less_than_one_hundred_and_sixty_bytes() {
    // mio's sockets are larger in builds with debug assertions.
    let besides = |slot: usize| slot - size_of::<Stream>() + SOCKET + TIMER;
    let client = besides(Table::<ClientKey, Client<Stream>>::SLOT);
    let server = besides(Table::<BackendKey, Backend<Stream>>::SLOT);
    println!("{client} bytes an idle client, {server} an idle server, {} an exchange", size_of::<Pair>());
    assert!(client <= 156, "{client}");
    assert!(server <= 156, "{server}");
    assert!(size_of::<Pair>() <= 600, "{}", size_of::<Pair>());
}

#[test]
fn memory_kept_after_four_thousand_concurrent_requests_is_bounded() {
    const CROWD: usize = 4_000;
    for request in [REQUEST, LARGE] {
        let server = || Wire::new(&[Came::Bytes(RESPONSE)]);
        let (mut core, _) = asked((0..CROWD + 1).map(|_| server()).collect());
        let clients: Vec<ClientToken> = (0..CROWD).map(|_| arrives(&mut core, request)).collect();
        core.turns();
        assert_eq!(core.counts(), (CROWD + 1, CROWD + 1, CROWD + 1));
        let most = core.footprint();
        for token in core.network.tokens.clone() {
            core.ready(token, BOTH);
        }
        core.turns();
        let gone = Ready { read_closed: true, hung_up: true, ..BOTH };
        for token in clients.into_iter().map(ClientToken::to_bits).chain(core.network.tokens.clone()) {
            core.ready(token, gone);
        }
        core.turns();
        assert_eq!(core.counts(), (1, 0, 0));
        assert!(core.has_surplus());
        // The first `trim` only records what was in use since the last one, which is everything.
        for _ in 0..2 {
            core.trim();
        }
        let kept = core.footprint();
        println!("at most {most}; kept {kept}");
        assert!(kept.slots <= 64 * 200 && kept.timers <= 64 * TIMER, "{kept}");
        assert!(kept.pairs <= 160 * 1024, "{kept}");
        assert!(kept.blocks <= 8 * BLOCK, "{kept}");
        assert!(!core.has_surplus(), "it would be looked at for ever");
    }
}
