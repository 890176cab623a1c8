//! What people write: calendar expressions, time spans, label selectors, names of objects, and versions. Nothing here
//! knows about the rest of rebootd.

mod calendar;
mod id;
mod names;
mod selector;
mod timespan;
mod version;

pub use calendar::{Calendar, CalendarError, Zones, minute, minute_of};
pub use id::plain_id;
pub use names::{is_label_name, is_label_value, is_namespace, is_node_name};
pub use selector::{LabelSelector, Operator, Requirement, Selector};
pub use timespan::{TimeSpan, TimeSpanError, parse_time_span};
pub use version::{compare_versions, flavour, newest};
