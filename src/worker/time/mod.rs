//! How long anybody may wait, and what the end of a wait means.

pub(crate) mod deadlines;
pub(crate) mod min_rate;
pub(crate) mod timeouts;
