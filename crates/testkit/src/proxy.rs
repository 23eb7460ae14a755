//! A TCP proxy in front of a server. It can be redirected to another server, cut like a network, lose replies or cut them
//! short, hang, and be slow, for one command or for all replies.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
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
    hangs: AtomicBool,
    /// How many bytes of a reply pass before the connection is closed.
    passes: AtomicUsize,
    /// Milliseconds for which each part of a reply is kept.
    keeps_ms: AtomicU64,
    /// Parts of replies that did not pass in whole.
    lost: AtomicUsize,
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
            hangs: AtomicBool::new(false),
            passes: AtomicUsize::new(usize::MAX),
            keeps_ms: AtomicU64::new(0),
            lost: AtomicUsize::new(0),
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

    /// Returns how many parts of replies were lost or cut short so far.
    pub fn lost(&self) -> usize {
        self.inner.lost.load(Ordering::SeqCst)
    }

    /// Sets how many bytes of the next replies pass before their connections are closed; `None`: all.
    pub fn cut_replies_after(&self, bytes: Option<usize>) {
        let bytes = bytes.unwrap_or(usize::MAX);
        self.inner.passes.store(bytes, Ordering::SeqCst);
    }

    /// Sets for how long each part of a reply is kept before it is passed on.
    pub fn delay_replies(&self, pause: Duration) {
        let ms = u64::try_from(pause.as_millis()).unwrap();
        self.inner.keeps_ms.store(ms, Ordering::SeqCst);
    }

    /// Sets whether nothing passes in either direction: what arrives is passed on when that ends.
    pub fn hang(&self, hangs: bool) {
        self.inner.hangs.store(hangs, Ordering::SeqCst);
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
        std::thread::spawn(move || copy(requests, to, |request| inner.request(request)));
        let inner = self.clone();
        std::thread::spawn(move || copy(server, client, |reply| inner.reply(reply)));
    }

    /// Waits if a request is to be delayed. Returns what passes.
    fn request(&self, request: &[u8]) -> Passed {
        if let Some(Delay { word, pause }) = self.delay
            && request.windows(word.len()).any(|part| part == word)
        {
            std::thread::sleep(pause);
        }
        self.wait_while_it_hangs();
        Passed::All
    }

    fn reply(&self, reply: &[u8]) -> Passed {
        std::thread::sleep(Duration::from_millis(self.keeps_ms.load(Ordering::SeqCst)));
        self.wait_while_it_hangs();
        let bytes = self.passes.load(Ordering::SeqCst);
        let passed = match self.loses_replies.load(Ordering::SeqCst) {
            true => Passed::Nothing,
            false if bytes < reply.len() => Passed::Begin(bytes),
            false => return Passed::All,
        };
        self.lost.fetch_add(1, Ordering::SeqCst);
        passed
    }

    fn wait_while_it_hangs(&self) {
        while self.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn close(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            // A stream that is closed already needs nothing.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// How much of what was read is passed on.
enum Passed {
    All,
    Nothing,
    /// This many bytes, after which the connection is closed.
    Begin(usize),
}

/// Copies what passes.
fn copy(mut from: TcpStream, mut to: TcpStream, passed: impl Fn(&[u8]) -> Passed) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        let (bytes, goes_on) = match passed(bytes) {
            Passed::All => (bytes, true),
            Passed::Nothing => continue,
            Passed::Begin(count) => (&bytes[..count], false),
        };
        if to.write_all(bytes).is_err() || !goes_on {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
