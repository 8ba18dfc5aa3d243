//! `rsp -v` for scripts, `rsp -V` for bug reports.

use super::{Exit, say};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn short() -> Exit {
    say(&format!("rsp {VERSION}\n"))
}

pub fn long() -> Exit {
    let os = std::env::consts::OS;
    let arch = std::env::consts::ARCH;
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    say(&format!("rsp {VERSION}\ntarget   {arch}-{os}-{libc}\nprofile  {profile}\nlua      {}\n", lua()))
}

/// As stated by the embedded Lua.
fn lua() -> String {
    mlua::Lua::new().globals().get("_VERSION").unwrap_or_else(|_| "unknown".to_string())
}
