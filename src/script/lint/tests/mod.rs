//! Warnings, one kind a test.
//! Texts are loaded as a config is, since warnings are only made of those.

use std::path::Path;

use super::lint;
use super::syntax::parse;
use crate::script::{Source, load};

const TWO: &str = "rsp.listen '127.0.0.1:0'
local web = rsp.pool { name = 'web', servers = { '127.0.0.1:1' } }
local api = rsp.pool { name = 'api', servers = { '127.0.0.1:2' } }
";

/// The warnings about a config of two pools and this script, whose first line is 4.
fn warnings(script: &str) -> Vec<String> {
    let source = &mut Source::in_memory(Path::new("site.lua"), format!("{TWO}{script}").as_bytes());
    let (config, script) = load(source).map_err(|error| error.0).expect("a config");
    let line = |warning: crate::config::Warning| format!("{}: {}", warning.position, warning.text);
    lint(source, &config, &script).into_iter().map(line).collect()
}

/// The only warning about a handler with this body, which begins on line 5.
fn about(body: &str) -> String {
    let found = warnings(&format!(
        "rsp.on_request(function(req)\n{body}\nif req.host == 'a' then return web end return api end)"
    ));
    assert_eq!(found.len(), 1, "{body}: {found:?}");
    found.into_iter().next().unwrap_or_default()
}

fn is_silent(script: &str) {
    assert_eq!(warnings(script), [""; 0], "{script}");
}

#[test]
fn fields_that_objects_do_not_have_are_named_with_the_nearest() {
    for (body, wanted) in [
        ("local p = req.pth", "site.lua:5: req.pth: no such field, did you mean \"path\"?"),
        ("if req.tls.sn == 'a' then return api end", "req.tls.sn: no such field, did you mean \"sni\"?"),
        ("if req.host == 'x' then rsp.slep('1s') end", "rsp.slep: no such field, did you mean \"sleep\"?"),
        ("local b = req:bdy()", "req.bdy: no such field, did you mean \"body\"?"),
        ("req.method = 'GET'", "req.method: cannot be assigned, it is read-only"),
        ("req.headers = {}", "expected req.headers[\"NAME\"] = …"),
        ("if req.host == 'x' then rsp.sleep = 1 end", "rsp.sleep: cannot be assigned, expected a call of it"),
        (
            "if req.host == 'x' then return rsp.respond { stats = 1 } end",
            "unknown key \"stats\", did you mean",
        ),
        ("if req.host == 'x' then return rsp.respond { status = '200' } end", "status: got a string"),
    ] {
        assert!(about(body).contains(wanted), "{body}: {}", about(body));
    }
    is_silent(
        "rsp.on_request(function(r) if r:body() then r.path = r.path return web, 'x' end return api end)",
    );
    is_silent(
        "rsp.on_request(function(req) req = { pth = 1 } return req.pth and web or api end)
         rsp.on_response(function(req, res) res.status = 200 res.cookies.x = 'y' end)
         rsp.on_connect(function(c) return c.client_ip ~= c.listener end)",
    );
}

#[test]
fn a_handler_that_may_return_nothing_is_found_also_where_it_asks_another_function() {
    let found =
        warnings("rsp.on_request(function(req)\nif req.host == 'a' then return web end\nprint(api)\nend)");
    assert_eq!(
        found,
        ["site.lua:7: on_request may come here without returning anything, and there are 2 pools"]
    );
    let found = warnings(
        "local function f(x)\nif x then return web end\nend\nrsp.on_request(function(r) return f(api) end)",
    );
    assert!(found.len() == 1 && found[0].starts_with("site.lua:6: "), "{found:?}");
    is_silent("rsp.on_request(function(r) if r.host == 'a' then return web else return api end end)");
    is_silent(
        "rsp.on_request(function(r) while true do if r.host == 'a' then return web end return api end end)",
    );
    is_silent("rsp.on_request(function(r) if r.host == 'a' then return web end print(api) error('no') end)");
}

#[test]
fn what_is_returned_has_to_be_a_pool_or_an_answer() {
    for (body, wanted) in [
        ("if req.host == 'x' then return 'wbe' end", "no pool is named \"wbe\", did you mean \"web\"?"),
        ("if req.host == 'x' then return 42 end", "on_request returns a number, expected a pool"),
        (
            "if req.host == 'x' then return wbe end",
            "global 'wbe' is nil here: nothing assigns it, did you mean",
        ),
        ("if req.host == 'x' then return nil end", "on_request returns nothing here"),
        ("do return web end print 'x'", "nothing reaches this line"),
    ] {
        assert!(about(body).contains(wanted), "{body}: {}", about(body));
    }
}

