//! Restate: three processes with replication 2, which is its least for three nodes, and a service in Node that counts.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use http::{Request, StatusCode};
use lethe_tests::{Loopback, Place, Process, run, send};
use tokio::time::Instant;

use crate::{
    Args, NODES, Running,
    caller::{Caller, Http},
    pids,
};

const INGRESS_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 9070;
const NODE_PORT: u16 = 5122;
const SERVICE_PORT: u16 = 9080;
const READY_MAX: Duration = Duration::from_secs(60);
const SERVER: &str = "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server";
const COUNTER: &str = include_str!("counter.mjs");

/// Processes of Restate and the addresses they have.
pub struct Restate {
    _processes: Vec<Process>,
    _loopback: Loopback,
}

/// Starts the service and three nodes, registers it, and waits until every node answers.
pub async fn start(args: &Args, dir: &Path, callers: u16) -> Result<(Running, Restate)> {
    let packages = args.restate.canonicalize().context("the folder with Restate's npm packages")?;
    let server = packages.join(SERVER);
    let version = run(Place::default().command(&server).arg("--version"), "").context("Restate's server")?;
    let loopback = Loopback::claim()?;
    let mut processes = vec![service(&packages, dir)?];
    let addresses = (0..NODES).map(|node| loopback.address(node)).collect::<Result<Vec<_>>>()?;
    let peers: Vec<_> = addresses.iter().map(|address| format!("\"http://{address}:{NODE_PORT}/\"")).collect();
    for (node, address) in addresses.iter().enumerate() {
        let mut command = Place::default().command(&server);
        command.args(["--no-logo", "--listen-mode", "tcp", "--node-name", &format!("r{node}")]);
        command.args(["--bind-ip", &address.to_string(), "--advertised-host", &address.to_string()]);
        command.arg("--base-dir").arg(dir.join(format!("r{node}")));
        command.env("RESTATE_METADATA_CLIENT__ADDRESSES", format!("[{}]", peers.join(",")));
        command.env("RESTATE_AUTO_PROVISION", (node == 0).to_string());
        command.envs([("RESTATE_DEFAULT_REPLICATION", "2"), ("RESTATE_CLUSTER_NAME", "compare")]);
        command.envs([("RESTATE_DISABLE_TELEMETRY", "true"), ("RESTATE_LOG_FILTER", "error")]);
        processes.push(Process::start(command, &dir.join(format!("r{node}.log")))?);
    }
    let register = format!("{{\"uri\":\"http://127.0.0.1:{SERVICE_PORT}\"}}");
    let admin = format!("http://{}:{ADMIN_PORT}", addresses[0]);
    post(&admin, "/deployments", &register, StatusCode::CREATED).await.context("registering the service")?;
    for address in &addresses {
        let ingress = format!("http://{address}:{INGRESS_PORT}");
        post(&ingress, "/Counter/first/add", "", StatusCode::OK).await.context("the first call")?;
    }
    let caller = |number: usize| {
        let authority = format!("{}:{INGRESS_PORT}", addresses[number % NODES]);
        Caller::Http(Http::new(authority, format!("/Counter/load-{number}/add")))
    };
    let operations = vec![("http add", (0..usize::from(callers)).map(caller).collect())];
    let name = version.trim().replace("restate-server", "restate");
    let running = Running { name, processes: pids(&processes), operations };
    Ok((running, Restate { _processes: processes, _loopback: loopback }))
}

/// The counter in Node, beside the packages it needs.
fn service(packages: &Path, dir: &Path) -> Result<Process> {
    std::fs::write(dir.join("counter.mjs"), COUNTER).context("the service's file")?;
    std::os::unix::fs::symlink(packages.join("node_modules"), dir.join("node_modules")).context("its packages")?;
    let mut command = Place::default().command("node".as_ref());
    command.arg(dir.join("counter.mjs")).arg(SERVICE_PORT.to_string()).env("RESTATE_LOGGING", "ERROR");
    Process::start(command, &dir.join("service.log"))
}

/// Sends it until it succeeds.
async fn post(base: &str, path: &str, body: &str, wanted: StatusCode) -> Result<()> {
    let until = Instant::now() + READY_MAX;
    loop {
        let request = Request::post(path).header("content-type", "application/json");
        let request = if body.is_empty() { Request::post(path) } else { request };
        let answer = send(base, request.body(body.to_owned().into())?).await;
        match answer {
            Ok(reply) if reply.status() == wanted => return Ok(()),
            Ok(reply) if Instant::now() > until => bail!("{}: {}", reply.status(), reply.text()),
            Err(error) if Instant::now() > until => return Err(error),
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}
