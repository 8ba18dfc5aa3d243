//! Scripts that do not end, that allocate without bound, or that run two hundred thousand times.

use std::time::{Duration, Instant};

use super::*;
use crate::script::ffi::ScriptPosition;

/// A failed call must leave the VM usable.
fn stopped(body: &str) -> String {
    let source = format!("function on_request(req)\nif req.path == '/ok' then return web end\n{body}\nend");
    let mut script = script(&source);
    let mut told = String::new();
    for _ in 0..2 {
        let begun = Instant::now();
        told = run(&mut script, &mut usual()).unwrap_err();
        // Generous: CPU time is what counts, and the machine may be busy.
        assert!(begun.elapsed() < Duration::from_secs(20), "{body}");
        assert_eq!(run(&mut script, &mut head("GET", "/ok", &[])), Ok(Verdict::Pool(WEB)), "{body}");
    }
    assert!(told.starts_with("site.lua:"), "{told}");
    told
}

const RAN_LONG: &str = "ran longer than 10 ms of CPU time";
const NO_MEMORY: &str = "not enough memory: a script may use 64 MiB";

#[test]
fn an_endless_loop_is_stopped_at_its_line() {
    assert_eq!(stopped("local x = 0\nwhile true do x = x + 1 end"), format!("site.lua:4: {RAN_LONG}"));
    assert_eq!(stopped("::again:: goto again"), format!("site.lua:3: {RAN_LONG}"));
    assert_eq!(stopped("local function f() return f() end return f()"), format!("site.lua:3: {RAN_LONG}"));
}

#[test]
fn pcall_and_xpcall_cannot_swallow_the_budget() {
    for body in [
        "while true do pcall(function() while true do end end) end",
        "pcall(function() while true do end end) return web",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "xpcall(function() while true do end end, function() while true do end end) return web",
        "local function f() pcall(f) while true do end end pcall(f) return web",
        "local t <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
        "for i = 1, 1e9 do local ok, e = pcall(error, 'x') end",
    ] {
        let told = stopped(body);
        assert!(told.ends_with(RAN_LONG), "{body}: {told}");
    }
}

#[test]
fn without_the_timer_long_calls_are_stopped_too() {
    let source = "function on_request(req)\nif req.path == '/ok' then return web end\n\
                  while true do pcall(function() while true do end end) end\nend";
    let mut script = script(source).without_timer();
    for _ in 0..2 {
        let told = run(&mut script, &mut usual()).unwrap_err();
        assert_eq!(told, format!("site.lua:3: {RAN_LONG}"));
        assert_eq!(run(&mut script, &mut head("GET", "/ok", &[])), Ok(Verdict::Pool(WEB)));
    }
}

#[test]
fn a_loop_in_coroutines_is_stopped() {
    for body in [
        "coroutine.wrap(function() while true do end end)()",
        "local co = coroutine.create(function() while true do end end) coroutine.resume(co) return web",
        "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do coroutine.wrap(function() pcall(function() while true do end end) end)() end",
        "kept = kept or coroutine.create(function() while true do pcall(function() while true do end end) end end) \
         while true do coroutine.resume(kept) end",
    ] {
        let told = stopped(body);
        assert!(told.ends_with(RAN_LONG), "{body}: {told}");
    }
}

#[test]
fn a_coroutine_that_was_stopped_does_not_affect_later_calls() {
    let source = "co = coroutine.wrap(function() while true do\n\
                  pcall(function() while spin do end end) coroutine.yield() end end)\n\
                  function on_request(req) spin = req.path == '/spin' co() return web end";
    let mut script = script(source);
    assert!(run(&mut script, &mut usual()).is_ok());
    let told = run(&mut script, &mut head("GET", "/spin", &[])).unwrap_err();
    assert!(told.ends_with(RAN_LONG), "{told}");
    // The stopped coroutine is dead: an error of the script, but not about time.
    refused(run(&mut script, &mut usual()), "site.lua:3: cannot resume dead coroutine");
}

#[test]
fn metamethods_and_callbacks_of_the_library_are_stopped() {
    for body in [
        "table.sort({3, 2, 1, 5}, function() while true do end end)",
        "(('x'):rep(100)):gsub('x', function() while true do end end)",
        "local t = setmetatable({}, { __index = function() while true do end end }) local x = t.a",
        "error(setmetatable({}, { __tostring = function() while true do end end }))",
        "load(function() while true do end end)",
    ] {
        let told = stopped(body);
        assert!(told.ends_with(RAN_LONG), "{body}: {told}");
    }
}

#[test]
fn a_finalizer_would_run_outside_the_budget_and_is_refused() {
    let told = stopped("setmetatable({}, { __gc = function() while true do end end })");
    assert_eq!(told, "site.lua:3: __gc: finalizers are not available");
}

