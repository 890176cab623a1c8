//! Kernels by name, as Debian and Ubuntu name them: which of the kernels of one flavour is newer. And versions of packages.

use std::cmp::Ordering;

/// The newest of the installed kernels, if it is newer than the running one. Only kernels of the same flavour count:
/// a host that runs a cloud kernel does not wait for the next generic one.
pub fn newest<'a>(running: &str, installed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (version, own) = split(running);
    installed
        .into_iter()
        .filter(|release| split(release).1 == own)
        .max_by(|one, other| compare(split(one).0, split(other).0))
        .filter(|release| compare(split(release).0, version).is_gt())
}

/// The flavour of a kernel: `cloud-amd64`.
pub fn flavour(release: &str) -> &str {
    split(release).1
}

/// Version and flavour: `6.1.0-44` and `cloud-amd64`. The flavour begins with the first part that begins with a
/// letter, unless that part names a release candidate.
fn split(release: &str) -> (&str, &str) {
    let is_candidate =
        |part: &str| part.strip_prefix("rc").is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()));
    for (dash, _) in release.match_indices('-') {
        let (version, rest) = release.split_at(dash);
        let part = rest.trim_start_matches('-');
        if part.starts_with(|c: char| c.is_ascii_alphabetic()) && !is_candidate(part) {
            return (version, part);
        }
    }
    (release, "")
}

/// A candidate is older than its release.
fn compare(one: &str, other: &str) -> Ordering {
    compare_without_epoch(&one.replace("-rc", "~rc"), &other.replace("-rc", "~rc"))
}

/// Compares versions of a package as dpkg does: deb-version(7).
pub fn compare_versions(one: &str, other: &str) -> Ordering {
    let parts = |version| match str::split_once(version, ':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0_u32), rest),
        None => (0, version),
    };
    let ((one_epoch, one), (other_epoch, other)) = (parts(one), parts(other));
    one_epoch.cmp(&other_epoch).then_with(|| compare_without_epoch(one, other))
}

/// First what is before the last dash, then what is after it.
fn compare_without_epoch(one: &str, other: &str) -> Ordering {
    let parts = |version| str::rsplit_once(version, '-').unwrap_or((version, ""));
    let ((one, one_revision), (other, other_revision)) = (parts(one), parts(other));
    compare_part(one, other).then_with(|| compare_part(one_revision, other_revision))
}

