//! The standard library of scripts, and what is missing from it.

use super::*;

#[test]
fn nothing_reaches_outside() {
    for name in [
        "io",
        "package",
        "debug",
        "dofile",
        "loadfile",
        "warn",
        "string.dump",
        "os.execute",
        "os.exit",
        "os.remove",
        "os.rename",
        "os.tmpname",
        "os.getenv",
        "os.setlocale",
    ] {
        assert_eq!(value(name).as_deref(), Ok("nil"), "{name}");
    }
}

#[test]
fn errors_about_missing_functions_say_they_are_missing_on_purpose() {
    refused(outcome("local f = io.open('/etc/passwd')"), "site.lua:2: io is not available in rsp");
    refused(outcome("dofile('x.lua')"), "site.lua:2: dofile is not available in rsp");
    refused(outcome("local x = iq.open"), "site.lua:2: attempt to index a nil value (global 'iq')");
    refused(
        outcome("os.execute('ls')"),
        "site.lua:2: attempt to call a nil value (field 'execute'); os.execute is not available in rsp",
    );
}

#[test]
fn the_useful_rest_is_there() {
    for expression in [
        "type(os.time()) == 'number'",
        "type(os.clock()) == 'number'",
        "type(os.date()) == 'string'",
        "utf8.len('ä') == 1",
        "math.floor(1.5) == 1",
        "table.concat({ 1, 2 }) == '12'",
        "('a'):upper() == 'A'",
        "select('#', coroutine.wrap(function() coroutine.yield() end)()) == 0",
        "type(collectgarbage('count')) == 'number'",
        "load('return 7')() == 7",
        "load('return x', 'n', 't', { x = 8 })() == 8",
        "load('return x', 'n', 'b', {})() == nil",
        "select(2, xpcall(error, function(e) return e .. '!' end, 'x')) == 'x!'",
        "select('#', xpcall(function(...) return ... end, print, 1, nil, nil)) == 4",
        "select(2, xpcall(error, error, 'x')) == 'x'",
        "getmetatable(setmetatable({}, { __metatable = 'locked' })) == 'locked'",
        "not pcall(setmetatable, setmetatable({}, { __metatable = 1 }), {})",
    ] {
        assert_eq!(value(expression).as_deref(), Ok("true"), "{expression}");
    }
}

#[test]
fn bytecode_and_collector_controls_are_refused() {
    assert_eq!(value("load('\\27Lua')").as_deref(), Ok("nil"));
    let message = value("select(2, load('\\27Lua', 'x', 'b'))").unwrap();
    assert!(message.contains("attempt to load a binary chunk"), "{message}");
    refused(outcome("collectgarbage('stop')"), "site.lua:2: collectgarbage: only \"count\" is available");
    refused(outcome("collectgarbage()"), "site.lua:2: collectgarbage: only \"count\" is available");
}

#[test]
fn a_wrong_call_of_setmetatable_says_so_at_its_line() {
    let told = outcome("setmetatable(5, {})").unwrap_err();
    assert!(told.starts_with("site.lua:2: bad argument #1 to 'setmetatable'"), "{told}");
    let told = outcome("setmetatable({}, 5)").unwrap_err();
    assert!(told.starts_with("site.lua:2: bad argument #2 to 'setmetatable'"), "{told}");
}

#[test]
fn print_takes_anything() {
    assert_eq!(outcome("print() print(1, nil, {}, req, 'a\\nb\\0') return web"), Ok(Verdict::Pool(WEB)));
}

#[test]
fn the_handlers_thread_cannot_be_resumed_or_closed_by_the_script() {
    let body = "local main = coroutine.running()\n\
                assert(not coroutine.isyieldable() and not pcall(coroutine.yield))\n\
                assert(not pcall(coroutine.close, main) and not coroutine.resume(main))\n\
                coroutine.wrap(function() assert(not pcall(coroutine.close, main) and not coroutine.resume(main)) end)()\n\
                return web";
    assert_eq!(outcome(body), Ok(Verdict::Pool(WEB)));
}

#[test]
fn sub_equals_luas_own() {
    let source = "local all = {}\n\
        for _, text in ipairs { '', 'a', 'path', ('x'):rep(50), ('long'):rep(40), 12.5 } do\n\
          for _, first in ipairs { 1, 0, 2, 3.0, '2', -1, -3, 50, -60, 2^53, math.maxinteger, math.mininteger } do\n\
            all[#all + 1] = string.sub(text, first)\n\
            for _, last in ipairs { 0, 1, 3, '4', -1, -2, -200, 60, math.maxinteger, math.mininteger } do\n\
              for _ = 1, 2 do all[#all + 1] = string.sub(text, first, last) end\n\
            end\n\
          end\n\
        end\n\
        for _, wrong in ipairs { {}, { 'a' }, { 'a', 'b' }, { 'a', 1, {} }, { 'a', 1.5 }, { {}, 1 } } do\n\
          all[#all + 1] = select(2, pcall(string.sub, table.unpack(wrong)))\n\
        end\n\
        return table.concat(all, '|')";
    let cut = |lua: &Lua| lua.load(source).eval::<String>().unwrap();
    assert_eq!(cut(Vm::new().unwrap().lua()), cut(&Lua::new()));
    let told = outcome("local s = ('x'):sub({})").unwrap_err();
    assert!(told.starts_with("site.lua:2: bad argument #1 to 'sub'"), "{told}");
}
