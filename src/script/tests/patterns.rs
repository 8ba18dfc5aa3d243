//! The pattern functions against those of Lua's own library, on the same made-up patterns and texts.

use mlua::{Function, Lua};

use super::*;

/// All results and errors of the functions for one pattern and text, as one string.
const ASK: &str = r##"
local function show(...)
  local all = table.pack(...)
  for i = 1, all.n do all[i] = (math.type(all[i]) or type(all[i])) .. tostring(all[i]) end
  return table.concat(all, "|")
end
local function each(s, p, init)
  local all = {}
  for a, b, c in string.gmatch(s, p, init) do
    all[#all + 1] = show(a, b, c)
    if #all > 40 then break end
  end
  return table.concat(all, ";")
end
local function by(...) return select("#", ...) % 2 == 0 and ... end
return function(s, p, init, text, most)
  local words = setmetatable({ a = "A", b = 7, ab = false, [1] = "one" }, {
    __index = function(_, key) if key == "" then return {} end end })
  return table.concat({
    show(pcall(string.find, s, p)), show(pcall(string.find, s, p, init)), show(pcall(string.find, s, p, init, true)),
    show(pcall(string.match, s, p, init)), show(pcall(each, s, p, init)),
    show(pcall(string.gsub, s, p, text)), show(pcall(string.gsub, s, p, text, most)),
    show(pcall(string.gsub, s, p, words)), show(pcall(string.gsub, s, p, by, most)),
    show(pcall(function() return s:match(p) end)), show(pcall(function() return (s:gsub(p, text)) end)),
  }, "\n")
end
"##;

struct Both {
    ours: (Vm, Function),
    luas: (Lua, Function),
}

impl Both {
    fn new() -> Both {
        let (vm, lua) = (Vm::new().unwrap(), Lua::new());
        let ask = |lua: &Lua| lua.load(ASK).set_name("=ask").eval::<Function>().unwrap();
        let (ours, luas) = (ask(vm.lua()), ask(&lua));
        Both { ours: (vm, ours), luas: (lua, luas) }
    }

    fn check(&self, text: &[u8], pattern: &[u8], init: i64, with: &[u8], most: i64) {
        let ask = |lua: &Lua, ask: &Function| -> Vec<u8> {
            let [text, pattern, with] = [text, pattern, with].map(|text| lua.create_string(text).unwrap());
            let told: mlua::LuaString = ask.call((text, pattern, init, with, most)).unwrap();
            told.as_bytes().to_vec()
        };
        let (ours, luas) = (ask(self.ours.0.lua(), &self.ours.1), ask(&self.luas.0, &self.luas.1));
        if ours != luas {
            let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
            panic!(
                "text {}, pattern {}, from {init}, with {}, most {most}:\n{}\nLua says\n{}",
                show(text),
                show(pattern),
                show(with),
                show(&ours),
                show(&luas)
            );
        }
    }
}

/// A small generator of numbers (xorshift), so that a seed is a bug report.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most
    }

    fn of<'a>(&mut self, all: &[&'a [u8]]) -> &'a [u8] {
        all[self.below(all.len())]
    }
}

const ITEMS: &[&[u8]] = &[
    b"a",
    b"a",
    b"b",
    b"ab",
    b".",
    b".",
    b"%a",
    b"%d",
    b"%s",
    b"%w",
    b"%W",
    b"%S",
    b"%x",
    b"%p",
    b"%c",
    b"%u",
    b"%l",
    b"%g",
    b"%z",
    b"%Z",
    b"%.",
    b"%%",
    b"%(",
    b"%]",
    b"[ab]",
    b"[^a]",
    b"[%a_]",
    b"[a-c]",
    b"[]]",
    b"[^]]",
    b"[a-]",
    b"[%]]",
    b"[a-%a]",
    b"[--%]",
    b"[^%s%d]",
    b"[%w-]",
    b"\0",
    b"\xff",
    b"[\0-\x7f]",
    b"]",
    b"-",
    b"^",
    b"$",
];
const REPEATS: &[&[u8]] = &[b"", b"", b"", b"*", b"+", b"-", b"?"];
const OTHERS: &[&[u8]] = &[
    b"(", b")", b"(", b")", b"()", b"%1", b"%2", b"%0", b"%b()", b"%bab", b"%b", b"%bx", b"%f[a]", b"%f[%w]",
    b"%f[^%w]", b"%f", b"%fa", b"%", b"[", b"[^", b"[a", b"[%", b"(a)", b"(.)", b"(.-)", b"(.*)", b"^", b"$",
];
const BYTES: &[u8] = b"aaaabbbcab()() 1.%\0\xff]-^$_AZ\n";
const TEMPLATES: &[&[u8]] = &[
    b"",
    b"x",
    b"%0%0",
    b"<%1>",
    b"%2",
    b"%%",
    b"%",
    b"%x",
    b"a%1b%0c%%",
    b"\0%1",
    b"%9",
    b"long text without any of them",
];

fn pattern(random: &mut Random) -> Vec<u8> {
    let mut pattern = if random.below(5) == 0 { b"^".to_vec() } else { Vec::new() };
    let mut repeated = 0;
    for _ in 0..=random.below(7) {
        if random.below(4) == 0 {
            pattern.extend(random.of(OTHERS));
            continue;
        }
        pattern.extend(random.of(ITEMS));
        let repeat = random.of(REPEATS);
        // Lua's own would take too long.
        repeated += repeat.len();
        if repeated <= 4 {
            pattern.extend(repeat);
        }
    }
    if random.below(5) == 0 {
        pattern.push(b'$');
    }
    pattern
}

