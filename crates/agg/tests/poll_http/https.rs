//! https: both sides prove who they are.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use crate::support::place::{
    Place, VERSION_1, influx, left, names, settings, until_empty, windows,
};
use crate::support::stub::Stub;
use crate::support::{Server, err, of_queue};

/// Returns a certificate of this CA and its key in PEM.
fn signed(issuer: &Issuer<'_, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Returns a CA: its certificate in PEM, and its key.
fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

#[test]
fn https_authenticates_both_sides() {
    let Some(server) = Server::start() else {
        return;
    };
    let ((ca, issuer), (other, _)) = (authority(), authority());
    let (cert, key) = signed(&issuer, "127.0.0.1");
    let (client_cert, client_key) = signed(&issuer, "poller");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let stub = Stub::start_tls(config.into(), |_, _| (204, "", String::new()));
    let rest = |ca: &str, more: &str| {
        let more = format!("{VERSION_1}\ntls-ca = \"{{dir}}/{ca}\"\n{more}");
        settings(&server, &influx(&stub.url, &more))
    };
    let pair = "tls-cert = \"{dir}/cert\"\ntls-key = \"{dir}/key\"";
    let place = |ca_file: &str, more: &str| {
        let place = Place::new(&rest(ca_file, more));
        for (name, text) in [
            ("ca", &ca),
            ("other", &other),
            ("cert", &client_cert),
            ("key", &client_key),
            ("strange", &key),
        ] {
            std::fs::write(place.path(name), text).unwrap();
        }
        place
    };
    let count = windows(&server, "n1", &names(5));
    // A CA that is not trusted; no client certificate.
    for (ca, more) in [("other", pair), ("ca", "")] {
        let place = place(ca, more);
        let mut running = place.start();
        let said = running.errors().next().unwrap();
        assert!(said.contains("sink db: no response: "), "{said}");
        assert_eq!(running.end_by("TERM").code(), Some(0));
        assert_eq!(left(&server, &["n1"], "MIN") as usize, count);
        assert!(stub.requests().is_empty());
    }
    // The check reports settings that exclude each other.
    let strange = place("ca", &pair.replace("/key", "/strange"));
    let output = strange.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = err(&output);
    assert!(said.contains(":15:11: certificate and key: "), "{said}");

    let place = place("ca", pair);
    let mut running = place.start();
    until_empty(&server, &["n1"], "MIN");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let lines: usize = stub
        .requests()
        .iter()
        .map(|request| request.lines().len())
        .sum();
    assert_eq!(lines, count);
    assert_eq!(of_queue(&server, "n1", "MIN", "leased"), 0);
}
