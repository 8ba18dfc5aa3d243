//! Two sites side by side, and when the old one is freed.

use super::*;
use crate::balance::Servers;

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha";

/// Loads the config as the next site of a process that has these servers.
fn site(servers: &Servers, generation: u64, config: &str) -> SiteParts {
    let text = format!("rsp.listen '127.0.0.1:1' {config}");
    let loaded = load(&mut Source::in_memory(Path::new("site.lua"), text.as_bytes()));
    let (config, script) = loaded.map_err(|e| e.0).unwrap();
    let (servers, config) = (servers.of(&config), Arc::new(config));
    Servers::adopt(&config, &servers, &|_, _| None);
    SiteParts { generation, servers, config, script }
}

const ONE: &str = "rsp.pool { name = 'web', servers = { { '127.0.0.1:2', name = 'a' } } }";

fn core(servers: &Servers, wires: Vec<Wire>) -> Core<Net> {
    let network = Net { servers: wires.into(), short: false, tokens: Vec::new() };
    Core::new(network, Sites::new(site(servers, 1, ONE), 0), None, || 0)
}

fn event(core: &mut Core<Net>, number: usize) {
    core.ready(core.network.tokens[number], BOTH);
    core.turns();
}

#[test]
fn an_old_site_lives_as_long_as_its_exchanges_and_its_script_until_their_responses() {
    let servers = Servers::new(1);
    let mut core = core(&servers, vec![Wire::new(&[Came::Bytes(HALF), Came::Bytes(b"lf")])]);
    arrives(&mut core, REQUEST);
    core.turns();
    core.set_site(site(&servers, 2, ONE));
    assert_eq!(core.old_sites(), (1, 1), "the response may still be shown to its script");
    // Both parts of the response come in one turn if there is room.
    event(&mut core, 0);
    assert_eq!(core.old_sites(), (0, 0));
    assert_eq!(core.counts(), (1, 1, 0), "the connection waits for the next request");
}

#[test]
fn a_download_or_a_tunnel_keeps_no_script() {
    for (request, response) in [(UPGRADE, SWITCH), (REQUEST, HALF)] {
        for began in [true, false] {
            let servers = Servers::new(1);
            let mut core = core(&servers, vec![Wire::new(&[Came::Bytes(response)])]);
            arrives(&mut core, request);
            core.turns();
            if began {
                event(&mut core, 0);
            }
            core.set_site(site(&servers, 2, ONE));
            if !began {
                event(&mut core, 0);
            }
            assert_eq!(core.old_sites(), (1, 0));
        }
    }
}

#[test]
fn idle_connections_are_closed_when_a_reload_removes_or_moves_their_server() {
    for (config, kept) in [
        (ONE, 1),
        ("rsp.pool { name = 'web', servers = { { '127.0.0.1:2', name = 'b' } } }", 0),
        ("rsp.pool { name = 'web', servers = { { '127.0.0.1:3', name = 'a' } } }", 0),
        ("rsp.pool { name = 'web', strict = true, servers = { { '127.0.0.1:2', name = 'a' } } }", 0),
    ] {
        for idle in [true, false] {
            let servers = Servers::new(1);
            let mut core = core(&servers, vec![Wire::new(&[Came::Bytes(RESPONSE)])]);
            arrives(&mut core, REQUEST);
            core.turns();
            if idle {
                event(&mut core, 0);
                assert_eq!(core.counts(), (1, 1, 0));
            }
            core.set_site(site(&servers, 2, config));
            if !idle {
                event(&mut core, 0);
            }
            assert_eq!(core.counts(), (1, kept, 0), "{config}");
        }
    }
}
