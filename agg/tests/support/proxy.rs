//! A TCP proxy in front of a server, which can be pointed to another one and cut like a network.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// The proxy; its threads end with the test's process.
pub struct Proxy {
    pub port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    target: AtomicU16,
    cut: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// In front of a port of this machine.
    pub fn start(target: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            target: AtomicU16::new(target),
            cut: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let kept = inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                kept.connect(stream);
            }
        });
        Proxy { port, inner }
    }

    /// Cuts all connections; new ones come to nothing until [`Proxy::mend`].
    pub fn cut(&self) {
        self.inner.cut.store(true, Ordering::SeqCst);
        self.inner.close();
    }

    pub fn mend(&self) {
        self.inner.cut.store(false, Ordering::SeqCst);
    }

    /// Leads to another port from now on.
    pub fn point(&self, target: u16) {
        self.inner.target.store(target, Ordering::SeqCst);
        self.inner.close();
    }
}

impl Inner {
    fn connect(&self, client: TcpStream) {
        let target = self.target.load(Ordering::SeqCst);
        if self.cut.load(Ordering::SeqCst) {
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
            return;
        };
        let mut open = self.open.lock().unwrap();
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            open.push(from.try_clone().unwrap());
            std::thread::spawn(move || copy(from, to));
        }
    }

    fn close(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            // One that was closed already needs no closing.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
