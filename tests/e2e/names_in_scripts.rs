//! Names of servers in scripts: each address is a server of its own there too, by name and in `balance` functions.

use crate::support::*;

/// Origins at 127.0.0.1 to 127.0.0.3, with their port.
fn origins() -> (u16, [Origin; 3]) {
    let port = free_port();
    let at = |(last, name)| Origin::named_at(&format!("127.0.0.{last}:{port}"), name);
    (port, [(1, "one"), (2, "two"), (3, "three")].map(at))
}

/// A pool of the server `app`, and what follows.
fn start(names: &NameServer, port: u16, options: &str, rest: &str) -> Rsp {
    Rsp::start(&on_any_port(&format!(
        "local web = rsp.pool {{ name = 'web', servers = {{ {{ 'app.test:{port}', name = 'app', resolve = '100ms' }} }}, {options} }}
         rsp.settings {{ resolver = {:?}, script = {{ globals = true }} }}
         {rest}",
        names.address
    )))
}

#[test]
fn a_script_names_one_address_of_a_name() {
    let (port, _origins) = origins();
    let names = NameServer::with("app.test", &[1, 2]);
    let rsp = start(&names, port, "", "rsp.on_request(function(req) return web, req.args.server end)");
    let status = |server: &str| get(rsp.address(), &format!("/?server={server}")).status();
    let text = |server: &str| get(rsp.address(), &format!("/?server={server}")).text();
    for _ in 0..3 {
        assert_eq!((&*text("app/127.0.0.1"), &*text("app/127.0.0.2")), ("one", "two"));
        assert_eq!(text(&format!("127.0.0.2:{port}")), "two");
        assert_eq!(text("app"), "one", "the first one that is up");
    }
    assert_eq!(status("app/127.0.0.3"), 500);
    rsp.wait_for_log("on_request: pool \"web\" has no server \"app/127.0.0.3\", did you mean");
    names.set("app.test", &[2, 3]);
    rsp.wait_for_log("server web/app/127.0.0.1 is gone");
    assert_eq!((&*text("app/127.0.0.3"), &*text("app")), ("three", "two"));
    assert_eq!(status("app/127.0.0.1"), 500);
}

#[test]
fn a_name_without_an_address_is_known_to_a_script_and_is_down() {
    let (port, _origins) = origins();
    let names = NameServer::new();
    let rsp = start(&names, port, "", "rsp.on_request(function(req) return web, 'app' end)");
    assert_eq!(get(rsp.address(), "/").status(), 503);
    names.set("app.test", &[1]);
    rsp.wait_for_log("server web/app/127.0.0.1 is new");
    assert_eq!(get(rsp.address(), "/").text(), "one");
}

#[test]
fn a_balance_function_gets_every_address_as_a_server() {
    let (port, origins) = origins();
    let names = NameServer::with("app.test", &[1, 2]);
    let balance = "balance = function(req, servers)
        local list = {}
        for i, server in ipairs(servers) do
          list[i] = server.name .. '=' .. server.address .. (server.up and '' or '!') .. server.in_flight
          kept = kept or server
          if server.name == req.args.name then req.headers['X-Seen'] = table.concat(list, ' ') return server end
        end
        if req.args.kept then return kept end
        return servers[#servers]
      end";
    let rsp = start(&names, port, balance, "");
    let text = |query: &str| get(rsp.address(), &format!("/?{query}")).text();
    assert_eq!(
        (&*text("name=app/127.0.0.1"), &*text("name=app/127.0.0.2"), &*text("")),
        ("one", "two", "two")
    );
    assert_eq!(
        origins[1].requests()[0].get("x-seen"),
        Some(&*format!("app/127.0.0.1=127.0.0.1:{port}0 app/127.0.0.2=127.0.0.2:{port}0"))
    );
    assert_eq!(text("kept=1"), "one");
    names.set("app.test", &[2, 3]);
    rsp.wait_for_log("server web/app/127.0.0.1 is gone");
    assert_eq!((&*text("name=app/127.0.0.2"), &*text("")), ("two", "three"));
    assert_eq!(get(rsp.address(), "/?kept=1").status(), 500, "of a server that is gone");
    rsp.wait_for_log("which is not one of the servers it was given");
    names.set("app.test", &[1, 2, 3]);
    until("it is back", || rsp.log().matches("web/app/127.0.0.1 is new").count() == 2);
    assert_eq!(
        (&*text("name=app/127.0.0.1"), &*text("name=app/127.0.0.2"), &*text("")),
        ("one", "two", "three")
    );
}

#[test]
fn a_server_that_a_script_kept_follows_its_place_in_the_answer() {
    let (port, _origins) = origins();
    let names = NameServer::with("app.test", &[2]);
    let rsp = start(
        &names,
        port,
        "balance = function(req, servers) kept = kept or servers[1] return kept end",
        "rsp.on_request(function(req) if req.path == '/named' then return web, kept end return web end)",
    );
    assert_eq!(get(rsp.address(), "/").text(), "two");
    names.set("app.test", &[1, 2, 3]);
    rsp.wait_for_log("server web/app/127.0.0.3 is new");
    for path in ["/", "/named", "/"] {
        assert_eq!(get(rsp.address(), path).text(), "two", "{path}");
    }
}
