//! Whether a chunk can write globals once it has run: it assigns one within a function, or takes hold of the table of
//! globals (`_ENV`). Read from the compiled chunk, in the format of Lua 5.4 (`ldump.c`), which knows all scopes.

/// Instructions by their number (`lopcodes.h`).
const GET_UPVALUE: u32 = 9;
const SET_UPVALUE: u32 = 10;
const SET_IN_UPVALUE: u32 = 15;

/// Header: signature, version, format, data, sizes, an integer and a number.
const HEADER: usize = 4 + 1 + 1 + 6 + 3 + 8 + 8;

/// True also for what cannot be read.
pub fn may_write_globals(dump: &[u8]) -> bool {
    // The number of upvalues follows the header.
    let Some(rest) = dump.get(HEADER + 1..) else { return true };
    Reader { rest, writes: false }.whole().unwrap_or(true)
}

struct Reader<'a> {
    rest: &'a [u8],
    writes: bool,
}

impl<'a> Reader<'a> {
    fn whole(mut self) -> Option<bool> {
        self.function(true)?;
        self.rest.is_empty().then_some(self.writes)
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    /// Seven bits a byte, the last one marked.
    fn number(&mut self) -> Option<usize> {
        let mut number = 0_usize;
        loop {
            let byte = *self.take(1)?.first()?;
            number = number.checked_mul(128)? + usize::from(byte & 0x7f);
            if byte & 0x80 != 0 {
                return Some(number);
            }
        }
    }

    /// Two that are of no interest.
    fn numbers(&mut self) -> Option<()> {
        self.number()?;
        self.number()?;
        Some(())
    }

    /// The length plus one comes before it; 0: there is none.
    fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(len.saturating_sub(1))
    }

    fn function(&mut self, is_main: bool) -> Option<()> {
        self.text()?;
        self.numbers()?;
        self.take(3)?;
        let instructions = self.number()?;
        let code = self.take(instructions.checked_mul(4)?)?;
        self.constants()?;
        let upvalues = self.number()?;
        self.take(upvalues.checked_mul(3)?)?;
        for _ in 0..self.number()? {
            self.function(false)?;
        }
        let names = self.names()?;
        self.writes |= code.chunks_exact(4).any(|instruction| {
            let instruction =
                u32::from_le_bytes([instruction[0], instruction[1], instruction[2], instruction[3]]);
            let [a, b] = [instruction >> 7 & 0xff, instruction >> 16 & 0xff];
            let is_globals = |upvalue: u32| names.get(upvalue as usize).is_none_or(|name| *name == b"_ENV");
            match instruction & 0x7f {
                SET_IN_UPVALUE => !is_main && is_globals(a),
                GET_UPVALUE | SET_UPVALUE => is_globals(b),
                _ => false,
            }
        });
        Some(())
    }

    fn constants(&mut self) -> Option<()> {
        for _ in 0..self.number()? {
            match *self.take(1)?.first()? {
                // nil, false, true
                0x00 | 0x01 | 0x11 => {}
                // An integer, a float.
                0x03 | 0x13 => _ = self.take(8)?,
                // A string, short or long.
                0x04 | 0x14 => _ = self.text()?,
                _ => return None,
            }
        }
        Some(())
    }

    /// Reads what is there for debugging. Returns the names of the upvalues.
    fn names(&mut self) -> Option<Vec<&'a [u8]>> {
        let lines = self.number()?;
        self.take(lines)?;
        for _ in 0..self.number()? {
            self.numbers()?;
        }
        for _ in 0..self.number()? {
            self.text()?;
            self.numbers()?;
        }
        (0..self.number()?).map(|_| self.text()).collect()
    }
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;

    fn writes(source: &str) -> bool {
        let dump = Lua::new().load(source).into_function().unwrap().dump(false);
        let text = |cut: usize| may_write_globals(&dump[..cut]);
        assert!((0..dump.len()).all(text), "what is cut short cannot be read");
        may_write_globals(&dump)
    }

    #[test]
    fn only_what_a_function_could_do_later_counts() {
        for source in [
            "",
            "x = 1",
            "x = 1 for i = 1, 2 do y = i end",
            "local x function f() return function() x = 1 end end",
            "return function(req) req.path = string.format('%s', req.path) return math.pi, 1 << 40, 1.5, nil, true, false end",
            "local t = {} return function() t.x = 1 local _ENV = {} y = 1 end",
            "return function() return 'a string that is longer than forty bytes, which Lua keeps elsewhere' end",
        ] {
            assert!(!writes(source), "{source}");
        }
        for source in [
            "return function() x = 1 end",
            "local x function f() return function() y = x end end",
            "function f() function g() end end",
            "return function() _ENV.x = 1 end",
            "local env = _ENV return function() env.x = 1 end",
            "return function() local env = _ENV env.x = 1 end",
            "return function() return _ENV end",
            "return function(k) _ENV[k] = 1 end",
            "_ENV = {}",
        ] {
            assert!(writes(source), "{source}");
        }
    }

    #[test]
    fn a_long_chunk_is_read_too() {
        let many: String = (0..1000).map(|n| format!("t[{n}] = {{ 'word {n}', {n}.5, {n}000 }} ")).collect();
        let source = format!("local t = {{}} {many} return function() return t end");
        assert!(!writes(&source));
        assert!(writes(&format!("{source}, function() x = 1 end")));
    }
}
