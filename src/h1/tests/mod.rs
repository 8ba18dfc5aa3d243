//! The codec's tests: cases as tables, each fed in every way bytes can arrive.

mod bounds;
mod encode_fast;
mod encoding;
mod feed;
mod grammar;
mod requests;
mod responses;
mod round_trip;
