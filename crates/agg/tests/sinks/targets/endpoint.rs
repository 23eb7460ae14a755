//! A stub of an HTTP endpoint that keeps the identities of what it gets, for sinks whose real targets neither name the
//! records that they have nor reject single ones on demand.

use std::sync::{Arc, Mutex};

use crate::support::proxy::Proxy;
use crate::support::stub::{Answer, Request, Stub};

use super::super::target::Fault;

pub struct Endpoint {
    inner: Arc<Mutex<Inner>>,
    pub proxy: Proxy,
    _stub: Stub,
}

#[derive(Default)]
struct Inner {
    stored: Vec<String>,
    fault: Option<Fault>,
}

/// Returns the identities of the records of a request, or how a fault answers it.
pub type Receive = fn(Option<Fault>, &Request) -> Result<Vec<String>, Answer>;

impl Endpoint {
    /// Starts one that answers what it has stored with `success`.
    pub fn start(success: Answer, receive: Receive) -> Endpoint {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let kept = inner.clone();
        let stub = Stub::start(move |_, request| {
            let mut inner = kept.lock().unwrap();
            match receive(inner.fault, request) {
                Ok(identities) => {
                    inner.stored.extend(identities);
                    success.clone()
                }
                Err(answer) => answer,
            }
        });
        let port = stub.url.rsplit(':').next().unwrap().parse().unwrap();
        Endpoint {
            inner,
            proxy: Proxy::start(port),
            _stub: stub,
        }
    }

    /// Returns the URL without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy.port)
    }

    pub fn stored(&self) -> Vec<String> {
        self.inner.lock().unwrap().stored.clone()
    }

    pub fn inflict(&self, fault: Fault) {
        self.inner.lock().unwrap().fault = Some(fault);
        if fault == Fault::Away {
            self.proxy.cut();
        }
    }

    pub fn repair(&self, fault: Fault) {
        self.inner.lock().unwrap().fault = None;
        if fault == Fault::Away {
            self.proxy.repair();
        }
    }
}
