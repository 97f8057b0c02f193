//! Whom TLS trusts: the certificates of this machine, else those that browsers trust, which this program brings along.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as they do for OpenSSL. In a chroot they may name paths of the host
//! that are not there: then the tree's own certificates count.

use std::path::Path;

use ureq::tls::{Certificate, RootCerts};

use crate::environment::Environment;

/// The certificates that the environment or the machine names.
pub(super) fn roots(environment: &Environment) -> RootCerts {
    let named = |name| {
        environment
            .non_empty(name)
            .map(Path::new)
            .filter(|path| path.exists())
    };
    let (file, dir) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
    let found = if file.is_some() || dir.is_some() {
        rustls_native_certs::load_certs_from_paths(file, dir).certs
    } else {
        let machine = openssl_probe::probe();
        // A directory of certificates holds those of the file once more, each by itself.
        let (file, dirs) = (machine.cert_file.as_deref(), &machine.cert_dir);
        let dir = dirs.first().filter(|_| file.is_none()).map(|dir| &**dir);
        let found = rustls_native_certs::load_certs_from_paths(file, dir).certs;
        if found.is_empty() {
            return RootCerts::WebPki;
        }
        found
    };
    let certificates: Vec<_> = found
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    RootCerts::new_with_certs(&certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(roots: &RootCerts) -> Option<usize> {
        match roots {
            RootCerts::Specific(certificates) => Some(certificates.len()),
            _ => None,
        }
    }

    #[test]
    fn a_named_file_counts_alone() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let mut environment = Environment::default();
        let machine = count(&roots(&environment));
        environment.set("SSL_CERT_FILE", &empty);
        assert_eq!(
            count(&roots(&environment)),
            Some(0),
            "who names nobody trusts nobody"
        );
        environment.set("SSL_CERT_FILE", dir.path().join("absent.pem"));
        assert_eq!(count(&roots(&environment)), machine);
        assert_ne!(machine, Some(0));
    }
}
