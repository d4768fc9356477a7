//! The one reader of the clock. A command asks once, and hands the answer down.

use std::time::SystemTime;

use crate::model::Time;

/// The time now, in whole seconds.
#[expect(clippy::disallowed_methods, reason = "the one reader of the clock")]
pub fn now() -> Time {
    Time::from_system(SystemTime::now())
}
