//! Which CVEs a package's changelog names: `/usr/share/doc/PACKAGE/changelog*.gz`, Debian Policy 12.7.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::decide::Cves;
use crate::notation::compare_versions;
use crate::read::open;

/// Where packages have their documents.
pub const DOCUMENTS: &str = "/usr/share/doc";
/// What is upstream's has the second name where there is also the first.
const NAMES: [&str; 2] = ["changelog.Debian.gz", "changelog.gz"];
/// The most bytes that are unpacked. The kernel's are 4 million.
const MOST: u64 = 64 << 20;
/// The most bytes of a line that are read.
const LONGEST_LINE: u64 = 64 << 10;
/// The most CVEs. The kernel's name some thousand.
const MOST_NAMED: usize = 20_000;

/// The CVEs that the changelog of an installed package names for the versions after this one. `None` if there is no changelog
/// (documents may be left out, as in containers), or none that is understood.
pub fn since(documents: &Path, package: &str, version: &str, installed: &str) -> Option<Cves> {
    if !is_package(package) {
        return None;
    }
    // One that is there and cannot be read is not made up for by upstream's.
    let is_there = |file: &io::Result<_>| !file.as_ref().is_err_and(|it| it.kind() == ErrorKind::NotFound);
    let file =
        NAMES.map(|name| open(&documents.join(package).join(name))).into_iter().find(is_there)?.ok()?;
    cves(BufReader::new(MultiGzDecoder::new(BufReader::new(file)).take(MOST)), version, installed).ok()?
}

/// A name becomes part of a path: Debian Policy 5.6.1.
pub(super) fn is_package(name: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    name.starts_with(is_plain) && name.chars().all(|letter| is_plain(letter) || "+-.".contains(letter))
}

/// The latest version comes first.
fn cves(mut changelog: impl BufRead, version: &str, installed: &str) -> io::Result<Option<Cves>> {
    let (mut seen, mut named, mut line) = (BTreeSet::new(), Vec::new(), Vec::new());
    let (mut latest, mut counts, mut is_cut, mut is_whole) = (None::<String>, false, false, false);
    while named.len() < MOST_NAMED {
        line.clear();
        if (&mut changelog).take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
            changelog.skip_until(b'\n')?;
            is_cut = true;
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        if let Some((source, entry)) = entry(&text) {
            // A package may count in other versions than its source, of which the changelog tells: nothing follows then.
            if latest.is_none() && entry != without_rebuild(installed) {
                return Ok(None);
            }
            let is_own = is_same(latest.get_or_insert_with(|| source.to_owned()), source);
            let is_newer = compare_versions(&entry, version) == Ordering::Greater;
            if !is_newer && is_own {
                is_whole = true;
                break;
            }
            // Another source, which this one has had in it or comes from, counts in versions of its own.
            counts = is_own;
            is_cut |= !is_own;
        } else if counts {
            let new = names(&text).filter(|name| seen.insert(name.clone()));
            named.extend(new.collect::<Vec<_>>());
        }
    }
    named.truncate(MOST_NAMED);
    let at_least = is_cut || !is_whole;
    Ok(latest.map(|_| Cves { count: named.len(), at_least, named }))
}

/// The source and the version that an entry is about, by its first line: deb-changelog(5).
fn entry(line: &str) -> Option<(&str, String)> {
    let (source, rest) = line.split_once(" (")?;
    let (version, rest) = rest.split_once(") ")?;
    let is_version = !version.is_empty() && version.chars().all(|letter| letter.is_ascii_graphic());
    if !is_package(source) || !is_version || !rest.contains(';') {
        return None;
    }
    // Debian's signed kernels: the package 6.1.192-2 comes from the source 6.1.192+2.
    let version = match version.split_once('+').filter(|_| source.starts_with("linux-signed-")) {
        Some((upstream, revision)) => format!("{upstream}-{revision}"),
        None => version.to_owned(),
    };
    Some((source, version))
}

/// Kernels have several sources, with the same versions: what signs them, and the one that they are ported back from.
fn is_same(latest: &str, source: &str) -> bool {
    let is_kernel = |source: &str| source == "linux" || source.starts_with("linux-");
    latest == source || (is_kernel(latest) && is_kernel(source))
}

