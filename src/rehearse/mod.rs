//! What a reboot of a node would do to the applications of a namespace, judged by what the API server shows of them.
//! Pure: `ctl` reads the objects and asks for dry runs, and shows what is found.

mod accept;
mod budgets;
mod ending;
mod finding;
mod judge;
mod last_time;
mod namespace;
#[allow(missing_docs, reason = "the fields have the names of the API")]
pub mod objects;
mod operators;
mod places;
mod replicas;
mod room;
mod show;
mod workload;

pub use finding::{Finding, Remedy, Severity};
pub use judge::{Judged, Verdict, judge, to_ask};
pub use last_time::LastTime;
pub use namespace::{Answer, Namespace, Read};
pub use room::{AskingPod, Room, RoomyNode};
pub use show::lines;