/// deb-version(7): alternately the non-digits, letter by letter, and the digits, as a number.
fn compare_part(mut one: &str, mut other: &str) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let ((one_text, one_rest), (other_text, other_rest)) = (take(one, false), take(other, false));
        let ((one_digits, one_rest), (other_digits, other_rest)) =
            (take(one_rest, true), take(other_rest, true));
        let (one_digits, other_digits) =
            (one_digits.trim_start_matches('0'), other_digits.trim_start_matches('0'));
        let by_text = weights(one_text).cmp(weights(other_text));
        // Of two numbers without leading zeros the longer one is larger.
        let by_number = one_digits.len().cmp(&other_digits.len()).then_with(|| one_digits.cmp(other_digits));
        match by_text.then(by_number) {
            Ordering::Equal => (one, other) = (one_rest, other_rest),
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

/// The longest beginning of only digits, or of only non-digits, and the rest.
fn take(text: &str, digits: bool) -> (&str, &str) {
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

/// A tilde comes before everything, even the end; letters come before all other characters.
fn weights(text: &str) -> impl Iterator<Item = u32> {
    let weight = |letter: char| match letter {
        '~' => 0,
        letter if letter.is_ascii_alphabetic() => u32::from(letter),
        other => u32::from(other) + 256,
    };
    // The end, between the tilde and everything else.
    text.chars().map(weight).chain([1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_kernels_are_understood() {
        for (release, version, flavour) in [
            ("6.1.0-44-amd64", "6.1.0-44", "amd64"),
            ("6.1.0-44-cloud-amd64", "6.1.0-44", "cloud-amd64"),
            ("6.1.0-44-rt-amd64", "6.1.0-44", "rt-amd64"),
            ("6.1.0-0.deb11.21-amd64", "6.1.0-0.deb11.21", "amd64"),
            ("6.12.43+deb13-amd64", "6.12.43+deb13", "amd64"),
            ("6.12.12+bpo-cloud-arm64", "6.12.12+bpo", "cloud-arm64"),
            ("6.17-rc4-amd64", "6.17-rc4", "amd64"),
            ("5.15.0-130-generic", "5.15.0-130", "generic"),
            ("5.15.0-130-lowlatency", "5.15.0-130", "lowlatency"),
            ("6.8.0-1021-aws", "6.8.0-1021", "aws"),
            ("6.8.0-1021-azure-fde", "6.8.0-1021", "azure-fde"),
            ("6.8.0-060800rc1-generic", "6.8.0-060800rc1", "generic"),
            ("5.15.0-130-generic.old", "5.15.0-130", "generic.old"),
            ("6.1.0-44-amd64.dpkg-tmp", "6.1.0-44", "amd64.dpkg-tmp"),
            ("6.8.12-4-pve", "6.8.12-4", "pve"),
            ("6.6.51+rpt-rpi-v8", "6.6.51+rpt", "rpi-v8"),
            ("6.6.51", "6.6.51", ""),
            ("", "", ""),
        ] {
            assert_eq!(split(release), (version, flavour));
        }
    }

    #[test]
    fn the_newest_of_the_running_flavour_is_found() {
        for (running, installed, found) in [
            (
                "6.1.0-40-amd64",
                vec!["6.1.0-40-amd64", "6.1.0-44-amd64", "6.1.0-9-amd64"],
                Some("6.1.0-44-amd64"),
            ),
            ("6.1.0-44-amd64", vec!["6.1.0-40-amd64", "6.1.0-44-amd64"], None),
            // Another flavour, and what a package or an administrator left behind.
            ("6.1.0-40-amd64", vec!["6.1.0-44-cloud-amd64", "6.1.0-44-rt-amd64"], None),
            ("6.1.0-40-amd64", vec!["6.1.0-44-amd64.old", "6.1.0-44-amd64.dpkg-new", "old", ""], None),
            ("6.1.0-9-cloud-amd64", vec!["6.1.0-10-cloud-amd64"], Some("6.1.0-10-cloud-amd64")),
            ("5.10.0-35-amd64", vec!["6.1.0-0.deb11.21-amd64"], Some("6.1.0-0.deb11.21-amd64")),
            ("6.12.9+bpo-amd64", vec!["6.12.12+bpo-amd64"], Some("6.12.12+bpo-amd64")),
            ("6.12.41+deb13-amd64", vec!["6.12.43+deb13-amd64"], Some("6.12.43+deb13-amd64")),
            ("6.17-rc4-amd64", vec!["6.17-rc10-amd64", "6.16.12-amd64"], Some("6.17-rc10-amd64")),
            ("6.17-rc4-amd64", vec!["6.17-amd64"], Some("6.17-amd64")),
            (
                "5.15.0-99-generic",
                vec!["5.15.0-130-lowlatency", "5.15.0-130-generic"],
                Some("5.15.0-130-generic"),
            ),
            // Hardware enablement kernels have the flavour of the others.
            ("5.15.0-130-generic", vec!["6.8.0-52-generic"], Some("6.8.0-52-generic")),
            ("6.8.0-52-generic", vec!["5.15.0-131-generic"], None),
            ("6.8.0-999-aws", vec!["6.8.0-1021-aws", "6.8.0-1021-azure"], Some("6.8.0-1021-aws")),
            ("6.8.12-4-pve", vec!["6.8.12-10-pve"], Some("6.8.12-10-pve")),
            ("6.6.51", vec!["6.6.52", "6.6.100"], Some("6.6.100")),
            ("6.1.0-40-amd64", vec![], None),
        ] {
            assert_eq!(newest(running, installed), found, "{running}");
        }
    }

    #[test]
    fn versions_are_compared_as_dpkg_compares_them() {
        for (less, more) in [
            ("6.1.0-9", "6.1.0-10"),
            ("6.1.0", "6.1.0-1"),
            ("6.1-1", "6.1+bpo-1"),
            ("6.1~rc1", "6.1"),
            ("6.1a", "6.1+"),
            ("6.1~~", "6.1~"),
            ("6.1", "6.1a"),
            ("6.01", "6.2"),
            ("6.12.9+bpo", "6.12.12+bpo"),
        ] {
            assert_eq!(
                (compare(less, more), compare(more, less)),
                (Ordering::Less, Ordering::Greater),
                "{less} {more}"
            );
        }
        assert_eq!(compare("6.01-0", "6.1"), Ordering::Equal);
        assert_eq!(compare("99999999999999999999-1", "100000000000000000000-1"), Ordering::Less);
    }

    #[test]
    fn versions_of_packages_are_compared_as_dpkg_does() {
        for (older, newer) in [
            ("2.36-9+deb12u7", "2.36-9+deb12u14"),
            ("6.8.0-45.45", "6.8.0-47.47"),
            ("3.0.22-1~deb12u2", "3.0.22-1"),
            ("9.9", "1:0.1"),
            ("1:1.2-3", "1:1.2-3+b1"),
            ("6.1.176-1", "6.1.192-2"),
            ("1.0", "1.0-1"),
        ] {
            assert_eq!(compare_versions(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(compare_versions(newer, older), Ordering::Greater, "{older} {newer}");
            assert_eq!(compare_versions(newer, newer), Ordering::Equal);
        }
    }
}
