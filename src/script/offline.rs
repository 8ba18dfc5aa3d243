//! A script that is cut off from the system, for tests and replays: its clock moves only when it is told to, its random
//! numbers are the same each time, and what it does is noted. Clock and numbers belong to the thread, as every VM does.

use std::cell::Cell;
use std::time::Duration;

use mlua::{Error, Function, Lua, Table, Value};

use super::vm::Vm;

thread_local! {
    /// Since 1970.
    static SET: Cell<Option<Duration>> = const { Cell::new(None) };
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// Sets the time since 1970 that scripts of this thread see; `None`: the system's.
pub fn set_time(time: Option<Duration>) {
    SET.set(time);
}

/// The time that was set.
pub fn time() -> Option<Duration> {
    SET.get()
}

/// Begins a sequence of random numbers.
pub fn set_seed(seed: u64) {
    SEED.set(seed);
}

/// The next number of the sequence (splitmix64).
pub fn next_random() -> u64 {
    let next = SEED.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    SEED.set(next);
    let mixed = (next ^ next >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// Prepares a new VM.
pub(super) fn prepare(vm: &mut Vm) -> mlua::Result<()> {
    vm.machine.observe()?;
    let globals = vm.lua().globals();
    let math: Table = globals.get("math")?;
    math.set("random", vm.lua().create_function(random)?)?;
    math.set(
        "randomseed",
        vm.lua().create_function(|_, seed: Option<i64>| {
            set_seed(seed.unwrap_or_default() as u64);
            Ok(())
        })?,
    )?;
    let os: Table = globals.get("os")?;
    let (of_table, date): (Function, Function) = (os.get("time")?, os.get("date")?);
    os.set(
        "time",
        vm.lua().create_function(move |_, at: Value| match at {
            Value::Nil => Ok(Value::Integer(now().as_secs() as i64)),
            at => of_table.call(at),
        })?,
    )?;
    os.set("clock", vm.lua().create_function(|_, ()| Ok(now().as_secs_f64()))?)?;
    let dated = move |_: &mlua::Lua, (format, at): (Value, Value)| {
        let at = if at.is_nil() { Value::Integer(now().as_secs() as i64) } else { at };
        let format = if format.is_nil() { None } else { Some(format) };
        date.call::<Value>((format, at))
    };
    os.set("date", vm.lua().create_function(dated)?)
}

/// As Lua's `math.random`, from the sequence of `clock`.
fn random(_: &Lua, (first, last): (Option<i64>, Option<i64>)) -> mlua::Result<Value> {
    let (low, high) = match (first, last) {
        (None, _) => return Ok(Value::Number((next_random() >> 11) as f64 / (1_u64 << 53) as f64)),
        (Some(0), None) => return Ok(Value::Integer(next_random() as i64)),
        (Some(high), None) => (1, high),
        (Some(low), Some(high)) => (low, high),
    };
    if low > high {
        return Err(Error::runtime("bad argument to 'random' (interval is empty)"));
    }
    let span = high.wrapping_sub(low) as u64;
    let number = if span == u64::MAX { next_random() } else { next_random() % (span + 1) };
    Ok(Value::Integer(low.wrapping_add(number as i64)))
}

fn now() -> Duration {
    time().unwrap_or_default()
}
