//! The memory of a VM that is nearly full: collected once, and then reported, so that a fresh VM takes its place.
//!
//! At the limit each allocation that fails makes Lua collect all garbage first, which takes as long as a whole call may,
//! many times over. So the VM gets some more until it is replaced; if that is not enough either, most of its calls fail at
//! once, and only some are tried.

use std::ffi::c_int;

use mlua::ffi;

use super::Machine;

/// How much of its memory a VM uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Fill {
    #[default]
    Fine,
    /// Nearly full after all garbage was collected; it has got some more.
    Short,
    /// That is used up as well. So many calls were refused since one was tried.
    Full(u32),
}

/// Calls that are refused before one is tried.
const REFUSED: u32 = 15;

impl Machine {
    /// After a call that took long, or failed for memory: only such a call can have found the VM full.
    pub(super) fn look_at_memory(&mut self, out_of_memory: bool) {
        let most = self.call_state().limits.memory;
        self.fill = match self.fill {
            Fill::Fine if out_of_memory || self.uses_over(most / 10 * 9) => {
                // Fails only if a finalizer does, and scripts have none.
                let _ = self.lua.gc_collect();
                // What a call failed for may be more than is left of a VM that is not quite full.
                let much = if out_of_memory { most / 4 * 3 } else { most / 10 * 9 };
                if !self.uses_over(much) {
                    return;
                }
                // Fails only without a limit.
                let _ = self.lua.set_memory_limit(most + most / 8);
                Fill::Short
            }
            Fill::Short | Fill::Full(_) if out_of_memory => Fill::Full(0),
            fill => fill,
        };
    }

    /// Whether a call is refused because the VM is full.
    pub(super) fn refuses(&mut self) -> bool {
        match &mut self.fill {
            Fill::Full(refused) if *refused < REFUSED => {
                *refused += 1;
                true
            }
            Fill::Full(_) => {
                // Unless it fails.
                self.fill = Fill::Short;
                false
            }
            _ => false,
        }
    }

    fn uses_over(&self, bytes: usize) -> bool {
        // SAFETY: the state is idle; counting touches nothing.
        let kilobytes = unsafe { ffi::lua_gc(self.main, ffi::LUA_GCCOUNT as c_int) };
        (kilobytes as usize) << 10 > bytes
    }

    /// A fresh VM should take the place of this one.
    pub fn needs_replacement(&self) -> bool {
        self.fill != Fill::Fine
    }
}
