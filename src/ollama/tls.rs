//! TLS by rustls with ring. A client for `http` gets no certificate authorities at all: reading them costs 7 ms at the
//! start, and an image from scratch has none.

use super::client::BuildError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

pub(super) fn config(https: bool, ca_pem: Option<&[u8]>) -> Result<ClientConfig, BuildError> {
    let roots = match (https, ca_pem) {
        (false, _) => RootCertStore::empty(),
        (true, Some(pem)) => given(pem)?,
        (true, None) => usual(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::Tls(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn given(pem: &[u8]) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| BuildError::Tls(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| BuildError::Tls(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(BuildError::Tls("the file holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// The system's authorities; where there are none, Mozilla's.
fn usual() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
