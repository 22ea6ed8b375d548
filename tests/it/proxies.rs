//! Proxies on the way to Planhat: which is used, what it may not see, and what a person reads when it refuses.

use std::sync::{Arc, Mutex};

use planhat_simulator::Simulator;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::cli::{Tool, simulator};
use crate::tls::{certificate, https_before};

const PASSWORD: &str = "proxy-password-nobody-may-see";

/// A proxy on this machine that opens tunnels, or answers each request with this status.
struct Proxy {
    port: u16,
    /// The first line of each request, and whether it had a login.
    requests: Arc<Mutex<Vec<(String, bool)>>>,
}

impl Proxy {
    async fn start(answer: Option<&'static str>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy { port: listener.local_addr().unwrap().port(), requests: Arc::default() };
        let requests = Arc::clone(&proxy.requests);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let requests = Arc::clone(&requests);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await?);
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let first = head.lines().next().unwrap_or_default().to_owned();
                    requests.lock().unwrap().push((first.clone(), head.to_lowercase().contains("proxy-authorization: basic")));
                    if let Some(answer) = answer {
                        let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 9\r\nconnection: close\r\n\r\nforbidden");
                        return client.write_all(answer.as_bytes()).await;
                    }
                    let target = first.split(' ').nth(1).unwrap().to_owned();
                    let mut server = TcpStream::connect(target).await?;
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
                });
            }
        });
        proxy
    }

    fn url(&self) -> String {
        format!("http://ann:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    fn taken(&self) -> Vec<(String, bool)> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

/// The tool with a Planhat that is reached by HTTPS alone, with this certificate; and its port.
async fn behind_https(simulator: &Simulator, name: &str) -> (Tool, u16) {
    let server = simulator.url().trim_start_matches("http://").to_owned();
    let port = https_before(name, server).await;
    let tool = Tool::for_workspace(simulator)
        .await
        .set("PLANHAT_API_URL", &format!("https://localhost:{port}"))
        .set("SSL_CERT_FILE", &certificate("ca"))
        .set("PLANHAT_SYNC__PLANHAT__RETRIES", "1")
        .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "users,companies");
    (tool, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_used_and_sees_no_request_and_no_proxy_is_respected() {
    let simulator = simulator().await;
    let (mut tool, port) = behind_https(&simulator, "good").await;
    let proxy = Proxy::start(None).await;
    let connect = format!("CONNECT localhost:{port} HTTP/1.1");
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        tool = tool.set(variable, &proxy.url());
        let ran = tool.run(&["sync"]);
        assert_eq!(ran.code, 0, "{variable}: {}", ran.all());
        let taken = proxy.taken();
        assert!(!taken.is_empty() && taken.iter().all(|(line, login)| *line == connect && *login), "{variable}: {taken:?}");
        for (none, value) in [("NO_PROXY", "localhost"), ("no_proxy", "localhost,example.org"), ("NO_PROXY", "*")] {
            tool = tool.set(none, value);
            let ran = tool.run(&["sync"]);
            assert_eq!((ran.code, proxy.taken()), (0, vec![]), "{none}={value}: {}", ran.all());
            tool = tool.unset(none);
        }
        tool = tool.unset(variable);
    }
    // For plain HTTP alone: the way to Planhat is HTTPS.
    let ran = tool.set("HTTP_PROXY", &proxy.url()).run(&["sync"]);
    assert_eq!((ran.code, proxy.taken()), (0, vec![]), "{}", ran.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_gets_a_plain_request_with_the_token() {
    let simulator = simulator().await;
    let proxy = Proxy::start(Some("403 Forbidden")).await;
    let mut tool = Tool::for_workspace(&simulator).await.set("HTTP_PROXY", &proxy.url()).set("ALL_PROXY", &proxy.url());
    let ran = tool.run(&["sync"]);
    assert_eq!((ran.code, proxy.taken()), (0, vec![]), "{}", ran.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_proxy_is_told_from_one_of_planhat_and_shows_no_login() {
    let simulator = simulator().await;
    for (answer, hint) in [
        ("407 Proxy Authentication Required", "the proxy wants a user and a password"),
        ("403 Forbidden", "the proxy that HTTPS_PROXY or ALL_PROXY names does not let this machine connect"),
        ("502 Bad Gateway", "the proxy that HTTPS_PROXY or ALL_PROXY names does not let this machine connect"),
    ] {
        let (tool, _) = behind_https(&simulator, "good").await;
        let proxy = Proxy::start(Some(answer)).await;
        let mut tool = tool.set("HTTPS_PROXY", &proxy.url()).set("RUST_LOG", "trace,hyper=trace,reqwest=trace,rustls=trace");
        for command in ["sync", "check"] {
            let ran = tool.run(&[command]);
            let all = ran.all();
            assert_eq!(ran.code, 1, "{command}: {all}");
            assert!(all.contains(hint), "{answer}: {command}: {all}");
            assert!(!all.contains("read access") && !all.contains("skipped"), "{answer}: {command}: {all}");
            let encoded = "YW5uOnByb3h5";
            assert!(!all.contains(PASSWORD) && !all.contains(encoded), "{answer}: {command}: {all}");
        }
    }
    assert!(simulator.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_planhat_or_of_an_opening_proxy_that_is_refused_is_told_with_what_to_do() {
    let simulator = simulator().await;
    for (name, trusted, hint) in [
        (
            "not-yet-valid",
            true,
            "check this machine's clock: by it, the certificate of the host of planhat.base_url is not valid yet",
        ),
        ("expired", true, "check this machine's clock: by it, the certificate of the host of planhat.base_url has expired"),
        ("good", false, "if a proxy opens the traffic, add its authority"),
    ] {
        let (mut tool, _) = behind_https(&simulator, name).await;
        if !trusted {
            tool = tool.unset("SSL_CERT_FILE");
        }
        for command in ["sync", "check"] {
            let all = tool.run(&[command]).all();
            assert!(all.contains(hint), "{name}: {command}: {all}");
        }
    }
}
