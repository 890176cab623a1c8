//! Base64 as kubeconfigs hold it: the standard alphabet with padding (RFC 4648).

/// Decodes `text`, in which white space (from folded YAML) is skipped. None if it is
/// not base64.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let symbols: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let groups = symbols.chunks_exact(4);
    if !groups.remainder().is_empty() {
        return None;
    }
    let last = groups.len().checked_sub(1);
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (index, group) in groups.enumerate() {
        let padding = group.iter().rev().take_while(|symbol| **symbol == b'=').count();
        if padding > 2 || (padding > 0 && Some(index) != last) {
            return None;
        }
        bytes.extend(decode_group(group, padding)?);
    }
    Some(bytes)
}

/// The bytes of four symbols, of which the last `padding` (0, 1 or 2) are `=`.
fn decode_group(group: &[u8], padding: usize) -> Option<impl Iterator<Item = u8>> {
    let mut bits = 0_u32;
    for symbol in group.iter().take(4 - padding) {
        bits = bits << 6 | u32::from(value_of(*symbol)?);
    }
    bits <<= 6 * padding;
    let [_, first, second, third] = bits.to_be_bytes();
    let bytes = [first, second, third];
    let count = 3 - padding;
    // Bits that no byte takes must be zero: no two texts for the same bytes.
    if bytes.iter().skip(count).any(|byte| *byte != 0) {
        return None;
    }
    Some(bytes.into_iter().take(count))
}

/// The six bits that a symbol stands for.
fn value_of(symbol: u8) -> Option<u8> {
    match symbol {
        b'A'..=b'Z' => Some(symbol - b'A'),
        b'a'..=b'z' => Some(symbol - b'a' + 26),
        b'0'..=b'9' => Some(symbol - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 4648, section 10, and both last symbols.
    #[test]
    fn decodes() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9v\n YmFy\n", "foobar"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text:?}");
        }
        assert_eq!(decode("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
    }

    #[test]
    fn refuses_what_is_not_base64() {
        for text in
            ["Z", "Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Zm9-", "Z=9v", "Zh==", "Zm9=", "-----BEGIN"]
        {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
