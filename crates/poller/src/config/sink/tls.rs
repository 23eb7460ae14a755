//! The CA bundle and client certificate of a sink.

use std::path::PathBuf;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use toml::Spanned;

use super::super::error::ConfigError;
use super::super::tls::{self, TlsSettings};
use super::raw::RawSink;

/// A PEM file that a sink names. It is read once, so what is checked is what is used and compared.
struct PemFile<'a> {
    setting: &'a Spanned<PathBuf>,
    pem: Vec<u8>,
}

impl PemFile<'_> {
    fn read_if_set(setting: &Option<Spanned<PathBuf>>) -> Result<Option<PemFile<'_>>, ConfigError> {
        let Some(setting) = setting else {
            return Ok(None);
        };
        let pem = std::fs::read(setting.get_ref()).map_err(|error| {
            let path = setting.get_ref().display();
            ConfigError::at(setting, format!("cannot read {path}: {error}"))
        })?;
        Ok(Some(PemFile { setting, pem }))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.pem).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(ConfigError::at(
                self.setting,
                "expected a file with certificates in PEM",
            )),
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, ConfigError> {
        PrivateKeyDer::from_pem_slice(&self.pem)
            .map_err(|_| ConfigError::at(self.setting, "expected a file with a private key in PEM"))
    }
}

/// Checks the CA bundle and the client certificate, for a connection that is encrypted. `scheme` is the scheme
/// with its article.
pub fn check(sink: &RawSink, is_encrypted: bool, scheme: &str) -> Result<TlsSettings, ConfigError> {
    let settings = [
        ("tls-ca", &sink.tls_ca),
        ("tls-cert", &sink.tls_cert),
        ("tls-key", &sink.tls_key),
    ];
    let mut set = settings
        .into_iter()
        .filter_map(|(key, file)| Some((key, file.as_ref()?)));
    let Some((key, first)) = set.next() else {
        return Ok(TlsSettings {
            config: tls::of_system(),
            for_proxy: tls::of_system(),
            files: Vec::new(),
        });
    };
    if !is_encrypted {
        return Err(ConfigError::at(
            first,
            format!("{key:?} is for {scheme} URL"),
        ));
    }
    match (&sink.tls_cert, &sink.tls_key) {
        (Some(cert), None) => return Err(ConfigError::at(cert, "expected tls-key beside it")),
        (None, Some(key)) => return Err(ConfigError::at(key, "expected tls-cert beside it")),
        _ => {}
    }
    let ca = PemFile::read_if_set(&sink.tls_ca)?;
    let roots = roots(ca.as_ref())?;
    let (cert, key) = (
        PemFile::read_if_set(&sink.tls_cert)?,
        PemFile::read_if_set(&sink.tls_key)?,
    );
    let identity = match (&cert, &key) {
        (Some(cert), Some(key)) => Some((cert.certificates()?, key.private_key()?)),
        _ => None,
    };
    let error = |error| {
        let text = format!("certificate and key: {error}");
        match &sink.tls_key {
            Some(key) => ConfigError::at(key, text),
            None => ConfigError::missing(text),
        }
    };
    Ok(TlsSettings {
        for_proxy: tls::with(roots.clone(), None).map_err(error)?,
        config: tls::with(roots, identity).map_err(error)?,
        files: [ca, cert, key]
            .into_iter()
            .flatten()
            .map(|file| file.pem)
            .collect(),
    })
}

/// Returns the trusted CA certificates: only those of the file, or those of the system.
fn roots(ca: Option<&PemFile<'_>>) -> Result<RootCertStore, ConfigError> {
    let Some(ca) = ca else {
        return Ok(tls::roots_of_system());
    };
    let mut roots = RootCertStore::empty();
    for certificate in ca.certificates()? {
        let added = roots.add(certificate);
        added.map_err(|error| ConfigError::at(ca.setting, error.to_string()))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn certificate_file_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("ca.pem"), dir.path().join("other.pem"));
        let pem = rcgen::generate_simple_self_signed(["h".to_owned()])
            .unwrap()
            .cert
            .pem();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::fs::write(&other, "no certificate").unwrap();
        let raw = format!(
            "type = \"http\"\ntls-ca = {:?}\n",
            path.display().to_string()
        );
        let raw: RawSink = toml::from_str(&raw).unwrap();
        // The file is replaced while it is read: reading it again would yield something else.
        let writer = {
            let (path, pem) = (path.clone(), pem.clone());
            std::thread::spawn(move || {
                let mut pipe = std::fs::File::options().write(true).open(&path).unwrap();
                pipe.write_all(pem.as_bytes()).unwrap();
                std::fs::rename(other, path).unwrap();
            })
        };
        let tls = check(&raw, true, "an https://").unwrap();
        writer.join().unwrap();
        assert_eq!(tls.files, [pem.into_bytes()]);
    }
}
