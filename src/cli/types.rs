//! `rsp types`: the LuaLS definitions of this very version, for an editor that checks and completes configs.

use super::{Exit, say};

pub fn run() -> Exit {
    say(crate::script::TYPES)
}