#[test]
fn a_script_within_its_budget_is_not_stopped() {
    let mut script =
        script("function on_request() local x = 0 for i = 1, 12000 do x = x + i end return web end");
    // Each is far from its limit on the slowest machine, all together are far beyond it on the fastest.
    for _ in 0..500 {
        assert_eq!(run(&mut script, &mut usual()), Ok(Verdict::Pool(WEB)));
    }
}

#[test]
fn the_config_itself_has_a_budget() {
    let vm = Vm::new().unwrap();
    let endless = vm.lua().load("\nwhile true do pcall(function() while true do end end) end");
    let error = vm.run_config(&endless.set_name("@site.lua").into_function().unwrap()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("site.lua:2: ran longer than 5 s of CPU time"), "{text}");
    let fine = vm.lua().load("x = 1").into_function().unwrap();
    assert!(vm.run_config(&fine).is_ok());
}

#[test]
fn a_memory_bomb_is_an_error_and_its_memory_is_freed() {
    assert_eq!(stopped("local s = ('x'):rep(1e9)"), format!("site.lua:1: {NO_MEMORY}"));
    // Growth step by step reaches one limit or the other.
    let doubled = "local s = ('x'):rep(1e6) for i = 1, 20 do s = s .. s end";
    for body in [doubled, "local t = {} for i = 1, 1e9 do t[i] = { i } end"] {
        let told = stopped(body);
        assert!(told.ends_with(NO_MEMORY) || told.ends_with(RAN_LONG), "{told}");
    }
}

#[test]
fn endless_recursion_is_an_error() {
    let told = stopped("local function f() return 1 + f() end return f()");
    assert!(told.contains("stack overflow") || told.ends_with(RAN_LONG), "{told}");
    let told = stopped(
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x",
    );
    assert!(told.contains("overflow"), "{told}");
}

#[test]
fn memory_stays_flat_over_two_hundred_thousand_calls() {
    let source = "function on_request(req)\n\
                  if req.host == 'api.example.com' then return api end\n\
                  if req.headers['X-Twice'] == '1' and req.cookies.canary then req.headers['X-N'] = req.path end\n\
                  return web, 'a' end\n\
                  function on_response(req, res) res.headers.Server = nil end\n\
                  local i = 0\n\
                  function balance(req, servers) i = i % #servers + 1 return servers[i] end";
    let mut script = script(source);
    let candidates = [ServerId(0), ServerId(1), ServerId(2)];
    let mut settled = 0;
    let mut head = usual();
    let mut highest = 0;
    for n in 0..200_000u32 {
        let fields = head.fields.bytes().len();
        assert_eq!(
            script.on_request(&mut head, client()).unwrap().done(),
            Verdict::Server { pool: WEB, server: ServerId(0), preferred: false }
        );
        script.on_response(&mut head, client(), &mut ResponseHead::default()).unwrap();
        let some = &candidates[..2 + n as usize % 2];
        script.balance(&mut head, client(), offer(WEB, some, &[1, 2, 3])).unwrap();
        if head.fields.bytes().len() > fields + 10_000 || n % 100 == 0 {
            head = usual();
        }
        let used = script.vm().lua().used_memory();
        if n < 20_000 { settled = used.max(settled) } else { highest = used.max(highest) }
    }
    assert!(highest <= settled + settled / 10, "from {settled} to {highest} bytes");
    assert!(highest < 1 << 20, "{highest} bytes");
}

/// What another thread sees of a call of this body that takes a while.
fn seen(body: &str) -> Vec<String> {
    let position = ScriptPosition::default();
    let watched = position.clone();
    let source = format!("function on_request(req)\n{body}\nend");
    let runs = std::thread::spawn(move || {
        let _published = position.publish();
        // The call may be stopped at its end.
        let _ = run(&mut script(&source), &mut usual());
    });
    let mut seen = Vec::new();
    while !runs.is_finished() {
        seen.extend(watched.now().filter(|place| seen.last() != Some(place)));
    }
    runs.join().unwrap();
    assert_eq!(watched.now(), None, "it is over");
    seen
}

#[test]
fn other_threads_see_at_which_line_a_long_call_is() {
    for (body, place) in [
        ("local n = 0\nwhile true do n = n + 1 end", "site.lua:3"),
        ("local t = ('a'):rep(400)\nreturn t:find('^.-.-.-x') and web", "site.lua:3"),
        ("local t = ('a'):rep(400)\nlocal f = t.gsub\nf(t, '^.-.-.-x', '')", "site.lua:4"),
        (
            "local t = {} for i = 1, 30000 do t[i] = ('x'):rep(100) end table.sort(t)",
            "the function at site.lua:1",
        ),
    ] {
        // A short moment may be missed on a busy machine.
        let found = (0..20).any(|_| seen(body).iter().any(|seen| seen == place));
        assert!(found, "{body}");
    }
}
