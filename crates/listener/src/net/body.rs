//! Bodies of requests and of answers: read, decompressed, and bounded in memory.
//!
//! # Invariants
//!
//! Memory is reserved as it is needed, so a sender that announces a body and does not send it takes none. It counts until
//! the body is dropped.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The time for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The time for which a body waits for memory that others have.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(10);

/// The unit of the memory that bodies may take together, bytes.
const MEMORY_UNIT: usize = 4096;

/// The time for which the rest of a body that cannot be used is received.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The size up to which it is received, as a multiple of the largest body.
const DISCARD_BODIES: usize = 8;

/// The bytes that are decompressed at once.
const CHUNK: usize = 16 * 1024;

/// The limits of bodies.
#[derive(Clone)]
pub struct Bodies {
    /// The largest body, before and after decompression, bytes.
    largest: usize,
    /// The memory that is left, in units.
    memory: Arc<Semaphore>,
}

/// A body that was read. Its memory counts until it is dropped.
pub struct ReadBody {
    /// The decompressed bytes.
    pub bytes: Vec<u8>,
    /// For the capacity of `bytes`.
    memory: Option<OwnedSemaphorePermit>,
}

/// A body that cannot be used: the status of the answer, and a message.
#[derive(Debug)]
pub struct BodyError(pub StatusCode, pub String);

impl Bodies {
    /// Limits each body to `largest` bytes, and all at the same time to `memory` bytes: at least that of two.
    pub fn new(largest: usize, memory: usize) -> Bodies {
        let units = memory.max(2 * largest).div_ceil(MEMORY_UNIT);
        Bodies {
            largest,
            memory: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Reads a body, and decompresses it if it is `gzip` or `deflate`.
    ///
    /// # Errors
    ///
    /// It is too large (413), has an unknown encoding (415), is not what its encoding says (400), takes too long (408),
    /// or other requests use all memory (503).
    pub async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<ReadBody, BodyError> {
        let read = self.read_limited(headers, &mut body).await;
        // Many senders read the answer only after they have sent all. Closing the connection before that would reset it,
        // and they would not see the answer. One that waits for permission to send (100-continue) sees it.
        if read.is_err() && !headers.contains_key(header::EXPECT) {
            let _ = timeout(
                DISCARD_TIMEOUT,
                discard(body, DISCARD_BODIES * self.largest),
            )
            .await;
        }
        read
    }

    async fn read_limited(
        &self,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<ReadBody, BodyError> {
        let encoding = Encoding::of(headers)?;
        let declared = headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > self.largest) {
            return Err(self.too_large());
        }
        let Ok(received) = timeout(BODY_TIMEOUT, self.receive(body)).await else {
            let text = "the body took too long".to_owned();
            return Err(BodyError(StatusCode::REQUEST_TIMEOUT, text));
        };
        let received = received?;
        match encoding {
            Encoding::Identity => Ok(received),
            Encoding::Gzip => self.gunzip(&received.bytes).await,
            Encoding::Deflate => self.decompress(ZlibDecoder::new(&*received.bytes)).await,
        }
    }

    /// Decompresses gzip data.
    ///
    /// # Errors
    ///
    /// As [`Bodies::read`].
    pub async fn gunzip(&self, bytes: &[u8]) -> Result<ReadBody, BodyError> {
        self.decompress(MultiGzDecoder::new(bytes)).await
    }

    async fn receive(&self, body: &mut Body) -> Result<ReadBody, BodyError> {
        let mut received = ReadBody::empty();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let text = format!("the body cannot be read: {error}");
                BodyError(StatusCode::BAD_REQUEST, text)
            })?;
            if let Some(data) = frame.data_ref() {
                self.append(&mut received, data).await?;
            }
        }
        Ok(received)
    }

    async fn decompress(&self, mut source: impl Read) -> Result<ReadBody, BodyError> {
        let (mut body, mut chunk) = (ReadBody::empty(), vec![0; CHUNK]);
        loop {
            let size = source.read(&mut chunk).map_err(|error| {
                let text = format!("the body cannot be decompressed: {error}");
                BodyError(StatusCode::BAD_REQUEST, text)
            })?;
            if size == 0 {
                return Ok(body);
            }
            let data = chunk.get(..size).unwrap_or_default();
            self.append(&mut body, data).await?;
        }
    }

    async fn append(&self, body: &mut ReadBody, data: &[u8]) -> Result<(), BodyError> {
        let needed = body.bytes.len() + data.len();
        if needed > self.largest {
            return Err(self.too_large());
        }
        let held = body.bytes.capacity();
        if needed > held {
            // Doubled, so that the bytes are not copied for each part.
            let capacity = needed.max(2 * held).min(self.largest);
            let units = capacity.div_ceil(MEMORY_UNIT) - held.div_ceil(MEMORY_UNIT);
            body.add_memory(self.reserve(units).await?);
            body.bytes.reserve_exact(capacity - body.bytes.len());
        }
        body.bytes.extend_from_slice(data);
        Ok(())
    }

    async fn reserve(&self, units: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = self.memory.clone().acquire_many_owned(units);
        match timeout(MEMORY_TIMEOUT, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let text = "too many requests at the same time".to_owned();
                Err(BodyError(StatusCode::SERVICE_UNAVAILABLE, text))
            }
        }
    }

    fn too_large(&self) -> BodyError {
        let text = format!("the body is larger than {} bytes", self.largest);
        BodyError(StatusCode::PAYLOAD_TOO_LARGE, text)
    }
}

