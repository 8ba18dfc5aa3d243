//! What a script could do to hurt the process that runs it. All of it is done by one VM, again and again: each call fails
//! with an error that says why, the next one works, and no memory is left behind.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::script::ffi::guard_chunk;

const TIME: &str = "ran longer than 10 ms of CPU time";
const MEMORY: &str = "not enough memory: a script may use 64 MiB";
/// For a call that may run into either limit first.
const EITHER: &str = "either limit";

/// Functions that hurt, by the line of the script they become, and how each call ends: the end of its message.
const HURTFUL: &[(&str, &str)] = &[
    // Loops.
    ("while true do end", TIME),
    ("while true do pcall(error) end", TIME),
    ("while true do pcall(function() while true do end end) end", TIME),
    ("while true do coroutine.wrap(function() coroutine.yield() end)() end", TIME),
    ("local function f() coroutine.wrap(f)() end while true do pcall(f) end", TIME),
    (
        "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) while true do pcall(function() return t[1] end) end",
        TIME,
    ),
    (
        "local c <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
        TIME,
    ),
    ("local t = setmetatable({}, { __concat = function() while true do end end }) return t .. t", TIME),
    ("local t = setmetatable({}, { __len = function() while true do end end }) return #t", TIME),
    (
        "local t = setmetatable({}, { __eq = function() while true do end end }) return t == setmetatable({}, getmetatable(t))",
        TIME,
    ),
    ("return tostring(setmetatable({}, { __tostring = function() while true do end end }))", TIME),
    ("return ('%s'):format(setmetatable({}, { __tostring = function() while true do end end }))", TIME),
    (
        "for _ in pairs(setmetatable({}, { __pairs = function() return function() return 1 end end })) do end",
        TIME,
    ),
    ("local f = setmetatable({}, { __call = function() while true do end end }) f()", TIME),
    (
        "local big = {} for i = 1, 1e5 do big[i] = i end for i = 1, 1e5 do big[i] = nil end while true do next(big) end",
        TIME,
    ),
    // Patterns.
    ("return ('a'):rep(1000):find('.-.-.-.-x')", TIME),
    (
        "return ('x' .. (' '):rep(15000) .. 'x'):match('^%s*(.-)%s*$') == ('x' .. (' '):rep(15000)):gsub('%s*$', 'x')",
        TIME,
    ),
    ("return ('a'):rep(1000):gsub('.-.-.-.-x', '')", TIME),
    ("for _ in ('a'):rep(1000):gmatch('.-.-.-.-x') do end", TIME),
    ("return ('('):rep(1e6):find(('%b()'):rep(40) .. 'x')", TIME),
    ("return ('a'):rep(1e6):find('[' .. ('b'):rep(1e6) .. ']')", TIME),
    ("while true do local _ = ('a'):rep(1e5):find(('a'):rep(5e4) .. 'b', 1, true) end", TIME),
    ("while true do local _ = ('a'):rep(1e5):gsub('a', string.upper) end", TIME),
    ("return ('a'):rep(100):gsub('', ('b'):rep(1e6))", EITHER),
    ("return ('x'):rep(60000):find(('x?'):rep(190) .. 'y')", TIME),
    // Long work in one call of the library.
    ("return ('x'):rep(1e7)", TIME),
    ("return ('x'):rep(1e9)", MEMORY),
    ("return ('x'):rep(1e6, ('y'):rep(1e6))", "resulting string too large"),
    ("local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1e6) end return table.concat(t)", EITHER),
    ("local s = ('x'):rep(1e6) local t = {} for i = 1, 1000 do t[i] = s end return table.concat(t)", EITHER),
    (
        "return table.concat(setmetatable({}, { __index = rawlen, __len = function() return 1 << 60 end }))",
        TIME,
    ),
    ("local s = ('x'):rep(1e5) while true do s = s:upper():lower():reverse() end", TIME),
    ("local s = ('x'):rep(1e5) while true do utf8.len(s) utf8.offset(s, 90000) end", TIME),
    ("local s = ('x'):rep(1e5) while true do local _ = { s:byte(1, -1) } end", TIME),
    ("local s = ('x'):rep(1e6) while true do local _ = s .. s end", TIME),
    ("while true do local _ = ('%q'):format(('\\n'):rep(1e5)) end", TIME),
    (
        "while true do local _ = ('%99.99f'):rep(100):format(table.unpack(setmetatable({}, { __index = rawlen }), 1, 100)) end",
        TIME,
    ),
    ("return os.date(('%c'):rep(1e5))", TIME),
    ("return string.pack(('!16i16'):rep(1e6))", TIME),
    ("return load('local x = 1 ' .. ('x = x + 1 '):rep(1e5))", TIME),
    ("return load(function() return ' ' end)", TIME),
    ("return load(function() return ('-'):rep(1e6) end)", EITHER),
    ("while true do load(os.date) end", TIME),
    ("return tonumber(('1'):rep(1e6)) and tonumber(('1'):rep(9e6))", EITHER),
    // Sorting.
    ("local t = {} for i = 1, 1e5 do t[i] = -i end while true do table.sort(t) end", TIME),
    ("local t = {} for i = 1, 1e5 do t[i] = -i end while true do pcall(table.sort, t, math.max) end", TIME),
    (
        "local t = {} for i = 1, 2e4 do t[i] = i % 10 end while true do pcall(table.sort, t, function() return true end) end",
        TIME,
    ),
    (
        "local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function() return true end)",
        "invalid order function for sorting",
    ),
    ("table.sort({ 3, 2, 1 }, function() while true do end end)", TIME),
    (
        "local m = { __lt = function() while true do end end } table.sort({ setmetatable({}, m), setmetatable({}, m) })",
        TIME,
    ),
    (
        "table.sort(setmetatable({}, { __index = rawlen, __newindex = rawlen, __len = function() return 2^31 // 1 | 0 end }))",
        "array too big)",
    ),
    // Memory.
    ("local t = {} while true do t[#t + 1] = {} end", EITHER),
    ("local s = 'x' while true do s = s .. s end", EITHER),
    ("local t = {} for i = 1, 1e9 do t[i] = i end", EITHER),
    ("local function f() return 1 + f() end return f()", EITHER),
    ("local function f(...) return f(1, ...) end return f()", EITHER),
    ("return table.unpack({}, 1, 1e7)", "too many results to unpack"),
    ("return select('#', table.unpack({}, 1, 1e5)) + nil", "attempt to perform arithmetic on a nil value"),
    ("return ('x'):rep(1e6):byte(1, -1)", "stack overflow (string slice too long)"),
    // Errors that are no texts.
    ("error()", "nil"),
    ("error(nil)", "nil"),
    ("error({})", "error object is a table without __tostring"),
    ("error(req)", ""),
    ("error(('x'):rep(1e6))", "…"),
    ("error(setmetatable({}, { __tostring = function() error('x') end }))", "x"),
    (
        "error(setmetatable({}, { __tostring = function() return {} end }))",
        "'__tostring' must return a string",
    ),
    ("error(print)", ""),
    ("error(coroutine.create(print))", ""),
    // What handlers may not change.
    ("collectgarbage('stop')", "collectgarbage: only \"count\" is available"),
    ("setmetatable({}, { __gc = print })", "__gc: finalizers are not available"),
    (
        "leak = 1",
        "global leak set in a handler, where other requests would see it: expected local leak, or script = { globals = true } in rsp.settings",
    ),
    ("string = nil", "{ globals = true } in rsp.settings"),
    ("_G.leak = 1", "{ globals = true } in rsp.settings"),
    ("_ENV.leak = 1", "{ globals = true } in rsp.settings"),
    ("rawset(_G, 'leak', 1)", "{ globals = true } in rsp.settings"),
    ("rawset(_ENV, 'leak', 1)", "{ globals = true } in rsp.settings"),
    ("load('leak = 1')()", "{ globals = true } in rsp.settings"),
    ("local f, t = pairs(_G) t.leak = 1", "{ globals = true } in rsp.settings"),
    ("setmetatable(_G, {})", "cannot change a protected metatable"),
    ("setmetatable(_ENV, {})", "cannot change a protected metatable"),
    (
        "function string.format() end",
        "string.format cannot be replaced by a handler, only while the config is loaded",
    ),
    (
        "rawset(table, 'concat', print)",
        "table.concat cannot be replaced by a handler, only while the config is loaded",
    ),
    ("string[{}] = 1", "string.a value cannot be replaced by a handler, only while the config is loaded"),
    ("math.floor = nil", "math.floor cannot be replaced by a handler, only while the config is loaded"),
    ("getmetatable('').__index = {}", "attempt to index a boolean value"),
    ("setmetatable('', {})", "table expected, got string)"),
];

