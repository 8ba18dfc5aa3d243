//! Just enough of Lua's grammar to find the line of a key: `rsp.pool {` may open a table of forty lines, and Lua only
//! knows the line of the call. The text is split into tokens (a plain search would match in comments and strings),
//! then the path of an error (`servers[2].weight`) is followed through the entries of the table. If the table is not
//! written at the call, nothing is found and the call's line is used.

use super::error::PathStep;
use crate::script::tokens::{self, LuaToken};

/// The tokens of a script, each with its line.
pub(super) struct Tokens<'a>(Vec<(LuaToken<'a>, usize)>);

impl<'a> Tokens<'a> {
    pub(super) fn of(text: &'a [u8]) -> Tokens<'a> {
        Tokens(tokens::of(text))
    }

    /// The line of the value or key at the end of `path`, in a table that opens on the line of the call (or, if none
    /// does, in the first one after it).
    pub(super) fn line_of(&self, call: usize, path: &[PathStep]) -> Option<usize> {
        let opens = |(_, (token, line)): &(usize, &(LuaToken, usize))| {
            *token == LuaToken::Symbol(b'{') && *line >= call
        };
        let mut tables = self.0.iter().enumerate().filter(opens).peekable();
        let line = tables.peek()?.1.1;
        tables.take_while(|(_, (_, at))| *at == line).find_map(|(open, _)| self.walk(open, path))
    }

    /// The line where a global is set: `name = `.
    pub(super) fn line_of_global(&self, name: &str) -> Option<usize> {
        let set = |pair: &&[(LuaToken, usize)]| {
            pair[0].0 == LuaToken::Name(name.as_bytes()) && pair[1].0 == LuaToken::Symbol(b'=')
        };
        self.0.windows(2).find(set).map(|pair| pair[0].1)
    }

    fn walk(&self, open: usize, path: &[PathStep]) -> Option<usize> {
        let (step, below) = path.split_first()?;
        let (entry, value) =
            self.entries(open).find(|entry| self.is(entry, step)).map(|entry| (entry.at, entry.value))?;
        let line = self.0.get(entry)?.1;
        let deeper = || match self.symbol(value) {
            Some(b'{') => self.walk(value, below),
            _ => None,
        };
        Some(deeper().unwrap_or(line))
    }

    fn is(&self, entry: &TableEntry, step: &PathStep) -> bool {
        match (step, entry.item) {
            (PathStep::Item(number), item) => item == Some(*number),
            (PathStep::Key(name), None) => self.key(entry.at) == Some(name.as_bytes()),
            (PathStep::Key(_), Some(_)) => false,
        }
    }

    /// `name =` or `["name"] =`.
    fn key(&self, at: usize) -> Option<&'a [u8]> {
        match (self.0.get(at)?.0, self.0.get(at + 1)?.0) {
            (LuaToken::Name(name), _) => Some(name),
            (LuaToken::Symbol(b'['), LuaToken::Text(text)) => text.get(1..text.len().saturating_sub(1)),
            _ => None,
        }
    }

    /// The entries of the table that opens at `open`.
    fn entries(&self, open: usize) -> impl Iterator<Item = TableEntry> {
        let (mut at, mut items) = (open + 1, 0);
        std::iter::from_fn(move || {
            // A closing bracket ends the table, or is unbalanced, and then the end is unknown.
            if at >= self.0.len() || matches!(self.symbol(at), Some(b'}' | b')' | b']')) {
                return None;
            }
            let value = self.value_of(at);
            let item = value.is_none().then(|| {
                items += 1;
                items
            });
            let entry = TableEntry { at, value: value.unwrap_or(at), item };
            at = self.end_of(entry.value);
            if matches!(self.symbol(at), Some(b',' | b';')) {
                at += 1;
            }
            Some(entry)
        })
    }

    /// The start of the value, if the entry at `at` has a key.
    fn value_of(&self, at: usize) -> Option<usize> {
        let equals = match self.0.get(at)?.0 {
            LuaToken::Name(_) => at + 1,
            LuaToken::Symbol(b'[') => self.end_of(at + 1) + 1,
            _ => return None,
        };
        (self.symbol(equals) == Some(b'=')).then_some(equals + 1)
    }

