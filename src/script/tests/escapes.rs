//! Former ways to exceed the budget: each hung the worker for ever. They run on a thread of their own, so that a test
//! fails instead of hanging too.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

const RAN_LONG: &str = "ran longer than 10 ms of CPU time";

/// Generous: CPU time is what counts, and the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(30);

/// The result of `work`, or a failed test if it does not end. The thread is abandoned then.
fn in_time<R: Send + 'static>(what: &str, work: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no end, or a panic: {what}"))
}

/// The error of the body, run twice in the same VM, which must work in between.
fn error_of(body: &str) -> String {
    let source = format!("function on_request(req)\nif req.path == '/ok' then return web end\n{body}\nend");
    let [first, second] = in_time(body, move || {
        let mut script = script(&source);
        [(), ()].map(|()| {
            let error_of = run(&mut script, &mut usual());
            assert_eq!(run(&mut script, &mut head("GET", "/ok", &[])), Ok(Verdict::Pool(WEB)));
            error_of
        })
    });
    assert_eq!(first.is_err(), second.is_err(), "{body}");
    second.err().unwrap_or_default()
}

const CLOSING: &str = "local endless = function() while true do end end\n\
    local stuck = function() local x <close> = setmetatable({}, { __close = endless }) endless() end\n";

#[test]
fn a_stopped_coroutine_is_not_closed_with_its_hooks_off() {
    for body in [
        "coroutine.wrap(stuck)()",
        "pcall(coroutine.wrap(stuck)) return web",
        "local co = coroutine.create(stuck) coroutine.resume(co) coroutine.close(co)",
        "local co = coroutine.create(stuck) pcall(coroutine.resume, co) pcall(coroutine.close, co) return web",
        "coroutine.wrap(function() local co = coroutine.create(stuck) coroutine.resume(co) coroutine.close(co) end)()",
        "coroutine.wrap(function() pcall(coroutine.wrap(stuck)) while true do end end)()",
        "for _ in coroutine.wrap(stuck) do end",
        "load(coroutine.wrap(stuck))",
    ] {
        let error_of = error_of(&format!("{CLOSING}{body}"));
        assert!(error_of.ends_with(RAN_LONG), "{body}: {error_of}");
        assert!(error_of.starts_with("site.lua:"), "{body}: {error_of}");
    }
}

#[test]
fn a_coroutine_that_was_stopped_in_an_earlier_call_cannot_be_closed() {
    let source = format!(
        "function on_request(req)\n{CLOSING}\
         if not co then co = coroutine.create(stuck) coroutine.resume(co) end\n\
         local ok, why = coroutine.close(co)\n\
         return rsp.respond {{ status = 200, body = tostring(ok) .. ' ' .. why }} end"
    );
    let (first, second) = in_time("close later", move || {
        let mut script = script(&source);
        (run(&mut script, &mut usual()), run(&mut script, &mut usual()))
    });
    assert!(first.unwrap_err().ends_with(RAN_LONG));
    let Ok(Verdict::Answer(answer)) = second else { panic!("{second:?}") };
    assert_eq!(*answer.body, b"false the coroutine was stopped");
}

#[test]
fn a_close_method_shares_the_budget_of_its_call() {
    for body in [
        "local x <close> = setmetatable({}, { __close = endless })",
        "do local x <close> = setmetatable({}, { __close = endless }) error('x') end",
        "pcall(function() local x <close> = setmetatable({}, { __close = endless }) error('x') end) return web",
        "pcall(stuck) return web",
        "coroutine.wrap(function() local x <close> = setmetatable({}, { __close = endless }) error('x') end)()",
        "local co = coroutine.create(function() local x <close> = setmetatable({}, { __close = endless }) \
         coroutine.yield() end) coroutine.resume(co) coroutine.close(co) return web",
        "for _ in function() return 1 end, nil, nil, setmetatable({}, { __close = endless }) do error('x') end",
    ] {
        let error_of = error_of(&format!("{CLOSING}{body}"));
        assert!(error_of.ends_with(RAN_LONG), "{body}: {error_of}");
    }
}

#[test]
fn nested_coroutines_share_one_budget() {
    let created = "local function nest(depth) return function() while true do\n\
         if depth > 0 then pcall(coroutine.resume, coroutine.create(nest(depth - 1))) end end end end\n\
         coroutine.resume(coroutine.create(nest(5)))";
    let wrapped = "local function nest(depth) return function() while true do\n\
         if depth > 0 then pcall(coroutine.wrap(nest(depth - 1))) end end end end\n\
         coroutine.wrap(nest(5))()";
    for body in [created, wrapped] {
        let error_of = error_of(body);
        assert!(error_of.ends_with(RAN_LONG), "{body}: {error_of}");
    }
}

#[test]
fn coroutines_otherwise_work_as_in_lua() {
    for expression in [
        "select('#', coroutine.resume(coroutine.create(function(...) return ... end), 1, nil, nil)) == 4",
        "select(2, coroutine.resume(coroutine.create(error), 'x')) == 'x'",
        "select(2, coroutine.resume(coroutine.create(error), req)) == req",
        "select(2, pcall(coroutine.wrap(error), 'x', 0)) == 'x'",
        "select(2, pcall(coroutine.wrap(error), req)) == req",
        "select(3, pcall(coroutine.wrap(function(...) return ... end), 1, 2)) == 2",
        "select(2, pcall(coroutine.wrap, 5)):find('bad argument #1 to \\'wrap\\'', 1, true) ~= false",
        "coroutine.close(coroutine.create(print)) == true",
        "select(2, coroutine.close((function() local co = coroutine.create(error) \
         coroutine.resume(co, 'x') return co end)())) == 'x'",
        "(function() local closed local f = coroutine.wrap(function() local x <close> = \
         setmetatable({}, { __close = function(_, e) closed = e end }) error('x', 0) end) \
         pcall(f) return closed end)() == 'x'",
        "(function() local n = 0 for v in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) \
         do n = n + v end return n end)() == 6",
    ] {
        assert_eq!(value(expression).as_deref(), Ok("true"), "{expression}");
    }
    refused(outcome("\ncoroutine.wrap(function() error('x') end)()"), "site.lua:3: site.lua:3: x");
    let error_of = outcome("local f = coroutine.wrap(print) f() f()").unwrap_err();
    assert!(error_of.starts_with("site.lua:2: cannot resume dead coroutine"), "{error_of}");
}

