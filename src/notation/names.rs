//! The names that Kubernetes gives and accepts.

/// Whether a Node can have this name.
pub fn is_node_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Whether a namespace can have this name.
pub fn is_namespace(text: &str) -> bool {
    text.len() <= 63 && is_label(text)
}

/// A label of a DNS name.
fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    framed(text, allowed, |byte| allowed(byte) || byte == b'-')
}

/// Whether an object's label can have this name: `maintenance`, or `example.com/maintenance`.
pub fn is_label_name(text: &str) -> bool {
    let (prefix, short) = text.split_once('/').map_or((None, text), |(prefix, rest)| (Some(prefix), rest));
    prefix.is_none_or(is_node_name) && is_label_value(short)
}

/// Whether an object's label can have this value, which is not empty.
pub fn is_label_value(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric();
    text.len() <= 63 && framed(text, allowed, |byte| allowed(byte) || b"-_.".contains(&byte))
}

/// Whether the text has bytes of the first kind at both ends and only bytes of the second kind in it. Empty text has
/// no ends.
fn framed(text: &str, at_ends: impl Fn(u8) -> bool, inside: impl Fn(u8) -> bool) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.into_iter().all(|end| end.is_some_and(&at_ends)) && text.bytes().all(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        assert!(is_node_name("worker-1.example.org") && is_node_name("1"));
        for text in ["", "-a", "a-", "a..b", "A", "a_b", "a.-b", &"a".repeat(254)] {
            assert!(!is_node_name(text), "{text:?}");
        }
        assert!(is_label_value("worker") && is_label_value("zone_A.1") && is_label_value(&"a".repeat(63)));
        for text in ["", "-a", "a.", "a b", "ä", &"a".repeat(64)] {
            assert!(!is_label_value(text), "{text:?}");
        }
        assert!(
            is_label_name("a.b/c")
                && !is_label_name("a_b/c")
                && !is_label_name("a/")
                && !is_label_name("a/b/c")
        );
    }
}