/// The version of the source that was only built again: `2.36-9+b1` is of `2.36-9`.
fn without_rebuild(version: &str) -> &str {
    match version.rsplit_once("+b") {
        Some((source, count)) if count.bytes().all(|digit| digit.is_ascii_digit()) => source,
        _ => version,
    }
}

/// Each `CVE-YEAR-NUMBER` in a line.
fn names(line: &str) -> impl Iterator<Item = String> {
    line.split("CVE-").skip(1).filter_map(|rest| {
        let (year, rest) = rest.split_once('-')?;
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let is_year = year.len() == 4 && year.bytes().all(|digit| digit.is_ascii_digit());
        (is_year && (4..=19).contains(&number.len())).then(|| format!("CVE-{year}-{number}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(changelog: &str, version: &str) -> Option<(usize, bool, Vec<String>)> {
        let latest = changelog.lines().find_map(|line| Some(entry(line)?.1)).unwrap_or_default();
        let found = cves(changelog.as_bytes(), version, &latest).unwrap();
        found.map(|cves| (cves.count, cves.at_least, cves.named))
    }

    const DEBIAN: &str = "\
glibc (2.36-9+deb12u14) bookworm; urgency=medium

  * Fix an overflow (CVE-2026-0861).  Closes: #1125678.
  * Fix a leak (CVE-2026-0915, CVE-2025-15281), see also CVE-2026-0861.

 -- Somebody <a@b>  Fri, 05 Jun 2026 10:00:00 +0200

glibc (2.36-9+deb12u13) bookworm; urgency=medium

  * Fix (CVE-2025-8058)

 -- Somebody <a@b>  Fri, 05 Jun 2025 10:00:00 +0200
";

    #[test]
    fn what_came_after_the_running_version_is_open() {
        let latest = ["CVE-2026-0861", "CVE-2026-0915", "CVE-2025-15281"].map(str::to_owned);
        assert_eq!(of(DEBIAN, "2.36-9+deb12u13"), Some((3, false, latest.to_vec())));
        assert_eq!(of(DEBIAN, "2.36-9+deb12u14"), Some((0, false, vec![])));
        // Its changelog begins later.
        assert_eq!(of(DEBIAN, "2.36-9+deb12u7").map(|it| (it.0, it.1)), Some((4, true)));
    }

    #[test]
    fn a_package_with_other_versions_than_its_source_is_not_known() {
        let lvm = "lvm2 (2.03.16-2) bookworm; urgency=medium\n\n  * Fix CVE-2026-0001\n";
        assert_eq!(cves(lvm.as_bytes(), "2:1.02.185-1", "2:1.02.185-2").unwrap(), None);
        assert_eq!(cves(lvm.as_bytes(), "2.03.16-1", "2.03.16-2+b1").unwrap().map(|it| it.count), Some(1));
        assert_eq!(without_rebuild("2.36-9+deb12u7"), "2.36-9+deb12u7");
    }

    #[test]
    fn both_kernels_are_understood() {
        let signed = "\
linux-signed-amd64 (6.1.192+2) bookworm-security; urgency=high

  * Sign kernel from linux 6.1.192-2

 -- A <a@b>  Mon, 16 Nov 2026 11:17:40 +0100

linux (6.1.192-1) bookworm-security; urgency=high

    - ext4: a fix (CVE-2026-31415)
";
        assert_eq!(of(signed, "6.1.192-2"), Some((0, false, vec![])));
        assert_eq!(of(signed, "6.1.192-1"), Some((0, false, vec![])));
        assert_eq!(of(signed, "6.1.190-1"), Some((1, true, vec!["CVE-2026-31415".into()])));
        let ubuntu = "\
linux (6.8.0-47.47) noble; urgency=medium

  * noble/linux: 6.8.0-47.47 -proposed tracker (LP: #2082437)

  * CVE-2024-45016
    - netem: fix return value if duplicate enqueue fails

 -- A <a@b>  Fri, 27 Sep 2024 17:12:30 +0200

linux (6.8.0-45.45) noble; urgency=medium
";
        assert_eq!(of(ubuntu, "6.8.0-45.45"), Some((1, false, vec!["CVE-2024-45016".into()])));
    }

    #[test]
    fn an_entry_of_another_source_ends_nothing_and_is_not_counted_by_its_own_versions() {
        let changelog = "a (3) b; c\nCVE-2026-0003\nfoo (0-1) x; y\nCVE-2026-9999\nfoo (9) x; y\nCVE-2026-9998\na (2) b; c\nCVE-2026-0002\na (1) b; c\n";
        let named = ["CVE-2026-0003", "CVE-2026-0002"].map(str::to_owned).to_vec();
        assert_eq!(of(changelog, "1"), Some((2, true, named)));
        // The source had another name when this was built.
        assert_eq!(
            of("new (3) b; c\nCVE-2026-0003\nold (1) b; c\n", "2").map(|it| (it.0, it.1)),
            Some((1, true))
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_hides_nothing_after_it() {
        let longest = usize::try_from(LONGEST_LINE).unwrap();
        // A name on the border, and what would be an entry behind it.
        for (before, after) in [("CVE-2026", "-0009"), ("", "a (1) x; y")] {
            let long = "x".repeat(longest - before.len()) + before + after;
            let changelog = format!("a (2) b; c\n{long}\nCVE-2026-0002\na (1) b; c\n");
            assert_eq!(of(&changelog, "1"), Some((1, true, vec!["CVE-2026-0002".into()])), "{after}");
        }
        let whole = "x".repeat(longest - 1);
        assert_eq!(of(&format!("a (2) b; c\n{whole}\na (1) b; c\n"), "1"), Some((0, false, vec![])));
    }

    #[test]
    fn the_names_of_cves_have_an_end() {
        let names: String = (0..MOST_NAMED + 10).map(|number| format!("CVE-2026-{number:06}\n")).collect();
        let found = of(&format!("a (2) b; c\n{names}a (1) b; c\n"), "1").unwrap();
        assert_eq!((found.0, found.1, found.2.len()), (MOST_NAMED, true, MOST_NAMED));
    }

    #[test]
    fn a_changelog_that_cannot_be_read_is_not_taken_for_a_missing_one() {
        let documents = std::env::temp_dir().join(format!("rebootd-changelog-{}", std::process::id()));
        let own = documents.join("a");
        std::fs::create_dir_all(&own).unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, b"a (2) b; c\nCVE-2026-0002\na (1) b; c\n").unwrap();
        std::fs::write(own.join("changelog.gz"), packed.finish().unwrap()).unwrap();
        assert_eq!(since(&documents, "a", "1", "2").map(|it| it.count), Some(1));
        std::fs::create_dir(own.join("changelog.Debian.gz")).unwrap();
        assert_eq!(since(&documents, "a", "1", "2"), None);
        std::fs::remove_dir_all(&documents).unwrap();
    }

    #[test]
    fn what_is_no_changelog_of_debian_tells_nothing() {
        for text in ["", "Version 2.0\n\n* CVE-2026-0001 fixed\n", "  * CVE-2026-0001 (a) b;\n", "\u{0}\u{1}"]
        {
            assert_eq!(of(text, "1"), None, "{text}");
        }
        let odd = "a (2) b; c\nCVE-26-1 CVE-2026-123 CVE-2026- CVE- CVE-2026-99999999999999999999\nxCVE-2026-0001y\n";
        assert_eq!(of(odd, "1"), Some((1, true, vec!["CVE-2026-0001".into()])));
    }

    #[test]
    fn a_name_is_never_a_way_out_of_the_directory() {
        for name in ["../../etc", "", ".", "a/b", "A", "-a"] {
            assert!(!is_package(name), "{name}");
        }
        assert!(["libc6", "g++", "linux-image-6.1.0-56-cloud-amd64"].into_iter().all(is_package));
        assert_eq!(since(Path::new(DOCUMENTS), "../doc/libc6", "1", "2"), None);
    }
}
