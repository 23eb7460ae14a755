//! The framing of gRPC over HTTP/2, as much as the unary calls of OTLP need. No I/O.
//!
//! A server answers `POST` requests whose path is one of [`super::Signal::from_path`] and whose `Content-Type` is
//! [`is_grpc`]: [`message`] returns the message of the request's body, [`frame`] the body of the response, and [`Code`]
//! and [`escape`] are for its trailers `grpc-status` and `grpc-message`. The status of HTTP is always 200.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::fmt::Write as _;

/// A status, the trailer `grpc-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// Success.
    Ok = 0,
    /// The request cannot be read. Sending it again does not help.
    InvalidArgument = 3,
    /// The message is too large, or the server has no memory. The sender may send it again only if the answer says when.
    ResourceExhausted = 8,
    /// The path or the compression is unknown.
    Unimplemented = 12,
    /// The server failed.
    Internal = 13,
    /// The server cannot be reached now. The sender sends it again.
    Unavailable = 14,
    /// A credential is missing or invalid.
    Unauthenticated = 16,
}

/// The `Content-Type` of responses.
pub const CONTENT_TYPE: &str = "application/grpc";

/// Returns true for the `Content-Type` of gRPC with Protocol Buffers.
pub fn is_grpc(content_type: &str) -> bool {
    let mime = content_type.split(';').next().unwrap_or_default().trim();
    mime.eq_ignore_ascii_case(CONTENT_TYPE) || mime.eq_ignore_ascii_case("application/grpc+proto")
}

/// The message of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// True if it is compressed as the header `grpc-encoding` says.
    pub is_compressed: bool,
    /// The message.
    pub bytes: &'a [u8],
}

/// A body that is not one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// The status to answer with.
    pub code: Code,
    /// The reason.
    pub message: &'static str,
}

/// Returns the message of the body of a request, which is at most `max` bytes long.
///
/// # Errors
/// The body is not exactly one message, or the message is too large.
pub fn message(body: &[u8], max: usize) -> Result<Message<'_>, FrameError> {
    let error = |code, message| FrameError { code, message };
    let wrong = |message| error(Code::InvalidArgument, message);
    let Some(([flag, length @ ..], bytes)) = body.split_first_chunk::<5>() else {
        return Err(wrong("the request has no message"));
    };
    let length = u32::from_be_bytes(*length);
    match usize::try_from(length) {
        Ok(length) if length > max => {
            let message = "the message is too large";
            return Err(error(Code::ResourceExhausted, message));
        }
        Ok(length) if length == bytes.len() => {}
        _ => return Err(wrong("the request is not one message")),
    }
    match flag {
        0 | 1 => Ok(Message {
            is_compressed: *flag == 1,
            bytes,
        }),
        _ => Err(wrong("the request has an unknown flag")),
    }
}

/// Returns the body of a response with one message. It is not compressed, and below 4 GiB.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(message.len() + 5);
    out.push(0);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
    out
}

/// Returns a message as the trailer `grpc-message` has it: bytes other than printable ASCII are percent-encoded.
pub fn escape(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => {
                // Writing to memory does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_framed() {
        assert_eq!(frame(b"ab"), b"\0\0\0\0\x02ab");
        assert_eq!(message(&frame(b"ab"), 2).unwrap().bytes, b"ab");
        assert_eq!(message(&frame(b""), 0).unwrap().bytes, b"");
        assert!(message(b"\x01\0\0\0\x01a", 2).unwrap().is_compressed);
        let code = |body: &[u8]| message(body, 2).unwrap_err().code;
        assert_eq!(code(&frame(b"abc")), Code::ResourceExhausted);
        assert_eq!(code(b"\0\xff\xff\xff\xffa"), Code::ResourceExhausted);
        for body in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x02a",
            b"\0\0\0\0\x01ab",
            b"\x02\0\0\0\x01a",
        ] {
            assert_eq!(code(body), Code::InvalidArgument, "{body:?}");
        }
    }

    #[test]
    fn messages_of_trailers_are_escaped() {
        assert_eq!(escape("100 % of ä\n"), "100 %25 of %C3%A4%0A");
        assert!(is_grpc("application/grpc") && is_grpc("Application/GRPC+proto; x"));
        assert!(!is_grpc("application/grpc-web") && !is_grpc("application/json"));
    }

    proptest! {
        #[test]
        fn any_body_does_not_panic(body in any::<Vec<u8>>(), max in any::<usize>()) {
            if let Ok(found) = message(&body, max) {
                prop_assert_eq!(found.bytes, &body[5..]);
            }
        }
    }
}
