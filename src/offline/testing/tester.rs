//! `t`: what a test does with its site.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Error, Function, Lua, LuaString, Table, UserData, UserDataMethods, Value, Variadic};

use super::answers::Answers;
use super::values::{equal, show};
use super::{asking, results, servers};
use crate::offline::{Asked, Forwarded, OfflineSite, Outcome};
use crate::script::{TaskFunction, nearest_hint, seconds};

/// The longest that `t:advance` moves the clock: a year.
const LONGEST: f64 = 366.0 * 24.0 * 3600.0;

#[derive(Clone)]
pub struct Tester(Rc<World>);

pub struct World {
    site: Rc<OfflineSite>,
    /// The request that `t:response` is about.
    asked: RefCell<Asked>,
    /// Whether it went to a server.
    forwarded: std::cell::Cell<bool>,
    pub fetch: RefCell<Option<Function>>,
    pub resolve: RefCell<Option<Function>>,
    /// When each function of `rsp.every` is due next.
    due: RefCell<Vec<u64>>,
}

impl Tester {
    pub fn new(site: Rc<OfflineSite>) -> Tester {
        let micros = |period: &std::time::Duration| site.now() + period.as_micros() as u64;
        let due = RefCell::new(site.config.every.iter().map(micros).collect());
        Tester(Rc::new(World {
            site,
            asked: RefCell::default(),
            forwarded: false.into(),
            fetch: RefCell::default(),
            resolve: RefCell::default(),
            due,
        }))
    }

    /// The config begins to run.
    pub fn begin(self) -> Result<Tester, String> {
        if self.0.site.config.on_start {
            self.0.run_task(TaskFunction::OnStart)?;
        }
        Ok(self)
    }
}

/// Where the test is, for the front of a message.
pub fn here(lua: &Lua) -> String {
    let place = |debug: &mlua::debug::Debug| {
        let file = debug.source().source?.strip_prefix('@')?.to_owned();
        Some(format!("{file}:{}: ", debug.current_line()?))
    };
    (0..).map_while(|level| lua.inspect_stack(level, place)).flatten().next().unwrap_or_default()
}

fn raise<T>(lua: &Lua, result: Result<T, String>) -> mlua::Result<T> {
    result.map_err(|text| Error::runtime(format!("{}{text}", here(lua))))
}

impl UserData for Tester {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("request", |lua, t, value: Value| t.0.request(lua, &value));
        methods.add_method("response", |lua, t, value: Option<Table>| t.0.response(lua, value));
        methods.add_method("connect", |lua, t, value: Option<Table>| t.0.connect(lua, value));
        methods.add_method("server", |lua, t, (name, options): (LuaString, Table)| {
            raise(lua, servers::set(&t.0.site, &name.to_string_lossy(), &options))
        });
        methods.add_method("advance", |lua, t, time: Value| raise(lua, t.0.advance(&time)));
        methods.add_method("fetch", |_, t, f: Option<Function>| {
            t.0.fetch.replace(f);
            Ok(())
        });
        methods.add_method("resolve", |_, t, f: Option<Function>| {
            t.0.resolve.replace(f);
            Ok(())
        });
        methods.add_method("equal", |lua, _, (got, expected, note): (Value, Value, Option<LuaString>)| {
            let wrong = || format!("got {}, expected {}{}", show(&got), show(&expected), noted(&note));
            raise(lua, equal(&got, &expected).then_some(()).ok_or_else(wrong))
        });
        methods.add_method("ok", |lua, _, (value, note): (Value, Option<LuaString>)| {
            let fine = !matches!(value, Value::Nil | Value::Boolean(false));
            let wrong = || format!("got {}, expected a true value{}", show(&value), noted(&note));
            raise(lua, fine.then_some(()).ok_or_else(wrong))
        });
        methods.add_meta_method("__index", |lua, _, (key, _): (Value, Variadic<Value>)| {
            const KNOWN: [&str; 9] =
                ["request", "response", "connect", "server", "advance", "fetch", "resolve", "equal", "ok"];
            let name = key.as_string().map(|name| name.to_string_lossy()).unwrap_or_default();
            let hint = nearest_hint(name.as_bytes(), KNOWN.into_iter());
            raise(lua, Err::<Value, _>(format!("t has no function \"{name}\", {hint}")))
        });
    }
}