    /// The first token at or after `at` that ends an expression: a separator or closing bracket at its own depth.
    fn end_of(&self, at: usize) -> usize {
        let mut depth = 0usize;
        for (index, (token, _)) in self.0.iter().enumerate().skip(at) {
            match token {
                LuaToken::Symbol(b',' | b';' | b'}' | b']' | b')') if depth == 0 => return index,
                LuaToken::Symbol(b'{' | b'[' | b'(') => depth += 1,
                LuaToken::Symbol(b'}' | b']' | b')') => depth -= 1,
                // Blocks of a function within the table: their commas are not the table's.
                LuaToken::Name(b"function" | b"if" | b"do" | b"repeat") => depth += 1,
                LuaToken::Name(b"end" | b"until") => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        self.0.len()
    }

    fn symbol(&self, at: usize) -> Option<u8> {
        match self.0.get(at)?.0 {
            LuaToken::Symbol(symbol) => Some(symbol),
            _ => None,
        }
    }
}

struct TableEntry {
    /// Its first token.
    at: usize,
    /// The first token of its value.
    value: usize,
    /// Its number, if it has no key.
    item: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<PathStep> {
        let step = |part: &str| part.parse().map_or_else(|_| PathStep::Key(part.to_owned()), PathStep::Item);
        text.split('.').filter(|part| !part.is_empty()).map(step).collect()
    }

    const SCRIPT: &str = r#"-- name = "no"
local x = { name = 1 } --[[ a comment
over lines ]] rsp.pool {
  name = "web { name = ", -- } weight = 1
  servers = {
    "127.0.0.1:83",
    { "10.0.0.2:8080", name = "app2",
      weight = 2 },
    [==[unix:/a]]b]==],
    last,
  },
  balance = function(req, servers)
    for i, s in ipairs(servers) do if s.name == "a" then via, timeouts = 1, 2 end end
    repeat local up = servers[1] until up ~= nil
    return servers[1], 2
  end,
  ["quoted"] = 1; [1 + 1] = 2,
  timeouts = { connect = "3s",
    response = later { 1, 2 } },
  elsewhere = defaults,
}
rsp.settings { via = "x" } rsp.settings {
  via = "y", other = 1 }
rsp.listen
{ tls = 1 }
"#;

    #[test]
    fn the_line_of_a_key_is_found_by_its_path() {
        let tokens = Tokens::of(SCRIPT.as_bytes());
        for (call, way, line) in [
            (3, "name", Some(4)),
            (3, "servers", Some(5)),
            (3, "servers.1", Some(6)),
            (3, "servers.2", Some(7)),
            (3, "servers.2.weight", Some(8)),
            (3, "servers.3", Some(9)),
            (3, "servers.4", Some(10)),
            (3, "servers.4.weight", Some(10)),
            (3, "balance", Some(12)),
            (3, "quoted", Some(17)),
            (3, "timeouts", Some(18)),
            (3, "timeouts.connect", Some(18)),
            (3, "timeouts.response", Some(19)),
            (3, "elsewhere.health", Some(20)),
            (3, "via", None),
            (3, "weight", None),
            (3, "", None),
            (22, "via", Some(22)),
            (22, "other", Some(23)),
            (24, "tls", Some(25)),
            (26, "tls", None),
        ] {
            assert_eq!(tokens.line_of(call, &path(way)), line, "{way}");
        }
    }

    #[test]
    fn malformed_text_does_not_panic() {
        let keys = path("servers.2.weight");
        for end in 0..SCRIPT.len() {
            let tokens = Tokens::of(&SCRIPT.as_bytes()[..end]);
            for call in 0..27 {
                tokens.line_of(call, &keys);
            }
        }
        for text in [
            "{", "{}", "}{", "{]", "{[", "{[=", "{[1]", "{a=", "{a=}", "\"", "'\\", "--[[", "[=", "{;,}",
            "{)x=1}",
        ] {
            Tokens::of(text.as_bytes()).line_of(0, &keys);
        }
    }

    #[test]
    fn the_line_of_a_global_is_found() {
        let tokens = Tokens::of(b"-- listenPort = 1\nif listenPort == 1 then end\nlistenPort = '8000'\n");
        assert_eq!(tokens.line_of_global("listenPort"), Some(3));
        assert_eq!(tokens.line_of_global("backendPort"), None);
    }
}
