//! What runs in a container or under systemd: the health check of the image, and the files that describe services.

use std::process::{Child, Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use tokio::net::TcpListener;

use crate::cli::{Tool, signal};
use crate::harness::not_tested;
use crate::waiting::{DEADLINE, blocked_until, end};

const FILES: &str = env!("CARGO_MANIFEST_DIR");

/// The tool as the first process of a container, if this machine lets us make one.
struct Container {
    runtime: Child,
    first: u32,
}

impl Container {
    fn start(tool: &Tool, arguments: &[&str]) -> Option<Container> {
        let is_possible = |options: &[&str]| {
            let tried = Command::new("unshare").args(options).arg("true").output();
            tried.is_ok_and(|tried| tried.status.success())
        };
        const AS_ROOT: &[&str] = &["--pid", "--fork", "--kill-child", "--mount-proc"];
        if !is_possible(AS_ROOT) {
            return None;
        }
        let inside = tool.command(arguments);
        let mut unshare = Command::new("unshare");
        unshare.args(AS_ROOT).arg(cargo_bin!("planhat-sync")).args(inside.get_args());
        unshare.envs(inside.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let runtime = unshare.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut first = None;
        blocked_until(DEADLINE, "the first process of the container", || {
            let children = Command::new("pgrep").args(["-P", &runtime.id().to_string()]).output().unwrap();
            let child = String::from_utf8(children.stdout).unwrap().trim().parse::<u32>();
            let is_the_tool = |child: u32| {
                std::fs::read_to_string(format!("/proc/{child}/cmdline")).is_ok_and(|line| line.contains("planhat-sync\0"))
            };
            first = child.ok().filter(|child| is_the_tool(*child));
            first.is_some()
        });
        Some(Container { runtime, first: first.unwrap() })
    }

    /// As the health check of an image is executed.
    fn health(&self) -> String {
        let mut check = Command::new("nsenter");
        check.args(["--target", &self.first.to_string(), "--pid", "--mount"]).arg(cargo_bin!("planhat-sync")).arg("health");
        let checked = check.env("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:1").output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        format!("exit {}\n{}{}", checked.status.code().unwrap(), text(checked.stdout), text(checked.stderr))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        signal(self.first, "KILL");
        end(&mut self.runtime);
    }
}

/// A tool that waits for its database for a while.
async fn waiting() -> (Tool, TcpListener) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let database = format!("postgres://u:p@{}/d", silent.local_addr().unwrap());
    (Tool::new().set("PLANHAT_API_TOKEN", "x").set("DATABASE_URL", &database), silent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_off_is_healthy_while_it_runs_and_a_daemon_only_if_it_answers() {
    let (tool, _silent) = waiting().await;
    let Some(sync) = Container::start(&tool, &["sync", "--full"]) else {
        return not_tested("a container can be made by root alone, with unshare", None);
    };
    assert_eq!(sync.health(), "exit 0\nok: `planhat-sync sync --full` is running\n");
    let backfill = Container::start(&tool, &["backfill", "--all"]).unwrap();
    assert_eq!(backfill.health(), "exit 0\nok: `planhat-sync backfill --all` is running\n");
    let daemon = Container::start(&tool, &["daemon"]).unwrap();
    assert!(
        daemon.health().starts_with("exit 1\nerror: no daemon answered at http://127.0.0.1:1/healthz"),
        "{}",
        daemon.health()
    );
}

#[test]
fn the_image_and_the_services_have_the_health_check_that_suits_them() {
    let read = |file: &str| std::fs::read_to_string(format!("{FILES}/{file}")).unwrap();
    assert!(read("Dockerfile").contains("CMD [\"planhat-sync\", \"health\"]"));
    // The check of the image suits each service that is made from it.
    let compose = read("docker-compose.yml");
    let tools: Vec<&str> = compose.split("\n  ").filter(|service| service.contains("<<: *planhat-sync")).collect();
    assert!(!tools.iter().any(|service| service.contains("healthcheck")), "{compose}");
}

#[test]
fn systemd_accepts_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let units = ["planhat-sync.service", "planhat-sync-once.service", "planhat-sync-once.timer"];
    for unit in units {
        let text = std::fs::read_to_string(format!("{FILES}/deploy/systemd/{unit}")).unwrap();
        // The program that systemd looks for has to be there.
        let text = text.replace("/usr/local/bin/planhat-sync", "/bin/true");
        std::fs::write(folder.path().join(unit), text).unwrap();
    }
    let said_of = |unit: &str| -> Option<Vec<String>> {
        let verified = Command::new("systemd-analyze").arg("verify").arg(folder.path().join(unit)).output().ok()?;
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        Some(said.lines().filter(|line| line.contains("planhat-sync")).map(str::to_owned).collect())
    };
    for unit in units {
        let Some(said) = said_of(unit) else {
            return not_tested("there is no systemd-analyze", Some("systemd"));
        };
        assert_eq!(said, Vec::<String>::new(), "{unit}");
    }
    // It does say something of a unit that is wrong.
    let wrong = "planhat-sync-wrong.service";
    std::fs::write(folder.path().join(wrong), "[Service]\nExecStart=/bin/true\nRestart=sometimes\n").unwrap();
    assert!(said_of(wrong).unwrap().iter().any(|line| line.contains("sometimes")), "{:?}", said_of(wrong));
}
