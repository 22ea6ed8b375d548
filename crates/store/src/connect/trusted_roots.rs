//! Certificates for TLS, read from files, so that a file that is missing or is no certificate is named by its setting.
//!
//! The public authorities are built into the binary. Those of the system's store come on top of them, and so do those of
//! `SSL_CERT_FILE` and `SSL_CERT_DIR`, which take the place of the system's store.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::connection_url::{ClientCertificate, TlsSettings, TrustedRoots};
use crate::store_error::StoreError;

/// The certificates of the authorities that are trusted, as PEM.
pub(super) fn root_certificates(tls: &TlsSettings) -> Result<Vec<u8>, StoreError> {
    match &tls.roots {
        TrustedRoots::File(path) => certificates_in(path, "sslrootcert"),
        TrustedRoots::System => system_certificates(),
    }
}

/// The certificate and the key that this side shows, as PEM.
pub(super) fn client_certificate(client: &ClientCertificate) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
    Ok((certificates_in(&client.certificate, "sslcert")?, content_of(&client.key, "sslkey")?))
}

fn certificates_in(path: &Path, setting: &'static str) -> Result<Vec<u8>, StoreError> {
    let text = content_of(path, setting)?;
    let is_certificate = |found: Result<CertificateDer<'_>, _>| found.is_ok();
    let mut found = CertificateDer::pem_slice_iter(&text).peekable();
    if found.peek().is_none() || !found.all(is_certificate) {
        return Err(StoreError::NoCertificate { setting, path: path.to_owned() });
    }
    Ok(text)
}

fn content_of(path: &Path, setting: &'static str) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|source| StoreError::CertificateFile { setting, path: path.to_owned(), source })
}

fn system_certificates() -> Result<Vec<u8>, StoreError> {
    if let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
        // The library below would go on without it.
        certificates_in(Path::new(&path), "SSL_CERT_FILE")?;
    }
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::debug!(%error, "a part of the system's certificate store cannot be read");
    }
    let mut usable = RootCertStore::empty();
    let mut pem = String::new();
    // One that is odd must not make all of them useless.
    for certificate in found.certs.into_iter().filter(|certificate| usable.add(certificate.clone()).is_ok()) {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        pem.push_str(&STANDARD.encode(&certificate));
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    Ok(pem.into_bytes())
}