const START: &str = "local big = {}\nlocal hurtful = {\n";
const END: &str = "}\n\
    function on_request(req)\n\
      local f = hurtful[tonumber(req.path:sub(2))]\n\
      if f then return f(req) end\n\
      assert(('a b'):gsub('%s', '_') == 'a_b' and ('%d'):format(7) == '7' and leak == nil and string.rep)\n\
      return web\n\
    end";

fn hurtful() -> Script {
    let rows: String = HURTFUL.iter().map(|(body, _)| format!("function(req) {body} end,\n")).collect();
    script_of(&format!("{START}{rows}{END}"))
}

/// As the loader makes it.
fn script_of(source: &str) -> Script {
    script_by(2, source, |lua, chunk| guard_chunk(lua, chunk).unwrap())
}

/// Collects garbage and returns the bytes left in use.
fn in_use(script: &Script) -> usize {
    let lua = script.vm().lua();
    (0..2).for_each(|_| lua.gc_collect().unwrap());
    lua.used_memory()
}

#[test]
fn what_hurts_fails_its_own_call_and_nothing_else() {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut script = hurtful();
        let (mut before, mut wrong) = (0, Vec::new());
        for round in 0..4 {
            for (index, (body, end)) in HURTFUL.iter().enumerate() {
                sender.send(format!("{body}, round {round}")).unwrap();
                let told = run(&mut script, &mut head("GET", &format!("/{}", index + 1), &[])).unwrap_err();
                let either = [TIME, MEMORY, "stack overflow"];
                let fits = match *end {
                    EITHER => either.iter().any(|end| told.contains(end)),
                    end => told.ends_with(end),
                };
                if !fits || !told.starts_with("site.lua:") && !told.starts_with("[string ") {
                    wrong.push(format!("{body}: {told}"));
                }
                assert_eq!(run(&mut script, &mut head("GET", "/ok", &[])), Ok(Verdict::Pool(WEB)), "{body}");
            }
            let used = in_use(&script);
            assert!(round < 2 || used <= before + (64 << 10), "from {before} to {used} bytes");
            before = used;
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        sender.send("the end".to_owned()).unwrap();
    });
    let mut at = String::new();
    loop {
        // Generous: CPU time is what counts, and the machine may be busy.
        match receiver.recv_timeout(Duration::from_secs(60)) {
            Ok(next) => at = next,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no end: {at}"),
            // It has ended, or failed.
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    assert_eq!(at, "the end", "it failed there");
}

#[test]
fn a_request_that_is_kept_raises_when_it_is_used_later() {
    let source =
        "local kept\nfunction on_request(req)\nif kept then return kept.path end\nkept = req return web end";
    let mut script = script_of(source);
    assert!(run(&mut script, &mut usual()).is_ok());
    for _ in 0..2 {
        let told = run(&mut script, &mut usual()).unwrap_err();
        assert!(told.starts_with("site.lua:3: "), "{told}");
    }
}

#[test]
fn globals_and_libraries_can_be_set_while_the_config_is_loaded() {
    let source = "count, _G.other = 1, 2\n\
        function define(name, value) _G[name] = value _ENV[name .. '2'] = value rawset(_G, name .. '3', value) end\n\
        define('late', 3)\n\
        load('loaded = 4')()\n\
        function string.shout(s) return s:upper() .. '!' end\n\
        local seen = {} for name in pairs(_G) do seen[name] = true end\n\
        for name in pairs(string) do seen['string.' .. name] = true end\n\
        assert(seen.count and seen.late and seen['string.shout'] and seen['string.rep'] and not next(_G))\n\
        assert(rawget(_G, 'count') == 1 and rawget(string, 'rep') == string.rep and rawget(_G, 'none') == nil)\n\
        assert(rawget({ 5 }, 1) == 5 and rawset({}, 'x', 6).x == 6)\n\
        function on_request()\n\
          local all = table.concat({ count, other, late, late2, late3, loaded, ('a'):shout(), string.shout('b'), _G.count, _ENV.late }, ' ')\n\
          return rsp.respond { status = 200, body = all } end";
    let mut script = script_of(source);
    let Ok(Verdict::Answer(answer)) = run(&mut script, &mut usual()) else { panic!("no answer") };
    assert_eq!(answer.body.to_vec(), b"1 2 3 3 3 4 A! B! 1 3");
}

#[test]
fn a_global_that_exists_cannot_be_changed_either_unless_the_settings_allow_it() {
    let source = "count = 0\nfunction on_request()\ncount = count + 1\nreturn count < 3 and web or nil end";
    let mut script = script_of(source);
    let told = run(&mut script, &mut usual()).unwrap_err();
    assert!(told.starts_with("site.lua:3: global count set in a handler"), "{told}");
    let globals = crate::config::ScriptLimits { globals: true, ..Default::default() };
    script.machine_mut().set_limits(globals);
    assert_eq!(run(&mut script, &mut usual()), Ok(Verdict::Pool(WEB)));
    assert_eq!(run(&mut script, &mut usual()), Ok(Verdict::Pool(WEB)));
    assert!(run(&mut script, &mut usual()).is_err(), "three");
}

#[test]
fn the_metatable_of_strings_is_out_of_reach() {
    for expression in
        ["getmetatable('') == false", "('').__index == nil", "not pcall(function() ('').__index = {} end)"]
    {
        assert_eq!(value(expression).as_deref(), Ok("true"), "{expression}");
    }
}

#[test]
fn tables_are_read_and_changed_by_the_library_as_in_lua() {
    let source = "local all = {}\n\
        local function try(f, ...)\n\
          local told = table.pack(pcall(f, ...))\n\
          for i = 1, told.n do\n\
            local v = told[i] if type(v) == 'table' then local parts = {} for i = -2, 7 do parts[#parts + 1] = tostring(rawget(v, i)) end v = '{' .. table.concat(parts, ' ') .. '}' end\n\
            told[i] = tostring(v):gsub('0x%x+', '') end\n\
          all[#all + 1] = table.concat(told, '|')\n\
        end\n\
        local function few() return { 1, 2, 3 } end\n\
        local function like(n) return setmetatable({}, { __len = function() return n end, __index = function(_, k) return k end }) end\n\
        for _, f in ipairs { 'insert', 'remove', 'concat', 'unpack', 'move', 'sort' } do\n\
          f = table[f]\n\
          local values = { 0, 1, 2, 4, 5, -1, '2', 'x', 2.0, 1.5, math.maxinteger, math.mininteger, true, {} }\n\
          try(f) try(f, nil) try(f, 5) try(f, 'x') try(f, few()) try(f, like(3)) try(f, few(), nil) try(f, few(), nil, nil)\n\
          for _, a in ipairs(values) do\n\
            local small = math.type(tonumber(a)) and tonumber(a) > -9 and tonumber(a) < 9\n\
            local t = few() try(f, t, a) try(rawlen, t) try(table.concat, t, ',')\n\
            for _, b in ipairs(values) do\n\
              if f ~= table.concat and f ~= table.unpack or math.type(tonumber(b)) and tonumber(b) > -9 and tonumber(b) < 9 then\n\
                local t = few() try(f, t, a, b) try(table.concat, t, ',')\n\
              end\n\
              if type(b) == 'number' and b > -9 and b < 9 and (f == table.concat or f == table.move and small) then\n\
                for _, c in ipairs { 0, 1, 3, -1, 6, 'x', math.maxinteger } do\n\
                  if f == table.move or c ~= math.maxinteger then try(f, few(), a, b, c) try(f, few(), a, b, c, {}) end\n\
                end\n\
              end\n\
            end\n\
          end\n\
        end\n\
        try(table.sort, { 3, 1, 2 }, function(a, b) return a > b end) try(table.sort, { 3, 1, 'x' }) try(table.sort, { 1, 2, 3 }, math.max)\n\
        try(table.sort, { 3, 1, 2 }, rawequal) try(table.sort, { 3, 1, 2 }, error) try(table.concat, { 1, {}, 3 }) try(table.unpack, like(4))\n\
        local many = {} for i = 1, 500 do many[i] = (i * 7919) % 503 end try(table.sort, many) all[#all + 1] = table.concat(many, ',')\n\
        for _, s in ipairs { '', 'abc', 'äöü', '\\xff', 12 } do for _, i in ipairs { -9, -1, 0, 1, 2, 9, 'x' } do\n\
          for _, f in ipairs { 'byte', 'rep', 'upper', 'reverse', 'lower', 'format' } do try(string[f], s, i) try(string[f], s, 1, i) end\n\
          for _, f in ipairs { 'len', 'codepoint', 'offset', 'char' } do try(utf8[f], s, i) try(utf8[f], s, 1, i) end\n\
        end end\n\
        try(load, 'return 1') try(load, '(') try(load, {}) try(load) try(load, function() return {} end) try(load('return x', 'n', 't', { x = 8 }))\n\
        try(load, 'return ...', '=n') try(tonumber, '10', 2) try(tonumber, 'z') try(tonumber) try(string.pack, 'i4', 7) try(string.unpack, 'z', 'ab\\0')\n\
        try(rawget) try(rawget, 5, 1) try(rawset, {}) try(rawset, {}, nil, 1) try(string.rep, 'x', -1) try(string.rep, '', 60) try(string.rep, 'ab', 3, '-')\n\
        return table.concat(all, '\\n')";
    let told = |lua: &Lua| -> Vec<String> {
        let told = lua.load(source).set_name("=tables").eval::<mlua::LuaString>().unwrap();
        told.to_string_lossy().lines().map(str::to_owned).collect()
    };
    let (ours, luas) = (told(Vm::new().unwrap().lua()), told(&Lua::new()));
    let different = ours.iter().zip(&luas).find(|(ours, luas)| ours != luas);
    assert_eq!((different, ours.len()), (None, luas.len()));
}

#[test]
fn a_vm_whose_memory_is_used_up_serves_on_as_far_as_it_can_and_asks_for_a_fresh_one() {
    let source = "local kept = {}\nfunction on_request(req)\n\
                  if req.path == '/bomb' then local s = ('x'):rep(3e7) return s .. s .. s end\n\
                  if req.path == '/leak' then for i = 1, 40 do kept[#kept + 1] = ('x'):rep(1e6) .. #kept end end\n\
                  return web end";
    let mut script = script_of(source);
    script
        .machine_mut()
        .set_limits(crate::config::ScriptLimits { time: Duration::from_secs(1), ..Default::default() });
    let mut ask = |path: &str| {
        let told = run(&mut script, &mut head("GET", path, &[]));
        (told, script.needs_replacement())
    };
    for _ in 0..3 {
        let (told, asks) = ask("/bomb");
        assert!(told.is_err() && !asks, "what it leaves is garbage");
        assert_eq!(ask("/ok"), (Ok(Verdict::Pool(WEB)), false));
    }
    let mut full = 0;
    for _ in 0..10 {
        let (told, asks) = ask("/leak");
        if let Err(told) = told {
            assert!(told.ends_with(MEMORY) && asks, "{told}");
            full += 1;
        }
        if full == 1 {
            assert_eq!(ask("/ok"), (Ok(Verdict::Pool(WEB)), true), "it has got some more");
        }
    }
    assert!(full > 2);
    let served = (0..64).filter(|_| ask("/ok").0.is_ok()).count();
    assert!((1..64).contains(&served), "{served}");
}
