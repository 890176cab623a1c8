//! Words for people that more than one file needs.

use std::time::Duration;

/// A duration for people, in its two largest units: `2h 30min`, `45s`.
pub(crate) fn span(duration: Duration) -> String {
    // Rounded up: "0s left" would be untrue.
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, size) in units {
        if rest >= size && words.len() < 2 {
            words.push(format!("{}{unit}", rest / size));
        }
        rest %= size;
    }
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_two_units_and_never_as_nothing() {
        let told = |milliseconds| span(Duration::from_millis(milliseconds));
        assert_eq!(told(1), "1s");
        assert_eq!(told(61_000), "1min 1s");
        assert_eq!(told(7_200_000), "2h");
        assert_eq!(told(90_061_000), "1d 1h");
    }
}
