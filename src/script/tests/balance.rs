//! `balance` functions: their arguments and their results.

use super::*;

const ALL: [ServerId; 3] = [ServerId(0), ServerId(1), ServerId(2)];

fn pick(script: &mut Script, candidates: &[ServerId], in_flight: &[u32]) -> Result<u32, String> {
    let picked = script.balance(&mut usual(), client(), offer(WEB, candidates, in_flight));
    picked.map(|server| server.0).map_err(|ScriptError(line)| line)
}

fn once(body: &str) -> Result<u32, String> {
    pick(&mut script(&format!("function balance(req, servers)\n{body}\nend")), &ALL, &[5, 3, 4])
}

#[test]
fn a_balance_function_sees_names_addresses_and_live_numbers() {
    let least = "local best = servers[1]\n\
                 for _, s in ipairs(servers) do if s.in_flight < best.in_flight then best = s end end\n\
                 return best";
    assert_eq!(once(least), Ok(1));
    let mut script = script(&format!("function balance(req, servers) {least} end"));
    assert_eq!(pick(&mut script, &ALL, &[5, 3, 4]), Ok(1));
    assert_eq!(pick(&mut script, &ALL, &[1, 3, 4]), Ok(0));
    assert_eq!(pick(&mut script, &ALL[1..], &[1, 3, 2]), Ok(2));
    let text =
        "error(#servers .. servers[3].name .. servers[3].address .. tostring(servers[2]) .. req.path, 0)";
    assert_eq!(once(text), Err("site.lua:1: 3c10.0.0.3:80b/static/a%20b".into()));
}

