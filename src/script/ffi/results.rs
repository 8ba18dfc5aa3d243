//! The results of a call: its return values, or the text of its error.

use std::ffi::c_int;

use mlua::ffi;

use super::call_state::Object;
use super::calls::describe;
use super::objects::kind_at;
use super::stack::{text_at, type_name};
use super::{Directory, Machine};
use crate::config::{PoolId, ServerId};
use crate::script::request::ObjectKind;

/// A value that a handler returned.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Returned<'a> {
    Nil,
    Pool(PoolId),
    Text(&'a [u8]),
    Boolean(bool),
    Server(PoolId, ServerId),
    /// For `answer::decode`.
    Answer(&'a [u8]),
    /// Any other value, of this type.
    Other(&'static str),
}

/// All that a call returned, read when it is asked for.
#[derive(Clone, Copy)]
pub struct Results<'a> {
    machine: &'a Machine,
    count: c_int,
}

impl<'a> Results<'a> {
    /// Of a call that has ended, while its results are all that stands on the stack.
    #[inline(always)]
    pub(super) fn new(machine: &'a Machine, count: c_int) -> Results<'a> {
        Results { machine, count }
    }

    /// The pool that is the only one, as most handlers return it.
    #[inline(always)]
    pub fn only_pool(self, names: &Directory) -> Option<PoolId> {
        // SAFETY: it neither raises nor allocates. What has the address of a pool's table is that table, since the
        // directory's tables live, and `req` has an odd number.
        let first = unsafe { ffi::lua_topointer(self.machine.runner.thread, 1) };
        if self.count == 1 { names.pool_of(first) } else { None }
    }

    /// The first one.
    pub fn first(self) -> Returned<'a> {
        self.nth(1)
    }

    /// The first three.
    #[inline(never)]
    pub fn all(self) -> [Returned<'a>; 3] {
        [1, 2, 3].map(|at| self.nth(at))
    }

    fn nth(self, at: c_int) -> Returned<'a> {
        if at <= self.count { self.machine.returned(at) } else { Returned::Nil }
    }
}

impl Machine {
    /// The return value at `index`; valid until the stack is cleared.
    fn returned(&self, index: c_int) -> Returned<'_> {
        // SAFETY: none of these raise or allocate for values of the types they are asked about, and the
        // pointers stay valid while the values stand on the stack.
        unsafe {
            match ffi::lua_type(self.runner.thread, index) {
                ffi::LUA_TNIL => Returned::Nil,
                ffi::LUA_TBOOLEAN => Returned::Boolean(ffi::lua_toboolean(self.runner.thread, index) != 0),
                ffi::LUA_TSTRING => text_at(self.runner.thread, index).map_or(Returned::Nil, Returned::Text),
                ffi::LUA_TTABLE => {
                    let directory = &(*self.call_state).directory;
                    directory
                        .pool_of(ffi::lua_topointer(self.runner.thread, index))
                        .map_or(Returned::Other("table"), Returned::Pool)
                }
                ffi::LUA_TUSERDATA => self.returned_object(index),
                ffi::LUA_TLIGHTUSERDATA => Returned::Other(ObjectKind::Request.name()),
                other => Returned::Other(type_name(self.runner.thread, other)),
            }
        }
    }

    fn returned_object(&self, index: c_int) -> Returned<'_> {
        // SAFETY: the metatable says which of our layouts the userdata has; metatables of ours are out of
        // scripts' reach (`__metatable`), so no other userdata can carry them.
        unsafe {
            let data = ffi::lua_touserdata(self.runner.thread, index);
            match kind_at(self.runner.thread, self.call_state, index) {
                Some(ObjectKind::Answer) => {
                    let len = ffi::lua_rawlen(self.runner.thread, index);
                    Returned::Answer(std::slice::from_raw_parts(data.cast(), len))
                }
                Some(ObjectKind::Server) => {
                    let object = *data.cast::<Object>();
                    Returned::Server(object.pool, ServerId(object.stamp as u32))
                }
                Some(kind) => Returned::Other(kind.name()),
                None => Returned::Other("userdata"),
            }
        }
    }

    /// The error value on top of the stack as text.
    pub(super) fn error_text(&self) -> Vec<u8> {
        // SAFETY: an error that is not a string may have a `__tostring`, so it is asked inside `lua_pcall`;
        // pushing a C function without upvalues cannot raise.
        unsafe {
            if ffi::lua_type(self.runner.thread, -1) != ffi::LUA_TSTRING {
                if (*self.call_state).budget.is_exhausted() {
                    return (*self.call_state).budget.text().into_bytes();
                }
                ffi::lua_pushcclosure(self.runner.thread, describe, 0);
                ffi::lua_rotate(self.runner.thread, -2, 1);
                ffi::lua_pcall(self.runner.thread, 1, 1, 0);
            }
            let text = text_at(self.runner.thread, -1).map(<[u8]>::to_vec);
            text.unwrap_or_else(|| b"an error object that cannot be shown".to_vec())
        }
    }
}
