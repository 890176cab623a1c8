//! What people write: calendar expressions, time spans, label selectors and versions. Nothing here knows of the rest of
//! rebootd.

mod calendar;
mod id;
mod selector;
mod timespan;
mod version;

pub use calendar::{Calendar, CalendarError, Zones, minute};
pub use id::plain_id;
pub use selector::{Operator, Requirement, Selector};
pub use timespan::{TimeSpan, TimeSpanError, parse_time_span};
pub use version::newest;
