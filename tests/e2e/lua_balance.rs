//! `balance` as a Lua function: its arguments, its results, and when it runs again.

use crate::support::*;

#[test]
fn a_balance_function_chooses_the_server() {
    let origins = ["one", "two", "three"].map(Origin::named);
    let config = format!(
        "rsp.pool {{ servers = {{ {:?}, {:?}, {{ {:?}, name = 'third' }} }},
           balance = function(req, servers)
             for _, server in ipairs(servers) do
               if server.name == req.args.name or server.address == req.args.address then return server end
             end
             return servers[2]
           end }}",
        origins[0].address, origins[1].address, origins[2].address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    assert_eq!(get(rsp.address(), "/").text(), "two");
    assert_eq!(get(rsp.address(), "/?name=third").text(), "three");
    assert_eq!(get(rsp.address(), &format!("/?address={}", origins[0].address)).text(), "one");
}

#[test]
fn a_balance_function_runs_again_without_the_servers_that_failed() {
    let refusing = RefusingAddress::new();
    let origin = Origin::named("other");
    let config = format!(
        "rsp.pool {{ servers = {{ {{ {:?}, name = 'down' }}, {:?} }},
           balance = function(req, servers)
             for _, server in ipairs(servers) do if server.name == 'down' then return server end end
             return servers[#servers]
           end }}",
        refusing.address, origin.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    for _ in 0..5 {
        assert_eq!(get(rsp.address(), "/").text(), "other");
    }
}

#[test]
fn a_balance_function_sees_how_busy_the_servers_are() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            if request.head.target() == "/stay" {
                return visit.wait_for_end();
            }
            visit.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
                request.get("x-busy").unwrap_or("?").len(),
                request.get("x-busy").unwrap_or("?")
            ));
        }
    });
    let config = format!(
        "rsp.pool {{ servers = {{ {:?} }}, balance = function(req, servers)
           req.headers['X-Busy'] = tostring(servers[1].in_flight); return servers[1] end }}",
        origin.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    assert_eq!(get(rsp.address(), "/").text(), "0");
    let mut staying: Vec<Client> = (0..3).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut staying {
        client.ask("/stay");
    }
    until("three requests are in flight", || origin.head_count() == 4);
    assert_eq!(get(rsp.address(), "/").text(), "3");
    for client in &staying {
        client.wire.reset_on_close();
    }
    drop(staying);
    until("none is in flight", || get(rsp.address(), "/").text() == "0");
}

#[test]
fn a_balance_function_that_returns_no_server_is_an_error_of_the_script() {
    for returned in ["nil", "'text'", "{}", "servers"] {
        let origin = Origin::named("never");
        let config = format!(
            "rsp.pool {{ servers = {{ {:?} }},\n balance = function(req, servers) return {returned} end }}",
            origin.address
        );
        let rsp = Rsp::start(&on_any_port(&config));
        assert_eq!(get(rsp.address(), "/").status(), 500, "{returned}");
        until("the log names the file", || rsp.log().contains("rsp.lua"));
        assert_eq!(origin.connection_count(), 0);
    }
}

/// A pool `web` with this way to choose, whose only server refuses where that is wanted, and a `spare` for failures.
fn with_fallback(server: &str, spare: &Origin, choice: &str) -> Rsp {
    Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ name = 'web', servers = {{ {server:?} }}, {choice} }}
         rsp.pool {{ name = 'spare', servers = {{ {:?} }} }}
         rsp.settings {{ fallback = 'spare' }}
         rsp.on_request(function(req) req.headers['X-Changed'] = 'yes' req.path = '/changed' return 'web' end)",
        spare.address
    )))
}

#[test]
fn the_fallback_pool_gets_a_request_whose_balance_function_failed_as_it_came() {
    let (origin, spare) = (Origin::named("never"), Origin::named("spare"));
    for fails in ["error('broken')", "while true do end", "return 'no server'"] {
        let choice = format!("balance = function(req, servers) req.headers.A = 'b' {fails} end");
        let rsp = with_fallback(&origin.address, &spare, &choice);
        assert_eq!(get(rsp.address(), "/came").text(), "spare", "{fails}");
        let got = spare.last();
        assert_eq!((got.head.target(), got.get("x-changed"), got.get("a")), ("/came", None, None));
        rsp.wait_for_log("balance: ");
        rsp.wait_for_log("(the fallback pool spare takes the request)");
    }
    assert_eq!(origin.request_count(), 0);
}

#[test]
fn a_balance_function_that_fails_for_a_retry_leaves_the_request_to_the_fallback_pool() {
    let (refusing, other, spare) = (RefusingAddress::new(), Origin::named("never"), Origin::named("spare"));
    let rsp = Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ name = 'web', servers = {{ {{ {:?}, name = 'down' }}, {:?} }},
           balance = function(req, servers)
             for _, server in ipairs(servers) do if server.name == 'down' then return server end end
             error('none of these')
           end }}
         rsp.pool {{ name = 'spare', servers = {{ {:?} }} }}
         rsp.settings {{ fallback = 'spare' }}
         rsp.on_request(function(req) return 'web' end)",
        refusing.address, other.address, spare.address
    )));
    assert_eq!(get(rsp.address(), "/").text(), "spare");
    rsp.wait_for_log("none of these (the fallback pool spare takes the request)");
}

#[test]
fn a_balance_function_of_the_fallback_pool_itself_that_fails_is_a_500() {
    let origin = Origin::named("never");
    let rsp = Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ name = 'web', servers = {{ {:?} }}, balance = function() error('broken') end }}
         rsp.settings {{ fallback = 'web' }}",
        origin.address
    )));
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        assert_eq!(client.get("/").status(), 500);
    }
    rsp.wait_for_log("broken");
}

#[test]
fn a_hash_by_function_that_fails_is_named_in_the_log_and_leaves_the_request_as_it_came() {
    let (origin, spare) = (Origin::named("never"), Origin::named("spare"));
    let choice = "balance = 'hash', hash_by = function(req) error('no key') end";
    let rsp = with_fallback(&origin.address, &spare, choice);
    assert_eq!(get(rsp.address(), "/came").text(), "spare");
    let got = spare.last();
    assert_eq!((got.head.target(), got.get("x-changed")), ("/came", None));
    rsp.wait_for_log("no key (the fallback pool spare takes the request)");
    let log = rsp.log();
    assert!(log.contains("hash_by: ") && !log.contains("on_request: "), "{log}");
}

#[test]
fn a_hash_by_function_of_the_fallback_pool_that_fails_too_is_logged_and_the_pool_takes_the_request() {
    let (origin, spare) = (Origin::named("never"), Origin::named("spare"));
    let rsp = Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ name = 'web', servers = {{ {:?} }}, balance = function() error('broken') end }}
         rsp.pool {{ name = 'spare', servers = {{ {:?} }}, balance = 'hash',
           hash_by = function(req) error('no key') end }}
         rsp.settings {{ fallback = 'spare' }}
         rsp.on_request(function(req) return 'web' end)",
        origin.address, spare.address
    )));
    assert_eq!(get(rsp.address(), "/").text(), "spare");
    rsp.wait_for_log("broken (the fallback pool spare takes the request)");
    rsp.wait_for_log("no key (the fallback pool spare takes the request)");
    let log = rsp.log();
    assert!(log.contains("balance: ") && log.contains("hash_by: "), "{log}");
}
