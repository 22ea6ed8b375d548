//! TLS to PostgreSQL: what `check` reports, and what a person reads when a certificate is refused.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::cli::{Tool, simulator};
use crate::harness::fresh_database;

/// `certificates/make.sh` made them.
pub(crate) fn certificate(name: &str) -> String {
    format!("{}/tests/it/certificates/{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

/// What takes connections with this certificate.
fn acceptor(name: &str) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = format!("{}/tests/it/certificates/server.key", env!("CARGO_MANIFEST_DIR"));
    let key = provider.key_provider.load_private_key(PrivateKeyDer::from_pem_file(key).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(certificate(name)).unwrap()];
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        // As it is: a server does not look at its own certificate.
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))));
    TlsAcceptor::from(Arc::new(config))
}

/// A server with this certificate on a port of its own, and the HTTP server at this address behind it.
pub(crate) async fn https_before(name: &str, server: String) -> u16 {
    let acceptor = acceptor(name);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, acceptor) = (server.clone(), acceptor.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(&server).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    port
}

/// A server with this certificate, and PostgreSQL behind it: the address of a database there.
pub(crate) async fn with_certificate(name: &str) -> url::Url {
    let mut url: url::Url = fresh_database().await.parse().unwrap();
    let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
    let acceptor = acceptor(name);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (server, acceptor) = (server.clone(), acceptor.clone());
            tokio::spawn(async move {
                let mut ssl_request = [0; 8];
                client.read_exact(&mut ssl_request).await?;
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(&server).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    url
}

/// The same by an address that is this machine's and does not look it.
pub(crate) fn from_afar(url: &url::Url, options: &str) -> String {
    let mut url = url.clone();
    url.set_host(Some("0.0.0.0")).unwrap();
    url.set_query(Some(options));
    url.to_string()
}

fn connection(tool: &mut Tool) -> String {
    let checked = tool.run(&["check"]);
    let line = checked.stdout.lines().find(|line| line.contains(" connection "));
    line.unwrap_or_else(|| panic!("{}", checked.all())).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_whether_the_database_connection_is_encrypted_and_verified() {
    let simulator = simulator().await;
    let (plain, tls) = (fresh_database().await.parse().unwrap(), with_certificate("good").await);
    let verified = |mode: &str| format!("sslmode={mode}&sslrootcert={}", certificate("ca"));
    let mut said = Vec::new();
    let mut tool = Tool::for_workspace(&simulator).await;
    for url in [
        from_afar(&plain, "sslmode=prefer"),
        from_afar(&plain, "sslmode=disable"),
        from_afar(&tls, "sslmode=prefer"),
        from_afar(&tls, "sslmode=require"),
        from_afar(&tls, &verified("verify-ca")),
        from_afar(&tls, &verified("verify-full")),
        plain.to_string(),
    ] {
        tool = tool.set("DATABASE_URL", &url);
        said.push(connection(&mut tool));
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    warn  connection     not encrypted: someone on the network path can read the data; put sslmode=verify-full into DATABASE_URL, and sslrootcert=/path/ca.pem where a private authority vouches for the server
    warn  connection     not encrypted: someone on the network path can read the data; put sslmode=verify-full into DATABASE_URL, and sslrootcert=/path/ca.pem where a private authority vouches for the server
    warn  connection     encrypted, but the server's certificate is not verified: someone on the network path could impersonate it; put sslmode=verify-full into DATABASE_URL, and sslrootcert=/path/ca.pem where a private authority vouches for the server
    warn  connection     encrypted, but the server's certificate is not verified: someone on the network path could impersonate it; put sslmode=verify-full into DATABASE_URL, and sslrootcert=/path/ca.pem where a private authority vouches for the server
    ok    connection     encrypted, and the server's certificate is verified except for its host name; sslmode=verify-full verifies that too
    ok    connection     encrypted, and the server's certificate is verified
    ok    connection     on this machine
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_certificate_is_reported_with_what_to_do() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    let ours = format!("&sslrootcert={}", certificate("ca"));
    for (name, mode, root, hint) in [
        ("good", "verify-full", "", "was issued by an unknown authority"),
        ("good", "verify-ca", "", "was issued by an unknown authority"),
        ("good", "verify-full", "&sslrootcert=/nowhere/ca.pem", "a file that DATABASE_URL refers to does not exist"),
        ("expired", "verify-full", &ours, "has expired"),
        ("other-name", "verify-full", &ours, "is for another name than the host in DATABASE_URL"),
        ("common-name-only", "verify-full", &ours, "a common name alone does not count"),
        ("version-1", "verify-full", &ours, "have one made as X.509 version 3"),
        ("version-1", "require", "", "have one made as X.509 version 3"),
    ] {
        let url = from_afar(&with_certificate(name).await, &format!("sslmode={mode}{root}"));
        tool = tool.set("DATABASE_URL", &url);
        let ran = tool.run(&["sync"]);
        assert_eq!(ran.code, 5, "{name} {mode}: {}", ran.all());
        assert!(ran.stderr.contains(hint), "{name} {mode}: {}", ran.stderr);
    }
    // What the hints offer instead.
    for (name, mode, root) in [
        ("good", "require", ""),
        ("expired", "require", ""),
        ("not-yet-valid", "require", ""),
        ("other-name", "verify-ca", &*ours),
        ("common-name-only", "verify-ca", &ours),
    ] {
        let url = from_afar(&with_certificate(name).await, &format!("sslmode={mode}{root}"));
        tool = tool.set("DATABASE_URL", &url);
        let line = connection(&mut tool);
        assert!(line.contains("encrypted"), "{name} {mode}: {line}");
    }
    let plain = from_afar(&fresh_database().await.parse().unwrap(), "sslmode=require");
    let ran = tool.set("DATABASE_URL", &plain).run(&["sync"]);
    assert!(ran.stderr.contains("if the server has no TLS, turn it on"), "{}", ran.stderr);
}
