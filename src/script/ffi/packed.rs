//! A script in transit from the thread that loaded it to the one that will run it.

use crate::script::Script;

/// A script that cannot be called until it is unpacked.
pub struct PackedScript(Script);

// SAFETY: what makes a script stay on its thread are reference counts and pointers into its Lua state, and the timer of
// its watchdog. All holders of the former are within it and move together: the loader keeps none (`load` returns when
// its own are gone), and mlua keeps nothing of a state in a thread's storage. The timer is let go by `pack` and made
// anew by `unpack`. Between the two nothing can be called, since the only thing a packed script can do is to be unpacked
// or dropped, by one thread at a time.
unsafe impl Send for PackedScript {}

impl Script {
    pub fn pack(mut self) -> PackedScript {
        self.machine_mut().leave_thread();
        PackedScript(self)
    }
}

impl PackedScript {
    /// Call on the thread that will run it.
    pub fn unpack(self) -> Script {
        let mut script = self.0;
        script.machine_mut().enter_thread();
        script
    }
}
