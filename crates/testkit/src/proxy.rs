//! A TCP proxy in front of a server. It can be redirected to another server, cut like a network, lose replies, and be
//! made slow for one command.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running proxy; its threads end with the test's process.
pub struct Proxy {
    /// The port it listens on.
    pub port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    target: AtomicU16,
    cut: AtomicBool,
    loses_replies: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
    delay: Option<Delay>,
}

/// The delay of requests that contain a word.
#[derive(Clone, Copy)]
struct Delay {
    word: &'static [u8],
    pause: Duration,
}

impl Proxy {
    /// Starts a proxy in front of a port of this machine.
    pub fn start(target: u16) -> Proxy {
        Proxy::with(target, None)
    }

    /// Starts a proxy that delivers requests that contain `word` only after `pause`.
    pub fn with_delay(target: u16, word: &'static [u8], pause: Duration) -> Proxy {
        Proxy::with(target, Some(Delay { word, pause }))
    }

    fn with(target: u16, delay: Option<Delay>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            target: AtomicU16::new(target),
            cut: AtomicBool::new(false),
            loses_replies: AtomicBool::new(false),
            open: Mutex::default(),
            delay,
        });
        let kept = inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                kept.connect(stream);
            }
        });
        Proxy { port, inner }
    }

    /// Closes all connections, and new ones until [`Proxy::repair`].
    pub fn cut(&self) {
        self.inner.cut.store(true, Ordering::SeqCst);
        self.inner.close();
    }

    /// Accepts connections again.
    pub fn repair(&self) {
        self.inner.cut.store(false, Ordering::SeqCst);
    }

    /// Sets whether what the server sends is lost. Its clients wait for it until [`Proxy::cut`].
    pub fn lose_replies(&self, lost: bool) {
        self.inner.loses_replies.store(lost, Ordering::SeqCst);
    }

    /// Closes all connections and redirects new ones to another port.
    pub fn point(&self, target: u16) {
        self.inner.target.store(target, Ordering::SeqCst);
        self.inner.close();
    }
}

impl Inner {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let target = self.target.load(Ordering::SeqCst);
        if self.cut.load(Ordering::SeqCst) {
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
            return;
        };
        let mut open = self.open.lock().unwrap();
        let copy_of = |stream: &TcpStream| stream.try_clone().unwrap();
        open.extend([copy_of(&client), copy_of(&server)]);
        let (requests, to) = (copy_of(&client), copy_of(&server));
        let inner = self.clone();
        std::thread::spawn(move || copy(requests, to, |request| inner.delay(request)));
        let inner = self.clone();
        std::thread::spawn(move || copy(server, client, |_| inner.passes_reply()));
    }

    /// Waits if a request is to be delayed. Returns whether it is passed on.
    fn delay(&self, request: &[u8]) -> bool {
        if let Some(Delay { word, pause }) = self.delay
            && request.windows(word.len()).any(|part| part == word)
        {
            std::thread::sleep(pause);
        }
        true
    }

    fn passes_reply(&self) -> bool {
        !self.loses_replies.load(Ordering::SeqCst)
    }

    fn close(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            // A stream that is closed already needs nothing.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Copies what `passes` returns `true` for.
fn copy(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        if passes(bytes) && to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
