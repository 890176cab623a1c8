//! As much of the D-Bus wire format as it takes to tell messages apart: their length, and what a call is about.

use std::fmt;

/// What every message begins with: byte order, type, flags, version, and three numbers of four bytes.
pub(super) const FIXED: usize = 16;
/// The specification's limit.
const LONGEST: usize = 128 << 20;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const NO_REPLY_EXPECTED: u8 = 1;

const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;

/// A method call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who is asked: `org.freedesktop.login1`.
    pub destination: String,
    /// `org.freedesktop.login1.Manager`.
    pub interface: String,
    /// The method.
    pub member: String,
    /// The texts that its arguments begin with: interface and name of a property, for one.
    pub texts: Vec<String>,
    /// Its number on its connection; the answer names it.
    pub serial: u32,
    /// Whether an answer will come.
    pub is_answered: bool,
}

/// A property is called by its name, which tells more than `Get`.
impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.interface.as_str(), self.texts.as_slice()) {
            ("org.freedesktop.DBus.Properties", [_, property]) => formatter.write_str(property),
            _ => formatter.write_str(&self.member),
        }
    }
}

/// What the proxy has to know of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Call(Call),
    /// An answer or an error, to the call with this serial.
    Answer(u32),
    Other,
}

/// The length of a message that begins with these bytes; nothing where they are no message.
pub(super) fn length(fixed: &[u8]) -> Option<usize> {
    let reader = Reader::of(fixed)?;
    let (body, fields) = (reader.number(4)?, reader.number(12)?);
    let length = FIXED.checked_add(align(fields as usize, 8))?.checked_add(body as usize)?;
    (length <= LONGEST).then_some(length)
}

/// What a whole message says.
pub(super) fn read(message: &[u8]) -> Meaning {
    understand(message).unwrap_or(Meaning::Other)
}

fn understand(message: &[u8]) -> Option<Meaning> {
    let reader = Reader::of(message)?;
    let fields = Fields::read(&reader)?;
    match *message.get(1)? {
        METHOD_RETURN | ERROR => Some(Meaning::Answer(fields.reply_serial?)),
        METHOD_CALL => Some(Meaning::Call(Call {
            destination: fields.destination,
            interface: fields.interface,
            member: fields.member,
            texts: reader.texts(fields.body, &fields.signature),
            serial: reader.number(8)?,
            is_answered: message.get(2)? & NO_REPLY_EXPECTED == 0,
        })),
        _ => Some(Meaning::Other),
    }
}

fn align(offset: usize, to: usize) -> usize {
    offset.div_ceil(to) * to
}

struct Reader<'message> {
    bytes: &'message [u8],
    is_little_endian: bool,
}

impl<'message> Reader<'message> {
    fn of(bytes: &'message [u8]) -> Option<Self> {
        let is_little_endian = match bytes.first()? {
            b'l' => true,
            b'B' => false,
            _ => return None,
        };
        Some(Self { bytes, is_little_endian })
    }

    fn number(&self, at: usize) -> Option<u32> {
        let bytes: [u8; 4] = self.bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if self.is_little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// A string or object path, and where it ends.
    fn text(&self, at: usize) -> Option<(String, usize)> {
        let at = align(at, 4);
        let (from, length) = (at + 4, self.number(at)? as usize);
        let text = self.bytes.get(from..from.checked_add(length)?)?;
        Some((String::from_utf8_lossy(text).into_owned(), from + length + 1))
    }

    /// The strings that a body begins with.
    fn texts(&self, body: usize, signature: &str) -> Vec<String> {
        let mut at = body;
        let texts = signature.bytes().take_while(|kind| *kind == b's').map_while(|_| {
            let (text, end) = self.text(at)?;
            at = end;
            Some(text)
        });
        texts.collect()
    }
}

#[derive(Default)]
struct Fields {
    destination: String,
    interface: String,
    member: String,
    signature: String,
    reply_serial: Option<u32>,
    /// Where the body begins.
    body: usize,
}

impl Fields {
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let end = FIXED + reader.number(12)? as usize;
        let mut fields = Self { body: align(end, 8), ..Self::default() };
        let mut at = FIXED;
        while at < end {
            at = fields.read_one(reader, align(at, 8))?;
        }
        Some(fields)
    }