impl ReadBody {
    fn empty() -> ReadBody {
        ReadBody {
            bytes: Vec::new(),
            memory: None,
        }
    }

    fn add_memory(&mut self, memory: OwnedSemaphorePermit) {
        match &mut self.memory {
            Some(held) => held.merge(memory),
            none => *none = Some(memory),
        }
    }
}

/// Receives up to so many bytes, and ignores them.
async fn discard(mut body: Body, bytes: usize) {
    let mut received = 0;
    while received < bytes
        && let Some(Ok(frame)) = body.frame().await
    {
        received += frame.data_ref().map_or(0, |data| data.len());
    }
}

enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Encoding, BodyError> {
        let name = headers
            .get(header::CONTENT_ENCODING)
            .map(|name| name.as_bytes());
        match name {
            None | Some(b"" | b"identity") => Ok(Encoding::Identity),
            Some(b"gzip" | b"x-gzip") => Ok(Encoding::Gzip),
            Some(b"deflate") => Ok(Encoding::Deflate),
            Some(other) => {
                let text = format!(
                    "unknown Content-Encoding {:?}: use gzip, deflate or none",
                    String::from_utf8_lossy(other)
                );
                Err(BodyError(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::Write;

    use futures_util::stream;

    use super::*;

    fn headers(encoding: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !encoding.is_empty() {
            headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        }
        headers
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn bodies_are_decompressed_up_to_the_limit() {
        let bodies = Bodies::new(100_000, 0);
        let read = async |encoding, body: Vec<u8>| {
            let read = bodies.read(&headers(encoding), Body::from(body)).await;
            read.map(|body| body.bytes)
                .map_err(|error| error.0.as_u16())
        };
        assert_eq!(read("", b"abc".to_vec()).await, Ok(b"abc".to_vec()));
        let large = vec![b'x'; 100_000];
        assert_eq!(read("gzip", gzip(&large)).await, Ok(large.clone()));
        // Two members, as some clients send.
        let twice = [gzip(b"a"), gzip(b"b")].concat();
        assert_eq!(read("gzip", twice).await, Ok(b"ab".to_vec()));
        let bomb = gzip(&vec![0; 200 << 20]);
        assert!(bomb.len() < 300_000);
        let bombs = Bodies::new(1 << 20, 0);
        let error = bombs.read(&headers("gzip"), Body::from(bomb)).await;
        assert_eq!(
            error.map(|_| ()).unwrap_err().0,
            StatusCode::PAYLOAD_TOO_LARGE
        );
        assert_eq!(read("", vec![b'x'; 100_001]).await, Err(413));
        assert_eq!(read("gzip", b"abc".to_vec()).await, Err(400));
        assert_eq!(read("br", b"abc".to_vec()).await, Err(415));
    }

    #[tokio::test]
    async fn requests_without_bodies_take_no_memory() {
        tokio::time::pause();
        let bodies = Bodies::new(1 << 20, 2 << 20);
        let mut length = headers("");
        length.insert(header::CONTENT_LENGTH, (1 << 20).into());
        for _ in 0..100 {
            let (bodies, length) = (bodies.clone(), length.clone());
            let silent = stream::pending::<Result<Vec<u8>, Infallible>>();
            tokio::spawn(async move {
                let _ = bodies.read(&length, Body::from_stream(silent)).await;
            });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(bodies.read(&length, Body::from("abc")).await.is_ok());
    }

    #[tokio::test]
    async fn memory_of_all_bodies_is_bounded() {
        tokio::time::pause();
        let bodies = Bodies::new(1 << 20, 2 << 20);
        let mut length = headers("");
        length.insert(header::CONTENT_LENGTH, (1 << 20).into());
        let body = || Body::from(vec![0; 1 << 20]);
        let first = bodies.read(&length, body()).await.unwrap();
        let _second = bodies.read(&length, body()).await.unwrap();
        let third = bodies.read(&length, body()).await;
        assert_eq!(
            third.map(|_| ()).unwrap_err().0,
            StatusCode::SERVICE_UNAVAILABLE
        );
        drop(first);
        assert!(bodies.read(&length, body()).await.is_ok());
    }
}