fn compare(seed: u64, pairs: usize) {
    let (both, mut random) = (Both::new(), Random(seed));
    for _ in 0..pairs {
        let pattern = pattern(&mut random);
        let text: Vec<u8> = (0..random.below(14)).map(|_| BYTES[random.below(BYTES.len())]).collect();
        let init = random.below(34) as i64 - 17;
        both.check(&text, &pattern, init, random.of(TEMPLATES), random.below(5) as i64 - 1);
    }
}

#[test]
fn made_up_patterns_match_as_in_lua() {
    std::thread::scope(|scope| {
        for seed in [0x9e37_79b9, 0x1234_5678_9abc_def0] {
            scope.spawn(move || compare(seed, 50_000));
        }
    });
}

/// A longer run: `RSP_PATTERNS=5000000 cargo test --lib patterns -- --ignored`.
#[test]
#[ignore = "takes as long as it is told"]
fn many_more_made_up_patterns_match_as_in_lua() {
    let pairs = std::env::var("RSP_PATTERNS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(1_000_000);
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    compare(seed, pairs);
}

#[test]
fn known_corners_match_as_in_lua() {
    let both = Both::new();
    let long = b"x".repeat(300);
    let a = |times: usize, text: &[u8]| text.repeat(times);
    for pattern in [
        a(199, b"a?"),
        a(200, b"a?"),
        a(201, b"a?"),
        a(250, b"x?"),
        a(199, b"x*"),
        a(200, b"x*"),
        a(250, b"x-"),
        a(32, b"()"),
        a(33, b"()"),
        a(32, b"(x)"),
        a(33, b"("),
        a(9, b"(x"),
        a(33, b"(x"),
        a(300, b"x"),
        a(301, b"x"),
        a(2, b"x*x"),
        [a(31, b"()"), b"(x-)%1".to_vec()].concat(),
        b"(x)%9".to_vec(),
        b"((x)(y))".to_vec(),
        b"()%1".to_vec(),
    ] {
        both.check(&long, &pattern, 1, b"%1", 3);
        both.check(b"aaa", &pattern, 2, b"%1", 3);
    }
    for (text, pattern) in [
        ("  x y  ", "^%s*(.-)%s*$"),
        ("key = value", "^(%w+)%s*=%s*(%w+)$"),
        ("/static/a.css", "^/static/"),
        ("a,b,,c", "([^,]*)"),
        ("THE (quick) fox", "%f[%a]%a+%f[%A]"),
        ("f(a(b)c)d", "%b()"),
        ("x=1&y=2", "(%w+)=(%w+)"),
        ("", ""),
        ("", "^$"),
        ("abc", "$"),
        ("a\0b", "a%zb"),
        ("a\0b", "[^\0]+"),
        ("hello world", "l+"),
        ("hello world", "o w"),
    ] {
        for init in [-20, -3, 0, 1, 2, 5, 20, i64::MIN, i64::MAX] {
            both.check(text.as_bytes(), pattern.as_bytes(), init, b"[%0]", 2);
        }
    }
    // Long texts take other ways through searches for plain text.
    for (text, wanted) in [(100, 3), (100, 70), (5000, 100)] {
        let text = [b"ab".repeat(text), b"abc".repeat(wanted)].concat();
        both.check(&text, &b"abc".repeat(wanted), 1, b"%0!", 3);
        both.check(&text, &b"abc".repeat(wanted + 1), 1, b"%0!", 3);
    }
}

#[test]
fn wrong_arguments_are_reported_as_in_lua() {
    let source = "local all = {}\n\
        for _, name in ipairs { 'find', 'match', 'gmatch', 'gsub' } do\n\
          for _, wrong in ipairs { {}, { 'a' }, { {}, 'a' }, { 'a', {} }, { 'a', 'a', {} }, { 12, 1 }, { 'a', 'b', 'c', 'd' },\n\
              { 'a', 'a', true }, { 'a', 'a', 'x', {} }, { 'a', 'a', 1.5 }, { 'abc', 'b', '2' }, { 123, 2, 4 },\n\
              { 'a', 'a', print, 1 }, { 'a', '(', 'x' }, { 'a', 'a', function() return {} end },\n\
              { 'a', 'a', function() error('x', 0) end }, { 'a', 'a', { a = true } } } do\n\
            local told = table.pack(pcall(string[name], table.unpack(wrong)))\n\
            for i = 1, told.n do told[i] = tostring(told[i]):gsub('0x%x+', '') end\n\
            all[#all + 1] = name .. table.concat(told, '|')\n\
            if name ~= 'gmatch' then all[#all + 1] = tostring(select(2, pcall(function() return ('x')[name](('x'), wrong[2], wrong[1]) end))):gsub('0x%x+', '') end\n\
          end\n\
        end\n\
        return table.concat(all, '\\n')";
    let told = |lua: &Lua| lua.load(source).set_name("=wrong").eval::<String>().unwrap();
    assert_eq!(told(Vm::new().unwrap().lua()), told(&Lua::new()));
}