#[test]
fn library_loops_over_a_made_up_length_are_stopped() {
    let made_up = "local t = setmetatable({}, { __len = function() return 1 << 60 end, __index = rawlen })\n";
    for (body, message) in [
        ("table.insert(t, 1, 'x')", RAN_LONG),
        ("table.remove(t, 1)", RAN_LONG),
        ("table.concat(t)", RAN_LONG),
        ("table.sort(t)", "bad argument #1 to 'sort' (array too big)"),
        ("table.move({}, 1, 1 << 60, 2)", RAN_LONG),
        (
            "table.move({}, math.mininteger, math.maxinteger, 2)",
            "bad argument #3 to 'move' (too many elements to move)",
        ),
        ("table.move(t, -1 << 60, 1 << 60, -1 << 61)", RAN_LONG),
        ("table.concat({}, '', 1, 1 << 60)", "invalid value (nil) at index 1 in table for 'concat'"),
        ("table.unpack({}, 1, 1 << 60)", "too many results to unpack"),
        ("table.unpack(t, 1, 500000)", RAN_LONG),
    ] {
        let error_of = error_of(&format!("{made_up}{body}"));
        assert!(error_of.starts_with(&format!("site.lua:4: {message}")), "{body}: {error_of}");
    }
    assert_eq!(error_of("local n = #(''):rep(1 << 60) + #(''):rep(1 << 60, '') return n == 0 and web"), "");
}

#[test]
fn long_work_in_one_instruction_is_stopped() {
    for body in [
        "while true do local s = ('x'):rep(1e6) end",
        "local s = ('x'):rep(1e7)",
        "local t = {} for i = 1, 1e5 do t[i] = i end while true do table.insert(t, 1, 0) table.remove(t, 1) end",
        "local t = {} for i = 1, 1e5 do t[i] = 'x' end while true do table.concat(t) end",
        "local t = {} for i = 1, 1e5 do t[i] = i end while true do table.move(t, 1, #t, 2) end",
        "local t = {} for i = 1, 1e5 do t[i] = -i end while true do table.sort(t) end",
        "while true do string.format('%99d', 1) end",
    ] {
        let error_of = error_of(body);
        assert!(error_of.ends_with(RAN_LONG), "{body}: {error_of}");
    }
    let kept = "big = {} for i = 1, 5e5 do big[i] = -i end\n\
                function on_request() table.sort(big) return web end";
    let error_of = in_time(kept, move || run(&mut script(kept), &mut usual()).unwrap_err());
    assert_eq!(error_of, format!("site.lua:2: {RAN_LONG}"));
}

#[test]
fn a_format_width_is_limited() {
    for body in ["string.format('%99999d', 1)", "string.format('%.99999f', 1)", "string.format('%100s', 'x')"]
    {
        let error_of = error_of(body);
        assert!(error_of.contains("invalid conversion"), "{body}: {error_of}");
    }
}

#[test]
fn finalizers_cannot_be_added_later() {
    assert_eq!(
        error_of(
            "local m = {} for i = 1, 100 do setmetatable({}, m) end m.__gc = function() while true do end end \
              local t = {} for i = 1, 1e4 do t = { t } end error('through', 0)"
        ),
        "site.lua:1: through"
    );
    for body in [
        "setmetatable({}, { __gc = false })",
        "local m = { __gc = true } setmetatable({}, m) m.__gc = function() while true do end end",
    ] {
        assert_eq!(error_of(body), "site.lua:3: __gc: finalizers are not available", "{body}");
    }
}

#[test]
fn ordinary_use_of_the_library_works_as_in_lua() {
    for expression in [
        "(function() local t = { 3, 1, 2 } table.sort(t) return table.concat(t, ',') end)() == '1,2,3'",
        "(function() local t = {} for i = 1, 5000 do t[i] = 5000 - i end table.sort(t) return t[1] + t[5000] end)() == 4999",
        "(function() local t = { 3, 1, 2 } table.sort(t, function(a, b) return a > b end) return t[1] end)() == 3",
        "(function() local t = {} table.insert(t, 'a') table.insert(t, 1, 'b') return table.concat(t) end)() == 'ba'",
        "(function() local t = { 1, 2 } return table.remove(t, 1) + table.remove(t) end)() == 3",
        "table.concat(table.move({ 1, 2, 3 }, 2, 3, 1), '') == '233'",
        "table.concat({ 1, 2, 3 }, '-', 2, 3) == '2-3'",
        "('ab'):rep(2, '-') == 'ab-ab'",
        "string.rep(5, 2) == '55' and ('x'):rep(-1) == ''",
    ] {
        assert_eq!(value(expression).as_deref(), Ok("true"), "{expression}");
    }
    let error_of = outcome("table.insert(5, 1)").unwrap_err();
    assert!(error_of.starts_with("site.lua:2: bad argument #1 to 'insert'"), "{error_of}");
    let error_of = outcome("string.rep({}, 1)").unwrap_err();
    assert!(error_of.starts_with("site.lua:2: bad argument #1 to 'rep'"), "{error_of}");
}
