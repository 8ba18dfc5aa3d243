//! The budget of the running call and the clocks, for safe code that a script calls through mlua.

use std::time::Duration;

use mlua::Lua;

use super::Job;
use super::call_state::Owner;
use super::calls::check_budget;
use crate::config::ScriptLimits;
use crate::script::offline;

/// What to tell a script whose call has used up its time. Looks at the clock.
pub fn exhausted(lua: &Lua) -> Option<String> {
    let owner = lua.app_data_ref::<Owner>()?;
    // SAFETY: the call state lives as long as the Lua state; the budget is touched only by what runs below the call,
    // on this thread, and no reference to it outlives a statement.
    unsafe { check_budget(owner.0, Duration::ZERO).then(|| (*owner.0).budget.text()) }
}

/// What calls may use.
pub fn limits(lua: &Lua) -> ScriptLimits {
    let owner = lua.app_data_ref::<Owner>();
    // SAFETY: as above; only numbers are read.
    owner.map_or_else(ScriptLimits::default, |owner| unsafe { (*owner.0).limits })
}

/// Whether a config is being loaded, which has more time than a call.
pub fn is_loading(lua: &Lua) -> bool {
    // SAFETY: as above; only a number is read.
    lua.app_data_ref::<Owner>().is_some_and(|owner| unsafe { (*owner.0).budget.is_of_config() })
}

/// Time since 1970.
pub fn wall_clock() -> Duration {
    offline::time().unwrap_or_else(|| clock(libc::CLOCK_REALTIME))
}

fn clock(which: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours. The clocks used exist on every Linux; failing leaves zero.
    unsafe { libc::clock_gettime(which, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Nanoseconds of the system's monotonic clock.
pub fn monotonic() -> u64 {
    offline::time().unwrap_or_else(|| clock(libc::CLOCK_MONOTONIC)).as_nanos() as u64
}

/// The number of the running call's request; `None` where a call is about no request that still runs.
pub fn live_request(lua: &Lua) -> Option<usize> {
    let owner = lua.app_data_ref::<Owner>()?;
    // SAFETY: as above; only plain numbers are read.
    let (live, job) = unsafe { ((*owner.0).live, (*owner.0).job) };
    let is_about_one = matches!(job, Job::Request | Job::Key | Job::Response | Job::Balance);
    (live != 0 && is_about_one).then_some(live as usize)
}