#[test]
fn round_robin_alternates_and_the_objects_stay_the_same() {
    let source = "local i = 0\n\
                  function balance(req, servers) i = i % #servers + 1\n\
                  if first then assert(first == servers[1]) else first = servers[1] end\n\
                  return servers[i] end";
    let mut script = script(source);
    let picked: Vec<_> = (0..6).map(|_| pick(&mut script, &ALL, &[0; 3]).unwrap()).collect();
    assert_eq!(picked, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn changes_to_the_table_of_servers_do_not_last() {
    for harm in [
        "table.sort(servers, function(a, b) return a.name > b.name end)",
        "table.remove(servers)",
        "servers[1] = nil",
        "servers[2] = 5",
        "servers[4] = servers[1]",
        "for i = 1, 3 do servers[i] = nil end",
        "kept = servers",
    ] {
        let source = format!(
            "function balance(req, servers)\nif kept then kept[1] = kept[2] end\n\
             assert(#servers == 3 and servers[1].name == 'a' and servers[2].name == 'b' and servers[3].name == 'c')\n\
             local last = servers[3] {harm} return last end"
        );
        let mut script = script(&source);
        for _ in 0..4 {
            let picked = pick(&mut script, &ALL, &[0; 3]);
            // The script that kept the table changes it before reading it, within the same call.
            assert!(picked == Ok(2) || harm == "kept = servers", "{harm}: {picked:?}");
        }
    }
}

#[test]
fn only_one_of_the_servers_given_is_accepted() {
    for (value, what) in
        [("nil", "nil"), ("'a'", "a string"), ("1", "a number"), ("servers", "a table"), ("web", "a pool")]
    {
        let message =
            format!("site.lua:1: balance returned {what}, expected one of the servers it was given");
        assert_eq!(once(&format!("return {value}")), Err(message));
    }
    let mut script = script("function balance(req, servers) kept = kept or servers[1] return kept end");
    assert_eq!(pick(&mut script, &ALL, &[0; 3]), Ok(0));
    let message = "site.lua:1: balance returned server \"a\", which is not one of the servers it was given";
    assert_eq!(pick(&mut script, &ALL[1..], &[0; 3]), Err(message.into()));
    let picked = script.balance(&mut usual(), client(), offer(API, &[ServerId(0)], &[0]));
    assert_eq!(picked.unwrap_err().0, message);
}

#[test]
fn a_balance_function_sees_weight_state_and_latency() {
    let shown = "error(table.concat({ servers[1].weight, tostring(servers[3].up), tostring(servers[1].latency),\n\
                 servers[2].latency, servers[3].latency }, ' '), 0)";
    assert_eq!(once(shown), Err("site.lua:1: 1 false nil 0.0015 2.0".into()));
}

#[test]
fn servers_are_read_only_and_their_fields_known() {
    let known =
        "site.lua:2: server.colour: no such field, known are name, address, in_flight, weight, up, latency";
    assert_eq!(once("return servers[1].colour"), Err(known.into()));
    assert_eq!(once("servers[1].name = 'x'"), Err("site.lua:2: a server is read-only".into()));
    let source = "function balance(req, servers) kept = servers[1] return kept end\n\
                  function on_request() return rsp.redirect(kept.name .. kept.in_flight) end";
    let mut script = script(source);
    pick(&mut script, &ALL, &[0; 3]).unwrap();
    refused(
        run(&mut script, &mut usual()),
        "site.lua:2: server.in_flight: known only while the balance function of its pool runs",
    );
}

#[test]
fn a_pool_without_a_balance_function_is_an_error_and_not_a_crash() {
    let mut script = script("");
    assert!(pick(&mut script, &ALL, &[0; 3]).is_err());
    assert!(script.balance(&mut usual(), client(), offer(PoolId(9), &[], &[])).is_err());
}

#[test]
fn invalid_server_lists_fail_only_the_call() {
    let mut script = script("function balance(req, servers) return servers[1].in_flight and servers[1] end");
    assert!(pick(&mut script, &ALL, &[]).is_err());
    assert!(pick(&mut script, &[ServerId(77)], &[0; 3]).is_err());
    assert_eq!(pick(&mut script, &ALL, &[0; 3]), Ok(0));
}

fn servers(names: &[&str]) -> Vec<ServerNames> {
    let server = |name: &&str| ServerNames { name: (*name).into(), address: "10.1.0.1:80".into() };
    names.iter().map(server).collect()
}

#[test]
fn servers_that_come_and_go_keep_their_objects_as_long_as_they_are_in_use() {
    let source = "function balance(req, servers)\n\
                  local all = {} for i, s in ipairs(servers) do all[i] = s.name .. '=' .. s.address end\n\
                  b = b or servers[2] if keep then return b end\n\
                  error(table.concat(all, ' ') .. ' ' .. tostring(b == servers[1]) .. ' ' .. tostring(b.name), 0) end\n\
                  function on_request() keep = true return web, b end";
    let mut script = script(source);
    let shown = |script: &mut Script, all: &[ServerId]| pick(script, all, &[0; 3]).unwrap_err();
    assert_eq!(shown(&mut script, &ALL), "site.lua:1: a=10.0.0.1:80 b=10.0.0.2:80 c=10.0.0.3:80 false b");
    script.set_servers(WEB, servers(&["b", "x"])).unwrap();
    assert_eq!(shown(&mut script, &ALL[..2]), "site.lua:1: b=10.0.0.2:80 x=10.1.0.1:80 true b");
    assert_eq!(script.server_name(WEB, ServerId(2)), Some("a"), "those of the config stay known");
    script.set_servers(WEB, servers(&["x"])).unwrap();
    assert_eq!(shown(&mut script, &ALL[..1]), "site.lua:1: x=10.1.0.1:80 false nil");
    assert!(matches!(run(&mut script, &mut usual()), Ok(Verdict::Server { .. })));
    assert!(pick(&mut script, &ALL[..1], &[0]).unwrap_err().contains("not one of the servers it was given"));
    for round in 0..100 {
        script.set_servers(WEB, servers(if round % 2 == 0 { &["y", "x"] } else { &["x"] })).unwrap();
    }
}