fn noted(note: &Option<LuaString>) -> String {
    note.as_ref().map(|note| format!(" ({})", note.to_string_lossy())).unwrap_or_default()
}

impl World {
    fn request(&self, lua: &Lua, value: &Value) -> mlua::Result<Table> {
        let asking = raise(lua, asking::request(value, self.site.listeners()))?;
        match self.site.connects(asking.from, asking.listener) {
            Ok(true) => {}
            Ok(false) => {
                return results::table(lua, &Outcome::Closed("on_connect closed the connection"), b"");
            }
            Err(failed) => return raise(lua, Err(failed)),
        }
        let mut answers = Answers::new(self, &asking.body);
        let mut asked = self.asked.take();
        let outcome = self.site.request(&asking, &mut asked, &mut answers);
        self.forwarded.set(asked.server.is_some());
        self.asked.replace(asked);
        raise(lua, answers.failure.map_or(Ok(()), Err))?;
        results::table(lua, &outcome, &asking.body)
    }

    fn response(&self, lua: &Lua, table: Option<Table>) -> mlua::Result<Table> {
        let table = table.map_or_else(|| lua.create_table(), Ok)?;
        let responding = raise(lua, asking::response(&table))?;
        if !self.forwarded.get() {
            return raise(lua, Err("t:response: the last request went to no server".to_string()));
        }
        let mut answers = Answers::new(self, b"");
        let mut asked = self.asked.take();
        let outcome = self.site.respond(&responding, &mut asked, &mut answers);
        self.asked.replace(asked);
        raise(lua, answers.failure.map_or(Ok(()), Err))?;
        results::table(lua, &outcome, b"")
    }

    fn connect(&self, lua: &Lua, table: Option<Table>) -> mlua::Result<Table> {
        let table = table.map_or_else(|| lua.create_table(), Ok)?;
        let connecting = raise(lua, asking::connect(&table, self.site.listeners()))?;
        let (from, listener) = (connecting.from, connecting.listener);
        if !raise(lua, self.site.connects(from, listener))? {
            return results::connection(lua, false, None, None, None);
        }
        if self.site.listeners()[listener].sni.is_none() {
            return results::connection(lua, true, None, None, None);
        }
        let forwarded = |to: &Forwarded| {
            results::connection(lua, true, Some(&to.pool), to.server.as_deref(), to.error.as_deref())
        };
        match self.site.name(connecting.sni.as_deref(), from, listener) {
            Ok(to) => forwarded(&to),
            Err(why) => results::connection(lua, false, None, None, Some(&why)),
        }
    }

    /// Moves the clock, and runs what `rsp.every` asked for on the way.
    fn advance(&self, value: &Value) -> Result<(), String> {
        let amount = time(value).filter(|seconds| *seconds <= LONGEST);
        let amount = amount.ok_or_else(|| {
            format!("t:advance: got {}, expected a time such as \"10s\" or a number of seconds", show(value))
        })?;
        let until = self.site.now() + (amount * 1e6).round() as u64;
        loop {
            let next = self.due.borrow().iter().copied().enumerate().min_by_key(|(_, at)| *at);
            let Some((task, at)) = next.filter(|(_, at)| *at <= until) else { break };
            self.site.advance(at.saturating_sub(self.site.now()));
            self.due.borrow_mut()[task] = at + self.site.config.every[task].as_micros() as u64;
            self.run_task(TaskFunction::Every(task))?;
        }
        self.site.advance(until.saturating_sub(self.site.now()));
        Ok(())
    }

    fn run_task(&self, task: TaskFunction) -> Result<(), String> {
        let mut answers = Answers::new(self, b"");
        self.site.run_task(task, &mut answers)?;
        answers.failure.map_or(Ok(()), Err)
    }
}

/// A number of seconds, or a time as in a config.
pub fn time(value: &Value) -> Option<f64> {
    let time = match value {
        Value::String(text) => seconds(&text.to_string_lossy()),
        other => other.as_f64(),
    };
    time.filter(|seconds| *seconds >= 0.0)
}
