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
