//! Who vouches for the servers that mails are handed to, beside those whom this machine trusts: a shop's own authority, for a relay
//! that no public one knows. In: a file of certificates (PEM). Out: [`Authorities`]. Fails with a sentence that names the file.

use std::fs;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Certificates that are trusted beside those of this machine. None of them: `default()`.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// Reads the certificates of a PEM file; what else is in it does not count. Fails with a sentence where there is none, or one
    /// that no chain can end in.
    pub fn read(path: &Path) -> Result<Authorities, String> {
        let file = path.display();
        let pem = fs::read(path).map_err(|error| format!("{file} cannot be read: {error}"))?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certificates = certificates.map_err(|error| format!("{file} is no PEM: {error}"))?;
        if certificates.is_empty() {
            return Err(format!("{file} has no certificate in it"));
        }
        for (before, certificate) in certificates.iter().enumerate() {
            let added = RootCertStore::empty().add(certificate.clone());
            added.map_err(|error| format!("certificate {} in {file} is none: {error}", before + 1))?;
        }
        Ok(Authorities { certificates })
    }

    /// Each certificate as DER.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.certificates.iter().map(AsRef::as_ref)
    }
}
