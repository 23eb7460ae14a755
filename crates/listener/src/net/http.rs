//! HTTP: connections with time limits, and bodies of bounded size, also decompressed.

use std::io::Read;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::stream::Connection;

/// The time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The time for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The time for which a request waits for memory that others have.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest head of a request.
const MAX_HEAD: usize = 16 * 1024;

/// The unit of the memory that bodies may take together, bytes.
const MEMORY_UNIT: usize = 4096;

/// Serves the requests of a connection, HTTP/1.1 and HTTP/2. It is closed after the time `idle` without a request, and in
/// any case if a head takes too long.
pub async fn serve(connection: Connection, router: Router, idle: Duration) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT.min(idle))
        .max_buf_size(MAX_HEAD);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(64)
        .keep_alive_interval(idle)
        .keep_alive_timeout(HEAD_TIMEOUT);
    let service = TowerToHyperService::new(router);
    // Errors of the client are ignored.
    let _ = pin!(server.serve_connection(TokioIo::new(connection), service)).await;
}

/// The limits of bodies.
#[derive(Clone)]
pub struct Bodies {
    /// The largest body, before and after decompression, bytes.
    largest: usize,
    /// The memory that is left, in units.
    memory: Arc<Semaphore>,
    units: u32,
}

/// A body that was read. Its memory counts until it is dropped.
pub struct ReadBody {
    /// The decompressed bytes.
    pub bytes: Vec<u8>,
    _memory: OwnedSemaphorePermit,
}

/// A body that cannot be used: the status of the answer, and a message.
#[derive(Debug)]
pub struct BodyError(pub StatusCode, pub String);

impl Bodies {
    /// Limits each body to `largest` bytes, and all that are read at the same time to `memory` bytes.
    pub fn new(largest: usize, memory: usize) -> Bodies {
        let units =
            u32::try_from(memory.max(2 * largest).div_ceil(MEMORY_UNIT)).unwrap_or(u32::MAX);
        Bodies {
            largest,
            memory: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    /// Reads a body, and decompresses it if it is `gzip` or `deflate`.
    ///
    /// # Errors
    ///
    /// It is too large (413), has an unknown encoding (415), is not what its encoding says (400), takes too long (408),
    /// or other requests use all memory (503).
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<ReadBody, BodyError> {
        let encoding = Encoding::of(headers)?;
        let declared = headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > self.largest) {
            return Err(self.too_large());
        }
        let received = declared.unwrap_or(self.largest);
        let memory = match encoding {
            Encoding::Identity => received,
            _ => received + self.largest,
        };
        let memory = self.reserve(memory).await?;
        let body = Limited::new(body, self.largest).collect();
        let bytes = match timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => Vec::from(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(self.too_large()),
            Ok(Err(error)) => {
                let text = format!("the body cannot be read: {error}");
                return Err(BodyError(StatusCode::BAD_REQUEST, text));
            }
            Err(_) => {
                let text = "the body took too long".to_owned();
                return Err(BodyError(StatusCode::REQUEST_TIMEOUT, text));
            }
        };
        let bytes = match encoding {
            Encoding::Identity => bytes,
            Encoding::Gzip => self.decompress(MultiGzDecoder::new(&*bytes))?,
            Encoding::Deflate => self.decompress(ZlibDecoder::new(&*bytes))?,
        };
        Ok(ReadBody {
            bytes,
            _memory: memory,
        })
    }

    async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let units = u32::try_from(bytes.div_ceil(MEMORY_UNIT)).unwrap_or(u32::MAX);
        let permit = self
            .memory
            .clone()
            .acquire_many_owned(units.min(self.units));
        match timeout(MEMORY_TIMEOUT, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let text = "too many requests at the same time".to_owned();
                Err(BodyError(StatusCode::SERVICE_UNAVAILABLE, text))
            }
        }
    }

    fn decompress(&self, source: impl Read) -> Result<Vec<u8>, BodyError> {
        let mut bytes = Vec::new();
        let read = source.take(self.largest as u64 + 1).read_to_end(&mut bytes);
        match read {
            Ok(size) if size > self.largest => Err(self.too_large()),
            Ok(_) => Ok(bytes),
            Err(error) => {
                let text = format!("the body cannot be decompressed: {error}");
                Err(BodyError(StatusCode::BAD_REQUEST, text))
            }
        }
    }

    fn too_large(&self) -> BodyError {
        let text = format!("the body is larger than {} bytes", self.largest);
        BodyError(StatusCode::PAYLOAD_TOO_LARGE, text)
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
    use std::io::Write;

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