#[test]
fn a_global_is_wrong_where_requests_assign_it_and_where_nothing_does() {
    assert!(about("hits = 1").starts_with("site.lua:5: global 'hits' is assigned while requests run"));
    let found = warnings(
        "local function count()\nhits = 1\nend\n\
         rsp.on_request(function(req) count() return req.host == 'a' and web or api end)",
    );
    assert!(found.len() == 1 && found[0].starts_with("site.lua:5: global 'hits'"), "{found:?}");
    is_silent(
        "rsp.settings { script = { globals = true } }
         rsp.on_request(function(req) hits = (hits or 0) + 1 return req.host == 'a' and web or api end)",
    );
    is_silent(
        "table_of = { a = web, b = api }
         local function setup() more = 1 end setup()
         local unpack = table.unpack or unpack
         function pick(h) return table_of[h] or web end
         if jit then print(jit.version) end
         rsp.on_request(function(req) return pick(req.host) end)",
    );
}

#[test]
fn a_pattern_from_the_client_is_found_through_variables_and_concatenation() {
    for body in [
        "local x = ('a'):find(req.args.q)",
        "local q = req.headers['X']:lower() local x = string.match('a', '^' .. q)",
        "for _, v in req.headers:all('X') do local x = ('a'):gsub(v, '') end",
    ] {
        let found = warnings(&format!("rsp.on_request(function(req) {body} return x and web or api end)"));
        let of_pattern = found.iter().any(|line| line.contains("the pattern comes from the client"));
        assert!(of_pattern != body.starts_with("for"), "{body}: {found:?}");
    }
    is_silent(
        "rsp.on_request(function(req)
           local q = req.args.q
           local x = ('a'):find(q, 1, true) or req.path:find('^/a') or ('a'):find((q:gsub('%W', '%%%0')))
           return x and web or api
         end)",
    );
    is_silent(
        "local bots = rsp.regex 'bot'
         rsp.on_request(function(req) return bots:match(req.headers['User-Agent'] or '') and web or api end)",
    );
}

#[test]
fn a_pool_that_nothing_names_is_unused() {
    let found = warnings(
        "rsp.pool { name = 'old', servers = { '127.0.0.1:3' } }\nlocal x = rsp.pool { servers = { '127.0.0.1:4' } }\nrsp.on_request(function(req) return req.host == 'a' and web or 'api' end)",
    );
    assert_eq!(found, ["site.lua:4: pool \"old\" is never used", "site.lua:5: pool is never used"]);
    is_silent(
        "local all = { rsp.pool { name = 'c', servers = { '127.0.0.1:3' } } }
         rsp.pool { name = 'd', servers = { '127.0.0.1:4' } }
         local names = { a = 'd' }
         rsp.on_request(function(req) return all[1] or names[req.host] or web or api end)",
    );
    is_silent("rsp.pool { name = 'p-x', servers = { '127.0.0.1:4' } }
         rsp.on_request(function(req) if req.host == '' then return 'p-' .. req.host end return web or api end)");
}

#[test]
fn what_lua_compiles_is_parsed_and_the_rest_is_not() {
    let good = r##"
local a <const>, b <close> = 1, nil; local function f(x, ...) return ..., x end
function M.a.b:c(y) self.x = y end
for i = 1, 10, 2 do if i then break end goto done ::done:: end
for k, v in pairs { 1, a = 2, ["b"] = 3; [1 + 1] = f, } do repeat local z = k until z == v end
while not a == b do a, b[1], c.d = -1 ^ 2 .. "x" .. 'y', #b, f "t" { 1 } (2):m [[long]] . n end
do return (f)(1), function() end, a // b, a ~= b, ~a, a << 1 | 2 & 3 ~ 4 end
"##;
    assert!(parse(good.as_bytes()).is_some());
    for bad in ["local = 1", "x", "f(", "if x then", "end", "x = = 1"] {
        assert!(parse(bad.as_bytes()).is_none(), "{bad}");
    }
}

#[test]
fn operators_bind_as_in_lua() {
    let tree = parse(b"return 1 + 2 * 3 .. 4 == not a or b").expect("it parses");
    let shown = format!("{:?}", tree.body);
    let at = |word: &str| shown.find(word).expect("it parses");
    assert!(at("\"or\"") < at("\"==\"") && at("\"==\"") < at("\"..\"") && at("\"..\"") < at("\"+\""));
}
