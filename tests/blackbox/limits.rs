//! Limits end only the isolate that exceeds them.

use std::time::Duration;

use anyhow::Result;
use http::StatusCode;
use lethe_tests::{Options, Project, Server, get};

const HOSTILE: &str = "
export default {
  fetch(request) {
    switch (new URL(request.url).pathname) {
      case '/spin': for (;;) {}
      case '/heap': { const hold = []; for (;;) hold.push(new Array(1000).fill(hold.length)); }
      case '/buffer': { const hold = []; for (;;) hold.push(new Uint8Array(1 << 20).fill(1)); }
      default: return new Response('fine');
    }
  },
};";

fn hostile() -> Project {
    let project = Project::new(HOSTILE, &[]);
    project.configure(|config| config["limits"] = serde_json::json!({ "cpu_ms": 300 }));
    project
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_is_ended_while_others_are_served() -> Result<()> {
    let project = hostile();
    let server = Server::start(project.path(), &Options::default()).await?;
    let http = server.http.clone();
    let spin = tokio::spawn(async move { get(&http, "/spin").await });
    while !spin.is_finished() {
        assert_eq!(get(&server.http, "/").await?.text(), "fine");
        tokio::task::yield_now().await;
    }
    let reply = spin.await??;
    assert_eq!(
        (reply.status(), reply.text().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "The worker exceeded CPU.\n")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allocation_loop_is_ended_and_its_memory_comes_back() -> Result<()> {
    let project = hostile();
    project.configure(|config| config["limits"] = serde_json::json!({ "cpu_ms": 20_000, "memory_mb": 64 }));
    let server = Server::start(project.path(), &Options::default()).await?;
    assert_eq!(get(&server.http, "/").await?.text(), "fine");
    let before = resident_mib(server.pid());
    for _ in 0..3 {
        let reply = get(&server.http, "/heap").await?;
        let seen = (reply.status(), reply.text());
        assert_eq!(seen, (StatusCode::SERVICE_UNAVAILABLE, "The worker exceeded memory.\n".to_owned()));
        // A single buffer that does not fit is an exception that JavaScript can catch (this worker does not); buffers
        // that together fill the memory end the isolate.
        let reply = get(&server.http, "/buffer").await?;
        let caught = reply.text().contains("RangeError: Array buffer allocation failed");
        let ended = reply.status() == StatusCode::SERVICE_UNAVAILABLE && reply.text().contains("exceeded memory");
        assert!(caught || ended, "{}", reply.text());
    }
    let settled = lethe_tests::wait_for("the memory to come back", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = resident_mib(server.pid());
        (now < before + 64).then_some(now)
    });
    let after = settled.await;
    assert!(after < before + 64, "{before} MiB before, {after} MiB after");
    assert_eq!(get(&server.http, "/").await?.text(), "fine");
    Ok(())
}

/// Resident memory of a process, MiB.
fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("every process has a VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number of kB") / 1024
}
