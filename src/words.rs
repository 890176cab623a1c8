//! Makes what others wrote fit for people: it contains nothing that a terminal, the journal or systemd would obey,
//! and no more than anybody reads.
//!
//! The adapters call this when such text becomes a fact, so that everything made from the fact (status, journal,
//! slot, cordon mark, terminal) is clean. What is compared or sent back (uids, versions, holders, taints) stays as it
//! is, or is changed in a way that cannot make it equal to anything else.

/// The maximum length of a message from a server, a command or a service on the bus.
pub(crate) const MESSAGE: usize = 500;
/// The maximum length of what a person wrote, and of names that others choose.
pub(crate) const NOTE: usize = 200;

/// The text on one line, without control characters, invisible characters and those that change the direction of
/// writing, and with at most this many characters. Words stay apart. Cleaning twice changes nothing more.
pub(crate) fn words(text: &str, most: usize) -> String {
    let mut clean = String::new();
    let mut length = 0;
    let mut gap = false;
    for letter in text.chars() {
        if letter.is_whitespace() || letter.is_control() {
            gap = length > 0;
            continue;
        }
        if is_invisible(letter) {
            continue;
        }
        if length + usize::from(gap) >= most {
            clean.pop();
            clean.push('…');
            break;
        }
        if gap {
            clean.push(' ');
        }
        clean.push(letter);
        length += 1 + usize::from(gap);
        gap = false;
    }
    clean
}

/// The same for somebody's name, or for whatever stands in its place: it equals another name only if both are the
/// same. A name that had to be cleaned is put in quotes, which no Kubernetes name contains.
pub(crate) fn name(text: String) -> String {
    let clean = words(&text, NOTE);
    if clean == text { text } else { format!("\"{clean}\"") }
}

/// JSON without what a terminal would obey or not show: it stands there as `\u009b`, which means the same.
pub(crate) fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        // What is left of control characters are the line ends between fields.
        if letter == '\n' || !(letter.is_control() || is_invisible(letter)) {
            escaped.push(letter);
            continue;
        }
        let mut units = [0; 2];
        letter.encode_utf16(&mut units).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
    }
    escaped
}

/// Unicode's format characters, and letters that are displayed as nothing.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_meaning_and_obeys_no_terminal() {
        let text = "é\u{9b}31m\u{202e}\u{e0001}\u{7f}";
        let escaped = escaped(&serde_json::to_string_pretty(&[text]).unwrap());
        assert_eq!(escaped, "[\n  \"é\\u009b31m\\u202e\\udb40\\udc01\\u007f\"\n]");
        assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).unwrap(), [text]);
    }

    #[test]
    fn what_a_terminal_would_obey_is_gone_and_words_stay_apart() {
        for (text, clean) in [
            ("", ""),
            (" \n\t ", ""),
            ("apt upgrade", "apt upgrade"),
            ("Übergabe an Åsa, 引き継ぎ", "Übergabe an Åsa, 引き継ぎ"),
            ("y\nMAINPID=1", "y MAINPID=1"),
            ("a\r\n\r\n  b\u{2028}c\u{85}d ", "a b c d"),
            ("\x1b[2J\x1b]0;title\x07done", "[2J ]0;title done"),
            ("\u{9b}31mred", "31mred"),
            ("access\u{202e}gnp.exe\u{2066}", "accessgnp.exe"),
            ("a\u{200b}\u{ad}\u{feff}\u{e0041}b\u{0}", "ab"),
        ] {
            assert_eq!(words(text, MESSAGE), clean, "{text:?}");
        }
    }

    #[test]
    fn much_is_cut_to_a_length_and_says_so() {
        assert_eq!(words("12345", 5), "12345");
        assert_eq!(words("123456", 5), "1234…");
        assert_eq!(words("1234  \n", 5), "1234");
        assert_eq!(words("1234 6", 5), "123…");
        for much in ["x".repeat(256 << 10), "x ".repeat(128 << 10), "\x1b[1mä".repeat(64 << 10)] {
            let clean = words(&much, NOTE);
            assert!(clean.chars().count() <= NOTE && clean.ends_with('…'), "{clean}");
        }
        assert_eq!(words(&"\n".repeat(256 << 10), NOTE), "");
    }

    #[test]
    fn cleaning_twice_changes_nothing() {
        let pieces = ["a", " ", "\n", "\x1b", "…", "\u{202e}", "ß", "\"", "  ", "\u{0}"];
        // Every text of four of these pieces, cut at every length.
        for number in 0..10_000_usize {
            let at = |place: u32| pieces[number / 10_usize.pow(place) % 10];
            let text = [at(0), at(1), at(2), at(3)].concat();
            for most in 1..5 {
                let once = words(&text, most);
                assert!(once.chars().count() <= most, "{text:?} {once:?}");
                assert_eq!(words(&once, most), once, "{text:?}");
            }
            let once = name(text.clone());
            assert_eq!(name(once.clone()), once, "{text:?}");
        }
    }

    #[test]
    fn a_name_that_is_cleaned_equals_no_other() {
        assert_eq!(name("node-1.example.com".to_owned()), "node-1.example.com");
        // Somebody else's words, but harmless ones.
        assert_eq!(name("../a?b#c d".to_owned()), "../a?b#c d");
        for dirty in ["node-1\n", " node-1", "node-1\x07", "\u{200b}node-1"] {
            assert_eq!(name(dirty.to_owned()), "\"node-1\"", "{dirty:?}");
        }
        assert!(name("n".repeat(256 << 10)).len() < 3 * NOTE);
    }
}
