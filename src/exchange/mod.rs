//! Floor 4: one request and its response, pure. (Being written.)

pub mod record;
