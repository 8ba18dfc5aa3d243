//! Deadlines, timeouts and minimum rates.

pub(crate) mod deadlines;
pub(crate) mod min_rate;
pub(crate) mod timeouts;
