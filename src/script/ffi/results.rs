//! What a call gave: the values that it returned, and the text of its error.

use std::ffi::c_int;

use mlua::ffi;

use super::Machine;
use super::call_state::Object;
use super::calls::describe;
use super::objects::kind_at;
use super::stack::{text_at, type_name};
use crate::config::{PoolId, ServerId};
use crate::script::request::Kind;

/// A value that a handler returned.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Seen<'a> {
    Nil,
    Pool(PoolId),
    Text(&'a [u8]),
    Truth(bool),
    Server(PoolId, ServerId),
    /// For `answer::decode`.
    Answer(&'a [u8]),
    /// Something else, of this type.
    Other(&'static str),
}

impl Machine {
    /// The three returned values. A pool alone is what most handlers return.
    pub(super) fn seen_all(&self) -> [Seen<'_>; 3] {
        // SAFETY: neither raises, and the values stand on the stack. What has the address of a pool's table is that
        // table, since the directory's tables live, and `req` has an odd number.
        let (first, second) = unsafe { (ffi::lua_topointer(self.main, -3), ffi::lua_type(self.main, -2)) };
        // SAFETY: no C function runs, so the cell is not written.
        match unsafe { &(*self.cell).directory }.pool_of(first) {
            Some(pool) if second == ffi::LUA_TNIL => [Seen::Pool(pool), Seen::Nil, Seen::Nil],
            _ => [self.seen(-3), self.seen(-2), self.seen(-1)],
        }
    }

    /// The returned value at `index`; it stays valid until the stack is cleared.
    fn seen(&self, index: c_int) -> Seen<'_> {
        // SAFETY: none of these raise or allocate for values of the types they are asked about, and the
        // pointers stay valid while the values stand on the stack.
        unsafe {
            match ffi::lua_type(self.main, index) {
                ffi::LUA_TNIL => Seen::Nil,
                ffi::LUA_TBOOLEAN => Seen::Truth(ffi::lua_toboolean(self.main, index) != 0),
                ffi::LUA_TSTRING => text_at(self.main, index).map_or(Seen::Nil, Seen::Text),
                ffi::LUA_TTABLE => {
                    let directory = &(*self.cell).directory;
                    directory
                        .pool_of(ffi::lua_topointer(self.main, index))
                        .map_or(Seen::Other("table"), Seen::Pool)
                }
                ffi::LUA_TUSERDATA => self.seen_object(index),
                ffi::LUA_TLIGHTUSERDATA => Seen::Other(Kind::Request.name()),
                other => Seen::Other(type_name(self.main, other)),
            }
        }
    }

    fn seen_object(&self, index: c_int) -> Seen<'_> {
        // SAFETY: the metatable says which of our layouts the userdata has; metatables of ours are out of
        // scripts' reach (`__metatable`), so no other userdata can carry them.
        unsafe {
            let data = ffi::lua_touserdata(self.main, index);
            match kind_at(self.main, self.cell, index) {
                Some(Kind::Answer) => {
                    let len = ffi::lua_rawlen(self.main, index);
                    Seen::Answer(std::slice::from_raw_parts(data.cast(), len))
                }
                Some(Kind::Server) => {
                    let object = *data.cast::<Object>();
                    Seen::Server(object.pool, ServerId(object.stamp as u32))
                }
                Some(kind) => Seen::Other(kind.name()),
                None => Seen::Other("userdata"),
            }
        }
    }

    /// The error value on top of the stack as text.
    pub(super) fn error_text(&self) -> Vec<u8> {
        // SAFETY: an error that is not a string may have a `__tostring`, so it is asked inside `lua_pcall`;
        // pushing a C function without upvalues cannot raise.
        unsafe {
            if ffi::lua_type(self.main, -1) != ffi::LUA_TSTRING {
                ffi::lua_pushcclosure(self.main, describe, 0);
                ffi::lua_rotate(self.main, -2, 1);
                ffi::lua_pcall(self.main, 1, 1, 0);
            }
            let text = text_at(self.main, -1).map(<[u8]>::to_vec);
            text.unwrap_or_else(|| b"an error object that cannot be shown".to_vec())
        }
    }
}
