//! A VM that is cut off from the system, for tests and replays: its clock is the one in `clock`, its random numbers are
//! the same each time, and what it does is noted.

use mlua::{Error, Function, Lua, Table, Value};

use super::clock;
use super::vm::Vm;

pub(super) fn prepare(vm: &mut Vm) -> mlua::Result<()> {
    vm.machine.observe()?;
    let globals = vm.lua().globals();
    let math: Table = globals.get("math")?;
    math.set("random", vm.lua().create_function(random)?)?;
    math.set(
        "randomseed",
        vm.lua().create_function(|_, seed: Option<i64>| {
            clock::set_seed(seed.unwrap_or_default() as u64);
            Ok(())
        })?,
    )?;
    let os: Table = globals.get("os")?;
    let (time, date): (Function, Function) = (os.get("time")?, os.get("date")?);
    os.set(
        "time",
        vm.lua().create_function(move |_, at: Value| match at {
            Value::Nil => Ok(Value::Integer(now().as_secs() as i64)),
            at => time.call(at),
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
        (None, _) => return Ok(Value::Number((clock::random() >> 11) as f64 / (1_u64 << 53) as f64)),
        (Some(0), None) => return Ok(Value::Integer(clock::random() as i64)),
        (Some(high), None) => (1, high),
        (Some(low), Some(high)) => (low, high),
    };
    if low > high {
        return Err(Error::runtime("bad argument to 'random' (interval is empty)"));
    }
    let span = high.wrapping_sub(low) as u64;
    let number = if span == u64::MAX { clock::random() } else { clock::random() % (span + 1) };
    Ok(Value::Integer(low.wrapping_add(number as i64)))
}

fn now() -> std::time::Duration {
    clock::get().unwrap_or_default()
}