    /// A field is its code and a variant, whose signature is one letter here.
    fn read_one(&mut self, reader: &Reader<'_>, at: usize) -> Option<usize> {
        let code = *reader.bytes.get(at)?;
        let kind = *reader.bytes.get(at + 2)?;
        let value = at + 4;
        match kind {
            b's' | b'o' => {
                let (text, end) = reader.text(value)?;
                match code {
                    DESTINATION => self.destination = text,
                    INTERFACE => self.interface = text,
                    MEMBER => self.member = text,
                    _ => {}
                }
                Some(end)
            }
            b'g' => {
                let length = usize::from(*reader.bytes.get(value)?);
                let text = reader.bytes.get(value + 1..value + 1 + length)?;
                self.signature = String::from_utf8_lossy(text).into_owned();
                Some(value + 1 + length + 1)
            }
            b'u' => {
                let number = reader.number(align(value, 4))?;
                if code == REPLY_SERIAL {
                    self.reply_serial = Some(number);
                }
                Some(align(value, 4) + 4)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A call of a method; its serial is 7.
    pub(in crate::bus) fn call(member: &str) -> Vec<u8> {
        message(METHOD_CALL, &[(MEMBER, b's', member), (DESTINATION, b's', LOGIN)], None, &[])
    }

    /// Its answer.
    pub(in crate::bus) fn answer(text: &str) -> Vec<u8> {
        message(METHOD_RETURN, &[(DESTINATION, b's', ":1.7")], Some(7), &[text])
    }

    /// A message as a client would write it: fields of strings, and a body of strings.
    fn message(kind: u8, texts: &[(u8, u8, &str)], reply_serial: Option<u32>, body: &[&str]) -> Vec<u8> {
        let pad = |bytes: &mut Vec<u8>, to: usize| bytes.resize(align(bytes.len(), to), 0);
        let text = |bytes: &mut Vec<u8>, text: &str| {
            pad(bytes, 4);
            bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
            bytes.extend(text.bytes());
            bytes.push(0);
        };
        let mut fields = Vec::new();
        for (code, signature, value) in texts {
            pad(&mut fields, 8);
            fields.extend([*code, 1, *signature, 0]);
            text(&mut fields, value);
        }
        if let Some(serial) = reply_serial {
            pad(&mut fields, 8);
            fields.extend([REPLY_SERIAL, 1, b'u', 0]);
            fields.extend(serial.to_le_bytes());
        }
        if !body.is_empty() {
            pad(&mut fields, 8);
            fields.extend([8, 1, b'g', 0, u8::try_from(body.len()).unwrap()]);
            fields.extend(body.iter().map(|_| b's'));
            fields.push(0);
        }
        let mut content = Vec::new();
        body.iter().for_each(|part| text(&mut content, part));
        let mut message = vec![b'l', kind, 0, 1];
        message.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        message.extend(7_u32.to_le_bytes());
        message.extend(u32::try_from(fields.len()).unwrap().to_le_bytes());
        message.extend(fields);
        pad(&mut message, 8);
        message.extend(content);
        message
    }

    const LOGIN: &str = "org.freedesktop.login1";

    #[test]
    fn a_property_is_named_by_what_is_asked_for() {
        let fields = [
            (1, b'o', "/org/freedesktop/login1"),
            (INTERFACE, b's', "org.freedesktop.DBus.Properties"),
            (MEMBER, b's', "Get"),
            (DESTINATION, b's', LOGIN),
        ];
        let body = ["org.freedesktop.login1.Manager", "PreparingForShutdown"];
        let message = message(METHOD_CALL, &fields, None, &body);
        assert_eq!(length(&message[..FIXED]), Some(message.len()));
        let Meaning::Call(call) = read(&message) else { panic!("no call") };
        assert_eq!(call.to_string(), "PreparingForShutdown");
        assert_eq!((call.destination.as_str(), call.serial, call.is_answered), (LOGIN, 7, true));
    }

    #[test]
    fn an_answer_names_its_call() {
        for kind in [METHOD_RETURN, ERROR] {
            let message = message(kind, &[(DESTINATION, b's', ":1.7")], Some(42), &["yes"]);
            assert_eq!(length(&message), Some(message.len()));
            assert_eq!(read(&message), Meaning::Answer(42));
        }
    }

    #[test]
    fn nonsense_is_no_message() {
        assert_eq!(length(b"AUTH EXTERNAL 30\r\n"), None);
        assert_eq!(length(&[b'l'; FIXED]), None);
        assert_eq!(read(b"l"), Meaning::Other);
    }
}
