//! What a monitor and its clients say to each other over `control.sock`.
//!
//! A frame is one byte for its kind, four bytes (big endian) for the length of what follows, and that.

use crate::container::Attachment;

/// The longest payload; a longer one means that the peer does not speak this protocol.
pub const MAX_PAYLOAD: usize = 64 * 1024;

const HEADER: usize = 5;

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// Client: I want these streams of the container's from now on. If I feed it, and its input ends with whoever
    /// does, the end of this connection is that of its input.
    Attach(Attachment),
    /// Client: bytes for the container's standard input.
    Input(Vec<u8>),
    /// Client: no more of them.
    InputEnd,
    /// Client: my terminal's size.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// Client: a signal for the container's first process.
    Signal(u8),
    /// Monitor: the program has been executed.
    Started,
    /// Monitor: somebody else started it; that one's monitor stays with it.
    Running,
    /// Monitor: it has not, and nothing of the container is left running.
    Failed {
        /// Docker's exit code for the reason.
        code: u8,
        /// The chain of causes.
        message: String,
        /// The way out, if we know one.
        hint: String,
    },
    /// Monitor: bytes from standard output, or from the terminal.
    Output(Vec<u8>),
    /// Monitor: bytes from standard error.
    ErrorOutput(Vec<u8>),
    /// Monitor: the container has ended and everything of it is cleared away.
    Exited(u8),
}

/// The peer speaks something else.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a message of a twill monitor")]
pub struct Malformed;

impl Frame {
    /// Appends the frame to a buffer. Bytes beyond [`MAX_PAYLOAD`] are cut off.
    pub fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Attach(attached) => put(into, 1, &[&[bits(*attached)]]),
            Self::Input(bytes) => put(into, 2, &[bytes]),
            Self::InputEnd => put(into, 3, &[]),
            Self::Resize { rows, columns } => {
                put(into, 4, &[&rows.to_be_bytes(), &columns.to_be_bytes()]);
            }
            Self::Signal(number) => put(into, 5, &[&[*number]]),
            Self::Started => put(into, 16, &[]),
            Self::Failed { code, message, hint } => {
                // What is cut off must not be what keeps the two apart.
                let message = message.as_bytes();
                let message = &message[..message.len().min(MAX_PAYLOAD / 2)];
                put(into, 17, &[&[*code], message, b"\0", hint.as_bytes()]);
            }
            Self::Output(bytes) => put(into, 18, &[bytes]),
            Self::ErrorOutput(bytes) => put(into, 19, &[bytes]),
            Self::Exited(code) => put(into, 20, &[&[*code]]),
            Self::Running => put(into, 21, &[]),
        }
    }

    fn parse(kind: u8, payload: &[u8]) -> Result<Self, Malformed> {
        Ok(match (kind, payload) {
            (1, [bits]) => Self::Attach(Attachment {
                input: bits & 1 != 0,
                output: bits & 2 == 0,
                error: bits & 4 == 0,
            }),
            (2, bytes) => Self::Input(bytes.to_vec()),
            (3, []) => Self::InputEnd,
            (4, [a, b, c, d]) => Self::Resize {
                rows: u16::from_be_bytes([*a, *b]),
                columns: u16::from_be_bytes([*c, *d]),
            },
            (5, [number]) => Self::Signal(*number),
            (16, []) => Self::Started,
            (17, [code, text @ ..]) => {
                let text = String::from_utf8_lossy(text);
                let (message, hint) = text.split_once('\0').ok_or(Malformed)?;
                Self::Failed { code: *code, message: message.into(), hint: hint.into() }
            }
            (18, bytes) => Self::Output(bytes.to_vec()),
            (19, bytes) => Self::ErrorOutput(bytes.to_vec()),
            (20, [code]) => Self::Exited(*code),
            (21, []) => Self::Running,
            _ => return Err(Malformed),
        })
    }
}

/// Who wants everything sends what it always was, for monitors are older than clients.
fn bits(attached: Attachment) -> u8 {
    u8::from(attached.input) | u8::from(!attached.output) << 1 | u8::from(!attached.error) << 2
}

fn put(into: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let wanted: usize = parts.iter().map(|part| part.len()).sum();
    let length = wanted.min(MAX_PAYLOAD);
    into.push(kind);
    into.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    let end = into.len() + length;
    for part in parts {
        into.extend_from_slice(part);
    }
    into.truncate(end);
}

/// Puts frames together again from whatever pieces the socket delivers.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, `None` until more bytes come.
    pub fn take(&mut self) -> Result<Option<Frame>, Malformed> {
        let [kind, a, b, c, d, rest @ ..] = self.buffer.as_slice() else { return Ok(None) };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if length > MAX_PAYLOAD {
            return Err(Malformed);
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = Frame::parse(*kind, payload)?;
        self.buffer.drain(..HEADER + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            any::<[bool; 3]>().prop_map(|[input, output, error]| Frame::Attach(Attachment {
                input,
                output,
                error
            })),
            bytes().prop_map(Frame::Input),
            Just(Frame::InputEnd),
            any::<(u16, u16)>().prop_map(|(rows, columns)| Frame::Resize { rows, columns }),
            any::<u8>().prop_map(Frame::Signal),
            Just(Frame::Started),
            Just(Frame::Running),
            (any::<u8>(), "[a-zä: ]*", "[a-z]*").prop_map(|(code, message, hint)| Frame::Failed {
                code,
                message,
                hint
            }),
            bytes().prop_map(Frame::Output),
            bytes().prop_map(Frame::ErrorOutput),
            any::<u8>().prop_map(Frame::Exited),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in proptest::collection::vec(any_frame(), 0..20),
            piece in 1_usize..64,
        ) {
            let mut wire = Vec::new();
            for frame in &frames {
                frame.encode(&mut wire);
            }
            let (mut decoder, mut got) = (Decoder::default(), Vec::new());
            for bytes in wire.chunks(piece) {
                decoder.push(bytes);
                while let Some(frame) = decoder.take().unwrap() {
                    got.push(frame);
                }
            }
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn foreign_bytes_are_refused_or_waited_for(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.take() {}
        }
    }

    #[test]
    fn broken_frames_are_refused() {
        for (what, bytes) in [
            ("an unknown kind", vec![99, 0, 0, 0, 0]),
            ("a length beyond reason", vec![2, 0xff, 0, 0, 0]),
            ("a code without a byte", vec![20, 0, 0, 0, 0]),
            ("a failure without its separator", vec![17, 0, 0, 0, 2, 125, b'x']),
            ("a size that is too short", vec![4, 0, 0, 0, 3, 0, 0, 0]),
        ] {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            assert_eq!(decoder.take(), Err(Malformed), "{what}");
        }
    }

    #[test]
    fn an_endless_text_is_cut() {
        let mut wire = Vec::new();
        let message = "x".repeat(2 * MAX_PAYLOAD);
        Frame::Output(message.into_bytes()).encode(&mut wire);
        let mut decoder = Decoder::default();
        decoder.push(&wire);
        assert_eq!(decoder.take(), Ok(Some(Frame::Output(vec![b'x'; MAX_PAYLOAD]))));
    }
}
