//! What handlers wait for, answered by functions of the test.

use mlua::{Error, Function, Lua, LuaString, Value};

use super::suite::one_line;
use super::tester::World;
use super::values::show;
use super::{asking, results};
use crate::h1::ClientCodec;
use crate::http::{Codec, Fields, HeadLimits, RequestHead};
use crate::offline::{OfflineSite, Waits};
use crate::script::{Fetch, Fetched, Wait, Waited};

/// Answers handlers by the functions of the test.
pub struct Answers<'a> {
    world: &'a World,
    /// The request's.
    body: &'a [u8],
    /// What went wrong in a function of the test.
    pub failure: Option<String>,
}

impl Waits for Answers<'_> {
    fn answer(&mut self, wait: &Wait, site: &OfflineSite) -> Waited {
        match wait {
            Wait::Sleep(_) => Waited::Slept,
            Wait::Body(most) if self.body.len() > *most => Waited::Body(Err("too large")),
            Wait::Body(_) => Waited::Body(Ok(self.body.to_vec())),
            Wait::Check(check) => Waited::Checked(Some(check.users.is_right(&check.user, &check.password))),
            Wait::Fetch(fetch) => {
                let function = self.world.fetch.borrow().clone();
                Waited::Fetched(match function {
                    None => Err("no fetch in this test".into()),
                    Some(function) => self.fetched(&function, fetch, site),
                })
            }
            Wait::Resolve(name) => {
                let function = self.world.resolve.borrow().clone();
                Waited::Resolved(match function {
                    None => Err("no resolve in this test".into()),
                    Some(function) => self.resolved(&function, name),
                })
            }
        }
    }
}

impl<'a> Answers<'a> {
    pub fn new(world: &'a World, body: &'a [u8]) -> Answers<'a> {
        Answers { world, body, failure: None }
    }

    fn note<T>(&mut self, failure: String) -> Result<T, String> {
        self.failure.get_or_insert(failure);
        Err("failed".into())
    }

    fn fetched(
        &mut self,
        function: &Function,
        fetch: &Fetch,
        site: &OfflineSite,
    ) -> Result<Box<Fetched>, String> {
        let called = asked_by(fetch, site)
            .and_then(|request| function.call::<(Value, Option<LuaString>)>(request))
            .map_err(|error| one_line(&error));
        match called {
            Err(failed) => self.note(failed),
            Ok((Value::Table(table), _)) => match asking::response(&table) {
                Ok(response) if response.body.len() > fetch.max_body => Err("too large".into()),
                Ok(response) => Ok(Box::new(Fetched {
                    status: response.status,
                    headers: response.headers,
                    body: response.body,
                })),
                Err(wrong) => self.note(wrong.replace("t:response", "the function of t:fetch returned")),
            },
            Ok((Value::Nil, why)) => Err(why.map_or("failed".into(), |why| why.to_string_lossy())),
            Ok((other, _)) => self.note(format!(
                "the function of t:fetch returned {}, expected a table or nil and a reason",
                show(&other)
            )),
        }
    }

    fn resolved(&mut self, function: &Function, name: &str) -> Result<Vec<String>, String> {
        match function.call::<(Value, Option<LuaString>)>(name).map_err(|error| one_line(&error)) {
            Err(failed) => self.note(failed),
            Ok((Value::Table(table), _)) => match table.sequence_values::<String>().collect() {
                Ok(addresses) => Ok(addresses),
                Err(_) => self.note("the function of t:resolve returned other things than strings".into()),
            },
            Ok((Value::Nil, why)) => Err(why.map_or("failed".into(), |why| why.to_string_lossy())),
            Ok((other, _)) => self.note(format!(
                "the function of t:resolve returned {}, expected a list or nil and a reason",
                show(&other)
            )),
        }
    }
}

/// The request of `rsp.fetch`, for the function of the test.
fn asked_by(fetch: &Fetch, site: &OfflineSite) -> mlua::Result<Asker> {
    let (mut head, mut codec) = (RequestHead::default(), ClientCodec::default());
    let limits = HeadLimits { bytes: fetch.bytes.len(), fields: usize::MAX };
    let decoded = codec.decode(&fetch.bytes, false, 0, &limits, &mut head, &mut Fields::default());
    let Ok(Some(decoded)) = decoded else { return Err(Error::runtime("rsp.fetch sent no valid request")) };
    let pool = site.config.pools.get(fetch.pool.0 as usize).map_or("", |pool| &pool.name);
    Ok(Asker { pool: pool.to_owned(), head, body: fetch.bytes[decoded.consumed..].to_vec() })
}

struct Asker {
    pool: String,
    head: RequestHead,
    body: Vec<u8>,
}

impl mlua::IntoLua for Asker {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        let table = lua.create_table()?;
        let headers =
            self.head.fields.iter().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect();
        table.set("pool", self.pool)?;
        table.set("method", lua.create_string(self.head.method_text())?)?;
        table.set("path", lua.create_string(self.head.target())?)?;
        table.set("headers", results::headers(lua, &headers)?)?;
        table.set("body", lua.create_string(&self.body)?)?;
        Ok(Value::Table(table))
    }
}
