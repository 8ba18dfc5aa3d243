//! A config whose script does what would hurt: each path its own thing.

use super::origin::Origin;
use super::rsp::balanced;

/// What the script does for a path of this number; it takes each call to one of its limits, or is refused.
pub const HURTFUL: &[&str] = &[
    "while true do end",
    "while true do pcall(error) end",
    "while true do coroutine.wrap(function() end)() end",
    "return ('a'):rep(1000):find('.-.-.-.-x')",
    "return ('x' .. (' '):rep(15000) .. 'xx'):match('^x%s*(.-)%s*x$') == ('x' .. (' '):rep(15000) .. 'x'):gsub('%s*$', '')",
    "local t = {} while true do t[#t + 1] = {} end",
    "return ('x'):rep(1e10)",
    "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1e6) end return table.concat(t)",
    "local function f() return 1 + f() end return f()",
    "return setmetatable({}, { __index = function(t, k) return t[k + 1] end })[1]",
    "error(setmetatable({}, { __tostring = function() while true do end end }))",
    "error()",
    "local t = {} for i = 1, 1e5 do t[i] = -i end while true do pcall(table.sort, t, math.max) end",
    "local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function() return true end)",
    "return load(function() return ' ' end)",
    "collectgarbage('stop')",
    "leaked = req",
    "string.format = nil",
    "setmetatable({}, { __gc = print })",
];

/// The path of a handler that never ends to wait.
pub const WAITING: &str = "/wait";

pub fn hurtful_config(origin: &Origin, settings: &str) -> String {
    let rows: String = HURTFUL.iter().map(|body| format!("function(req) {body} end,\n")).collect();
    format!(
        "{}{settings}\nlocal hurtful = {{\n{rows}}}\n\
         rsp.on_request(function(req)\n\
           if req.path == '{WAITING}' then while true do rsp.sleep('10s') end end\n\
           local f = hurtful[tonumber(req.path:sub(2))]\n\
           if f then f(req) error('it went through') end\n\
           assert(('a b'):gsub('%s', '_') == 'a_b' and ('%d'):format(7) == '7' and leaked == nil)\n\
         end)",
        balanced(&[&origin.address])
    )
}
