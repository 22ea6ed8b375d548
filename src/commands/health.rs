//! `health`: asks the daemon on this machine whether it is alive, for containers that have no other tool for that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use planhat_model::error::exit_code as exit;

use crate::command_error::CommandError;
use crate::print;
use crate::workspace::Workspace;

pub(super) async fn health(workspace: &Workspace) -> Result<ExitCode, CommandError> {
    let Some(address) = workspace.settings.daemon.listen else {
        return Err(CommandError::new(
            exit::CONFIGURATION,
            anyhow!("the daemon does not listen on any address"),
            Some("set daemon.listen"),
        ));
    };
    let url = format!("http://{}/healthz", reachable(address));
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
    let answer = match http {
        Ok(http) => http.get(&url).send().await.and_then(reqwest::Response::error_for_status),
        Err(error) => Err(error),
    };
    match answer {
        Ok(_) => {
            print::to_stdout("ok");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(anyhow::Error::new(error).context(format!("no daemon answered at {url}")).into()),
    }
}

/// What listens on all addresses is asked on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}
