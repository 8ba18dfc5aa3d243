//! What a long piece of work of Rust costs the script that asked for it: the CPU time of its call, and its VM's memory.

use mlua::Lua;

use super::{Outcome, wrong};
use crate::script::ffi;

/// Bytes of work between two looks at the clock. A multiple of 12: whole groups of base64 on both sides.
pub(in crate::script) const PIECE: usize = 48 * 1024;
/// Values of work between two looks: each costs about as much as a hundred bytes.
const VALUES: usize = 500;

/// Counts the work of one call of a part.
pub(in crate::script) struct Meter<'a> {
    lua: &'a Lua,
    values: usize,
}

impl<'a> Meter<'a> {
    pub(in crate::script) fn new(lua: &'a Lua) -> Meter<'a> {
        Meter { lua, values: 0 }
    }

    /// Call after each piece of so many bytes. Short work costs no look at the clock.
    pub(in crate::script) fn spend(&self, bytes: usize) -> Outcome<()> {
        match bytes >= PIECE {
            true => self.look(),
            false => Ok(()),
        }
    }

    /// Call for each value.
    pub(in crate::script) fn count(&mut self) -> Outcome<()> {
        self.values += 1;
        match self.values.is_multiple_of(VALUES) {
            true => self.look(),
            false => Ok(()),
        }
    }

    fn look(&self) -> Outcome<()> {
        ffi::exhausted(self.lua).map_or(Ok(()), wrong)
    }

    /// Refuses a result of so many bytes that the VM could not hold; call before it is made.
    pub(in crate::script) fn reserve(&self, bytes: usize) -> Outcome<()> {
        let limits = ffi::limits(self.lua);
        match self.lua.used_memory().saturating_add(bytes) > limits.memory {
            true => wrong(limits.memory_text()),
            false => Ok(()),
        }
    }
}
